"""The fit of a decision rule on the split that chooses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from memeblend.decisions.calibration import LARGEST_TEMPERATURE, LEAST_TEMPERATURE, fit_temperature
from memeblend.decisions.rule import (
    ESTIMATED,
    Costs,
    DecisionRule,
    cost_problems,
    share_problems,
    unseen_problems,
)
from memeblend.decisions.shift import fit_behaved_prior
from memeblend.decisions.weights import fit_present_threshold, fit_weights, within_presence
from memeblend.errors import PredictionError, Problem
from memeblend.evaluation.baselines import class_prior
from memeblend.evaluation.intervals import FEW_GROUPS
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import MISSING, LabelTask

FAR = 0.1
"""A total variation between class shares above this is pointed out."""


@dataclass(frozen=True)
class DecisionSettings:
    """What a recipe asks for, for one label task; the defaults leave everything alone.

    Attributes:
        calibration: "temperature" scales the logits (Guo et al. 2017).
        thresholds: "weighted_f1" or "macro_f1" fits one weight a class to that score; "cost" decides for the least
            expected cost.
        costs: with "cost": true class by decided class.
        serving_prior: share of each class name to expect (classes left out: 0), or "estimated" (Saerens et al. 2002).
        present: "threshold" fits a threshold for the summed probability of the levels above 0, to the score of
            `thresholds` where that is one, else to weighted_f1. Ignored where there are no intensity levels.
    """

    calibration: Literal["none", "temperature"] = "none"
    thresholds: Literal["none", "weighted_f1", "macro_f1", "cost"] = "none"
    costs: Costs | None = None
    serving_prior: Mapping[str, float] | Literal["estimated"] | None = None
    present: Literal["argmax", "threshold"] = "argmax"

    @property
    def metric(self) -> Literal["weighted_f1", "macro_f1"]:
        """The score that thresholds are fitted to."""
        return "macro_f1" if self.thresholds == "macro_f1" else "weighted_f1"


def fit_rule(table: PredictionTable, settings: DecisionSettings, fit_prior: NDArray[np.float64]) -> DecisionRule:
    """Fit a decision rule.

    The order is the one in which the rule is applied: the temperature, the correction for the serving prior, the
    present threshold, and the class weights within its bounds. With a serving prior and labels, the prior to correct
    from is fitted too (`shift.fit_behaved_prior`); and where the serving prior is given, memes count by how much more
    often their class is to be expected when serving than here.

    Args:
        table: the ensemble's (or a candidate's) table, restricted to the splits that choose. Memes without a label
            only serve to estimate class shares.
        settings: what to fit.
        fit_prior: class shares of the fit split [num_classes], see `class_prior`.

    Returns:
        The rule; its `notes` name what was left alone and what stands on little.

    Raises:
        PredictionError: settings that don't fit the label task (all problems listed), or no labelled meme where
            something is to be fitted to labels.
    """
    rule = fitted(table, settings, fit_prior)
    return replace(rule, notes=tuple(_notes(rule, table, settings, fit_prior)))


def fitted(table: PredictionTable, settings: DecisionSettings, fit_prior: NDArray[np.float64]) -> DecisionRule:
    """As `fit_rule`, without notes (for the many fits of a cross-validation)."""
    rule = _unfitted(table.label_task, settings, fit_prior)
    known = table.labels != MISSING
    labels = table.labels[known]
    if _needs_labels(settings, table.label_task) and labels.size == 0:
        raise PredictionError(
            f"No meme of split(s) {', '.join(table.split_names) or '(none)'} has a label for label task "
            f"'{table.label_task.name}', so its decisions can't be fitted there.",
            fix="Choose on a labelled split, or leave the decisions alone.",
        )
    if np.unique(labels).size < 2:
        return rule
    calibrated = settings.calibration == "temperature"
    if rule.prior_fit is not None:
        temperature, prior = fit_behaved_prior(
            table.probabilities[known], labels, np.array(rule.prior_fit), with_temperature=calibrated
        )
        rule = replace(rule, temperature=temperature, prior_fit=tuple(prior.tolist()))
    elif calibrated:
        rule = replace(rule, temperature=fit_temperature(table.probabilities[known], labels))
    probabilities = rule.recalibrated(table)[known]
    counted = _meme_weights(rule, labels)
    if counted is not None and np.unique(labels[counted > 0]).size < 2:
        return rule
    if settings.present == "threshold" and table.label_task.intensity:
        threshold = fit_present_threshold(probabilities, labels, settings.metric, counted)
        rule = replace(rule, present_threshold=threshold)
        probabilities = within_presence(probabilities, rule.present(probabilities), 0.0)
    if settings.thresholds in ("weighted_f1", "macro_f1"):
        weights = fit_weights(probabilities, labels, settings.metric, counted)
        rule = replace(rule, class_weights=tuple(weights.tolist()))
    return rule


def check_settings(label_task: LabelTask, settings: DecisionSettings, fit_prior: NDArray[np.float64]) -> None:
    """Refuse settings that don't fit a label task.

    Raises:
        PredictionError: costs of another shape, a serving prior of other classes, ...; all problems listed.
    """
    _unfitted(label_task, settings, fit_prior)


def _needs_labels(settings: DecisionSettings, label_task: LabelTask) -> bool:
    return (
        settings.calibration != "none"
        or settings.thresholds in ("weighted_f1", "macro_f1")
        or (settings.present == "threshold" and label_task.intensity)
    )


def _unfitted(label_task: LabelTask, settings: DecisionSettings, fit_prior: NDArray[np.float64]) -> DecisionRule:
    """The rule with all that needs no fit, after checking it."""
    problems = list(share_problems("fit_prior", fit_prior, label_task))
    costs = settings.costs if settings.thresholds == "cost" else None
    if costs is not None:
        problems += cost_problems(costs, label_task)
    elif settings.thresholds == "cost":
        problems.append(Problem(f"label task '{label_task.name}'", 'thresholds = "cost" needs a cost matrix'))
    serving_prior: tuple[float, ...] | Literal["estimated"] | None = None
    if isinstance(settings.serving_prior, str):
        serving_prior = ESTIMATED
    elif settings.serving_prior is not None:
        problems += _given_prior_problems(settings.serving_prior, fit_prior, label_task)
        serving_prior = _shares([settings.serving_prior.get(name, 0.0) for name in label_task.classes])
    if problems:
        raise PredictionError(
            f"The decisions of label task '{label_task.name}' can't be fitted:",
            problems=problems,
            fix="Correct these settings of the recipe's decisions.",
        )
    prior_fit = None if serving_prior is None else _shares(fit_prior.tolist())
    return DecisionRule(label_task, prior_fit=prior_fit, serving_prior=serving_prior, costs=costs)


def _shares(values: list[float]) -> tuple[float, ...]:
    total = sum(values) or 1.0
    return tuple(value / total for value in values)


def _given_prior_problems(
    given: Mapping[str, float], fit_prior: NDArray[np.float64], label_task: LabelTask
) -> Iterator[Problem]:
    for name in given:
        if name not in label_task.classes:
            yield Problem(
                f"label task '{label_task.name}', serving_prior",
                f"'{name}' is no class, expected some of {', '.join(label_task.classes)}",
            )
    shares = [given.get(name, 0.0) for name in label_task.classes]
    found = list(share_problems("serving_prior", shares, label_task))
    yield from found
    if not found and len(fit_prior) == len(shares):
        yield from unseen_problems(fit_prior, shares, label_task)


def _meme_weights(rule: DecisionRule, labels: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """How much each meme counts where the serving shares are given: expected share of its class over that found."""
    if not isinstance(rule.serving_prior, tuple):
        return None
    found = class_prior(labels, rule.label_task.num_classes)
    weights: NDArray[np.float64] = np.array(rule.serving_prior)[labels] / found[labels]
    return weights


def _notes(
    rule: DecisionRule, table: PredictionTable, settings: DecisionSettings, fit_prior: NDArray[np.float64]
) -> Iterator[str]:
    labelled = table.labelled()
    classes = rule.label_task.classes
    splits = ", ".join(table.split_names)
    counts = np.bincount(labelled.labels, minlength=len(classes))
    if settings.serving_prior is not None:
        yield from _prior_notes(rule, table, fit_prior)
    if not _needs_labels(settings, rule.label_task):
        return
    counted = _meme_weights(rule, labelled.labels)
    usable = labelled.labels if counted is None else labelled.labels[counted > 0]
    if np.unique(usable).size < 2:
        yield (
            f"fewer than two classes occur among the {len(usable)} usable meme(s) of {splits}: nothing was fitted to "
            "labels there that needs two"
        )
        return
    num_groups = int(np.unique(labelled.groups).size)
    if num_groups < FEW_GROUPS:
        yield f"fitted on only {num_groups} independent group(s) of memes of {splits}: it may not hold elsewhere"
    if rule.temperature in (LEAST_TEMPERATURE, LARGEST_TEMPERATURE):
        yield f"the temperature stopped at its bound {rule.temperature:g}: on {splits} the log loss has no minimum"
    absent = [name for name, num in zip(classes, counts, strict=True) if num == 0]
    if absent and rule.class_weights is not None:
        yield f"no meme of {splits} has class {', '.join(absent)}: its weight stays 1"


def _prior_notes(rule: DecisionRule, table: PredictionTable, fit_prior: NDArray[np.float64]) -> Iterator[str]:
    """What to know of a correction for the serving prior."""
    splits = ", ".join(table.split_names)
    if np.unique(table.labels[table.labels != MISSING]).size < 2:
        yield (
            f"the labels of {splits} do not show which class shares the probabilities behave as trained with: those of "
            "the fit split are corrected from"
        )
    elif total_variation(fit_prior, np.array(rule.prior_fit)) > FAR:
        shares = zip(rule.label_task.classes, rule.prior_fit or (), fit_prior.tolist(), strict=True)
        told = ", ".join(f"{name} {behaved:.2f} (fit split {fitted:.2f})" for name, behaved, fitted in shares)
        yield f"on {splits} the probabilities behave as trained with other class shares than the fit split's: {told}"
    for split, estimate in rule.estimated_priors(table).items():
        if estimate.reason:
            yield f"{split}: {estimate.reason}; its probabilities are left uncorrected"


def total_variation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Half the summed distance of two distributions: the share that would have to change class, 0 to 1."""
    return float(np.abs(first - second).sum() / 2)
