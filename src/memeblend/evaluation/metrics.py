"""Scores of predictions against labels. The averaging is always in the name: weighted_f1, macro_f1.

Everything that depends on classes alone is computed from confusion counts, and the rest from arrays of
probabilities, so that bootstraps and subset searches score thousands of prediction sets at once; the tests hold each
number equal to scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from memeblend.errors import PredictionError
from memeblend.labels import MEMOTION_LABEL_TASKS, MISSING, PRESENT_SUFFIX, SENTIMENT, LabelTask

Metric = Literal["weighted_f1", "macro_f1", "accuracy"]
METRICS: tuple[Metric, ...] = get_args(Metric)
"""Scores of any label task that follow from confusion counts."""
CountMetric = Literal[Metric, "quadratic_kappa", "mean_absolute_error"]
COUNT_METRICS: tuple[CountMetric, ...] = get_args(CountMetric)
"""All scores that follow from confusion counts."""
ProbabilityMetric = Literal["roc_auc", "average_precision", "log_loss"]
PROBABILITY_METRICS: tuple[ProbabilityMetric, ...] = get_args(ProbabilityMetric)
"""All scores that follow from probabilities."""
Objective = Literal[CountMetric, ProbabilityMetric]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
"""All scores that a choice can make best."""
LOWER_IS_BETTER: frozenset[Objective] = frozenset({"mean_absolute_error", "log_loss"})
_OF_KIND: dict[Objective, str] = {
    "quadratic_kappa": "ordinal",
    "mean_absolute_error": "ordinal",
    "roc_auc": "binary",
    "average_precision": "binary",
}
"""The kind of label task that a score is defined for, where it is not defined for all."""
_NEEDS_TWO_CLASSES: frozenset[Objective] = frozenset({"quadratic_kappa", "roc_auc", "average_precision"})
_SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)
"""The log loss takes smaller probabilities for this one, as scikit-learn does."""


def confusion_counts(labels: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """Counts [num_classes, num_classes] of (true class, predicted class); missing labels are left out."""
    known = labels != MISSING
    cells = labels[known] * num_classes + predicted[known]
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.int64)


def counts_of_many(labels: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """Confusion counts of several prediction sets of the same memes.

    Args:
        labels: true class indices [num_memes], none missing.
        predicted: predicted class indices [num_sets, num_memes].
        num_classes: number of classes.

    Returns:
        [num_sets, num_classes, num_classes], true class by predicted class.
    """
    num_sets = len(predicted)
    cells = predicted + labels * num_classes + np.arange(num_sets)[:, None] * num_classes**2
    counts = np.bincount(cells.ravel(), minlength=num_sets * num_classes**2)
    return counts.reshape(num_sets, num_classes, num_classes).astype(np.int64)


def score_of_counts(counts: NDArray[Any], metric: CountMetric) -> NDArray[np.float64]:
    """A score from confusion counts, for any number of prediction sets at once.

    Args:
        counts: [..., num_classes, num_classes], true class by predicted class; may be fractional.
        metric: "weighted_f1" (F1 per class, weighted by support), "macro_f1" (plain mean over the classes that
            occur in labels or predictions), "accuracy", "quadratic_kappa" (Cohen 1968: agreement beyond chance, with
            the squared distance of levels) or "mean_absolute_error" (in levels; lower is better).

    Returns:
        [...] scores; a class never predicted correctly has F1 0, no memes at all score 0. Kappa is NaN where labels
        and predictions are all one and the same class.

    Raises:
        ValueError: an unknown metric.
    """
    diagonal = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
    support = counts.sum(axis=-1, dtype=np.float64)
    num_predicted = counts.sum(axis=-2, dtype=np.float64)
    total = support.sum(axis=-1)
    if metric == "accuracy":
        return _divided(diagonal.sum(axis=-1), total)
    if metric in ("quadratic_kappa", "mean_absolute_error"):
        level = np.arange(counts.shape[-1], dtype=np.float64)
        apart = np.abs(level[:, None] - level)
        if metric == "mean_absolute_error":
            return _divided((counts * apart).sum(axis=(-2, -1)), total)
        observed = (counts * apart**2).sum(axis=(-2, -1))
        by_chance = _divided(((support @ apart**2) * num_predicted).sum(axis=-1), total)
        undefined = np.full_like(observed, np.nan)
        return np.asarray(1 - np.divide(observed, by_chance, out=undefined, where=by_chance > 0), dtype=np.float64)
    occurrences = support + num_predicted
    f1 = _divided(2 * diagonal, occurrences)
    if metric == "weighted_f1":
        return _divided((f1 * support).sum(axis=-1), total)
    if metric == "macro_f1":
        return _divided(f1.sum(axis=-1), (occurrences > 0).sum(axis=-1).astype(np.float64))
    raise ValueError(f"unknown metric '{metric}', expected one of {', '.join(COUNT_METRICS)}")


def score_of_probabilities(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], metric: ProbabilityMetric
) -> NDArray[np.float64]:
    """A score of probabilities, for any number of prediction sets at once.

    Args:
        labels: true class indices [num_memes], none missing.
        probabilities: [..., num_memes, num_classes].
        metric: "log_loss" (mean negative logarithm of the true class's probability; lower is better), "roc_auc" or
            "average_precision" (of the second class, at every distinct threshold, without interpolation).

    Returns:
        [...] scores; those of the last two are NaN where only one class occurs.

    Raises:
        ValueError: an unknown metric.
    """
    if metric == "log_loss":
        true = probabilities[..., np.arange(len(labels)), labels]
        losses = -np.log(np.clip(true, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)).mean(axis=-1)
        return np.asarray(losses, dtype=np.float64)
    if metric in ("roc_auc", "average_precision"):
        return _ranking_score(labels, probabilities[..., 1], metric)
    raise ValueError(f"unknown metric '{metric}', expected one of {', '.join(PROBABILITY_METRICS)}")


def objective_scores(
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    probabilities: NDArray[np.float64] | None,
    objective: Objective,
    num_classes: int,
) -> NDArray[np.float64]:
    """Any objective of several prediction sets of the same memes.

    Args:
        labels: true class indices [num_memes], none missing.
        predicted: predicted class indices [num_sets, num_memes].
        probabilities: [num_sets, num_memes, num_classes]; may be None where the objective follows from classes.
        objective: the score.
        num_classes: number of classes.

    Returns:
        [num_sets], NaN where the score is not defined.

    Raises:
        ValueError: an unknown objective, or no probabilities where they are needed.
    """
    if objective in COUNT_METRICS:
        return score_of_counts(counts_of_many(labels, predicted, num_classes), objective)
    if objective not in PROBABILITY_METRICS:
        raise ValueError(f"unknown objective '{objective}', expected one of {', '.join(OBJECTIVES)}")
    if probabilities is None:
        raise ValueError(f"'{objective}' needs probabilities")
    return score_of_probabilities(labels, probabilities, objective)


def why_undefined(label_task: LabelTask, labels: NDArray[np.int64], objective: Objective) -> str:
    """Why an objective can't judge predictions of these memes, in words; "" where it can.

    Args:
        label_task: the label task.
        labels: true class indices [num_memes], none missing.
        objective: the score.
    """
    kind = _OF_KIND.get(objective, label_task.kind)
    if kind != label_task.kind:
        return f"{objective} is defined for {kind} label tasks, and '{label_task.name}' is {label_task.kind}"
    found = np.unique(labels)
    if objective in _NEEDS_TWO_CLASSES and len(found) == 1:
        only = label_task.classes[int(found[0])]
        return f"{objective} needs two classes, and all {len(labels)} labelled memes are '{only}'"
    return ""


def _divided(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Element-wise quotient, 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def scores(
    label_task: LabelTask,
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    probabilities: NDArray[np.float64],
) -> dict[str, Any]:
    """All scores of one label task, as plain JSON types.

    Args:
        label_task: the label task.
        labels: true class indices [num_memes]; memes without a label (-1) are left out.
        predicted: predicted class indices [num_memes].
        probabilities: [num_memes, num_classes].

    Returns:
        "num_memes", "classes", "weighted_f1", "macro_f1", "accuracy", "per_class" (class name ->
        "precision", "recall", "f1", "support"), "confusion" (rows: true class) and "log_loss"; for ordinal label
        tasks "quadratic_kappa" and "mean_absolute_error" (in levels); for binary ones "roc_auc" and
        "average_precision" of the second class. A score that is not defined, for instance because only one
        class occurs, is None.

    Raises:
        PredictionError: no meme has a label.
    """
    known = labels != MISSING
    if not known.any():
        raise PredictionError(f"No meme has a label for label task '{label_task.name}', so nothing can be scored.")
    labels, predicted, probabilities = labels[known], predicted[known], probabilities[known]
    counts = confusion_counts(labels, predicted, label_task.num_classes)
    result: dict[str, Any] = {"num_memes": len(labels), "classes": list(label_task.classes)}
    result |= {metric: float(score_of_counts(counts, metric)) for metric in METRICS}
    result["per_class"] = _per_class(label_task, counts)
    result["confusion"] = counts.tolist()
    for objective in OBJECTIVES:
        if objective not in result and _OF_KIND.get(objective, label_task.kind) == label_task.kind:
            value = objective_scores(labels, predicted[None], probabilities[None], objective, label_task.num_classes)
            result[objective] = None if np.isnan(value[0]) else float(value[0])
    return result


def _per_class(label_task: LabelTask, counts: NDArray[np.int64]) -> dict[str, dict[str, float | int]]:
    diagonal = np.diagonal(counts).astype(np.float64)
    support, num_predicted = counts.sum(axis=1).astype(np.float64), counts.sum(axis=0).astype(np.float64)
    precision, recall = _divided(diagonal, num_predicted), _divided(diagonal, support)
    f1 = _divided(2 * diagonal, support + num_predicted)
    return {
        name: {
            "precision": float(precision[index]),
            "recall": float(recall[index]),
            "f1": float(f1[index]),
            "support": int(support[index]),
        }
        for index, name in enumerate(label_task.classes)
    }


def _ranking_score(
    labels: NDArray[np.int64], positive: NDArray[np.float64], metric: Literal["roc_auc", "average_precision"]
) -> NDArray[np.float64]:
    """ROC-AUC or average precision [...] of the second class's probabilities [..., num_memes]."""
    order = np.argsort(-positive, axis=-1, kind="stable")
    ranked = np.take_along_axis(positive, order, axis=-1)
    is_true = labels[order] == 1
    num_memes = len(labels)
    num_true = int((labels == 1).sum())
    if num_true in (0, num_memes):
        return np.full(positive.shape[:-1], np.nan)
    # Memes of equal probability pass a threshold together: their scores are those of the last of them.
    place = np.arange(num_memes)
    differs = ranked[..., 1:] != ranked[..., :-1]
    edge = np.ones((*differs.shape[:-1], 1), dtype=np.bool_)
    last = np.where(np.concatenate([differs, edge], axis=-1), place, num_memes)
    last = np.minimum.accumulate(last[..., ::-1], axis=-1)[..., ::-1]
    hits = np.take_along_axis(np.cumsum(is_true, axis=-1), last, axis=-1)
    if metric == "average_precision":
        return np.asarray((is_true * (hits / (last + 1))).sum(axis=-1) / num_true, dtype=np.float64)
    first = np.maximum.accumulate(np.where(np.concatenate([edge, differs], axis=-1), place, 0), axis=-1)
    # Mann-Whitney: of a false meme, the true ones ranked above it, and half of those ranked equal.
    before = np.take_along_axis(np.cumsum(is_true, axis=-1) - is_true, first, axis=-1)
    wins = (~is_true * (before + hits)).sum(axis=-1) / 2
    return np.asarray(wins / (num_true * (num_memes - num_true)), dtype=np.float64)


def task_means(by_task: Mapping[str, Mapping[str, Any]], metric: str = "weighted_f1") -> dict[str, float]:
    """The scores of the Memotion tasks (paper section 4).

    Args:
        by_task: scores by label task name, derived ones among them, each with an entry `metric`.
        metric: the entry that is averaged.

    Returns:
        "A": the score of sentiment; "B": the mean over the derived `<name>_present` of Memotion's aspects; "C": the
        mean over the aspects themselves. Tasks that have no label task in `by_task` are left out.
    """
    aspects = [task.name for task in MEMOTION_LABEL_TASKS if task.intensity]
    parts = {
        "A": [name for name in by_task if name == SENTIMENT.name],
        "B": [name for name in by_task if name.removesuffix(PRESENT_SUFFIX) in aspects and name not in aspects],
        "C": [name for name in by_task if name in aspects and name + PRESENT_SUFFIX in by_task],
    }
    return {task: float(np.mean([by_task[name][metric] for name in names])) for task, names in parts.items() if names}
