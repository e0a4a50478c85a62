"""`linear`: standardised pooled states with logistic regression.

A linear probe (Radford et al. 2021, section 3.2): what the encoders' states hold, without another network on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.candidates.base import FitContext
from memeblend.candidates.logistic import Logistic
from memeblend.candidates.states import FeatureCandidate, States
from memeblend.labels import LabelTask
from memeblend.recipe.candidates import LinearCandidate


@dataclass(frozen=True)
class _Probe:
    """Mean and deviation [num_features] of the states, and the regression on what they leave."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    regression: Logistic

    def probabilities(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.regression.probabilities((states - self.mean) / self.deviation)


class Linear(FeatureCandidate[LinearCandidate]):
    """A logistic regression on standardised states for each label task; memes without a label are left out."""

    kind = "linear"
    spec_class = LinearCandidate

    def _learn(self, context: FitContext, states: States) -> None:
        strengths = self.spec.inverse_regularization
        strength = strengths[self.number % len(strengths)]
        self._probes: dict[str, _Probe] = {}
        for task, known, labels in self._labelled(context, states):
            mean, deviation = known.mean(axis=0), known.std(axis=0)
            deviation[deviation == 0] = 1.0
            regression = Logistic.fit(
                (known - mean) / deviation,
                labels,
                task.num_classes,
                strength=strength,
                class_weights=self.spec.class_weights,
            )
            self._probes[task.name] = _Probe(mean, deviation, regression)

    def _probabilities(self, states: States, task: LabelTask) -> NDArray[np.float64]:
        return self._probes[task.name].probabilities(states.of(task.name))

    def _tensors(self) -> dict[str, NDArray[Any]]:
        tensors: dict[str, NDArray[Any]] = {}
        for position, task in enumerate(self.label_tasks):
            probe = self._probes[task.name]
            tensors |= {f"mean.{position}": probe.mean, f"deviation.{position}": probe.deviation}
            tensors |= probe.regression.tensors(position)
        return tensors

    def _restore(self, settings: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
        self._probes = {
            task.name: _Probe(
                tensors[f"mean.{position}"], tensors[f"deviation.{position}"], Logistic.from_tensors(tensors, position)
            )
            for position, task in enumerate(self.label_tasks)
        }
