"""Scores of several trainings on the same memes: means over label tasks and seeds, with intervals and differences."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from memeblend.evaluation.intervals import percentile_interval, resampled_scores
from memeblend.evaluation.metrics import score_of_counts
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import MISSING
from memeblend.recipe.parts import Metric

Key = TypeVar("Key", bound=Hashable)


def resampled_means(
    tables: Mapping[Key, Mapping[str, PredictionTable]], metric: Metric
) -> dict[Key, NDArray[np.float64]]:
    """Scores [1 + num_resamples] of each training: on all labelled memes, then on resamples; means over label tasks.

    Args:
        tables: of each training and label task, all of the same memes.
        metric: the score.
    """
    by_task = []
    for task, reference in next(iter(tables.values())).items():
        predicted = [found[task].aligned_to(reference).predicted for found in tables.values()]
        size = reference.label_task.num_classes
        draws = resampled_scores(reference.labels, predicted, reference.groups, size, metric=metric)
        whole = [_score(reference.labels, said, size, metric) for said in predicted]
        by_task.append(np.concatenate([[whole], draws]))  # [1 + num_resamples, num_trainings]
    return dict(zip(tables, np.mean(by_task, axis=0).T, strict=True))


def _score(labels: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int, metric: Metric) -> float:
    known = labels != MISSING
    counts = np.bincount(labels[known] * num_classes + predicted[known], minlength=num_classes**2)
    return float(score_of_counts(counts.reshape(num_classes, num_classes).astype(np.float64), metric))


def with_interval(found: Sequence[NDArray[np.float64]]) -> str:
    """The mean of trainings that differ in their seed, with its 95 % interval."""
    mean = np.mean(found, axis=0)
    low, high = percentile_interval(mean[1:])
    return f"{mean[0]:.3f} [{low:.3f}, {high:.3f}]"


def difference(scores: Mapping[Key, NDArray[np.float64]], mine: Sequence[Key], others: Sequence[Key]) -> str:
    """The paired difference, in bold where 0 is outside of its interval; "" to itself, or where the other is not."""
    if list(mine) == list(others) or not all(key in scores for key in others):
        return ""
    mean = np.mean([scores[a] - scores[b] for a, b in zip(mine, others, strict=True)], axis=0)
    low, high = percentile_interval(mean[1:])
    shown = f"{mean[0]:+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"**{shown}**" if low > 0 or high < 0 else shown
