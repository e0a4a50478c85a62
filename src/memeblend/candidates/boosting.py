"""`boosting`: boosted trees on pooled states, as in the paper's released code (800 XGBoost trees on F_cls)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.candidates.base import FitContext
from memeblend.candidates.states import FeatureCandidate, States
from memeblend.candidates.trees import BoostingData, NodeTrees, Trees, XgboostTrees
from memeblend.labels import LabelTask
from memeblend.recipe.candidates import BoostingCandidate

_ENGINES: dict[str, type[NodeTrees] | type[XgboostTrees]] = {"sklearn": NodeTrees, "xgboost": XgboostTrees}


@dataclass(frozen=True)
class _Boosted:
    """Trees, and the class index [num_seen] of each of their outputs."""

    trees: Trees
    seen: NDArray[np.int64]

    def probabilities(self, states: NDArray[np.float64], num_classes: int) -> NDArray[np.float64]:
        found = np.zeros((len(states), num_classes))  # a class never seen in training has probability 0
        found[:, self.seen] = self.trees.probabilities(states)
        return found


class Boosting(FeatureCandidate[BoostingCandidate]):
    """Trees for each label task; memes without a label are left out.

    With `patience` the trees end at the round of least log loss on *select*, where *select* has labels of classes
    that were seen in training.

    Raises:
        MissingExtraError: when fitted or loaded with the engine "xgboost", which is not installed.
    """

    kind = "boosting"
    spec_class = BoostingCandidate

    def _learn(self, context: FitContext, states: States) -> None:
        select = self.reader.read(context.select) if self.spec.patience else None
        self._boosted: dict[str, _Boosted] = {}
        for column, (task, known, labels) in enumerate(self._labelled(context, states)):
            seen, positions = np.unique(labels, return_inverse=True)
            select_states, select_labels = known[:0], positions[:0]
            if select is not None:
                usable = np.isin(context.select_labels[:, column], seen)
                select_states = select.of(task.name)[usable]
                select_labels = np.searchsorted(seen, context.select_labels[usable, column])
            data = BoostingData(known, positions, len(seen), select_states, select_labels)
            self._boosted[task.name] = _Boosted(_ENGINES[self.spec.engine].fit(self.spec, data), seen)

    def num_rounds(self, label_task: str) -> int:
        """Boosting rounds that a label task kept."""
        return self._boosted[label_task].trees.num_rounds

    def _probabilities(self, states: States, task: LabelTask) -> NDArray[np.float64]:
        return self._boosted[task.name].probabilities(states.of(task.name), task.num_classes)

    def _tensors(self) -> dict[str, NDArray[Any]]:
        tensors: dict[str, NDArray[Any]] = {}
        for position, task in enumerate(self.label_tasks):
            boosted = self._boosted[task.name]
            arrays = boosted.trees.tensors() | {"seen": boosted.seen}
            tensors |= {f"{name}.{position}": value for name, value in arrays.items()}
        return tensors

    def _restore(self, settings: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
        self._boosted = {}
        for position, task in enumerate(self.label_tasks):
            end = f".{position}"
            arrays = {name.removesuffix(end): value for name, value in tensors.items() if name.endswith(end)}
            self._boosted[task.name] = _Boosted(_ENGINES[self.spec.engine].from_tensors(arrays), arrays["seen"])
