"""Rules fitted: each setting does its part, and what stands on little is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from decision_tables import simulated, table_of
from sklearn.metrics import f1_score

from memeblend.decisions import DecisionRule, DecisionSettings, fit_rule
from memeblend.decisions.fitting import total_variation
from memeblend.decisions.weights import fit_weights
from memeblend.errors import PredictionError
from memeblend.labels import HUMOROUS, MOTIVATIONAL, SENTIMENT

PRIOR = np.array([0.2, 0.3, 0.5])


def test_default_settings_are_the_identity() -> None:
    assert fit_rule(simulated(40, 0), DecisionSettings(), PRIOR) == DecisionRule(SENTIMENT)


def test_temperature_and_thresholds() -> None:
    table = simulated(800, 0, prior=PRIOR.tolist(), overconfidence=3.0)
    rule = fit_rule(table, DecisionSettings(calibration="temperature", thresholds="macro_f1"), PRIOR)
    assert rule.temperature == pytest.approx(3, rel=0.15)
    assert rule.notes == ()
    after = rule.apply(table)
    assert f1_score(table.labels, after.predicted, average="macro") > f1_score(
        table.labels, table.predicted, average="macro"
    )


def test_unlabelled_memes_are_left_out_of_fits() -> None:
    table = simulated(100, 1)
    hidden = np.arange(100) % 3 == 0
    settings = DecisionSettings(calibration="temperature", thresholds="weighted_f1")
    partly = fit_rule(replace(table, labels=np.where(hidden, -1, table.labels)), settings, PRIOR)
    assert partly == fit_rule(table.take(~hidden), settings, PRIOR)


def test_present_threshold_then_weights_within_its_bounds() -> None:
    table = simulated(300, 2, HUMOROUS, prior=[0.6, 0.2, 0.1, 0.1])
    prior = np.array([0.6, 0.2, 0.1, 0.1])
    only = fit_rule(table, DecisionSettings(present="threshold"), prior)
    both = fit_rule(table, DecisionSettings(present="threshold", thresholds="weighted_f1"), prior)
    assert only.class_weights is None
    assert only.present_threshold == both.present_threshold
    first, second = only.apply(table), both.apply(table)
    assert first.derived().predicted.tolist() == second.derived().predicted.tolist()
    scores = [f1_score(table.labels, one.predicted, average="weighted") for one in (first, second)]
    assert scores[1] >= scores[0]
    truth = (table.labels > 0).astype(int)
    argmax, threshold = (f1_score(truth, one.derived().predicted, average="weighted") for one in (table, first))
    assert threshold >= argmax


def test_present_is_ignored_without_levels() -> None:
    assert fit_rule(simulated(40, 0), DecisionSettings(present="threshold"), PRIOR).is_identity


def test_costs_and_a_given_prior_need_no_labels() -> None:
    table = replace(simulated(40, 0), labels=np.full(40, -1))
    costs = ((0.0, 1.0, 2.0), (1.0, 0.0, 1.0), (9.0, 9.0, 0.0))
    settings = DecisionSettings(
        thresholds="cost", costs=costs, serving_prior={"negative": 0.1, "neutral": 0.1, "positive": 0.8}
    )
    rule = fit_rule(table, settings, PRIOR)
    assert rule.costs == costs
    assert rule.prior_fit == pytest.approx(PRIOR)
    assert rule.serving_prior == pytest.approx((0.1, 0.1, 0.8))
    assert len(rule.notes) == 1
    assert "do not show which class shares the probabilities behave as trained with" in rule.notes[0]


def test_a_given_prior_makes_memes_count_as_they_will_be_served() -> None:
    """The weights are those of a selection split that has the serving shares: memes of class 1 copied three times."""
    table = simulated(200, 3, MOTIVATIONAL, prior=[0.5, 0.5])
    ones = table.labels == 1
    shares = np.bincount(table.labels) / 200
    copied = np.concatenate([np.flatnonzero(~ones), np.repeat(np.flatnonzero(ones), 3)])
    serving = np.bincount(table.labels[copied]) / len(copied)
    settings = DecisionSettings(
        thresholds="macro_f1", serving_prior=dict(zip(MOTIVATIONAL.classes, serving.tolist(), strict=True))
    )
    rule = fit_rule(table, settings, shares)
    moved = DecisionRule(MOTIVATIONAL, prior_fit=rule.prior_fit, serving_prior=tuple(serving)).apply(table)
    expected = fit_weights(moved.probabilities[copied], table.labels[copied], "macro_f1")
    assert rule.class_weights == pytest.approx(expected)


def test_the_temperature_does_not_take_other_shares_for_overconfidence() -> None:
    fitted = [0.9, 0.1]
    how: dict[str, Any] = {"prior": [0.3, 0.7], "prior_fit": fitted, "overconfidence": 2.0}
    table = simulated(2000, 4, MOTIVATIONAL, **how)
    alone = DecisionSettings(calibration="temperature")
    assert fit_rule(table, alone, np.array(fitted)).temperature > 4
    rule = fit_rule(table, replace(alone, serving_prior="estimated"), np.array(fitted))
    assert rule.temperature == pytest.approx(2, rel=0.1)
    assert rule.estimated_priors(table)["validation"].prior == pytest.approx([0.3, 0.7], abs=0.04)
    assert rule.notes == ()


def test_classes_left_out_of_a_given_prior_have_share_zero() -> None:
    settings = DecisionSettings(serving_prior={"negative": 0.25, "positive": 0.75})
    rule = fit_rule(simulated(40, 0), settings, PRIOR)
    assert rule.serving_prior == (0.25, 0, 0.75)
    assert 1 not in rule.apply(simulated(200, 1)).predicted


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"thresholds": "cost"}, "needs a cost matrix"),
        ({"thresholds": "cost", "costs": ((0.0, 1.0), (1.0, 0.0))}, r"rows of \[2, 2\] numbers, expected 3 rows of 3"),
        ({"serving_prior": {"good": 0.5, "negative": 0.5}}, "'good' is no class, expected some of negative"),
        ({"serving_prior": {"negative": 0.5}}, "the shares sum to 0.5, expected 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(PredictionError, match=words):
        fit_rule(simulated(40, 0), DecisionSettings(**settings), PRIOR)


def test_a_class_that_was_never_fitted_cannot_be_expected() -> None:
    settings = DecisionSettings(serving_prior={"negative": 0.5, "positive": 0.5})
    with pytest.raises(PredictionError, match=r"'negative' is expected with share 0\.5, but no meme of the fit split"):
        fit_rule(simulated(40, 0), settings, np.array([0.0, 0.5, 0.5]))
    with pytest.raises(PredictionError, match="fit_prior: shape"):
        fit_rule(simulated(40, 0), settings, np.array([0.5, 0.5]))


@pytest.mark.parametrize(
    "asked", [{"calibration": "temperature"}, {"thresholds": "weighted_f1"}, {"thresholds": "macro_f1"}]
)
def test_no_label_where_one_is_needed(asked: dict[str, Any]) -> None:
    table = replace(simulated(10, 0), labels=np.full(10, -1))
    with pytest.raises(PredictionError, match=r"No meme of split\(s\) validation has a label for label task 'sentim"):
        fit_rule(table, DecisionSettings(**asked), PRIOR)


def test_a_single_class_is_left_alone_and_said() -> None:
    table = replace(simulated(50, 0), labels=np.full(50, 2))
    settings = DecisionSettings(calibration="temperature", thresholds="macro_f1")
    rule = fit_rule(table, settings, PRIOR)
    assert rule.is_identity
    assert rule.notes == (
        "fewer than two classes occur among the 50 usable meme(s) of validation: nothing was fitted to labels there "
        "that needs two",
    )


def test_few_groups_bounds_and_absent_classes_are_said() -> None:
    table = table_of([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.3, 0.6, 0.1]], [0, 1, 1], groups=[0, 1, 1])
    rule = fit_rule(table, DecisionSettings(calibration="temperature", thresholds="macro_f1"), PRIOR)
    few, bound, absent = rule.notes
    assert "only 2 independent group(s)" in few
    assert "stopped at its bound 0.1" in bound
    assert "no meme of validation has class positive" in absent
    assert rule.class_weights == (1, 1, 1)


def test_zeros_and_ones_can_be_fitted() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    said = np.where(rng.random(60) < 0.7, labels, rng.integers(0, 3, 60))
    table = table_of(np.eye(3)[said].tolist(), labels.tolist())
    settings = DecisionSettings(calibration="temperature", thresholds="macro_f1", serving_prior="estimated")
    rule = fit_rule(table, settings, np.full(3, 1 / 3))
    softened = rule.apply(table)
    assert softened.probabilities.max() < 0.95
    assert np.isfinite(softened.probabilities).all()


def test_balanced_training_is_seen_and_said() -> None:
    """Probabilities that behave as trained with equal shares, on memes that have the fit split's."""
    shares = np.array([0.1, 0.2, 0.7])
    table = simulated(2000, 0, prior=shares.tolist(), prior_fit=[1 / 3] * 3, overconfidence=2.0)
    settings = DecisionSettings(calibration="temperature", serving_prior="estimated")
    rule = fit_rule(table, settings, shares)
    assert rule.temperature == pytest.approx(2, rel=0.1)
    assert rule.prior_fit == pytest.approx([1 / 3] * 3, abs=0.05)
    assert len(rule.notes) == 1
    assert "behave as trained with other class shares than the fit split's: negative 0.3" in rule.notes[0]
    unseen = simulated(2000, 1, prior=[0.5, 0.3, 0.2], prior_fit=[1 / 3] * 3, overconfidence=2.0, split="test")
    assert rule.estimated_priors(unseen)["test"].prior == pytest.approx([0.5, 0.3, 0.2], abs=0.04)
    # Taken at the fit split's word instead, the estimate ends far off.
    naive = replace(rule, prior_fit=tuple(shares.tolist())).estimated_priors(unseen)["test"].prior
    assert total_variation(np.array(naive), np.array([0.5, 0.3, 0.2])) > 0.2


def test_few_memes_to_estimate_from_are_said() -> None:
    rule = fit_rule(simulated(20, 0), DecisionSettings(serving_prior="estimated"), np.full(3, 1 / 3))
    assert any("only 20 meme(s), at least 30" in note for note in rule.notes)


def test_total_variation_by_hand() -> None:
    assert total_variation(np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])) == pytest.approx(0.3)
