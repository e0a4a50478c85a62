"""A model folder: its file of facts, and whether the folder is whole."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from memeblend.errors import ModelError, Problem
from memeblend.files import file_digest

FORMAT = 4
FILE = "memeblend.json"
EXPORT_FILE = "memeblend-onnx.json"
"""The file of facts of an exported model."""
CARD = "README.md"
"""The model card. It is text for people, who edit it on the hub, and nothing is read from it."""


def model_folder(folder: str | Path) -> Path:
    """The model folder itself, where a run's folder was named."""
    folder = Path(folder)
    return folder / "model" if (folder / "model" / FILE).is_file() else folder


def read_state(folder: Path) -> dict[str, Any]:
    """The content of a model folder's `memeblend.json`, its files checked.

    Raises:
        ModelError: it is not there, is of another format, or files are missing or altered; all are listed.
    """
    if not (folder / FILE).is_file():
        if (folder / EXPORT_FILE).is_file():
            raise ModelError(
                f"'{folder}' is an exported model, which only predicts, evaluates, decides and serves.",
                fix="Name the model that it was exported from; in Python, an export is read by OnnxClassifier.load.",
            )
        raise ModelError(
            f"Expected a memeblend model in '{folder}', but there is no {FILE}.",
            fix="Name a folder written by MemeClassifier.save, or a run folder whose fit has finished.",
        )
    return read_facts(folder, FILE, FORMAT, what="model", again="Copy or train it again.")


def read_facts(folder: Path, file: str, format: int, *, what: str, again: str) -> dict[str, Any]:
    """The content of a folder's file of facts, which names all its files with their digests; the card may differ.

    Args:
        folder: the folder.
        file: name of its file of facts.
        format: the number of the format that is read.
        what: what the folder holds, for messages.
        again: how to get it anew.

    Raises:
        ModelError: the file can't be read, is of another format, or files are missing or altered; all are listed.
    """
    path = folder / file
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        files, found = dict(state["files"]), state["format"]
        members = [str(name) for name in state.get("candidates", ())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"'{path}' could not be read: {error}.") from error
    if found != format:
        raise ModelError(f"'{folder}' has {what} format {found}; this memeblend reads format {format}.", fix=again)
    problems = [Problem(repr(name), "is no name of a member") for name in members if not _is_name(name)]
    for name, expected in files.items():
        there = folder / name
        if not _within(name):
            problems.append(Problem(repr(name), "leads out of the model's folder"))
        elif name == CARD:
            continue
        elif not there.is_file():
            problems.append(Problem(name, "is missing"))
        elif file_digest(there) != expected:
            problems.append(Problem(name, "is not the file that was saved (cut short or altered)"))
    if problems:
        raise ModelError(f"The {what} in '{folder}' is not whole:", problems=problems, fix=again)
    return dict(state)


def _within(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _is_name(name: str) -> bool:
    """Whether a name can be that of a folder in a folder."""
    return _within(name) and len(PurePosixPath(name).parts) == 1


def files_of(folder: Path) -> Iterable[Path]:
    """The files in a folder and below it, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
