"""A REST server around one saved model: predictions, explanations, moderation, metrics, and a page for people.

`settings` says what a server may take, `served` reads the model, `batching` runs it in a thread of its own, `app`
answers over HTTP and `running` keeps it up. Needs the extra `serve`.
"""
