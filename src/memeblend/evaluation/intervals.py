"""How far a score can be trusted: bootstrap over memes, with duplicate groups kept whole.

Near-duplicate memes are right or wrong together, so resampling single memes would make intervals too narrow;
whole duplicate groups are drawn with replacement instead (the cluster bootstrap; Field & Welsh, 2007).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.evaluation.metrics import Metric, confusion_counts, score_of_counts
from memeblend.labels import MISSING

NUM_RESAMPLES = 1000
_LEVELS = (0.025, 0.975)
_BLOCK_CELLS = 250_000
"""Resampled group numbers held at once; they fit the cache, and memory stays small on large sets."""
FEW_GROUPS = 30
"""Below this many groups a percentile interval is known to be too narrow."""


@dataclass(frozen=True)
class Difference:
    """A paired comparison of two prediction sets on the same memes.

    Attributes:
        difference: score of the first minus score of the second.
        interval: 95 % bootstrap percentile interval of the difference.
        share_not_above_zero: share of the resamples in which the first was not better.
    """

    difference: float
    interval: tuple[float, float]
    share_not_above_zero: float

    @classmethod
    def of(cls, first: float, second: float, draws: NDArray[np.float64]) -> Difference:
        """From two scores and their resamples [num_resamples, 2]."""
        differences = draws[:, 0] - draws[:, 1]
        return cls(first - second, percentile_interval(differences), float((differences <= 0).mean()))

    @property
    def sign(self) -> int:
        """1 where the interval lies above zero, -1 where it lies below, 0 where it holds zero."""
        low, high = self.interval
        return 1 if low > 0 else -1 if high < 0 else 0

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "difference": self.difference,
            "interval": list(self.interval),
            "share_not_above_zero": self.share_not_above_zero,
        }


def bootstrap_interval(
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    groups: NDArray[np.int64],
    num_classes: int,
    *,
    metric: Metric = "weighted_f1",
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> tuple[float, float]:
    """95 % bootstrap percentile interval of a score.

    Args:
        labels: true class indices [num_memes]; memes without a label (-1) are left out.
        predicted: predicted class indices [num_memes].
        groups: duplicate group of each meme [num_memes].
        num_classes: number of classes.
        metric: the score.
        seed: seed of the resampling.
        num_resamples: number of resamples.

    Raises:
        ValueError: no meme has a label.
    """
    draws = resampled_scores(
        labels, [predicted], groups, num_classes, metric=metric, seed=seed, num_resamples=num_resamples
    )
    return percentile_interval(draws[:, 0])


def paired_bootstrap(
    labels: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    groups: NDArray[np.int64],
    num_classes: int,
    *,
    metric: Metric = "weighted_f1",
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Difference:
    """Compare two prediction sets on the same resamples.

    Args:
        labels: true class indices [num_memes]; memes without a label (-1) are left out.
        first: predicted class indices [num_memes].
        second: predicted class indices [num_memes] it is compared with.
        groups: duplicate group of each meme [num_memes].
        num_classes: number of classes.
        metric: the score.
        seed: seed of the resampling; equal seeds draw the same memes as `bootstrap_interval`.
        num_resamples: number of resamples.

    Raises:
        ValueError: no meme has a label.
    """
    draws = resampled_scores(
        labels, [first, second], groups, num_classes, metric=metric, seed=seed, num_resamples=num_resamples
    )
    whole = [score_of_counts(confusion_counts(labels, said, num_classes), metric) for said in (first, second)]
    return Difference.of(float(whole[0]), float(whole[1]), draws)


def percentile_interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile interval of resampled values [num_resamples]."""
    low, high = np.quantile(draws, _LEVELS)
    return float(low), float(high)


def resampled_scores(
    labels: NDArray[np.int64],
    predictions: Sequence[NDArray[np.int64]],
    groups: NDArray[np.int64],
    num_classes: int,
    *,
    metric: Metric = "weighted_f1",
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> NDArray[np.float64]:
    """Scores of several prediction sets on the same resamples of the memes.

    Args:
        labels: true class indices [num_memes]; memes without a label (-1) are left out.
        predictions: predicted class indices [num_memes] of each prediction set.
        groups: duplicate group of each meme [num_memes].
        num_classes: number of classes.
        metric: the score.
        seed: seed of the resampling.
        num_resamples: number of resamples.

    Returns:
        [num_resamples, num_predictions].

    Raises:
        ValueError: no meme has a label.
    """
    per_group = _counts_per_group(labels, predictions, groups, num_classes)
    flat = per_group.reshape(len(per_group), -1)
    blocks = [
        score_of_counts((times @ flat).reshape(len(times), *per_group.shape[1:]), metric)
        for times in _multiplicities(len(per_group), seed, num_resamples)
    ]
    return np.concatenate(blocks)


def _counts_per_group(
    labels: NDArray[np.int64], predictions: Sequence[NDArray[np.int64]], groups: NDArray[np.int64], num_classes: int
) -> NDArray[np.float64]:
    """Confusion counts [num_groups, num_predictions, num_classes, num_classes] of every duplicate group."""
    known = labels != MISSING
    if not known.any():
        raise ValueError("no meme has a label, so there is nothing to resample")
    names, group = np.unique(groups[known], return_inverse=True)
    num_cells = num_classes**2
    counts = [
        np.bincount(
            group * num_cells + labels[known] * num_classes + predicted[known], minlength=len(names) * num_cells
        ).reshape(len(names), num_classes, num_classes)
        for predicted in predictions
    ]
    return np.stack(counts, axis=1).astype(np.float64)


def _multiplicities(num_groups: int, seed: int, num_resamples: int) -> Iterator[NDArray[np.float64]]:
    """Blocks [block, num_groups] of how often each group is drawn in each resample."""
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK_CELLS // num_groups)
    for start in range(0, num_resamples, block):
        size = min(block, num_resamples - start)
        drawn = rng.integers(0, num_groups, size=(size, num_groups))
        drawn += np.arange(size)[:, None] * num_groups
        counts = np.bincount(drawn.ravel(), minlength=size * num_groups)
        yield counts.reshape(size, num_groups).astype(np.float64)
