"""How commands read models and memes; imported by a command when it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memeblend.cli.output import messages, quiet_libraries
from memeblend.data.manifest import Manifest
from memeblend.errors import DataError, ModelError
from memeblend.labels import LabelTask
from memeblend.onnx_engine.folder import is_export


def load_model(model: Path, *, exported: bool = False) -> Any:
    """The model in a folder, or of a run.

    Args:
        model: the folder.
        exported: whether an exported model will do.

    Raises:
        ModelError: it can't be read, or is an exported model where that won't do.
    """
    if is_export(model) and not exported:
        raise ModelError(f"'{model}' is an exported model.", fix="Name the model that it was exported from.")
    messages.print(f"Loading the model in {model} ...", soft_wrap=True)
    if is_export(model):
        from memeblend.onnx_engine.classifier import OnnxClassifier

        return OnnxClassifier.load(model)
    from memeblend.model import MemeClassifier

    with quiet_libraries():
        return MemeClassifier.load(model)


def read_memes(
    data: Path, reader: str, column: Sequence[str], allow_outside: bool, label_tasks: Sequence[LabelTask] | None
) -> Manifest:
    """A table of memes or a data-set folder, with those of the label tasks that it has labels of; None reads none."""
    return Manifest.read(
        data,
        reader=reader or None,
        columns=columns_of(column),
        label_tasks=label_tasks,
        require_label_tasks=False,
        allow_outside=allow_outside,
        notify=notify,
    )


def read_inputs(
    inputs: Sequence[Path],
    texts: Sequence[str],
    reader: str = "",
    column: Sequence[str] = (),
    allow_outside: bool = False,
    label_tasks: Sequence[LabelTask] | None = None,
) -> Manifest:
    """Images with their texts, a folder of images, a table, or a data-set folder; labels only as `label_tasks` says."""
    from memeblend.data.loose import IMAGE_SUFFIXES, images_in, loose_memes

    if not inputs and not texts:
        raise DataError("There is nothing to predict.", fix="Name images, a folder or a table, or give a --text.")
    one = inputs[0] if len(inputs) == 1 else None
    if one is not None and not one.exists():
        raise DataError(f"There is no file or folder '{one}'.")
    if one is not None and one.is_dir() and not _is_data_set(one):
        found = images_in(one)
        if not found:
            raise DataError(f"The folder '{one}' holds neither images nor a table of memes.")
        return loose_memes(found, texts)
    if one is not None and (one.is_dir() or one.suffix.lower() not in IMAGE_SUFFIXES):
        if texts:
            raise DataError(f"--text goes with images, but '{one}' is a table of memes with its own texts.")
        return read_memes(one, reader, column, allow_outside, label_tasks)
    return loose_memes(inputs, texts)


def _is_data_set(folder: Path) -> bool:
    from memeblend.data.readers import recognise

    try:
        recognise(folder)
    except DataError:
        return False
    return True


def columns_of(column: Sequence[str]) -> dict[str, str]:
    """Columns by role from options NAME=COLUMN.

    Raises:
        DataError: one of another form.
    """
    pairs = [entry.partition("=") for entry in column]
    wrong = [entry for entry, (_, separator, _) in zip(column, pairs, strict=True) if not separator]
    if wrong:
        raise DataError(f"--column {wrong[0]} is not of the form NAME=COLUMN.", fix="Write it like image=img_file")
    return {name.strip(): value.strip() for name, _, value in pairs}


def notify(line: str) -> None:
    """Tell what was inferred or left out, on standard error."""
    messages.print(line, markup=False, soft_wrap=True)
