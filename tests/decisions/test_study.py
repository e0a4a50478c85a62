"""The study of gains: honest on tables where there is nothing to gain, able to see where there is."""

from __future__ import annotations

import importlib
import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from decision_tables import simulated, table_of

from memeblend.decisions import DecisionRule, DecisionSettings, DecisionStudy, OptionStudy, study
from memeblend.decisions.gains import outcome
from memeblend.errors import PredictionError
from memeblend.evaluation import paired_bootstrap
from memeblend.labels import HUMOROUS, MOTIVATIONAL, SENTIMENT, LabelTask

PRIOR = [0.2, 0.3, 0.5]
QUICK: dict[str, Any] = {"num_repeats": 2, "num_resamples": 200}


def options_of(found: DecisionStudy) -> dict[str, OptionStudy]:
    return {option.name: option for option in found.options if option.label_task == found.label_task}


def pair(num: int, task: LabelTask = SENTIMENT, **how: Any) -> tuple[Any, Any]:
    return simulated(num, 10, task, **how), simulated(num, 11, task, split="test", **how)


def test_gains_by_hand() -> None:
    before = table_of([[0.5, 0.5, 0], [0.25, 0.75, 0]], [0, 0])
    after = [
        table_of([[1, 0, 0], [0.5, 0.5, 0]], [0, 0], decisions=[0, 0]),
        table_of([[1, 0, 0], [1, 0, 0]], [0, 0], decisions=[0, 1]),
    ]
    costs = ((0.0, 4.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    found = outcome(before, after, costs)
    log2 = np.log(2)
    assert found.before["log_loss"] == pytest.approx((log2 + 2 * log2) / 2)
    assert found.after["log_loss"] == pytest.approx((log2 / 2 + 0) / 2)
    assert found.gains["log_loss"].difference == pytest.approx(1.5 * log2 - 0.25 * log2)
    # Decided 0, 1: F1 of class 0 is 2/3, of class 1 is 0. Repeats: both right, and again 0, 1.
    assert found.before["weighted_f1"] == pytest.approx(2 / 3)
    assert found.after["weighted_f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert found.gains["macro_f1"].difference == pytest.approx((1 + 1 / 3) / 2 - 1 / 3)
    assert (found.before["cost"], found.after["cost"], found.gains["cost"].difference) == (2, 1, 1)
    # Resamples of two memes: the saved log loss is that of one of them, or the mean.
    low, high = found.gains["log_loss"].interval
    assert (low, high) == (pytest.approx(log2), pytest.approx(1.5 * log2))


def test_one_repeat_has_the_interval_of_the_paired_bootstrap() -> None:
    before = simulated(80, 0)
    after = replace(before, decisions=simulated(80, 1).predicted)
    found = outcome(before, [after], seed=3)
    oracle = paired_bootstrap(before.labels, after.predicted, before.predicted, before.groups, 3, seed=3)
    assert found.gains["weighted_f1"].difference == pytest.approx(oracle.difference)
    assert found.gains["weighted_f1"].interval == pytest.approx(oracle.interval)


def test_groups_are_resampled_whole() -> None:
    before = simulated(60, 0, overconfidence=3)
    after = DecisionRule(SENTIMENT, temperature=3.0).apply(before)
    twins = np.concatenate([np.arange(60), np.arange(60)])

    def copied(groups: list[int]) -> list[Any]:
        return [table_of(one.probabilities[twins], one.labels[twins], groups=groups) for one in (before, after)]

    grouped, alone = copied(twins.tolist()), copied(list(range(120)))

    def width(tables: list[Any]) -> float:
        low, high = outcome(tables[0], tables[1:]).gains["log_loss"].interval
        return high - low

    assert width(grouped) == pytest.approx(width([before, after]))
    assert width(alone) < 0.85 * width(grouped)


def test_calibrated_tables_gain_nothing() -> None:
    found = study(*pair(600, prior=PRIOR), np.array(PRIOR), **QUICK)
    options = options_of(found)
    assert list(options) == ["temperature", "thresholds_weighted_f1", "thresholds_macro_f1", "label_shift"]
    for option in options.values():
        assert option.sign == 0, option.verdict
        assert "no gain can be told" in option.verdict
        gain = option.cross_validated.gains["weighted_f1"]
        assert gain.interval[0] <= 0 <= gain.interval[1]
    assert options["temperature"].cross_validated.gains["weighted_f1"].interval == (0, 0)
    assert options["thresholds_macro_f1"].cross_validated.gains["log_loss"].difference == 0


def test_calibrated_tables_show_no_false_gain_over_many_draws() -> None:
    """Cross-validated gains of thresholds average to nothing above zero where Bayes' decision is near the best."""
    report = simulated(40, 99, split="test")
    gains = [
        options_of(
            study(simulated(150, seed), report, np.full(3, 1 / 3), num_folds=3, num_repeats=1, num_resamples=100)
        )["thresholds_weighted_f1"]
        for seed in range(8)
    ]
    assert np.mean([one.cross_validated.gains["weighted_f1"].difference for one in gains]) < 0
    assert sum(one.sign > 0 for one in gains) == 0


def test_overconfidence_is_found_and_cured() -> None:
    found = study(*pair(400, prior=PRIOR, overconfidence=4.0), np.array(PRIOR), **QUICK)
    temperature = options_of(found)["temperature"]
    for one in (temperature.cross_validated, temperature.report):
        assert one is not None
        assert one.gains["log_loss"].interval[0] > 0
        assert one.after["calibration_error"] < one.before["calibration_error"] - 0.05
        assert one.after["brier"] < one.before["brier"]
    assert temperature.rule.temperature == pytest.approx(4, rel=0.2)
    assert "it helps" in temperature.verdict
    before, after = (found.reliability["report"][key] for key in ("before", "after"))
    assert before[-1]["confidence"] - before[-1]["accuracy"] > 0.02
    assert abs(after[0]["confidence"] - after[0]["accuracy"]) < before[0]["confidence"] - before[0]["accuracy"]


def test_thresholds_mend_probabilities_trained_for_other_shares() -> None:
    how = {"prior": [0.5, 0.5], "prior_fit": [0.95, 0.05]}
    found = study(*pair(400, MOTIVATIONAL, **how), np.array([0.95, 0.05]), **QUICK)
    options = options_of(found)
    for name in ("thresholds_weighted_f1", "thresholds_macro_f1", "label_shift", "present_threshold"):
        option = options[name]
        assert option.sign == 1, option.verdict
        assert option.report is not None
        assert option.report.gains[option.metric].interval[0] > 0
    for role in ("select", "report"):
        assert found.priors[role]["estimated_away"] < 0.1 < found.priors[role]["fit_away"]


def test_presence_is_measured_on_both_label_tasks() -> None:
    how = {"prior": [0.4, 0.2, 0.2, 0.2], "prior_fit": [0.85, 0.05, 0.05, 0.05]}
    found = study(*pair(400, HUMOROUS, **how), np.array(how["prior_fit"]), **QUICK)
    derived, levels = (option for option in found.options if option.name == "present_threshold")
    assert (derived.label_task, levels.label_task) == ("humorous_present", "humorous")
    assert derived.sign == 1, derived.verdict
    assert derived.report is not None
    assert derived.rule == levels.rule
    applied = derived.rule.apply(simulated(400, 11, HUMOROUS, split="test", **how))
    assert derived.report.after["weighted_f1"] == pytest.approx(
        outcome(applied.derived(), [applied.derived()]).before["weighted_f1"]
    )


def test_what_the_recipe_asks_for_is_studied_as_a_whole() -> None:
    costs = ((0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (20.0, 20.0, 0.0))
    settings = DecisionSettings(calibration="temperature", thresholds="cost", costs=costs)
    options = options_of(study(*pair(300), np.full(3, 1 / 3), settings, **QUICK))
    recipe = options["recipe"]
    assert recipe.metric == "cost"
    assert recipe.sign == 1
    assert recipe.cross_validated.after["cost"] < recipe.cross_validated.before["cost"]
    assert "cost" in options["temperature"].cross_validated.before
    assert "recipe" not in options_of(study(*pair(60), np.full(3, 1 / 3), DecisionSettings(), **QUICK))


@pytest.mark.parametrize(
    ("settings", "metric"),
    [
        (DecisionSettings(calibration="temperature", thresholds="macro_f1"), "macro_f1"),
        (DecisionSettings(serving_prior={"negative": 0.5, "neutral": 0.5}), "weighted_f1"),
    ],
)
def test_the_recipe_is_judged_by_what_it_is_for(settings: DecisionSettings, metric: str) -> None:
    assert options_of(study(*pair(60), np.full(3, 1 / 3), settings, **QUICK))["recipe"].metric == metric


def test_a_recipe_that_is_one_of_the_usual_options_is_studied_once() -> None:
    found = study(*pair(60), np.full(3, 1 / 3), DecisionSettings(thresholds="macro_f1"), **QUICK)
    assert "recipe" not in options_of(found)
    assert "thresholds_macro_f1" in options_of(found)


def test_memes_of_a_group_are_never_split_over_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    room = importlib.import_module("memeblend.decisions.study")
    select, report = pair(60)
    select = replace(select, groups=np.arange(60) // 4)
    seen = []
    real = room.fitted

    def watched(table: Any, *rest: Any) -> Any:
        seen.append(set(table.groups.tolist()))
        assert all((table.groups == group).sum() == 4 for group in seen[-1])
        return real(table, *rest)

    monkeypatch.setattr(room, "fitted", watched)
    found = study(select, report, np.full(3, 1 / 3), **QUICK)
    assert (found.num_memes, found.num_groups) == (60, 15)
    assert sorted({len(groups) for groups in seen}) == [12, 15]  # a fold of 3 groups held out, or none


def test_equal_input_gives_equal_studies_of_plain_json() -> None:
    tables = pair(80, HUMOROUS)
    prior = np.full(4, 0.25)
    one, other = (study(*tables, prior, seed=5, **QUICK).to_dict() for _ in range(2))
    assert one == other
    assert json.loads(json.dumps(one, allow_nan=False)) == one
    assert {"rule", "verdict", "sign", "cross_validated", "report"} <= set(one["options"][0])


def test_reports_without_labels_are_cross_validated_only() -> None:
    select, report = pair(80)
    found = study(select, replace(report, labels=np.full(80, -1)), np.full(3, 1 / 3), **QUICK)
    assert all(option.report is None for option in found.options)
    assert "on the memes that report" not in found.options[0].verdict
    assert found.notes == ("no meme that reports has a label, so gains are cross-validated only",)
    assert "estimated" in found.priors["report"]
    assert "true" not in found.priors["report"]
    assert list(found.reliability) == ["select"]
    json.dumps(found.to_dict(), allow_nan=False)


def test_shares_are_estimated_as_they_will_be_when_the_rule_is_applied() -> None:
    """From all memes; where the unlabelled ones are of another kind, the study shows the harm and says why."""
    prior = [0.5, 0.5]
    strangers = np.zeros(900, dtype=bool)
    strangers[300:] = True

    def mixed(seed: int, split: str) -> Any:
        known = simulated(300, seed, MOTIVATIONAL)
        other = simulated(600, seed + 1, MOTIVATIONAL, prior=[0.98, 0.02], prior_fit=prior)
        probabilities = np.vstack([known.probabilities, other.probabilities])
        labels = np.where(strangers, -1, np.concatenate([known.labels, other.labels]))
        return table_of(probabilities.tolist(), labels.tolist(), MOTIVATIONAL, split=split)

    select, report = mixed(0, "validation"), mixed(5, "test")
    found = study(select, report, np.array(prior), **QUICK)
    shift = options_of(found)["label_shift"]
    assert (found.num_memes, shift.sign) == (300, -1)
    assert shift.report is not None
    applied = shift.rule.apply(report)
    assert shift.report.after["weighted_f1"] == pytest.approx(
        outcome(applied.labelled(), [applied.labelled()]).before["weighted_f1"]
    )
    assert "class shares of validation are estimated from all 900 memes, of which 600 have no label" in found.notes[0]
    assert len(found.notes) == 2


@pytest.mark.parametrize("case", ["single class", "one group", "no label", "one meme"])
def test_what_cannot_be_studied_is_said(case: str) -> None:
    select, report = pair(40)
    changed = {
        "single class": lambda: replace(select, labels=np.zeros(40, dtype=int)),
        "one group": lambda: replace(select, groups=np.zeros(40, dtype=int)),
        "no label": lambda: replace(select, labels=np.full(40, -1)),
        "one meme": lambda: select.take(np.array([0])),
    }[case]()
    found = study(changed, report, np.full(3, 1 / 3), **QUICK)
    assert found.options == ()
    assert "nothing could be studied" in found.notes[0]
    json.dumps(found.to_dict(), allow_nan=False)


def test_few_memes_and_absent_classes_are_no_obstacle() -> None:
    select = table_of([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]], [0, 1, 0, 1])
    found = study(select, simulated(40, 0, split="test"), np.full(3, 1 / 3), **QUICK)
    assert len(found.options) == 4
    assert any("has class positive" in note for note in options_of(found)["thresholds_macro_f1"].rule.notes)
    json.dumps(found.to_dict(), allow_nan=False)


def test_tables_of_two_label_tasks_are_refused() -> None:
    with pytest.raises(PredictionError, match="reports is of label task"):
        study(simulated(40, 0), simulated(40, 0, HUMOROUS), np.full(3, 1 / 3))


def test_a_thousand_memes_take_seconds() -> None:
    tables = pair(1000, HUMOROUS, prior=[0.4, 0.3, 0.2, 0.1])
    start = time.process_time()
    study(*tables, np.full(4, 0.25))
    assert time.process_time() - start < 6  # a third of it on a quiet core
