"""What the doctor looks at in the labels: balance, prior shift, constants' scores, conflicts among duplicates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memeblend.data.doctor.findings import Conflicts, ConstantScores, LabelFindings, Shift, TextSignal
from memeblend.data.doctor.text_signal import f1_scores
from memeblend.data.manifest import Manifest
from memeblend.labels import MISSING, LabelTask

MAX_EXAMPLES = 5
_SHIFT_P_VALUE = 0.01
_SHIFT_DISTANCE = 0.03
"""A total variation below this is no matter, however certain it is in a large set."""


def examine_labels(
    manifest: Manifest,
    task: LabelTask,
    fit_splits: Sequence[str],
    groups: NDArray[np.int64],
    text_signal: TextSignal | None,
) -> LabelFindings:
    """Everything about one label task.

    Args:
        manifest: the memes.
        task: the label task.
        fit_splits: the splits that train.
        groups: duplicate group per meme [num_memes].
        text_signal: what the words tell of it.
    """
    labels, splits = manifest.labels(task.name), manifest.splits
    of_split = {name: labels[splits == name] for name in manifest.split_names}
    counts = {name: class_support(found, task.num_classes) for name, found in of_split.items()}
    prior = np.sum([counts[name] for name in fit_splits], axis=0)
    others = [name for name in of_split if name not in fit_splits and counts[name].any()]
    judged = others if len(of_split) > 1 else [name for name in of_split if counts[name].any()]
    return LabelFindings(
        name=task.name,
        kind=task.kind,
        counts={name: dict(zip(task.classes, found.tolist(), strict=True)) for name, found in counts.items()},
        num_missing={name: int((found == MISSING).sum()) for name, found in of_split.items()},
        shifts={name: _shift(prior, counts[name], len(others)) for name in others if prior.any()},
        constants={name: _constants(task, prior, of_split[name]) for name in judged if prior.any()},
        conflicts=_conflicts(manifest, task, labels, groups),
        text_signal=text_signal,
    )


def class_support(labels: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """Number of memes of each class [num_classes]; missing labels count for none."""
    return np.bincount(labels[labels != MISSING], minlength=num_classes).astype(np.int64)


def _shift(prior: NDArray[np.int64], counts: NDArray[np.int64], num_tests: int) -> Shift:
    from scipy.stats import chi2_contingency

    distance = float(np.abs(prior / prior.sum() - counts / counts.sum()).sum() / 2)
    table = np.stack([prior, counts])
    table = table[:, table.any(axis=0)]
    p_value = float(chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0
    flagged = p_value < _SHIFT_P_VALUE / num_tests and distance > _SHIFT_DISTANCE
    return Shift(distance, p_value, flagged)


def _constants(task: LabelTask, prior: NDArray[np.int64], labels: NDArray[np.int64]) -> ConstantScores:
    labels = labels[labels != MISSING]
    scores = [f1_scores(labels, np.full_like(labels, index)) for index in range(task.num_classes)]
    majority = int(np.argmax(prior))
    best = int(np.argmax([weighted for weighted, _ in scores]))
    return ConstantScores(task.classes[majority], *scores[majority], task.classes[best], *scores[best])


def _conflicts(manifest: Manifest, task: LabelTask, labels: NDArray[np.int64], groups: NDArray[np.int64]) -> Conflicts:
    rows = np.flatnonzero(labels != MISSING)
    num_labels = np.bincount(groups[rows])
    kinds = np.unique(np.stack([groups[rows], labels[rows]], axis=1), axis=0)[:, 0]
    conflicting = np.flatnonzero(np.bincount(kinds) > 1)
    ids = manifest.meme_ids
    examples = tuple(
        tuple((str(ids[row]), task.classes[labels[row]]) for row in rows[groups[rows] == group])
        for group in conflicting[:MAX_EXAMPLES]
    )
    return Conflicts(int((num_labels > 1).sum()), len(conflicting), examples)
