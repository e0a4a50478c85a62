"""Memotion 1 (SemEval-2020 task 8): `labels.csv` and `images/`, with an optional `splits.csv`."""

from __future__ import annotations

from pathlib import Path

from memeblend.data.readers.memotion import add_memotion_labels, find_column
from memeblend.data.rows import NO_SPLIT, RawMemes, ReadRequest, RowProblem, namespaced, split_name
from memeblend.data.tables import TextTable, read_table
from memeblend.errors import DataError, Problem

_DATASET = "memotion1"
_LABELS = "labels.csv"
_SPLITS = "splits.csv"


def recognises(folder: Path) -> bool:
    """Whether a folder has the layout of Memotion 1."""
    return (folder / _LABELS).is_file() and (folder / "images").is_dir()


def read(folder: Path, request: ReadRequest) -> RawMemes:
    """Read Memotion 1. The image's file name is the id; without `splits.csv` every meme is in split `all`.

    Raises:
        DataError: `labels.csv` can't be read or names no images.
    """
    table = read_table(folder / _LABELS, request.notify)
    image_column = find_column(table.columns, ("image_name",))
    if image_column is None:
        raise DataError(
            f"'{folder / _LABELS}' has no column image_name; its columns are {', '.join(table.columns)}.",
            fix="Read another table as a file of its own, or name its columns.",
        )
    raw = RawMemes(folder)
    raw.where = table.where()
    raw.report_unparsed(table.problems)
    names = [(name or "").strip() for name in table.columns[image_column]]
    splits, split_problems = _splits(folder, request)
    raw.splits = [splits.get(name, NO_SPLIT) for name in names] if splits is not None else [NO_SPLIT] * len(names)
    raw.sources = [_DATASET] * len(names)
    raw.ids = [namespaced(_DATASET, split, name) for split, name in zip(raw.splits, names, strict=True)]
    raw.images = [f"images/{name}" if name else None for name in names]
    raw.texts = _texts(table)
    raw.problems.extend(split_problems)
    if splits is not None:
        for row, name in enumerate(names):
            if name not in splits:
                raw.report(row, f"image '{name}' has no split in {_SPLITS}", image_column)
    add_memotion_labels(raw, [table])
    return raw


def _texts(table: TextTable) -> list[str]:
    corrected = table.column(find_column(table.columns, ("text_corrected",)) or "")
    recognised = table.column(find_column(table.columns, ("text_ocr",)) or "")
    return [first or second or "" for first, second in zip(corrected, recognised, strict=True)]


def _splits(folder: Path, request: ReadRequest) -> tuple[dict[str, str] | None, list[RowProblem]]:
    """Image name -> split name (None without a file), and the rows that give an image no or two splits."""
    path = folder / _SPLITS
    if not path.is_file():
        return None, []
    table = read_table(path, request.notify)
    image_column = find_column(table.columns, ("image_name",))
    split_column = find_column(table.columns, ("split",))
    if image_column is None or split_column is None:
        raise DataError(f"'{path}' needs the columns image_name and split, found {', '.join(table.columns)}.")
    splits: dict[str, str] = {}
    problems = [RowProblem(None, problem) for problem in table.problems]
    rows = zip(table.where(), table.columns[image_column], table.columns[split_column], strict=True)
    for where, name, split in rows:
        if not name or not split:
            problems.append(RowProblem(None, Problem(where, "names no image or no split")))
        elif splits.setdefault(name.strip(), split_name(split)) != split_name(split):
            problems.append(RowProblem(None, Problem(where, f"gives '{name}' a second split, '{split}'")))
    return splits, problems
