"""The texts of a manifest's memes, read in their images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from memeblend.data.manifest import Manifest
from memeblend.data.ocr.reader import TextReader
from memeblend.data.ocr.text import OcrText
from memeblend.errors import DataError, ImageError, Problem

Progress = Callable[[int, int], None]
"""Takes the number of images read and the number of all."""


@dataclass(frozen=True, eq=False)
class ReadMemes:
    """Memes with what was read in their images.

    Attributes:
        manifest: the memes; those that were read have that as their ocr_text, "" where nothing was found.
        texts: what was read of each meme [num_memes]; None for those that had a text, and for unreadable images.
        unreadable: a problem for each meme whose image can't be read; these have no text.
    """

    manifest: Manifest
    texts: tuple[OcrText | None, ...]
    unreadable: tuple[Problem, ...]


def read_memes(
    manifest: Manifest, reader: TextReader, *, again: bool = False, progress: Progress | None = None
) -> ReadMemes:
    """Read the text of every meme that has none. Each image file is read once, however many memes share it.

    Args:
        manifest: memes with images.
        reader: what reads; with a cache, a reading that was cut short goes on where it was.
        again: read memes that have a text as well, and replace it.
        progress: told after each image.

    Raises:
        DataError: the memes have no images.
    """
    if not manifest.has_images:
        raise DataError("These memes have no images to read.")
    wanted: dict[int, Path] = {}
    for row, text in enumerate(manifest.texts):
        path = manifest.image_path(row)
        if path is not None and (again or not text.strip()):
            wanted[row] = path
    distinct = list(dict.fromkeys(wanted.values()))
    found: dict[Path, OcrText | ImageError] = {}
    for path, one in zip(distinct, reader.read_many(distinct), strict=True):
        found[path] = one
        if progress is not None:
            progress(len(found), len(distinct))
    texts, ids = manifest.texts, manifest.meme_ids.tolist()
    read: list[OcrText | None] = [None] * len(texts)
    unreadable = []
    for row, path in wanted.items():
        one = found[path]
        if isinstance(one, ImageError):
            texts[row] = ""
            unreadable.append(Problem(f"meme {ids[row]}", one.message, ids[row]))
        else:
            texts[row], read[row] = one.text, one
    filled = Manifest(manifest.table.assign(ocr_text=texts), manifest.label_tasks, manifest.root)
    return ReadMemes(filled, tuple(read), tuple(unreadable))
