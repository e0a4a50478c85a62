"""`memeblend push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memeblend.cli.guard import guarded
from memeblend.cli.options import JsonOption


def run_push(model: Path, repo: str, public: bool, revision: str, message: str, json_output: bool) -> None:
    """`memeblend push`.

    Raises:
        ModelError: the folder is not a whole memeblend model.
        HubError: the hub refuses or does not answer.
    """
    from memeblend.cli.output import messages, print_json, quiet_libraries, results

    messages.print(f"Sending the model in '{model}' to '{repo}' ...", markup=False, soft_wrap=True)
    with quiet_libraries():
        from memeblend.model.hub import push

        address = push(model, repo, private=not public, revision=revision or None, message=message)
    if json_output:
        print_json({"repo": repo, "commit": address})
        return
    results.print(
        f'{address}\nIt is read by MemeClassifier.from_pretrained("{repo}").',
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def push(
    model: Annotated[Path, typer.Argument(help="A model folder or a run.")],
    repo: Annotated[str, typer.Option("--repo", help="Repository on the Hugging Face hub, user/name.")],
    public: Annotated[
        bool, typer.Option("--public", help="Let everyone see a repository that is made now; by default only you do.")
    ] = False,
    revision: Annotated[str, typer.Option("--revision", help="Branch to commit to; the main one when left out.")] = "",
    message: Annotated[str, typer.Option("--message", help="Of the commit.")] = "Add a memeblend model",
    json_output: JsonOption = False,
) -> None:
    """Send a model to the Hugging Face hub, with its card. A knn member takes the ids and labels of its memes along."""
    guarded(lambda: run_push(model, repo, public, revision, message, json_output))
