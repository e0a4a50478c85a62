"""Scores of predictions against labels. The averaging is always in the name: weighted_f1, macro_f1.

Everything that depends on classes alone is computed from confusion counts, so that bootstraps and subset
searches score thousands of prediction sets at once; the tests hold each number equal to scikit-learn's.
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


def confusion_counts(labels: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """Counts [num_classes, num_classes] of (true class, predicted class); missing labels are left out."""
    known = labels != MISSING
    cells = labels[known] * num_classes + predicted[known]
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.int64)


def score_of_counts(counts: NDArray[Any], metric: Metric) -> NDArray[np.float64]:
    """A score from confusion counts, for any number of prediction sets at once.

    Args:
        counts: [..., num_classes, num_classes], true class by predicted class; may be fractional.
        metric: "weighted_f1" (F1 per class, weighted by support), "macro_f1" (plain mean over the classes that
            occur in labels or predictions) or "accuracy".

    Returns:
        [...] scores; a class never predicted correctly has F1 0, no memes at all score 0.

    Raises:
        ValueError: an unknown metric.
    """
    diagonal = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
    support = counts.sum(axis=-1, dtype=np.float64)
    occurrences = support + counts.sum(axis=-2, dtype=np.float64)
    total = support.sum(axis=-1)
    if metric == "accuracy":
        return _divided(diagonal.sum(axis=-1), total)
    f1 = _divided(2 * diagonal, occurrences)
    if metric == "weighted_f1":
        return _divided((f1 * support).sum(axis=-1), total)
    if metric == "macro_f1":
        return _divided(f1.sum(axis=-1), (occurrences > 0).sum(axis=-1).astype(np.float64))
    raise ValueError(f"unknown metric '{metric}', expected one of {', '.join(METRICS)}")


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
        "precision", "recall", "f1", "support") and "confusion" (rows: true class); for ordinal label tasks
        "quadratic_kappa" and "mean_absolute_error" (in levels); for binary ones "roc_auc" and
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
    if label_task.kind == "ordinal":
        result["quadratic_kappa"] = _quadratic_kappa(counts)
        result["mean_absolute_error"] = float(np.abs(labels - predicted).mean())
    if label_task.kind == "binary":
        result |= _ranking_scores(labels, probabilities[:, 1])
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


def _quadratic_kappa(counts: NDArray[np.int64]) -> float | None:
    """Cohen's kappa with quadratic weights (Cohen, 1968), from confusion counts; None where labels and predictions
    are all one and the same class."""
    level = np.arange(len(counts))
    distance = (level[:, None] - level) ** 2
    observed = float((distance * counts).sum())
    expected = float((distance * np.outer(counts.sum(axis=1), counts.sum(axis=0))).sum()) / float(counts.sum())
    return None if expected == 0 else 1 - observed / expected


def _ranking_scores(labels: NDArray[np.int64], positive: NDArray[np.float64]) -> dict[str, float | None]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    if np.unique(labels).size < 2:
        return {"roc_auc": None, "average_precision": None}
    return {
        "roc_auc": float(roc_auc_score(labels, positive)),
        "average_precision": float(average_precision_score(labels, positive)),
    }


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
