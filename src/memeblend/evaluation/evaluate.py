"""The judgement of one prediction table: scores, baselines, interval and verdict."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.evaluation.baselines import baselines, best_constant_class, majority_class
from memeblend.evaluation.intervals import FEW_GROUPS, Difference, percentile_interval, resampled_scores
from memeblend.evaluation.metrics import scores
from memeblend.evaluation.tables import PredictionTable


def evaluate_table(
    table: PredictionTable, splits: Iterable[str] | None, prior: NDArray[np.float64], *, seed: int = 0
) -> dict[str, Any]:
    """Judge the predictions of some splits.

    Args:
        table: one candidate (or ensemble) for one label task.
        splits: names of the splits to score, all of the table's where None. Memes without a label are left out.
        prior: share of each class in the fit split [num_classes], see `class_prior`.
        seed: seed of the bootstrap.

    Returns:
        Everything `metrics.scores` returns, and "candidate", "splits", "interval" (95 % bootstrap interval of
        weighted_f1), "baselines" ("majority", "best_constant", "chance"; weighted F1), "constants" (the classes
        of the first two), "against_best_constant" (paired bootstrap), "told_from_constant" (whether that
        difference's interval lies above zero), "num_groups" (duplicate groups that were resampled) and "verdict".

    Raises:
        PredictionError: an unknown split, or no meme with a label.
    """
    scored = (table if splits is None else table.of_splits(splits)).labelled()
    task = table.label_task
    result = scores(task, scored.labels, scored.predicted, scored.probabilities)
    constant = best_constant_class(scored.labels, task.num_classes)
    best_constant = np.full_like(scored.labels, constant)
    draws = resampled_scores(
        scored.labels, [scored.predicted, best_constant], scored.groups, task.num_classes, seed=seed
    )
    interval = percentile_interval(draws[:, 0])
    found_baselines = baselines(scored.labels, prior)
    against = Difference.of(result["weighted_f1"], found_baselines["best_constant"], draws)
    result["candidate"] = table.candidate
    result["splits"] = list(scored.split_names)
    result["interval"] = list(interval)
    result["baselines"] = found_baselines
    result["constants"] = {
        "majority": task.classes[majority_class(prior)],
        "best_constant": task.classes[constant],
    }
    result["against_best_constant"] = against.to_dict()
    result["told_from_constant"] = against.sign > 0
    result["num_groups"] = int(np.unique(scored.groups).size)
    result["verdict"] = verdict(
        result["weighted_f1"], interval, found_baselines["best_constant"], against, result["num_groups"]
    )
    return result


def verdict(
    score: float, interval: tuple[float, float], best_constant: float, against: Difference, num_groups: int
) -> str:
    """Whether a model can be told from a constant, in one sentence.

    It is told from the best constant where the paired difference's 95 % interval lies above zero.

    Args:
        score: weighted F1 of the model.
        interval: its 95 % interval.
        best_constant: weighted F1 of the best constant class on the same memes.
        against: paired comparison of the model with that constant.
        num_groups: number of independent groups of memes behind it.
    """
    found = f"{score:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
    low, high = against.interval
    gap = f"difference {against.difference:+.3f} [{low:+.3f}, {high:+.3f}]"
    words = {
        1: f"{found} is above the best constant ({best_constant:.3f}; {gap}): told from a constant",
        0: f"{found} against the best constant's {best_constant:.3f} ({gap}): cannot be told from a constant",
        -1: f"{found} is below the best constant ({best_constant:.3f}; {gap}): worse than a constant",
    }[against.sign]
    if num_groups < FEW_GROUPS:
        words += f" (only {num_groups} independent group(s) of memes: the interval is rough)"
    return words + "."
