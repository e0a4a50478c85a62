"""`memeblend ocr`, and the texts that `memeblend predict` reads where none were given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memeblend.cli.guard import guarded
from memeblend.cli.options import ColumnOption, JsonOption, OutsideOption, ReaderOption
from memeblend.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from memeblend.data.manifest import Manifest
    from memeblend.data.ocr.memes import ReadMemes
    from memeblend.predictions import Predictions

CONFIDENCE = "ocr_confidence"
"""Column of the table that `ocr` writes; `fit` never takes it for labels."""

_SHOWN = 5


@dataclass(frozen=True)
class OcrRequest:
    """Options of `memeblend ocr`.

    Attributes:
        inputs: images, a folder, or a table.
        out: the table to write; None shows the texts.
        engine: `auto`, `rapidocr` or `tesseract`.
        min_confidence: lines that the engine is less sure of are left out.
        keep_watermarks: whether lines that hold nothing but a site's name stay.
        again: read memes that have a text as well.
        reader, column, allow_outside: how a table or data set is read.
    """

    inputs: Sequence[Path]
    out: Path | None = None
    engine: str = "auto"
    min_confidence: float = 0.5
    keep_watermarks: bool = False
    again: bool = False
    reader: str = ""
    column: Sequence[str] = ()
    allow_outside: bool = False


def run_ocr(request: OcrRequest, json_output: bool) -> None:
    """`memeblend ocr`.

    Raises:
        DataError: the inputs can't be read, or `out` is no table.
        MissingExtraError: no engine is installed.
    """
    from memeblend.cli.output import messages, print_json, results
    from memeblend.cli.reading import read_inputs
    from memeblend.data.ocr.engines import INSTALL, find_engine
    from memeblend.data.storage import SUFFIXES

    if request.out is not None and request.out.suffix.lower() not in SUFFIXES:
        raise DataError(f"'{request.out}' should end in {', '.join(SUFFIXES)}; its suffix says how it is written.")
    if request.engine == "none":
        raise DataError("With --engine none there is nothing to do.", fix="Choose auto, rapidocr or tesseract.")
    engine = find_engine(request.engine)
    if engine is None:
        raise MissingExtraError("No OCR engine is installed.", fix=INSTALL)
    manifest = read_inputs(request.inputs, (), request.reader, request.column, request.allow_outside, label_tasks=())
    found = _read(manifest, engine, request.min_confidence, not request.keep_watermarks, request.again)
    if request.out is not None:
        _write(found, request.out)
        messages.print(f"Wrote {len(found.manifest)} row(s) to {request.out}", soft_wrap=True, markup=False)
    if json_output:
        print_json(_as_json(found, engine, request.out))
        return
    if request.out is None:
        for meme_id, text, read in zip(found.manifest.meme_ids, found.manifest.texts, found.texts, strict=True):
            told = _told(text, engine, read.confidence) if read is not None else f"has a text: {text}" if text else ""
            if told:
                results.print(f"{meme_id}: {told}", markup=False, soft_wrap=True)
    _tell_unreadable(found)


def texts_for(manifest: Manifest, engine: str) -> tuple[Manifest, ReadMemes]:
    """Memes without texts, with those that an engine reads in their images."""
    found = _read(manifest, engine, 0.5, True, False)
    _tell_unreadable(found)
    return found.manifest, found


def with_texts_read(predictions: Predictions, found: ReadMemes, engine: str) -> Predictions:
    """Predictions that also say what was read of each meme."""
    from memeblend.predictions import TextRead

    read = tuple(
        TextRead("", engine, 0.0) if text is None else TextRead(text.text, engine, round(text.confidence, 4))
        for text in found.texts
    )
    return replace(predictions, read=read)


def shown_text(record: dict[str, Any]) -> str:
    """What was read of a meme, as a line above its predictions; "" where nothing was tried."""
    return _told(record["ocr_text"], record["ocr"]["engine"], record["ocr"]["confidence"]) if "ocr" in record else ""


def _told(text: str, engine: str, confidence: float) -> str:
    return f"{engine} read: {text} (confidence {confidence:.2f})" if text else f"{engine} read nothing"


def _read(manifest: Manifest, engine: str, min_confidence: float, drop_watermarks: bool, again: bool) -> ReadMemes:
    from memeblend.cli.output import Bars, messages
    from memeblend.data.cache import default_cache_dir
    from memeblend.data.ocr import OcrSettings, TextReader
    from memeblend.data.ocr.memes import read_memes
    from memeblend.data.ocr.reader import CACHE_FILE

    def say(line: str) -> None:
        messages.print(line, markup=False, soft_wrap=True)

    settings = OcrSettings(min_confidence=min_confidence, drop_watermarks=drop_watermarks, threads=_num_cores())
    reader = TextReader.make(engine, settings, cache=default_cache_dir() / CACHE_FILE, notify=say)
    with Bars() as bars:

        def advance(num_done: int, num_all: int) -> None:
            if num_done == 1:
                bars.start(f"text of {num_all} image(s), {engine}", num_all)
            bars.advance(num_done)

        with closing(reader):
            return read_memes(manifest, reader, again=again, progress=advance)


def _write(found: ReadMemes, out: Path) -> None:
    """The manifest with the confidences; images below the table's folder are named from there, as readers want it."""
    import pandas as pd

    from memeblend.cli.output import messages
    from memeblend.data.storage import write

    folder = out.absolute().parent.resolve()
    images = [found.manifest.image_path(row) for row in range(len(found.manifest))]
    absolute = [None if image is None else image.parent.resolve() / image.name for image in images]
    named = [
        None if path is None else path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
        for path in absolute
    ]
    confidences = ["" if read is None else f"{read.confidence:.4f}" for read in found.texts]
    table = found.manifest.table.copy()
    table["image"] = pd.Series(named, dtype=object)
    table[CONFIDENCE] = confidences
    write(out, table, found.manifest.label_tasks, folder)
    if any(name is not None and Path(name).is_absolute() for name in named):
        messages.print(
            f"Images lie outside the folder of {out.name}, so it is read with --allow-outside.", markup=False
        )


