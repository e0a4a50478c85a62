"""Memes that arrive as bytes: decoded under limits, then made ready as the manifest's memes are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memeblend.data.images import ImageLimits, ImageTransform, load_image
from memeblend.training.preprocessing import Memes, Preprocessor


@dataclass(frozen=True, eq=False)
class Upload:
    """A meme as it was sent.

    Attributes:
        meme_id: as the client calls it; not necessarily distinct.
        text: its ocr_text, "" where none was sent.
        image: the image file, None where none was sent.
        where: the image's place in the request, for messages.
        has_text: whether a text was sent, be it ""; where none was, that of the image may be read.
    """

    meme_id: str
    text: str
    image: bytes | None
    where: str
    has_text: bool = True


@dataclass(frozen=True, eq=False)
class DecodedMeme:
    """A meme whose image is pixels.

    Attributes:
        text: its ocr_text.
        pixels: its image fitted into a square [S, S, 3], None without one.
    """

    text: str
    pixels: NDArray[np.uint8] | None


def decode(upload: Upload, transform: ImageTransform, limits: ImageLimits) -> DecodedMeme:
    """Decode an upload's image and fit it into the square that the encoders read.

    Raises:
        ImageError: it is too large, truncated, corrupt, or no image.
    """
    if upload.image is None:
        return DecodedMeme(upload.text, None)
    return DecodedMeme(upload.text, transform.apply(load_image(upload.image, limits)))


def make_ready(memes: Sequence[DecodedMeme], preprocessor: Preprocessor) -> Memes:
    """The memes as members read them; images only where every meme has one.

    Their meme_ids are their positions, since clients may send any.
    """
    pixels = [meme.pixels for meme in memes if meme.pixels is not None]
    return Memes(
        texts=[meme.text for meme in memes],
        images=np.stack(pixels) if pixels and len(pixels) == len(memes) else None,
        preprocessor=preprocessor,
        meme_ids=[str(position) for position in range(len(memes))],
        paths=[None] * len(memes),
    )


def blank_memes(num_memes: int, transform: ImageTransform) -> list[DecodedMeme]:
    """Grey squares with a few words, to warm a model up on."""
    grey = np.full((transform.size, transform.size, 3), 128, dtype=np.uint8)
    return [DecodedMeme("when the server starts", grey)] * num_memes
