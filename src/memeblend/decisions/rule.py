"""A decision rule: what happens between an ensemble's probabilities and its decisions, frozen and serialisable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memeblend.decisions.calibration import scaled
from memeblend.decisions.shift import PriorEstimate, corrected, estimate_prior
from memeblend.decisions.weights import expected_costs, within_presence
from memeblend.errors import PredictionError, Problem
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import LabelTask, present_probabilities

ESTIMATED: Literal["estimated"] = "estimated"
Costs = tuple[tuple[float, ...], ...]
SHARES_TOLERANCE = 1e-3


@dataclass(frozen=True)
class DecisionRule:
    """How the probabilities of one label task are recalibrated and decided upon.

    In this order: temperature, correction for the serving prior, then the decision by costs or by weighted
    probabilities, within the bounds of the present threshold. What is left at its default changes nothing.

    Attributes:
        label_task: the label task.
        temperature: see `calibration.scaled`; it never changes a decision.
        prior_fit: class shares that the probabilities behave as trained with (see `shift.fit_behaved_prior`); needed
            with `serving_prior`.
        serving_prior: class shares to expect (see `shift.corrected`), or "estimated": from the memes of a table, for
            each of its splits alone, since splits may differ in their shares.
        class_weights: weight of each class, see `weights.weighted_decisions`.
        costs: true class by decided class, see `weights.expected_costs`; instead of `class_weights`.
        present_threshold: a meme is present iff the summed probability of its levels above 0 is larger; its level
            is then the best one above 0, else 0. Only for a label task with intensity levels.
        notes: what a reader should know of how the rule was fitted.

    Raises:
        PredictionError: values that don't fit the label task; all of them listed.
    """

    label_task: LabelTask
    temperature: float = 1.0
    prior_fit: tuple[float, ...] | None = None
    serving_prior: tuple[float, ...] | Literal["estimated"] | None = None
    class_weights: tuple[float, ...] | None = None
    costs: Costs | None = None
    present_threshold: float | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise PredictionError("This decision rule can't be used:", problems=problems, fix="Fit the rule anew.")

    @property
    def is_identity(self) -> bool:
        """Whether the rule leaves every table as it is."""
        return self.temperature == 1 and not self.decides

    @property
    def decides(self) -> bool:
        """Whether decisions are made anew from the probabilities, a vote's decisions notwithstanding."""
        parts = (self.serving_prior, self.class_weights, self.costs, self.present_threshold)
        return any(part is not None for part in parts)

    def apply(self, table: PredictionTable) -> PredictionTable:
        """The table with recalibrated probabilities and this rule's decisions.

        A rule that only has a temperature keeps the table's decisions, and the class decided for stays the most
        probable one. Otherwise decisions are made from the probabilities; between equals the table's own decision
        stands, then the lowest class index. With weights, costs or a present threshold the class decided for need
        not be the most probable one.

        `derived()` of the result is coherent: present iff the decided level is above 0.

        Raises:
            PredictionError: the table is of another label task.
        """
        if table.label_task != self.label_task:
            raise PredictionError(
                f"This decision rule is of label task {self.label_task.to_dict()}, the table of candidate "
                f"'{table.candidate}' of {table.label_task.to_dict()}."
            )
        probabilities = self.recalibrated(table)
        decided = self._decided(probabilities, table.predicted) if self.decides else table.predicted
        if table.decisions is None and np.array_equal(decided, probabilities.argmax(axis=1)):
            return replace(table, probabilities=probabilities)
        return replace(table, probabilities=probabilities, decisions=decided)

    def recalibrated(self, table: PredictionTable) -> NDArray[np.float64]:
        """The table's probabilities [num_memes, num_classes] after temperature and correction for the prior."""
        probabilities = scaled(table.probabilities, self.temperature)
        if self.prior_fit is None or self.serving_prior is None:
            return probabilities
        prior_fit = np.array(self.prior_fit)
        if self.serving_prior != ESTIMATED:
            return corrected(probabilities, prior_fit, np.array(self.serving_prior))
        moved = probabilities.copy()
        for split, estimate in self.estimated_priors(table).items():
            rows = table.splits == split
            moved[rows] = corrected(probabilities[rows], prior_fit, np.array(estimate.prior))
        return moved

    def estimated_priors(self, table: PredictionTable) -> dict[str, PriorEstimate]:
        """The class shares estimated for each split of a table, or why the fit split's are kept.

        Empty unless `serving_prior` is "estimated".
        """
        if self.prior_fit is None or self.serving_prior != ESTIMATED:
            return {}
        probabilities = scaled(table.probabilities, self.temperature)
        prior_fit = np.array(self.prior_fit)
        return {split: estimate_prior(probabilities[table.splits == split], prior_fit) for split in table.split_names}

    def present(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which memes are present by the threshold [num_memes], given recalibrated probabilities of the levels."""
        threshold = 0.0 if self.present_threshold is None else self.present_threshold
        above: NDArray[np.bool_] = present_probabilities(probabilities)[:, 1] > threshold
        return above

    def _decided(self, probabilities: NDArray[np.float64], before: NDArray[np.int64]) -> NDArray[np.int64]:
        """Class indices [num_memes] from recalibrated probabilities; `before` wins between equals."""
        scores = probabilities
        if self.costs is not None:
            scores = -expected_costs(probabilities, np.array(self.costs))
        elif self.class_weights is not None:
            scores = probabilities * np.array(self.class_weights)
        if self.present_threshold is not None:
            scores = within_presence(scores, self.present(probabilities), -np.inf)
        rows = np.arange(len(scores))
        best = scores.argmax(axis=1).astype(np.int64)
        decided: NDArray[np.int64] = np.where(scores[rows, before] == scores[rows, best], before, best)
        return decided

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; `from_dict` is the inverse."""
        return {
            "label_task": self.label_task.to_dict(),
            "temperature": self.temperature,
            "prior_fit": None if self.prior_fit is None else list(self.prior_fit),
            "serving_prior": list(self.serving_prior) if isinstance(self.serving_prior, tuple) else self.serving_prior,
            "class_weights": None if self.class_weights is None else list(self.class_weights),
            "costs": None if self.costs is None else [list(row) for row in self.costs],
            "present_threshold": self.present_threshold,
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> DecisionRule:
        """The inverse of `to_dict`."""

        def numbers(value: Any) -> Any:
            return tuple(value) if isinstance(value, list) else value

        return cls(
            label_task=LabelTask.from_dict(data["label_task"]),
            temperature=data["temperature"],
            prior_fit=numbers(data["prior_fit"]),
            serving_prior=numbers(data["serving_prior"]),
            class_weights=numbers(data["class_weights"]),
            costs=None if data["costs"] is None else tuple(tuple(row) for row in data["costs"]),
            present_threshold=data["present_threshold"],
            notes=tuple(data["notes"]),
        )


def cost_problems(costs: Costs, label_task: LabelTask) -> Iterator[Problem]:
    """What is wrong with a cost matrix."""
    num = label_task.num_classes
    where = f"label task '{label_task.name}', costs"
    if [len(row) for row in costs] != [num] * num:
        yield Problem(
            where, f"rows of {[len(row) for row in costs]} numbers, expected {num} rows of {num} (true class)"
        )
    elif not np.isfinite(costs).all() or min(min(row) for row in costs) < 0:
        yield Problem(where, "a cost is negative or not finite, expected numbers from 0 up")


def share_problems(name: str, shares: ArrayLike, label_task: LabelTask) -> Iterator[Problem]:
    """What is wrong with class shares."""
    values = np.asarray(shares, dtype=np.float64)
    where = f"label task '{label_task.name}', {name}"
    if values.shape != (label_task.num_classes,):
        yield Problem(where, f"shape {values.shape}, expected one share for each of {', '.join(label_task.classes)}")
    elif not np.isfinite(values).all() or values.min() < 0:
        yield Problem(where, f"shares {values.tolist()}, expected numbers from 0 up")
    elif abs(values.sum() - 1) > SHARES_TOLERANCE:
        yield Problem(where, f"the shares sum to {values.sum():.6g}, expected 1")


def unseen_problems(prior_fit: ArrayLike, serving_prior: ArrayLike, label_task: LabelTask) -> Iterator[Problem]:
    """Classes to expect that no meme of the fit split has: nothing can be corrected towards them."""
    for name, fitted, expected in zip(
        label_task.classes, np.asarray(prior_fit), np.asarray(serving_prior), strict=True
    ):
        if fitted == 0 and expected > 0:
            yield Problem(
                f"label task '{label_task.name}', serving_prior",
                f"class '{name}' is expected with share {expected:.6g}, but no meme of the fit split has it",
            )


def _problems(rule: DecisionRule) -> Iterator[Problem]:
    task = rule.label_task
    where = f"label task '{task.name}'"
    if not (np.isfinite(rule.temperature) and rule.temperature > 0):
        yield Problem(where, f"temperature is {rule.temperature}, expected a number above 0")
    if rule.serving_prior is not None:
        yield from _prior_problems(rule)
    if rule.class_weights is not None:
        weights = np.array(rule.class_weights, dtype=np.float64)
        if weights.shape != (task.num_classes,) or not np.isfinite(weights).all() or weights.min() <= 0:
            yield Problem(where, f"class_weights are {rule.class_weights}, expected {task.num_classes} numbers above 0")
        if rule.costs is not None:
            yield Problem(where, "class_weights and costs are both given, expected one of them")
    if rule.costs is not None:
        yield from cost_problems(rule.costs, task)
    if rule.present_threshold is not None:
        if not task.intensity:
            yield Problem(where, "has a present_threshold, but no intensity levels")
        if not 0 <= rule.present_threshold <= 1:
            yield Problem(where, f"present_threshold is {rule.present_threshold}, expected 0 to 1")


def _prior_problems(rule: DecisionRule) -> Iterator[Problem]:
    task, serving_prior = rule.label_task, rule.serving_prior
    if rule.prior_fit is None:
        yield Problem(f"label task '{task.name}'", "has a serving_prior but no prior_fit to correct from")
        return
    found = list(share_problems("prior_fit", rule.prior_fit, task))
    if isinstance(serving_prior, tuple):
        found += share_problems("serving_prior", serving_prior, task)
        found = found or list(unseen_problems(rule.prior_fit, serving_prior, task))
    elif serving_prior != ESTIMATED:
        found.append(
            Problem(f"label task '{task.name}'", f"serving_prior is '{serving_prior}', expected '{ESTIMATED}'")
        )
    yield from found