def _as_json(found: ReadMemes, engine: str, out: Path | None) -> dict[str, Any]:
    memes = [
        {"meme_id": meme_id, "ocr_text": text, "confidence": None if read is None else round(read.confidence, 4)}
        for meme_id, text, read in zip(found.manifest.meme_ids.tolist(), found.manifest.texts, found.texts, strict=True)
    ]
    return {
        "engine": engine,
        "out": None if out is None else str(out),
        "num_memes": len(memes),
        "num_read": sum(read is not None for read in found.texts),
        "num_with_text": sum(bool(meme["ocr_text"]) for meme in memes),
        "memes": memes,
        "unreadable": [{"meme_id": problem.meme_id, "reason": problem.what} for problem in found.unreadable],
    }


def _tell_unreadable(found: ReadMemes) -> None:
    from memeblend.cli.output import messages

    if not found.unreadable:
        return
    messages.print(f"{len(found.unreadable)} image(s) can't be read, so these memes have no text:")
    for problem in found.unreadable[:_SHOWN]:
        messages.print(f"  {problem.meme_id}: {problem.what}", markup=False, soft_wrap=True)
    if len(found.unreadable) > _SHOWN:
        messages.print(f"  ... and {len(found.unreadable) - _SHOWN} more")


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ocr(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Images, a folder, or a table.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write the memes with their texts to this .csv, .tsv, .jsonl or .parquet."),
    ] = None,
    engine: Annotated[str, typer.Option("--engine", help="auto, rapidocr or tesseract.")] = OcrRequest.engine,
    min_confidence: Annotated[
        float, typer.Option("--min-confidence", min=0, max=1, help="Leave out lines that the engine is less sure of.")
    ] = OcrRequest.min_confidence,
    keep_watermarks: Annotated[
        bool, typer.Option("--keep-watermarks", help="Keep lines that are nothing but a site's name.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Read memes that have a text as well, and replace it.")
    ] = False,
    reader: ReaderOption = "",
    column: ColumnOption = [],  # noqa: B006 (Typer copies it)
    allow_outside: OutsideOption = False,
    json_output: JsonOption = False,
) -> None:
    """Read the text in memes' images; what was read before is not read again."""
    request = OcrRequest(inputs, out, engine, min_confidence, keep_watermarks, again, reader, column, allow_outside)
    guarded(lambda: run_ocr(request, json_output))
