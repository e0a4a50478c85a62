"""What each way of deciding would gain, before anyone applies it.

Every option is judged twice: cross-validated on the splits that choose (fitted on some duplicate groups, measured on
the others, repeated), and fitted on all of them and measured on the splits that report. Only the first may lead to a
choice. Nothing is applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from memeblend.decisions.calibration import reliability_curve
from memeblend.decisions.fitting import DecisionSettings, fit_rule, fitted, total_variation
from memeblend.decisions.gains import Outcome, outcome
from memeblend.decisions.rule import ESTIMATED, Costs, DecisionRule
from memeblend.errors import PredictionError
from memeblend.evaluation.baselines import class_prior
from memeblend.evaluation.intervals import NUM_RESAMPLES
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import LabelTask, present_task

StudyMetric = Literal["log_loss", "weighted_f1", "macro_f1", "cost"]
NUM_FOLDS, NUM_REPEATS = 5, 4
_ONLY_TEMPERATURE = DecisionSettings(calibration="temperature")
_SHIFT = DecisionSettings(calibration="temperature", serving_prior=ESTIMATED)


@dataclass(frozen=True)
class OptionStudy:
    """One way of deciding, on one label task.

    Attributes:
        name: "temperature", "thresholds_weighted_f1", "thresholds_macro_f1", "label_shift" (temperature and
            the correction for estimated class shares), "present_threshold", or "recipe" (what the recipe asks for, all
            of it together).
        label_task: name of the label task measured: "present_threshold" is measured on `<name>_present` (against the
            paper's argmax rule) and on the levels, which it changes too.
        metric: what the option is meant to make better.
        rule: the rule fitted on all memes that choose.
        cross_validated: on the splits that choose.
        report: on the splits that report; None where none of their memes has a label.
    """

    name: str
    label_task: str
    metric: StudyMetric
    rule: DecisionRule
    cross_validated: Outcome
    report: Outcome | None

    @property
    def sign(self) -> int:
        """1 where the option is better by the cross-validation, -1 where it is worse, 0 where neither can be told."""
        return self.cross_validated.sign(self.metric)

    @property
    def verdict(self) -> str:
        """The gains, in one sentence."""
        text = f"{self.metric} {_said(self.cross_validated, self.metric)}, cross-validated"
        if self.report is not None:
            text += f"; {_said(self.report, self.metric)} on the memes that report"
        return text + "."

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "name": self.name,
            "label_task": self.label_task,
            "metric": self.metric,
            "rule": self.rule.to_dict(),
            "cross_validated": self.cross_validated.to_dict(),
            "report": None if self.report is None else self.report.to_dict(),
            "sign": self.sign,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class DecisionStudy:
    """What each way of deciding would gain for one label task.

    Attributes:
        label_task: name of the label task.
        selected_on: splits that the options were fitted and cross-validated on.
        reported_on: splits that they were measured on besides.
        num_memes: labelled memes that choose.
        num_groups: their duplicate groups.
        options: the options; empty where none can be studied, see `notes`.
        reliability: points of reliability curves (see `calibration.reliability_curve`): "select" or "report" ->
            "before" or "after" the temperature (cross-validated, fitted on the select memes).
        priors: class shares: "fit"; "select" and "report" -> "estimated" (without looking at labels, by a rule that
            was fitted on other memes; for "select" from its labelled memes), or None and the "reason", and where
            labels are known "true", "fit_away" and "estimated_away" (total variation between the fit split's or the
            estimated shares and the true ones). They tell whether estimates of class shares can be trusted.
        notes: why something could not be studied.
    """

    label_task: str
    selected_on: tuple[str, ...]
    reported_on: tuple[str, ...]
    num_memes: int
    num_groups: int
    options: tuple[OptionStudy, ...]
    reliability: dict[str, dict[str, list[dict[str, Any]]]]
    priors: dict[str, Any]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "label_task": self.label_task,
            "selected_on": list(self.selected_on),
            "reported_on": list(self.reported_on),
            "num_memes": self.num_memes,
            "num_groups": self.num_groups,
            "options": [option.to_dict() for option in self.options],
            "reliability": self.reliability,
            "priors": self.priors,
            "notes": list(self.notes),
        }


def study(
    select_table: PredictionTable,
    report_table: PredictionTable,
    fit_prior: NDArray[np.float64],
    settings: DecisionSettings | None = None,
    *,
    num_folds: int = NUM_FOLDS,
    num_repeats: int = NUM_REPEATS,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> DecisionStudy:
    """Measure every way of deciding for one label task.

    Args:
        select_table: the ensemble's (or a candidate's) table on the splits that choose.
        report_table: the same on the splits that report.
        fit_prior: class shares of the fit split [num_classes].
        settings: what the recipe asks for; where it is more than one of the options, it is studied as "recipe".
        num_folds: folds of the cross-validation; fewer where there are fewer duplicate groups.
        num_repeats: how often these are drawn anew.
        seed: seed of folds and resamples.
        num_resamples: resamples of the intervals.

    Raises:
        PredictionError: the two tables are of different label tasks, or the settings don't fit them.
    """
    if report_table.label_task != select_table.label_task:
        raise PredictionError(
            f"The table that reports is of label task {report_table.label_task.to_dict()}, the one that chooses of "
            f"{select_table.label_task.to_dict()}."
        )
    select, report = select_table.labelled(), report_table.labelled()
    num_groups = int(np.unique(select.groups).size)
    notes = [*_obstacles(select, report), *_unlabelled(select_table), *_unlabelled(report_table)]
    options: tuple[OptionStudy, ...] = ()
    reliability: dict[str, dict[str, list[dict[str, Any]]]] = {}
    priors: dict[str, Any] = {"fit": fit_prior.tolist()}
    if num_groups >= 2 and np.unique(select.labels).size >= 2:
        folds = [_folds(select.groups, num_folds, seed + repeat) for repeat in range(num_repeats)]
        judge = _Judge(select_table, select, report_table, fit_prior, folds, settings, seed, num_resamples)
        options = tuple(found for option in _options(select.label_task, settings) for found in judge.studied(*option))
        reliability = judge.reliability()
        priors |= judge.priors()
    return DecisionStudy(
        label_task=select.label_task.name,
        selected_on=select_table.split_names,
        reported_on=report_table.split_names,
        num_memes=len(select),
        num_groups=num_groups,
        options=options,
        reliability=reliability,
        priors=priors,
        notes=tuple(notes),
    )


def _obstacles(select: PredictionTable, report: PredictionTable) -> Iterator[str]:
    num_groups, num_found = np.unique(select.groups).size, np.unique(select.labels).size
    if num_groups < 2 or num_found < 2:
        yield (
            f"the labelled meme(s) that choose ({len(select)}) are of {num_groups} duplicate group(s) and {num_found} "
            "class(es); at least two of each are needed, so nothing could be studied"
        )
    if len(report) == 0:
        yield "no meme that reports has a label, so gains are cross-validated only"


def _unlabelled(table: PredictionTable) -> Iterator[str]:
    """A warning where class shares are estimated from memes that may be of another kind than those scored."""
    num_labelled = len(table.labelled())
    if 0 < num_labelled < len(table):
        yield (
            f"class shares of {', '.join(table.split_names)} are estimated from all {len(table)} memes, of which "
            f"{len(table) - num_labelled} have no label; where the label does not apply to those, the estimate is of "
            "other memes than the ones scored"
        )


def _options(
    label_task: LabelTask, settings: DecisionSettings | None
) -> Iterator[tuple[str, DecisionSettings, StudyMetric]]:
    """Names, settings and metrics of the options that make sense for a label task."""
    always: list[tuple[str, DecisionSettings, StudyMetric]] = [
        ("temperature", _ONLY_TEMPERATURE, "log_loss"),
        ("thresholds_weighted_f1", DecisionSettings(thresholds="weighted_f1"), "weighted_f1"),
        ("thresholds_macro_f1", DecisionSettings(thresholds="macro_f1"), "macro_f1"),
        ("label_shift", _SHIFT, "weighted_f1"),
    ]
    if label_task.intensity:
        always.append(("present_threshold", DecisionSettings(present="threshold"), "weighted_f1"))
    yield from always
    if settings is not None and settings not in (DecisionSettings(), *(option for _, option, _ in always)):
        decides = (settings.serving_prior, settings.thresholds, settings.present) != (None, "none", "argmax")
        metric: StudyMetric = "cost" if settings.thresholds == "cost" else settings.metric
        yield "recipe", settings, metric if decides else "log_loss"


@dataclass(frozen=True)
class _Judge:
    """Fits options on the labelled select memes and measures them there (cross-validated) and on the report memes.

    Rules are applied to whole tables, labelled or not, as when a run's predictions are decided upon.
    """

    whole_select: PredictionTable
    select: PredictionTable
    report: PredictionTable
    fit_prior: NDArray[np.float64]
    folds: list[NDArray[np.int64]]
    settings: DecisionSettings | None
    seed: int
    num_resamples: int

    def studied(self, name: str, settings: DecisionSettings, metric: StudyMetric) -> Iterator[OptionStudy]:
        """An option on the label task, and one of presence on the derived label task before it."""
        rule = fit_rule(self.whole_select, settings, self.fit_prior)
        repeats = [self.out_of_fold(settings, fold_of) for fold_of in self.folds]
        pairs = [(self.select, repeats), (self.report.labelled(), [rule.apply(self.report).labelled()])]
        views: list[tuple[str, Costs | None, Callable[[PredictionTable], PredictionTable]]] = []
        if name == "present_threshold":
            views.append((present_task(self.select.label_task).name, None, PredictionTable.derived))
        costs = self.settings.costs if self.settings is not None else None
        views.append((self.select.label_task.name, costs, lambda table: table))
        for label_task, view_costs, view in views:
            chosen, reported = (
                outcome(
                    view(before),
                    [view(table) for table in after],
                    view_costs,
                    seed=self.seed,
                    num_resamples=self.num_resamples,
                )
                if len(before)
                else None
                for before, after in pairs
            )
            assert chosen is not None, "the select memes were counted before"
            yield OptionStudy(name, label_task, metric, rule, chosen, reported)

    def out_of_fold(self, settings: DecisionSettings, fold_of: NDArray[np.int64]) -> PredictionTable:
        """The select memes as decided by rules that were fitted without them.

        Class shares are estimated from all memes at once: that looks at no label.
        """
        probabilities = self.select.probabilities.copy()
        decisions = self.select.predicted.copy()
        for fold in np.unique(fold_of):
            held = fold_of == fold
            rule = fitted(self.select.take(~held), settings, self.fit_prior)
            applied = rule.apply(self.whole_select).labelled()
            probabilities[held], decisions[held] = applied.probabilities[held], applied.predicted[held]
        return replace(self.select, probabilities=probabilities, decisions=decisions)

    def reliability(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """Reliability curves with and without a temperature."""
        rule = fitted(self.select, _ONLY_TEMPERATURE, self.fit_prior)
        reported = self.report.labelled()
        pairs = {"select": (self.select, self.out_of_fold(_ONLY_TEMPERATURE, self.folds[0]))}
        if len(reported):
            pairs["report"] = (reported, rule.apply(reported))
        return {
            role: {
                "before": reliability_curve(before.probabilities, before.labels),
                "after": reliability_curve(after.probabilities, after.labels),
            }
            for role, (before, after) in pairs.items()
        }

    def priors(self) -> dict[str, Any]:
        """Class shares estimated without labels beside the true ones; of the select memes, fold by fold, by rules
        fitted without them."""
        fold_of = self.folds[0]
        rules = {fold: fitted(self.select.take(fold_of != fold), _SHIFT, self.fit_prior) for fold in np.unique(fold_of)}
        held = [(rule, self.select.take(fold_of == fold)) for fold, rule in rules.items()]
        whole = fitted(self.whole_select, _SHIFT, self.fit_prior)
        return {
            "select": _shares_found(self.select, held, self.fit_prior),
            "report": _shares_found(self.report, [(whole, self.report)], self.fit_prior),
        }


def _folds(groups: NDArray[np.int64], num_folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each meme [num_memes]; memes of a duplicate group share theirs."""
    names, group = np.unique(groups, return_inverse=True)
    fold_of_group = np.random.default_rng(seed).permutation(len(names)) % num_folds
    fold_of: NDArray[np.int64] = fold_of_group[group].astype(np.int64)
    return fold_of


