"""Memotion 3 (De-Factify 2) and 2: TAB-separated `train.csv` and `val.csv`, images in `image/<split>/<id>.jpg`.

Both lie alike, so the folder's name tells them apart. A test split may come without labels.
"""

from __future__ import annotations

import re
from pathlib import Path

from memeblend.data.paths import entry
from memeblend.data.readers.expecting import incomplete
from memeblend.data.readers.memotion import add_memotion_labels, find_column
from memeblend.data.rows import RawMemes, ReadRequest, namespaced, split_name
from memeblend.data.tables import TextTable, read_table
from memeblend.errors import DataError

_KNOWN = ("train", "val", "test")
_TEXT_COLUMNS = ("ocr_text", "ocr", "text")


def recognises(folder: Path) -> bool:
    """Whether a folder has the layout of Memotion 3 and 2."""
    return bool(_split_files(folder))


def named(folder: Path) -> str:
    """`memotion2` or `memotion3`, by the folder's name."""
    return "memotion2" if re.search(r"memotion[ _.-]*2", folder.absolute().name.casefold()) else "memotion3"


def read(folder: Path, request: ReadRequest, dataset: str = "memotion3") -> RawMemes:
    """Read Memotion 3 or 2; every table with images of its own is a split, named by its file (`val` is validation).

    Args:
        folder: where the set is.
        request: how to read it.
        dataset: which of the two it is.

    Raises:
        DataError: a table has no images, can't be read or has no ids.
    """
    files = _split_files(folder)
    stems = [path.stem for path in files]
    absent = [f"image/{name}/" for name in _KNOWN if name not in stems and entry(folder, f"{name}.csv") is not None]
    if absent or not files:
        raise incomplete(dataset, folder, absent or ["train.csv with image/train/"])
    tables = [read_table(path, request.notify) for path in files]
    raw = RawMemes(folder)
    for path, table in zip(files, tables, strict=True):
        _add_split(raw, path.stem, table, dataset)
    add_memotion_labels(raw, tables)
    return raw


def _split_files(folder: Path) -> list[Path]:
    files = [path for path in folder.glob("*.csv") if (folder / "image" / path.stem).is_dir()]
    return sorted(files, key=lambda path: (_KNOWN.index(path.stem) if path.stem in _KNOWN else len(_KNOWN), path.stem))


def _add_split(raw: RawMemes, stem: str, table: TextTable, dataset: str) -> None:
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
        raw.images.append(f"image/{stem}/{name}.jpg" if name else None)
    raw.splits += [split] * len(table)
    raw.sources += [dataset] * len(table)
    raw.texts += [text or "" for text in table.column(find_column(table.columns, _TEXT_COLUMNS) or "no text")]
    for row in range(start, len(raw)):
        if raw.images[row] is None:
            raw.report(row, "names no meme", id_column)
