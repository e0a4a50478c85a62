"""Memotion 3 (De-Factify 2) and 2: TAB-separated `train.csv` and `val.csv`, images in `image/<split>/<id>.jpg`.

Both lie alike, so the folder's name tells them apart. A test split may come without labels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from memeblend.data.paths import entry
from memeblend.data.readers.expecting import refuse_incomplete
from memeblend.data.readers.memotion import add_memotion_labels, find_column
from memeblend.data.rows import RawMemes, ReadRequest, namespaced, split_name
from memeblend.data.tables import TextTable, read_table
from memeblend.errors import DataError

_KNOWN = ("train", "val", "test")
_TEXT_COLUMNS = ("ocr_text", "ocr", "text")


def recognises(folder: Path) -> bool:
    """Whether a folder has the layout of Memotion 3 and 2."""
    return bool(_split_files(folder))


def missing(folder: Path) -> list[str]:
    """The parts of the set that a folder lacks: of train and validation, and either half of a test split."""
    return _absent(folder, ("train", "val"))


def named(folder: Path) -> str:
    """`memotion2` or `memotion3`, by the folder's name."""
    return "memotion2" if re.search(r"memotion[ _.-]*2", folder.absolute().name.casefold()) else "memotion3"


def read(folder: Path, request: ReadRequest, dataset: str = "memotion3") -> RawMemes:
    """Read Memotion 3 or 2; every table with images of its own is a split, named by its file (`val` is validation).

    A part of the set may be read, but not half a split: a table without its images, or images without their table.

    Args:
        folder: where the set is.
        request: how to read it.
        dataset: which of the two it is.

    Raises:
        DataError: a table has no images, can't be read or has no ids.
    """
    files = _split_files(folder)
    refuse_incomplete(dataset, folder, _absent(folder, () if files else ("train",)))
    tables = [read_table(path, request.notify) for path, _ in files]
    raw = RawMemes(folder)
    for (path, images), table in zip(files, tables, strict=True):
        _add_split(raw, path.stem, table, dataset, images.relative_to(folder).as_posix())
    add_memotion_labels(raw, tables)
    return raw


def _absent(folder: Path, needed: Sequence[str]) -> list[str]:
    """The parts of the needed splits that are not there, and the missing half of any other known one."""
    tables = {path.stem.casefold() for path in _tables(folder)}
    absent = []
    for name in _KNOWN:
        has_table, has_images = name in tables, _images(folder, name) is not None
        if name in needed or has_table or has_images:
            absent += [f"{name}.csv"] if not has_table else []
            absent += [f"image/{name}/"] if not has_images else []
    return absent


def _tables(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix.casefold() == ".csv" and not path.name.startswith(".")]


def _images(folder: Path, stem: str) -> Path | None:
    """The folder of a split's images; the case of names varies between copies."""
    whole = entry(folder, "image")
    found = None if whole is None else entry(whole, stem)
    return found if found is not None and found.is_dir() else None


def _split_files(folder: Path) -> list[tuple[Path, Path]]:
    """The tables with a folder of images each, in order."""

    def place(stem: str) -> tuple[int, str]:
        known = stem.casefold() in _KNOWN
        return _KNOWN.index(stem.casefold()) if known else len(_KNOWN), stem

    found = [(path, images) for path in _tables(folder) if (images := _images(folder, path.stem)) is not None]
    return sorted(found, key=lambda pair: place(pair[0].stem))


def _add_split(raw: RawMemes, stem: str, table: TextTable, dataset: str, images: str) -> None:
    id_column = find_column(table.columns, ("id",))
    if id_column is None and "" in table.columns:
        id_column = ""  # pandas writes the index under an empty name
    if id_column is None:
        raise DataError(f"'{table.path}' has no column id; its columns are {', '.join(table.columns)}.")
    split = split_name(stem)
    raw.report_unparsed(table.problems)
    start = len(raw)
    raw.where += table.where()
    for cell in table.columns[id_column]:
        name = (cell or "").strip()
        raw.ids.append(namespaced(dataset, split, name))
        raw.images.append(f"{images}/{name}.jpg" if name else None)
    raw.splits += [split] * len(table)
    raw.sources += [dataset] * len(table)
    raw.texts += [text or "" for text in table.column(find_column(table.columns, _TEXT_COLUMNS) or "no text")]
    for row in range(start, len(raw)):
        if raw.images[row] is None:
            raw.report(row, "names no meme", id_column)
