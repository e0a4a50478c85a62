"""`memeblend precedents`: what a model's knn members compare with, looked up and edited without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from memeblend.cli.guard import guarded
from memeblend.cli.options import JsonOption
from memeblend.cli.output import messages, print_json, quiet_libraries, results

precedents_app = typer.Typer(
    no_args_is_help=True, help="The labelled memes that a model's knn members compare with: show, add, relabel, remove."
)
ModelArgument = Annotated[Path, typer.Argument(help="A model folder or a run.")]


@precedents_app.command()
def show(
    model: ModelArgument,
    inputs: Annotated[
        list[Path] | None, typer.Argument(metavar="INPUT...", help="Images, a folder, or a table.")
    ] = None,
    text: Annotated[list[str], typer.Option("--text", help="The text of each image, in order.")] = [],  # noqa: B006
    num: Annotated[int, typer.Option("--num", min=1, help="Precedents of each meme.")] = 5,
    label_task: Annotated[str, typer.Option("--label-task", help="Compare as this label task does.")] = "",
    json_output: JsonOption = False,
) -> None:
    """The labelled memes most like the given ones."""

    def work() -> None:
        from memeblend.cli.reading import load_model, read_inputs
        from memeblend.precedents import nearest

        memes = read_inputs(inputs or [], text)
        with quiet_libraries():
            found = nearest(load_model(model), memes, num, label_task=label_task or None, run=model)
        named = dict(zip(memes.meme_ids.tolist(), found, strict=True))
        if json_output:
            print_json({meme_id: [vars(one) for one in precedents] for meme_id, precedents in named.items()})
            return
        for meme_id, precedents in named.items():
            table = Table("precedent", "similarity", "labels", title=escape(meme_id), title_justify="left")
            for one in precedents:
                labels = ", ".join(f"{name}: {label}" for name, label in one.labels.items() if label is not None)
                table.add_row(escape(one.meme_id), f"{one.similarity:.3f}", escape(labels))
            results.print(table)

    guarded(work)


@precedents_app.command()
def add(
    model: ModelArgument,
    data: Annotated[Path, typer.Argument(help="Labelled memes: a table or a data-set folder.")],
    json_output: JsonOption = False,
) -> None:
    """Remember more labelled memes."""

    def work() -> None:
        from memeblend.cli.reading import load_model
        from memeblend.data.manifest import Manifest
        from memeblend.precedents import add as remember

        classifier = load_model(model)
        memes = Manifest.read(data, label_tasks=classifier.label_tasks_, require_label_tasks=False)
        with quiet_libraries():
            num_added = remember(classifier, memes)
        classifier.save(_folder(model))
        _done({"num_added": num_added}, f"{num_added} meme(s) remembered", json_output)

    guarded(work)


@precedents_app.command()
def relabel(
    model: ModelArgument,
    meme_id: Annotated[str, typer.Argument(help="Which remembered meme.")],
    label_task: Annotated[str, typer.Argument(help="Which label task.")],
    class_name: Annotated[str, typer.Argument(help='The class; "" for none.')],
    json_output: JsonOption = False,
) -> None:
    """Correct a remembered meme's label."""

    def work() -> None:
        from memeblend.cli.reading import load_model
        from memeblend.precedents import relabel as correct

        classifier = load_model(model)
        correct(classifier, meme_id, label_task, class_name or None)
        classifier.save(_folder(model))
        _done({"meme_id": meme_id, label_task: class_name or None}, f"{meme_id}: {label_task} corrected", json_output)

    guarded(work)


@precedents_app.command()
def remove(
    model: ModelArgument,
    meme_id: Annotated[str, typer.Argument(help="Which remembered meme.")],
    json_output: JsonOption = False,
) -> None:
    """Forget a meme."""

    def work() -> None:
        from memeblend.cli.reading import load_model
        from memeblend.precedents import remove as forget

        classifier = load_model(model)
        forget(classifier, meme_id)
        classifier.save(_folder(model))
        _done({"removed": meme_id}, f"{meme_id} is forgotten", json_output)

    guarded(work)


def _folder(model: Path) -> Path:
    """The model folder that a path names: itself, or the one of a run."""
    return model / "model" if (model / "model" / "memeblend.json").is_file() else model


def _done(found: dict[str, object], words: str, json_output: bool) -> None:
    if json_output:
        print_json(found)
    else:
        messages.print(words, markup=False)
