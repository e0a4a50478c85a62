"""Memotion 3 (Defactify 2): TAB-separated `train.csv` and `val.csv`, images in `image/<split>/<id>.jpg`."""

from __future__ import annotations

from pathlib import Path

from memeblend.data.readers.memotion import add_memotion_labels, find_column
from memeblend.data.rows import RawMemes, ReadRequest, namespaced, split_name
from memeblend.data.tables import TextTable, read_table
from memeblend.errors import DataError

_DATASET = "memotion3"
_TEXT_COLUMNS = ("ocr_text", "ocr", "text")


def recognises(folder: Path) -> bool:
    """Whether a folder has the layout of Memotion 3."""
    return bool(_split_files(folder))


def read(folder: Path, request: ReadRequest) -> RawMemes:
    """Read Memotion 3; every table with images of its own is a split, named by its file (`val` is validation).

    Raises:
        DataError: a table can't be read or has no ids.
    """
    files = _split_files(folder)
    if not files:
        raise DataError(f"'{folder}' has no <split>.csv with images in image/<split>/, as Memotion 3 has.")
    tables = [read_table(path, request.notify) for path in files]
    raw = RawMemes(folder)
    for path, table in zip(files, tables, strict=True):
        _add_split(raw, path.stem, table)
    add_memotion_labels(raw, tables)
    return raw


def _split_files(folder: Path) -> list[Path]:
    files = [path for path in folder.glob("*.csv") if (folder / "image" / path.stem).is_dir()]
    known = ["train", "val", "test"]
    return sorted(
        files, key=lambda path: (path.stem not in known, path.stem in known and known.index(path.stem), path.stem)
    )


def _add_split(raw: RawMemes, stem: str, table: TextTable) -> None:
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
        raw.ids.append(namespaced(_DATASET, split, name))
        raw.images.append(f"image/{stem}/{name}.jpg" if name else None)
    raw.splits += [split] * len(table)
    raw.sources += [_DATASET] * len(table)
    raw.texts += [text or "" for text in table.column(find_column(table.columns, _TEXT_COLUMNS) or "no text")]
    for row in range(start, len(raw)):
        if raw.images[row] is None:
            raw.report(row, "names no meme", id_column)