def _shares_found(
    table: PredictionTable, parts: list[tuple[DecisionRule, PredictionTable]], fit_prior: NDArray[np.float64]
) -> dict[str, Any]:
    """Class shares of a table, estimated as the mean over its parts, each by its own rule, and the true ones."""
    estimates = [
        rule.estimated_priors(replace(part, splits=np.full(len(part), "all")))["all"] for rule, part in parts if part
    ]
    reason = next((estimate.reason for estimate in estimates if estimate.reason), "")
    found: dict[str, Any] = {"estimated": None, "reason": reason}
    if not reason:
        sizes = [estimate.num_memes for estimate in estimates]
        found["estimated"] = np.average([estimate.prior for estimate in estimates], axis=0, weights=sizes).tolist()
    if len(table.labelled()):
        true = class_prior(table.labels, table.label_task.num_classes)
        found |= {"true": true.tolist(), "fit_away": total_variation(true, fit_prior)}
        if not reason:
            found["estimated_away"] = total_variation(true, np.array(found["estimated"]))
    return found


def _said(found: Outcome, metric: str) -> str:
    """A gain, its interval and what it means; of a loss, the gain is how much smaller it is."""
    gain = found.gains[metric]
    low, high = gain.interval
    words = {1: "it helps", 0: "no gain can be told", -1: "it harms"}[found.sign(metric)]
    return f"{words} (gain {gain.difference:+.3f} [{low:+.3f}, {high:+.3f}])"
