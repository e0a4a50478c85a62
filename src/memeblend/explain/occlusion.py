"""Occlusion: what a class loses when a word or a patch is taken away. It works for whatever can predict."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from memeblend.explain.attribution import Attribution, margins, rows
from memeblend.explain.inputs import Meme, Variant


def occluded(meme: Meme, *, text: bool, image: bool) -> list[Variant]:
    """The meme without each of its words, then without each of its patches.

    Args:
        meme: the meme.
        text: whether words are taken away.
        image: whether patches are; there are none without an image.
    """
    variants = []
    if text:
        num_words = len(meme.words)
        variants += [meme.variant(words=np.arange(num_words) != place) for place in range(num_words)]
    if image and meme.pixels is not None:
        cells = np.arange(meme.side**2).reshape(meme.side, meme.side)
        variants += [meme.variant(patches=cells != cell) for cell in range(cells.size)]
    return variants


def occlusion(
    of: str,
    meme: Meme,
    whole: NDArray[np.float64],
    parts: NDArray[np.float64],
    class_index: int,
    *,
    text: bool,
    image: bool,
) -> Attribution:
    """Scores of words and patches: the class's margin for the meme, minus that without the word or patch.

    What two words only say together both get, so these scores need not sum to anything.

    Args:
        of: a member's name or "ensemble".
        meme: the meme.
        whole: probabilities of the meme [num_classes].
        parts: of `occluded(meme, text=text, image=image)` [num_variants, num_classes].
        class_index: the class to explain.
        text: as given to `occluded`.
        image: as given to `occluded`.
    """
    value = float(margins(whole)[class_index])
    lost = value - margins(parts)[:, class_index]
    num_words = len(meme.words) if text else 0
    words = tuple(lost[:num_words].tolist()) if text else None
    patches = rows(lost[num_words:].reshape(meme.side, meme.side)) if image and meme.pixels is not None else None
    return Attribution(of, "occlusion", words, patches, value=value)
