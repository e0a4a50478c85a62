"""Readers of data sets, one module each. A reader turns files into `RawMemes`; the manifest judges those.

To add a layout: write a module with `recognises(folder)` and `read(path, request)`, and an arm for it below.
"""

from __future__ import annotations

from pathlib import Path

from memeblend.data.label_values import keep_declared
from memeblend.data.readers import memotion1, memotion3, mmf, table
from memeblend.data.rows import RawMemes, ReadRequest
from memeblend.errors import DataError

READER_NAMES = ("memotion1", "memotion3", "mmf", "table")


def read_rows(path: Path, reader: str | None, request: ReadRequest) -> RawMemes:
    """Read a data set with the named reader, or the one that recognises it.

    Raises:
        DataError: there is nothing at `path`, no reader knows it, or it can't be read.
    """
    if not path.exists():
        raise DataError(f"There is no file or folder '{path}'.", fix="Check the path.")
    name = reader or recognise(path)
    if name != "table" and request.columns:
        raise DataError(
            f"'{path}' is read as {name}, whose columns are known, so a column mapping has no use.",
            fix="Leave the mapping out, or read it with the reader 'table'.",
        )
    if name in ("memotion1", "memotion3") and not path.is_dir():
        raise DataError(f"'{path}' is a file; the reader '{name}' wants the data set's folder.")
    match name:
        case "memotion1":
            raw = memotion1.read(path, request)
        case "memotion3":
            raw = memotion3.read(path, request)
        case "mmf":
            raw = mmf.read(path, request)
        case "table":
            return table.read(path, request)
        case _:
            raise DataError(f"There is no reader '{name}'.", fix=f"Readers are {', '.join(READER_NAMES)}.")
    keep_declared(raw, request)
    return raw


def recognise(path: Path) -> str:
    """Name of the reader for a file or folder.

    Raises:
        DataError: a folder in no known layout.
    """
    if path.is_file():
        return "mmf" if mmf.recognises_file(path) else "table"
    # A table named `memes` says that the folder is ours; so it goes before what other layouts might match.
    if table.recognises(path):
        return "table"
    if memotion1.recognises(path):
        return "memotion1"
    if memotion3.recognises(path):
        return "memotion3"
    if mmf.recognises(path):
        return "mmf"
    entries = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in path.iterdir())
    shown = ", ".join(entries[:10]) + (", ..." if len(entries) > 10 else "")
    raise DataError(
        f"'{path}' is no data set in a layout that is known; it holds {shown or 'nothing'}.",
        fix="Known are: one table named memes (.csv, .tsv, .jsonl, .parquet); labels.csv with images/ (Memotion 1); "
        "train.csv, val.csv with image/<split>/ (Memotion 3); <split>.jsonl with images/ or img/ (MMF: Hateful "
        "Memes, HarMeme). Or give a table's own path.",
    )
