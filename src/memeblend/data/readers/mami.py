"""MAMI (SemEval-2022 task 5; Fersini et al. 2022): tab-separated tables, pictures of each split in a folder.

Copies differ in the case of names, and in whether a table lies beside its folder of pictures or in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memeblend.data.label_values import MISOGYNOUS, MISOGYNY_TYPES, add_labels, class_words, label_key
from memeblend.data.paths import entry
from memeblend.data.readers.expecting import refuse_incomplete
from memeblend.data.readers.memotion import find_column
from memeblend.data.rows import RawMemes, ReadRequest, namespaced
from memeblend.data.tables import TextTable, read_headless, read_table
from memeblend.errors import DataError, Problem
from memeblend.labels import LabelTask

_DATASET = "mami"
_TASKS = (MISOGYNOUS, *MISOGYNY_TYPES)
_TEXT_COLUMNS = ("text_transcription", "transcription", "text")


def recognises(folder: Path) -> bool:
    """Whether a folder has the layout of MAMI."""
    return _table(folder, "training") is not None and entry(folder, "training") is not None


def missing(folder: Path) -> list[str]:
    """The parts of the set that a folder lacks."""
    parts = _parts(folder)
    return [name for name, path in parts.items() if path is None or (name.endswith("/") and not path.is_dir())]


def read(folder: Path, request: ReadRequest) -> RawMemes:
    """Read MAMI; without `test_labels.txt` the test memes have no labels.

    Raises:
        DataError: a part of the set is missing, or a table can't be read or lacks a column.
    """
    refuse_incomplete(_DATASET, folder, missing(folder))
    train_file, train_images, test_file, test_images = (path for path in _parts(folder).values() if path is not None)
    raw = RawMemes(folder)
    train, test = read_table(train_file, request.notify), read_table(test_file, request.notify)
    _add_split(raw, "train", train, train_images)
    names = _add_split(raw, "test", test, test_images)
    columns = {task.name: find_column(train.columns, (task.name,)) for task in _TASKS}
    without = [name for name, column in columns.items() if column is None]
    if without:
        raise DataError(
            f"'{train_file}' has no column(s) {', '.join(without)}; its columns are {', '.join(train.columns)}."
        )
    labels_file = entry(folder, "test_labels.txt") or entry(test_images, "test_labels.txt")
    if labels_file is None:
        request.notify(f"{_DATASET}: there is no test_labels.txt, so the test memes have no labels")
    of_test = _test_labels(raw, labels_file, names)
    for task in _TASKS:
        column = columns[task.name] or task.name
        values = [*train.column(column), *of_test[task.name]]
        add_labels(raw, task, values, column, _words(task))
    return raw


def _parts(folder: Path) -> dict[str, Path | None]:
    return {
        "training.csv": _table(folder, "training"),
        "TRAINING/": entry(folder, "training"),
        "Test.csv": _table(folder, "test"),
        "test/": entry(folder, "test"),
    }


def _table(folder: Path, name: str) -> Path | None:
    found = entry(folder, f"{name}.csv")
    inner = entry(folder, name)
    return entry(inner, f"{name}.csv") if found is None and inner is not None else found


def _words(task: LabelTask) -> dict[str, str]:
    return {"0": task.classes[0], "1": task.classes[1], **class_words(task)}


def _add_split(raw: RawMemes, split: str, table: TextTable, images: Path) -> list[str]:
    """Add the memes of a table; their file names."""
    name_column = find_column(table.columns, ("file_name",))
    text_column = find_column(table.columns, _TEXT_COLUMNS)
    if name_column is None or text_column is None:
        raise DataError(
            f"'{table.path}' needs the columns file_name and Text Transcription, found {', '.join(table.columns)}."
        )
    raw.report_unparsed(table.problems)
    names = [(name or "").strip() for name in table.columns[name_column]]
    start = len(raw)
    raw.where += table.where()
    raw.ids += [namespaced(_DATASET, split, name) for name in names]
    raw.images += [f"{images.name}/{name}" if name else None for name in names]
    raw.texts += [text or "" for text in table.columns[text_column]]
    raw.splits += [split] * len(names)
    raw.sources += [_DATASET] * len(names)
    for row, name in enumerate(names, start=start):
        if not name:
            raw.report(row, "names no meme", name_column)
    return names


def _test_labels(raw: RawMemes, file: Path | None, names: Sequence[str]) -> dict[str, list[str | None]]:
    """The labels of the test memes in their order, None where there are none."""
    columns = ["file_name", *(task.name for task in _TASKS)]
    nothing: list[str | None] = [None] * len(names)
    if file is None:
        return {task.name: list(nothing) for task in _TASKS}
    table = read_headless(file, columns)
    if table.numbers and label_key(table.columns["file_name"][0] or "") == "file_name":  # a copy with a header
        table.numbers = table.numbers[1:]
        table.columns = {name: cells[1:] for name, cells in table.columns.items()}
    raw.report_unparsed(table.problems)
    place: dict[str, int] = {}
    known = set(names)
    problems = []
    for row, (name, where) in enumerate(zip(table.columns["file_name"], table.where(), strict=True)):
        key = (name or "").strip()
        if key in place:
            problems.append(Problem(where, f"'{key}' has labels already"))
        place.setdefault(key, row)
    problems += [
        Problem(table.where()[row], f"labels '{key}', which Test.csv does not name")
        for key, row in place.items()
        if key not in known
    ]
    raw.report_unparsed(problems)
    for row, name in enumerate(names, start=len(raw) - len(names)):
        if name and name not in place:
            raw.report_label(row, f"'{name}' has no labels in {file.name}", "file_name")
    return {
        task.name: [table.columns[task.name][place[name]] if name in place else None for name in names]
        for task in _TASKS
    }
