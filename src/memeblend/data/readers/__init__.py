"""Readers of data sets, one module each. A reader turns files into `RawMemes`; the manifest judges those.

To add a layout: write a module with `recognises(folder)` and `read(path, request)`, an arm for it below, and its name
in `data.sets`.
"""

from __future__ import annotations

from pathlib import Path

from memeblend.data.label_values import keep_declared
from memeblend.data.readers import hateful_memes, imgflip575k, mami, memotion1, memotion3, mmf, mmhs150k, table
from memeblend.data.rows import RawMemes, ReadRequest
from memeblend.data.sets import READER_NAMES, SETS
from memeblend.errors import DataError


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
    if name in SETS and not path.is_dir():
        raise DataError(f"'{path}' is a file; the reader '{name}' wants the data set's folder.")
    match name:
        case "imgflip575k":
            raw = imgflip575k.read(path, request)
        case "mmhs150k":
            raw = mmhs150k.read(path, request)
        case "hateful_memes":
            raw = hateful_memes.read(path, request)
        case "mami":
            raw = mami.read(path, request)
        case "memotion1":
            raw = memotion1.read(path, request)
        case "memotion2" | "memotion3":
            raw = memotion3.read(path, request, name)
        case "mmf":
            raw = mmf.read(path, request)
        case "table":
            return table.read(path, request)
        case _:
            raise DataError(f"There is no reader '{name}'.", fix=f"Readers are {', '.join(READER_NAMES)}.")
    keep_declared(raw, request)
    return raw


def missing_parts(folder: Path, name: str) -> list[str]:
    """The parts that a folder of one of the paper's data sets lacks, without reading any of it."""
    match name:
        case "imgflip575k":
            return imgflip575k.missing(folder)
        case "mmhs150k":
            return mmhs150k.missing(folder)
        case "hateful_memes":
            return hateful_memes.missing(folder)
        case "mami":
            return mami.missing(folder)
        case "memotion2" | "memotion3":
            return memotion3.missing(folder)
        case _:
            return []


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
    layouts = {
        "memotion1": memotion1,
        "mmhs150k": mmhs150k,
        "mami": mami,
        "imgflip575k": imgflip575k,
        memotion3.named(path): memotion3,
        "hateful_memes": hateful_memes,
        "mmf": mmf,
    }
    found = next((name for name, layout in layouts.items() if layout.recognises(path)), None)
    if found is not None:
        return found
    entries = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in path.iterdir())
    shown = ", ".join(entries[:10]) + (", ..." if len(entries) > 10 else "")
    raise DataError(
        f"'{path}' is no data set in a layout that is known; it holds {shown or 'nothing'}.",
        fix="Known are: one table named memes (.csv, .tsv, .jsonl, .parquet); labels.csv with images/ (Memotion 1); "
        "train.csv, val.csv with image/<split>/ (Memotion 2 and 3); dataset/memes/ and dataset/templates/img/ "
        "(ImgFlip575K); MMHS150K_GT.json; training.csv with TRAINING/ (MAMI); train.jsonl, dev_seen.jsonl, ... with "
        "img/ (Hateful Memes); <split>.jsonl with images/ or img/ (MMF: HarMeme). Or give a table's own path.",
    )
