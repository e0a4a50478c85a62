"""Memes that come as single images and texts instead of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from memeblend.data.manifest import Manifest
from memeblend.errors import DataError, Problem

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder, sorted by name; sub-folders are not searched, links out of it not followed."""
    root = folder.resolve()
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and path.resolve().is_relative_to(root)
    )


def loose_memes(images: Sequence[Path], texts: Sequence[str] = ()) -> Manifest:
    """An unlabelled manifest of images and texts in the order given.

    Args:
        images: image files; empty for memes of text alone.
        texts: the ocr_text of each image, or none at all.

    Raises:
        DataError: files that are not there, or a number of texts that does not fit.
    """
    if images and texts and len(texts) != len(images):
        raise DataError(
            f"{len(images)} image(s) came with {len(texts)} text(s).", fix="Give each image one --text, in order."
        )
    problems = [Problem(str(path), "there is no such file") for path in images if not path.is_file()]
    if problems:
        raise DataError("Some images are not there:", problems=problems)
    num_memes = len(images) or len(texts)
    paths: list[str | None] = [str(path.resolve()) for path in images]
    names = [path.name for path in images] or [f"text_{number}" for number in range(num_memes)]
    repeated = Counter(names)
    table = pd.DataFrame(
        {
            "meme_id": [name if repeated[name] == 1 else f"{name}#{position}" for position, name in enumerate(names)],
            "image": paths or [None] * num_memes,
            "ocr_text": list(texts) or [""] * num_memes,
            "split": ["input"] * num_memes,
            "source": ["input"] * num_memes,
        },
        dtype=object,
    )
    return Manifest(table, (), Path.cwd())
