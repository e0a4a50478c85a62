"""Whether attributions name what a decision hangs on: deletion and insertion curves (Petsiuk et al. 2018, "RISE").

Deletion takes words and patches away, the highest scores first; the faster the class's probability falls, the better.
Insertion starts from the empty text and the mean grey image and puts them back in the same order; the faster it rises,
the better. Both are compared with random orders of the same words and patches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memeblend.evaluation.intervals import percentile_interval
from memeblend.explain.attribution import Attribution
from memeblend.explain.inputs import Meme, Variant

NUM_POINTS = 11
"""Points of a curve, from all to nothing."""
NUM_RANDOM = 3
"""Random orders that an attribution is compared with."""

Ask = Callable[[Sequence[Variant]], NDArray[np.float64]]
"""Probability of the explained class [num_variants]."""


@dataclass(frozen=True)
class Areas:
    """Areas under the curves of one attribution over the share of words and patches, each in [0, 1].

    Attributes:
        deletion: of the attribution's order; small is faithful.
        insertion: of the attribution's order; large is faithful.
        random_deletion: mean over the random orders.
        random_insertion: mean over the random orders.
    """

    deletion: float
    insertion: float
    random_deletion: float
    random_insertion: float

    @property
    def deletion_gain(self) -> float:
        """How much smaller the deletion area is than by chance."""
        return self.random_deletion - self.deletion

    @property
    def insertion_gain(self) -> float:
        """How much larger the insertion area is than by chance."""
        return self.insertion - self.random_insertion


def areas(ask: Ask, meme: Meme, attributions: Sequence[Attribution], rng: np.random.Generator) -> list[Areas]:
    """Areas of some attributions of one meme, which are all compared with the same random orders.

    Args:
        ask: the model; all variants are given at once.
        meme: the meme.
        attributions: of the meme, for the class that `ask` answers for; all of the same words and patches.
        rng: draws the random orders.

    Raises:
        ValueError: no attribution, or attributions of different parts of the meme.
    """
    parts = {(one.words is not None, one.patches is not None) for one in attributions}
    if len(parts) != 1:
        raise ValueError(f"attributions are of {len(parts)} different sets of parts, expected one")
    num_words = len(meme.words) if attributions[0].words is not None else 0
    scores = [
        np.array([*(one.words or ()), *(score for row in one.patches or () for score in row)]) for one in attributions
    ]
    num_parts = len(scores[0])
    orders = [np.argsort(-one, kind="stable") for one in scores]
    orders += [rng.permutation(num_parts) for _ in range(NUM_RANDOM)]
    variants = []
    for order in orders:
        for num_first in np.rint(np.linspace(0, num_parts, NUM_POINTS)).astype(np.int64).tolist():
            first = np.zeros(num_parts, dtype=np.bool_)
            first[order[:num_first]] = True
            variants += [_with(meme, ~first, num_words), _with(meme, first, num_words)]
    curves = ask(variants).reshape(len(orders), NUM_POINTS, 2)
    found = np.asarray(np.trapezoid(curves, dx=1 / (NUM_POINTS - 1), axis=1))  # [num_orders, 2]
    own, chance = found[: len(scores)].tolist(), found[len(scores) :].mean(axis=0).tolist()
    return [Areas(deletion, insertion, chance[0], chance[1]) for deletion, insertion in own]


def mean_interval(
    values: NDArray[np.float64], groups: NDArray[np.int64], *, seed: int = 0, num_resamples: int = 2000
) -> tuple[float, float]:
    """95 % bootstrap percentile interval of a mean; groups are drawn, since memes of one group are not independent.

    Args:
        values: [num_memes], at least one.
        groups: duplicate group of each meme [num_memes].
        seed: seed of the resampling.
        num_resamples: number of resamples.
    """
    _, group = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(group, weights=values), np.bincount(group)
    drawn = np.random.default_rng(seed).integers(0, len(sums), size=(num_resamples, len(sums)))
    return percentile_interval(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))


def _with(meme: Meme, kept: NDArray[np.bool_], num_words: int) -> Variant:
    """The meme with some of its parts, words first; a modality without parts stays whole."""
    words = kept[:num_words] if num_words else None
    patches = kept[num_words:].reshape(meme.side, meme.side) if len(kept) > num_words else None
    return meme.variant(words=words, patches=patches)
