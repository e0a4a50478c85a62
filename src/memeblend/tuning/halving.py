"""Successive halving: the least metric with which a training goes on after some epochs.

Asynchronous successive halving (Li et al. 2020) as Ray Tune has it: at each rung a trial goes on where its metric is
not below the quantile 1 - 1/reduction of those that were there before. Here those are the trials of earlier batches,
so that who is stopped does not depend on which worker is faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from memeblend.tuning.trials import Trial, merit

Cutoffs = Mapping[str, Mapping[int, float]]
"""For each model of a trial and each rung's epoch the least merit to go on: the metric, or a loss below 0."""


def cutoffs(trials: Sequence[Trial], grace: int, reduction: int) -> dict[str, dict[int, float]]:
    """The cutoffs that earlier trials set.

    Args:
        trials: those of earlier batches.
        grace: epoch of the first rung; each next one is `reduction` times as far.
        reduction: one of so many goes on.
    """
    found: dict[str, dict[int, float]] = {}
    curves = [
        (key, [merit(trial.metric, value) for value in curve])
        for trial in trials
        if trial.state in ("finished", "stopped")
        for key, curve in trial.curves.items()
    ]
    for key in dict.fromkeys(key for key, _ in curves):
        of_key = [curve for name, curve in curves if name == key]
        rung = grace
        while there := [max(curve[:rung]) for curve in of_key if len(curve) >= rung]:
            found.setdefault(key, {})[rung] = float(np.quantile(there, 1 - 1 / reduction))
            rung *= reduction
    return found


class Race:
    """A trial's trainings against the cutoffs.

    The best epoch so far counts, since its weights are those that are kept.
    """

    def __init__(self, limits: Cutoffs) -> None:
        self.limits = limits
        self._best: dict[str, float] = {}
        self._behind: set[str] = set()

    @property
    def stopped(self) -> bool:
        """Whether any training fell behind."""
        return bool(self._behind)

    def falls_behind(self, key: str, epoch: int, score: float) -> bool:
        """Whether a model's training ends after this epoch; once it has, it stays so.

        Args:
            key: of the model.
            epoch: from 1.
            score: its merit, of which more is better.
        """
        self._best[key] = max(score, self._best.get(key, score))
        limit = self.limits.get(key, {}).get(epoch)
        if limit is not None and self._best[key] < limit:
            self._behind.add(key)
        return key in self._behind
