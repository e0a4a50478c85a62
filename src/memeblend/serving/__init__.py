"""A REST server around one saved model: predictions, moderation, metrics.

`settings` says what a server may take, `served` reads the model, `batching` runs it in a thread of its own, `app`
answers over HTTP and `running` keeps it up. Needs the extra `serve`.
"""
