"""What a decision rule gains over leaving the decisions alone, on the same memes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.decisions.calibration import brier_score, expected_calibration_error, log_losses
from memeblend.decisions.rule import Costs
from memeblend.evaluation.intervals import NUM_RESAMPLES, Difference, resampled_scores
from memeblend.evaluation.metrics import Metric, confusion_counts, score_of_counts
from memeblend.evaluation.tables import PredictionTable

LEAST_GAIN = 0.01
"""Smaller gains, relative to the value before, matter to nobody."""
_F1: tuple[Metric, ...] = ("weighted_f1", "macro_f1")


@dataclass(frozen=True)
class Outcome:
    """Measures with and without a rule on the same memes.

    Attributes:
        num_memes: labelled memes measured.
        before: "log_loss", "brier", "calibration_error", "weighted_f1", "macro_f1" and, where costs are known,
            "cost" (mean cost of a decision), with the decisions left alone.
        after: the same with the rule; after a repeated cross-validation, means over its repeats.
        gains: how much better "log_loss", "weighted_f1", "macro_f1" and "cost" are with the rule: positive is better,
            for losses too. The intervals resample duplicate groups, and hold the fitted rules as given.
    """

    num_memes: int
    before: dict[str, float]
    after: dict[str, float]
    gains: dict[str, Difference]

    def sign(self, metric: str) -> int:
        """1 where the rule is better by this metric, -1 where it is worse, 0 where neither can be told.

        To be told, the gain's interval must not hold zero, and the gain must be `LEAST_GAIN` of the value before:
        since intervals hold the fitted rules as given, they are too narrow for the tiny losses of a needless fit.
        """
        gain = self.gains[metric]
        return gain.sign if abs(gain.difference) >= LEAST_GAIN * self.before[metric] else 0

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "num_memes": self.num_memes,
            "before": self.before,
            "after": self.after,
            "gains": {name: gain.to_dict() for name, gain in self.gains.items()},
        }


def outcome(
    before: PredictionTable,
    after: Sequence[PredictionTable],
    costs: Costs | None = None,
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Outcome:
    """Compare a table with what rules made of it.

    Args:
        before: the table left alone; every meme has a label.
        after: one table for each repeat, over the same memes in the same order.
        costs: true class by decided class, where a cost is to be measured.
        seed: seed of the resampling.
        num_resamples: number of resamples.
    """
    measured = [_measures(table, costs) for table in after]
    gains: dict[str, Difference] = {metric: _f1_gain(before, after, metric, seed, num_resamples) for metric in _F1}
    losses = {"log_loss": [log_losses(table.probabilities, table.labels) for table in (before, *after)]}
    if costs is not None:
        losses["cost"] = [np.array(costs)[table.labels, table.predicted] for table in (before, *after)]
    for name, (without, *repeats) in losses.items():
        saved = without - np.mean(repeats, axis=0)
        gains[name] = _mean_gain(saved, before.groups, seed, num_resamples)
    means = {name: float(np.mean([one[name] for one in measured])) for name in measured[0]}
    return Outcome(len(before), _measures(before, costs), means, gains)


def _measures(table: PredictionTable, costs: Costs | None) -> dict[str, float]:
    labels, probabilities = table.labels, table.probabilities
    counts = confusion_counts(labels, table.predicted, table.label_task.num_classes)
    found = {
        "log_loss": float(log_losses(probabilities, labels).mean()),
        "brier": brier_score(probabilities, labels),
        "calibration_error": expected_calibration_error(probabilities, labels),
    }
    found |= {metric: float(score_of_counts(counts, metric)) for metric in _F1}
    if costs is not None:
        found["cost"] = float(np.array(costs)[labels, table.predicted].mean())
    return found


def _f1_gain(
    before: PredictionTable, after: Sequence[PredictionTable], metric: Metric, seed: int, num_resamples: int
) -> Difference:
    """Mean score of the repeats less the score without a rule, all on the same resamples."""
    predictions = [table.predicted for table in (*after, before)]
    if all(np.array_equal(said, before.predicted) for said in predictions):
        return Difference(0.0, (0.0, 0.0), 1.0)
    num_classes = before.label_task.num_classes
    draws = resampled_scores(
        before.labels, predictions, before.groups, num_classes, metric=metric, seed=seed, num_resamples=num_resamples
    )
    *repeats, without = (
        float(score_of_counts(confusion_counts(before.labels, said, num_classes), metric)) for said in predictions
    )
    return Difference.of(float(np.mean(repeats)), without, np.stack([draws[:, :-1].mean(axis=1), draws[:, -1]], axis=1))


def _mean_gain(saved: NDArray[np.float64], groups: NDArray[np.int64], seed: int, num_resamples: int) -> Difference:
    """Mean of what each meme saves [num_memes], with an interval over resampled groups."""
    if not saved.any():
        return Difference(0.0, (0.0, 0.0), 1.0)
    names, group = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(group, weights=saved), np.bincount(group).astype(np.float64)
    shares = np.full(len(names), 1 / len(names))
    times = np.random.default_rng(seed).multinomial(len(names), shares, size=num_resamples).astype(np.float64)
    means = (times @ sums) / (times @ sizes)
    return Difference.of(float(saved.mean()), 0.0, np.stack([means, np.zeros_like(means)], axis=1))
