"""Categories: label tasks that say whether something is there, and the score with which they say so.

A binary label task is a category with its second class as the positive one; a label task with intensity levels is a
category with every level above the first. Others (a nominal or ordinal label task without "absent") are none.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import MISSING, LabelTask

DIGITS = 6
"""Probabilities are given out with so many digits, and a policy goes by what is given out."""


def is_category(task: LabelTask) -> bool:
    """Whether a label task says that something is there."""
    return task.kind == "binary" or task.intensity


def category_names(label_tasks: Iterable[LabelTask]) -> list[str]:
    """Names of the categories among some label tasks."""
    return [task.name for task in label_tasks if is_category(task)]


def given_out(table: PredictionTable) -> NDArray[np.float64]:
    """A table's probabilities [num_memes, num_classes] as records hold them."""
    rounded: NDArray[np.float64] = table.probabilities.round(DIGITS)
    return rounded


def scores(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores [num_memes]: the sum over all classes but the first of probabilities [num_memes, num_classes]."""
    found: NDArray[np.float64] = np.minimum(1.0, probabilities[:, 1:].sum(axis=1).round(DIGITS))
    return found


def positives(labels: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which memes [num_memes] have a label, and which of them are of the category."""
    return labels != MISSING, labels > 0
