"""Boosted trees as arrays: taken from scikit-learn's histogram boosting or kept in XGBoost's own format.

Notable: scikit-learn can only be stored as a pickle, so the nodes of its trees are taken out, and a walk over all
trees at once predicts what it would.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.candidates.logistic import softmax
from memeblend.errors import MissingExtraError
from memeblend.recipe.candidates import BoostingCandidate

_ROWS = 64  # memes walked at once: few enough for the nodes of all trees to stay in the cache
# Measured on 1,500 made-up memes with 256 states: 63 bins are 3.7 times as fast as 255, and the log loss on others no
# higher; leaves of 20 are 1.6 times as fast as leaves of 4, with a lower one.
_BINS = 63
_SMALLEST_LEAF = 20
_LEAVES_AT_LEAST = 10  # few memes get smaller leaves, so that a tree can still split them


@dataclass(frozen=True)
class BoostingData:
    """What trees of one label task learn from, all of it labelled.

    Attributes:
        states: of fit memes [num_fit, num_features].
        labels: positions among the classes seen [num_fit].
        num_seen: number of classes seen.
        select_states: of memes that stop the boosting [num_select, num_features]; may be none.
        select_labels: positions among the classes seen [num_select].
    """

    states: NDArray[np.float64]
    labels: NDArray[np.int64]
    num_seen: int
    select_states: NDArray[np.float64]
    select_labels: NDArray[np.int64]

    def patience(self, spec: BoostingCandidate) -> int:
        """Rounds without a lower log loss after which boosting stops; 0 where there is nothing to stop it by."""
        return spec.patience if len(self.select_labels) else 0


class Trees(ABC):
    """Trees that give the classes seen their probabilities."""

    @abstractmethod
    def probabilities(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """[num_memes, num_seen] of states [num_memes, num_features]."""

    @abstractmethod
    def tensors(self) -> dict[str, NDArray[Any]]:
        """As named arrays."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Trees:
        """The inverse of `tensors`.

        Raises:
            KeyError: an array is missing.
            ValueError: an array is not what `tensors` gave.
            MissingExtraError: a package is missing.
        """

    @property
    @abstractmethod
    def num_rounds(self) -> int:
        """Boosting rounds that were kept."""


