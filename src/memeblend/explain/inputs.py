"""The meme to explain, cut into words and patches, and the same meme with some of them taken away."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from memeblend.data.images import load_image
from memeblend.errors import DataError
from memeblend.training.preprocessing import Memes, Preprocessor

MAX_WORDS = 64
"""Longer texts are explained in so many runs of neighbouring words."""
DEFAULT_SIDE = 6
"""Patches a side; the embedded encoder has as many."""

Span = tuple[int, int]
"""Start and end of a word in its text."""


@dataclass(frozen=True, eq=False)
class Variant:
    """A text and the pixels of an image [S, S, 3] that the members are asked about; None without an image."""

    text: str
    pixels: NDArray[np.uint8] | None


@dataclass(frozen=True, eq=False)
class Meme:
    """A meme in parts that can be taken away: a word leaves the text, a patch becomes mean grey.

    Attributes:
        text: its ocr_text.
        pixels: its image fitted into the square that the encoders read [S, S, 3]; None without one.
        words: where each word is in the text; of a text with more than `MAX_WORDS`, runs of words.
        side: patches on each side of the square.
        grey: mean grey, the channels' means that the encoders subtract, as a colour [3].
    """

    text: str
    pixels: NDArray[np.uint8] | None
    words: tuple[Span, ...]
    side: int
    grey: NDArray[np.uint8]

    @classmethod
    def make(
        cls, image: str | Path | Image.Image | None, text: str, preprocessor: Preprocessor, side: int = DEFAULT_SIDE
    ) -> Meme:
        """A meme from an image file or an image in memory, and its text.

        Half surrogates, which a text of a command line may hold and no encoding can write, become "?".

        Raises:
            ImageError: the image can't be decoded.
            DataError: fewer than one patch a side, or more than pixels.
        """
        transform = preprocessor.transform
        if not 1 <= side <= transform.size:
            raise DataError(f"There can't be {side} patches a side, expected 1 to {transform.size}.")
        text = text.encode("utf-8", "replace").decode("utf-8")
        pixels = None if image is None else transform.apply(_rgb(image))
        grey = np.rint(255 * np.array(preprocessor.mean)).astype(np.uint8)
        return cls(text, pixels, word_spans(text), side, grey)

    @property
    def whole(self) -> Variant:
        """The meme as it is."""
        return Variant(self.text, self.pixels)

    @cached_property
    def neutral(self) -> Variant:
        """The empty text and the mean grey image."""
        return Variant("", None if self.pixels is None else np.broadcast_to(self.grey, self.pixels.shape))

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """Row (and column) of the patch that each pixel row (and column) belongs to [S]."""
        size = 0 if self.pixels is None else len(self.pixels)
        edges = np.rint(np.linspace(0, size, self.side + 1)[1:-1])
        return np.searchsorted(edges, np.arange(size), side="right").astype(np.int64)

    def variant(self, *, words: NDArray[np.bool_] | None = None, patches: NDArray[np.bool_] | None = None) -> Variant:
        """The meme with some of its parts.

        Args:
            words: which words stay [num_words]; all when left out.
            patches: which patches stay [side, side]; all when left out.
        """
        text, pixels = self.text, self.pixels
        if words is not None and not words.all():
            text = " ".join(self.word(place) for place in np.flatnonzero(words).tolist())
        if patches is not None and pixels is not None and not patches.all():
            kept = patches[np.ix_(self.cells, self.cells)]  # [S, S]
            pixels = np.where(kept[:, :, None], pixels, self.grey)
        return Variant(text, pixels)

    def word(self, place: int) -> str:
        """A word by its place."""
        start, end = self.words[place]
        return self.text[start:end]

    def by_patch(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over each patch [side, side] of values at pixels [S, S]."""
        sums = np.zeros((self.side, self.side))
        np.add.at(sums, (self.cells[:, None], self.cells[None, :]), values)
        return sums


def word_spans(text: str, max_words: int = MAX_WORDS) -> tuple[Span, ...]:
    """Where the words are, a word being what stands between white space; runs of words where there are too many."""
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    if len(spans) <= max_words:
        return tuple(spans)
    edges = np.rint(np.linspace(0, len(spans), max_words + 1)).astype(np.int64).tolist()
    return tuple((spans[first][0], spans[last - 1][1]) for first, last in pairwise(edges))


