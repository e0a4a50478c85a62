"""Scores of several trainings on the same memes: means over label tasks and seeds, with intervals and differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.evaluation.intervals import percentile_interval
from memeblend.evaluation.metrics import score_of_counts
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import MISSING
from memeblend.recipe.parts import Metric

METRICS: tuple[Metric, ...] = ("weighted_f1", "macro_f1")
_NUM_RESAMPLES, _BLOCK = 2000, 200


def resampled_means(
    labels: Mapping[str, Any], predicted: Mapping[str, Any], num_classes: Mapping[str, int], groups: Any
) -> NDArray[np.float64]:
    """Means over the label tasks of both metrics [1 + num_resamples, 2]: of the memes, then on resamples of all groups.

    Label tasks share each resample, and so do trainings on the same memes.

    Args:
        labels: true class indices [num_memes] of each label task; -1 where there is none.
        predicted: predicted class indices [num_memes] of each label task.
        num_classes: of each label task.
        groups: duplicate group of each meme [num_memes].
    """
    _, group = np.unique(groups, return_inverse=True)
    num_groups = int(group.max()) + 1
    by_task = []
    for name, size in num_classes.items():
        truth, said = np.array(labels[name]), np.array(predicted[name])
        known = truth != MISSING
        if known.any():
            cell = (group[known] * size + truth[known]) * size + said[known]
            counts = np.bincount(cell, minlength=num_groups * size**2)
            by_task.append((size, counts.reshape(num_groups, -1).astype(np.float64)))
    blocks = []
    for times in _multiplicities(num_groups):
        scored = [
            [score_of_counts((times @ counts).reshape(-1, size, size), metric) for metric in METRICS]
            for size, counts in by_task
        ]
        blocks.append(np.mean(scored, axis=0).T)
    return np.concatenate(blocks)


def _multiplicities(num_groups: int) -> Iterator[NDArray[np.float64]]:
    """Every group once; then blocks [block, num_groups] of how often each is drawn, the same for equal numbers."""
    yield np.ones((1, num_groups))
    random = np.random.default_rng(0)
    for _ in range(_NUM_RESAMPLES // _BLOCK):
        drawn = random.integers(0, num_groups, size=(_BLOCK, num_groups))
        yield np.stack([np.bincount(one, minlength=num_groups) for one in drawn]).astype(np.float64)


def of_tables(tables: Mapping[str, PredictionTable]) -> NDArray[np.float64]:
    """`resampled_means` of a training's tables, one for each label task, all of the same memes."""
    ordered = {task: table.take(np.argsort(table.meme_ids)) for task, table in tables.items()}
    first = next(iter(ordered.values()))
    assert all((table.meme_ids == first.meme_ids).all() for table in ordered.values()), "a run's tables hold its memes"
    return resampled_means(
        {task: table.labels for task, table in ordered.items()},
        {task: table.predicted for task, table in ordered.items()},
        {task: table.label_task.num_classes for task, table in ordered.items()},
        first.groups,
    )


def with_interval(found: Sequence[NDArray[np.float64]]) -> str:
    """The mean of a score [1 + num_resamples] over trainings that differ in their seed, with its 95 % interval."""
    mean = np.mean(found, axis=0)
    low, high = percentile_interval(mean[1:])
    return f"{mean[0]:.3f} [{low:.3f}, {high:.3f}]"


def difference(mine: Sequence[NDArray[np.float64]], others: Sequence[NDArray[np.float64]]) -> str:
    """The paired difference of a score, seed by seed; in bold where 0 is outside of its interval."""
    mean = np.mean([one - other for one, other in zip(mine, others, strict=True)], axis=0)
    low, high = percentile_interval(mean[1:])
    shown = f"{mean[0]:+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"**{shown}**" if low > 0 or high < 0 else shown
