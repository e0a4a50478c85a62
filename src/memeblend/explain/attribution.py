"""What an attribution is, and the scale that all of them are on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Method = Literal["integrated_gradients", "rollout", "linear", "occlusion"]

FLOOR = 1e-4
"""Smallest probability whose logarithm is taken; nearest neighbours and trees say 0."""


@dataclass(frozen=True)
class Attribution:
    """How much each word and each patch speaks for a class (above 0) or against it (below 0).

    All methods but "rollout" share one scale, the *margin* of the class: log p_class minus the mean of log p over
    the classes. For a softmax of logits that is the logit minus the mean logit, so what is linear in logits is
    linear in it. "rollout" gives shares of attention, which sum to 1 and are for no class more than for another.

    Attributes:
        of: the member, or "ensemble".
        method: how it was found.
        words: a score for each word; None where texts are not read.
        patches: a score for each patch, by rows; None where images are not read.
        rest: what falls to no word or patch: tokens that begin and end, white space, the class token.
        value: the class's margin for the meme; None for "rollout".
        baseline: the margin that the scores start from; None where the method has none.
        tolerance: largest `delta` that counts as complete.
        num_steps: steps of the path, for "integrated_gradients".
        ngrams: the n-grams of the largest contributions and these, for "linear".
    """

    of: str
    method: Method
    words: tuple[float, ...] | None
    patches: tuple[tuple[float, ...], ...] | None
    rest: float = 0.0
    value: float | None = None
    baseline: float | None = None
    tolerance: float = 0.0
    num_steps: int = 0
    ngrams: tuple[tuple[str, float], ...] = ()

    @property
    def total(self) -> float:
        """Sum of all scores, the rest included."""
        patches = [score for row in self.patches or () for score in row]
        return float(sum(self.words or ()) + sum(patches) + self.rest)

    @property
    def delta(self) -> float | None:
        """How far the sum of the scores is from value - baseline, which it should be; None where it need not be."""
        if self.value is None or self.baseline is None:
            return None
        return abs(self.total - (self.value - self.baseline))

    @property
    def complete(self) -> bool | None:
        """Whether `delta` is within the tolerance; None where nothing says what the scores should sum to."""
        return None if self.delta is None else self.delta <= self.tolerance


def margins(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each class's margin [..., num_classes] from probabilities of the same shape; those below `FLOOR` count as it.

    This is the centred log-ratio of Aitchison (1982, "The Statistical Analysis of Compositional Data").
    """
    logs = np.log(np.maximum(probabilities, FLOOR))
    centred: NDArray[np.float64] = logs - logs.mean(axis=-1, keepdims=True)
    return centred


def by_word(values: NDArray[np.float64], words: NDArray[np.int64], num_words: int) -> tuple[tuple[float, ...], float]:
    """Sums over each word, and what belongs to none.

    Args:
        values: of the tokens [T].
        words: the word of each token [T], -1 for none.
        num_words: number of words.
    """
    sums = np.bincount(words + 1, weights=values, minlength=num_words + 1)
    return tuple(sums[1:].tolist()), float(sums[0])


def rows(patches: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    """A square of scores as an `Attribution` keeps it."""
    return tuple(tuple(row) for row in patches.tolist())