def token_words(meme: Meme, preprocessor: Preprocessor) -> NDArray[np.int64]:
    """The word that each token of the text belongs to [T]: the one it shares most characters with, or the next one
    for white space before it. The begin and end tokens belong to none: -1."""
    text, words = _cleaned(meme, preprocessor)
    encoded = preprocessor.tokenizer(
        text,
        add_special_tokens=True,
        split_special_tokens=True,
        truncation=True,
        max_length=preprocessor.max_length + (not preprocessor.keep_end),
        return_offsets_mapping=True,
    )
    ids = preprocessor.token_ids([meme.text])[0]
    assert not encoded["input_ids"] or encoded["input_ids"][: len(ids)] == ids, "offsets are of other tokens"
    starts, ends = (np.array([span[side] for span in words], dtype=np.int64) for side in (0, 1))
    inner = inner_tokens(meme, preprocessor)
    found = np.full(len(inner), -1, dtype=np.int64)
    for token in np.flatnonzero(inner).tolist():
        start, end = encoded["offset_mapping"][token]
        shared = np.minimum(ends, end) - np.maximum(starts, start)
        following = np.flatnonzero(ends > start)
        if len(shared) and shared.max() > 0:
            found[token] = shared.argmax()
        elif len(following):
            found[token] = following[0]
    return found


def inner_tokens(meme: Meme, preprocessor: Preprocessor) -> NDArray[np.bool_]:
    """Which tokens of the text stand between its begin and end token [T], padding that counts as tokens included in T.

    Some tokenizers have no begin token, and a text that was cut may have lost its end.
    """
    ids, tokenizer = preprocessor.token_ids([meme.text])[0], preprocessor.tokenizer
    names = ("bos", "cls", "eos", "sep", "pad")  # the last stands for a text without tokens
    around = {getattr(tokenizer, f"{name}_token_id") for name in names}
    inner = np.zeros(max(len(ids), preprocessor.fixed_length), dtype=np.bool_)
    inner[: len(ids)] = True
    inner[[0, len(ids) - 1]] = [ids[0] not in around, ids[-1] not in around]
    return inner


_LOST_CHARACTERS = 32  # how far on a word is looked for: past a few that are cleaned otherwise


def _cleaned(meme: Meme, preprocessor: Preprocessor) -> tuple[str, list[Span]]:
    """The text as the tokenizer reads it, and where each word of the meme lies in it.

    Cleaning may change a word otherwise when it stands alone (`5 p.m.`): such a word lies nowhere, and what it became
    counts for the next one.
    """
    text = preprocessor.clean([meme.text])[0]
    if text == meme.text:
        return text, list(meme.words)
    spans: list[Span] = []
    place = 0
    for piece in preprocessor.clean([meme.word(word) for word in range(len(meme.words))]):
        start = text.find(piece, place, place + len(piece) + _LOST_CHARACTERS)
        start, end = (start, start + len(piece)) if start >= 0 else (place, place)
        spans.append((start, end))
        place = end
    return text, spans


def ready(variants: Sequence[Variant], preprocessor: Preprocessor) -> Memes:
    """Variants as members read them; images only where every variant has one. Their ids are their positions."""
    pixels = [variant.pixels for variant in variants if variant.pixels is not None]
    return Memes(
        texts=[variant.text for variant in variants],
        images=np.stack(pixels) if pixels and len(pixels) == len(variants) else None,
        preprocessor=preprocessor,
        meme_ids=[str(position) for position in range(len(variants))],
        paths=[None] * len(variants),
    )


def _rgb(image: str | Path | Image.Image) -> Image.Image:
    """An image file safely decoded, or an image in memory brought to RGB in the same way."""
    if not isinstance(image, Image.Image):
        return load_image(image)
    image = ImageOps.exif_transpose(image)
    if image.mode == "RGB":
        return image
    stream = io.BytesIO()
    image.save(stream, "TIFF")  # the one format that holds every mode without loss
    return load_image(stream.getvalue())