@dataclass(frozen=True)
class NodeTrees(Trees):
    """Nodes of all trees in one row; a leaf is its own child, so every walk can take the same number of steps.

    Attributes:
        roots: node [num_rounds, num_outputs] at which each tree begins.
        feature: column that a node looks at [num_nodes].
        threshold: states up to it go left [num_nodes].
        children: nodes [num_nodes, 2] to the right and to the left.
        value: what a leaf adds [num_nodes].
        baseline: output before the first tree [num_outputs].
        depth: steps to the deepest leaf.
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    children: NDArray[np.int32]
    value: NDArray[np.float64]
    baseline: NDArray[np.float64]
    depth: int

    @classmethod
    def fit(cls, spec: BoostingCandidate, data: BoostingData) -> NodeTrees:
        """Trees of scikit-learn's `HistGradientBoostingClassifier` up to the round of least log loss on *select*.

        Memes are sorted into few bins, which saves most of the time; see the measurement beside `_BINS`.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier

        patience = data.patience(spec)
        model = HistGradientBoostingClassifier(
            max_iter=spec.num_trees,
            max_depth=spec.max_depth,
            max_leaf_nodes=None,
            min_samples_leaf=max(1, min(_SMALLEST_LEAF, len(data.labels) // _LEAVES_AT_LEAST)),
            max_bins=_BINS,
            learning_rate=spec.learning_rate,
            early_stopping=patience > 0,
            n_iter_no_change=max(1, patience),
            tol=0.0,
            random_state=0,
        )
        if patience:
            model.fit(data.states, data.labels, X_val=data.select_states, y_val=data.select_labels)
            rounds = 1 + int(np.argmax(model.validation_score_[1:]))  # the first score is that of no trees
        else:
            model.fit(data.states, data.labels)
            rounds = model.n_iter_
        return cls.from_model(model, rounds).between(np.concatenate([data.states, data.select_states]))

    @classmethod
    def from_model(cls, model: Any, num_rounds: int) -> NodeTrees:
        """The first rounds, at least one, of a fitted `HistGradientBoostingClassifier` without categorical features."""
        # scikit-learn shows its trees nowhere else; the tests hold the walk to its predict_proba.
        trees = [tree.nodes for round_ in model._predictors[:num_rounds] for tree in round_]
        sizes = np.array([len(nodes) for nodes in trees], dtype=np.int64)
        roots = np.cumsum(sizes) - sizes
        baseline = model._baseline_prediction.ravel()
        nodes = np.concatenate(trees)
        offsets = np.repeat(roots, sizes)
        own = np.arange(len(nodes))
        leaf = nodes["is_leaf"].astype(bool)
        children = np.stack([nodes["right"] + offsets, nodes["left"] + offsets], axis=1)
        return cls(
            roots=roots.reshape(num_rounds, len(baseline)).astype(np.int32),
            feature=np.where(leaf, 0, nodes["feature_idx"]).astype(np.int32),
            threshold=np.where(leaf, 0.0, nodes["num_threshold"]),
            children=np.where(leaf[:, None], own[:, None], children).astype(np.int32),
            value=nodes["value"].astype(np.float64),
            baseline=baseline.astype(np.float64),
            depth=int(nodes["depth"].max()),
        )

    def between(self, states: NDArray[np.float64]) -> NodeTrees:
        """The same trees, each threshold midway between the states [num_memes, num_features] that it parts.

        scikit-learn puts it upon one of them, where the last bit of a state, which another batch or another library
        rounds otherwise, would send a meme down the other side. Of these states none goes another way than before.
        """
        threshold = self.threshold.copy()
        inner = self.children[:, 0] != np.arange(len(self.children))
        for feature in np.unique(self.feature[inner]):
            nodes = np.flatnonzero(inner & (self.feature == feature))
            values = np.unique(states[:, feature])
            above = np.searchsorted(values, threshold[nodes], side="right")
            nodes, above = nodes[(above > 0) & (above < len(values))], above[(above > 0) & (above < len(values))]
            threshold[nodes] = values[above - 1] / 2 + values[above] / 2
        return replace(self, threshold=threshold)

    def probabilities(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Softmax of the outputs; see `Trees.probabilities`."""
        outputs = np.concatenate([self._outputs(states[at : at + _ROWS]) for at in range(0, len(states), _ROWS)])
        if outputs.shape[1] == 1:  # two classes have one output, the logit of the second
            outputs = np.concatenate([np.zeros_like(outputs), outputs], axis=1)
        return softmax(outputs)

    def _outputs(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Outputs [num_memes, num_outputs]: what the leaves of all rounds add to the baseline."""
        rows = np.arange(len(states))[:, None]
        at = np.broadcast_to(self.roots.ravel(), (len(states), self.roots.size))  # [num_memes, num_trees]
        for _ in range(self.depth):
            left = states[rows, self.feature[at]] <= self.threshold[at]
            at = self.children[at, left.astype(np.int8)]
        added: NDArray[np.float64] = self.value[at].reshape(len(states), *self.roots.shape).sum(axis=1)
        return self.baseline + added

    def tensors(self) -> dict[str, NDArray[Any]]:
        """See `Trees.tensors`."""
        return {**{name: getattr(self, name) for name in _NODE_ARRAYS}, "depth": np.array([self.depth])}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> NodeTrees:
        """See `Trees.from_tensors`."""
        return cls(**{name: tensors[name] for name in _NODE_ARRAYS}, depth=int(tensors["depth"][0]))

    @property
    def num_rounds(self) -> int:
        """See `Trees.num_rounds`."""
        return len(self.roots)


_NODE_ARRAYS = ("roots", "feature", "threshold", "children", "value", "baseline")


@dataclass(frozen=True)
class XgboostTrees(Trees):
    """An XGBoost booster (Chen & Guestrin 2016)."""

    booster: Any

    @classmethod
    def fit(cls, spec: BoostingCandidate, data: BoostingData) -> XgboostTrees:
        """Boost, and keep the trees up to the round of least log loss on *select*.

        Raises:
            MissingExtraError: XGBoost is not installed.
        """
        xgboost = _xgboost()
        many = data.num_seen > 2
        patience = data.patience(spec)
        booster = xgboost.train(
            {
                "objective": "multi:softprob" if many else "binary:logistic",
                "eval_metric": "mlogloss" if many else "logloss",
                **({"num_class": data.num_seen} if many else {}),
                "max_depth": spec.max_depth,
                "learning_rate": spec.learning_rate,
                "tree_method": "hist",
                "seed": 0,
            },
            xgboost.DMatrix(data.states, label=data.labels),
            num_boost_round=spec.num_trees,
            evals=[(xgboost.DMatrix(data.select_states, label=data.select_labels), "select")] if patience else [],
            early_stopping_rounds=patience or None,
            verbose_eval=False,
        )
        return cls(booster[: booster.best_iteration + 1] if patience else booster)

    def probabilities(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Trees.probabilities`."""
        found = self.booster.predict(_xgboost().DMatrix(states)).astype(np.float64)
        if found.ndim == 1:  # of two classes only the second is given
            return np.stack([1 - found, found], axis=1)
        total: NDArray[np.float64] = found / found.sum(axis=1, keepdims=True)  # float32 sums to one but roughly
        return total

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The bytes of XGBoost's own format (UBJSON)."""
        return {"booster": np.frombuffer(self.booster.save_raw("ubj"), dtype=np.uint8)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> XgboostTrees:
        """See `Trees.from_tensors`."""
        booster = _xgboost().Booster()
        booster.load_model(bytearray(tensors["booster"].tobytes()))
        return cls(booster)

    @property
    def num_rounds(self) -> int:
        """See `Trees.num_rounds`."""
        return int(self.booster.num_boosted_rounds())


def _xgboost() -> Any:
    try:
        import xgboost
    except ImportError as error:
        raise MissingExtraError(
            'Boosting with engine = "xgboost" needs the package xgboost, which is not installed.',
            fix='Run pip install "memeblend[boost]", or set engine = "sklearn".',
        ) from error
    return xgboost
