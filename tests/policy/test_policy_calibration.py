"""Calibration of scores against an oracle, and intervals that hold what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_tables import RUDE, drawn
from pydantic import ValidationError
from scipy.optimize import minimize

from memeblend.policy.calibration import Calibration, fit_calibration
from memeblend.policy.categories import scores


def fit(num, seed, *, groups=None, **how):
    table = drawn(RUDE, num, seed, **how)
    raw = scores(table.probabilities)
    return fit_calibration(raw, table.labels == 1, table.groups if groups is None else groups), raw, table.labels


def test_it_is_the_maximum_of_the_likelihood_on_platts_targets():
    found, raw, labels = fit(200, 3)
    positive = labels.sum()
    targets = np.where(labels == 1, (positive + 1) / (positive + 2), 1 / (200 - positive + 2))
    logits = np.log(raw / (1 - raw))

    def loss(parameters):
        z = parameters[0] * logits + parameters[1]
        return np.sum(np.logaddexp(0, z) - targets * z)

    best = minimize(loss, [1, 0], method="BFGS", options={"gtol": 1e-9}).x
    assert (found.slope, found.intercept) == pytest.approx(best, abs=1e-4)
    assert (found.num_memes, found.num_positive) == (200, positive)


def test_it_undoes_overconfidence_and_a_shift():
    found, _, _ = fit(20_000, 0, slope=0.5, intercept=-1.0)
    assert (found.slope, found.intercept) == pytest.approx((0.5, -1.0), abs=0.06)
    assert found.calibrated(np.array([0.5]))[0] == pytest.approx(1 / (1 + np.e), abs=0.015)


def test_the_identity_changes_nothing_and_its_interval_by_hand():
    same = Calibration(slope=1, intercept=0, covariance=(0, 0, 0.25), num_memes=9, num_positive=3)
    np.testing.assert_allclose(same.calibrated(np.array([0.1, 0.5, 0.9])), [0.1, 0.5, 0.9])
    spread = 1.959964 * 0.5
    np.testing.assert_allclose(same.interval(np.array([0.5]))[0], 1 / (1 + np.exp([spread, -spread])), atol=1e-6)
    assert np.isfinite(same.calibrated(np.array([0.0, 1.0]))).all()


def test_a_score_that_tells_nothing_is_the_share_for_all():
    labels = np.array([True] * 10 + [False] * 30)
    for raw in (np.where(labels, 0.1, 0.9), np.full(40, 0.5)):
        found = fit_calibration(raw, labels, np.arange(40))
        assert found.slope == 0
        assert found.calibrated(np.array([0.01, 0.99])) == pytest.approx([0.25, 0.25], abs=0.02)
        low, high = found.interval(np.array([0.3]))[0]
        assert 0.1 < low < 0.25 < high < 0.45


def test_memes_that_can_be_parted_stay_finite_and_unsure():
    found = fit_calibration(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]), np.arange(4))
    low, high = found.interval(np.array([0.5]))[0]
    assert 0 < found.slope < 10
    assert low < 0.2
    assert high > 0.8


def test_duplicates_widen_the_interval_as_if_they_were_one_meme():
    found, raw, labels = fit(100, 1)
    doubled = fit_calibration(np.repeat(raw, 2), np.repeat(labels == 1, 2), np.repeat(np.arange(100), 2))
    np.testing.assert_allclose(doubled.interval(raw), found.interval(raw), atol=0.03)


@pytest.mark.parametrize("score", [0.1, 0.4, 0.8])
def test_intervals_hold_the_true_probability_as_often_as_they_say(score):
    held = 0
    for seed in range(150):
        found, _, _ = fit(250, seed, slope=0.7, intercept=0.3)
        true = 1 / (1 + np.exp(-(0.7 * np.log(score / (1 - score)) + 0.3)))
        low, high = found.interval(np.array([score]))[0]
        held += low <= true <= high
    assert held >= 150 * 0.9


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_any_scores_give_a_calibration_that_rises(rows):
    raw, positive, groups = (np.array(column) for column in zip(*rows, strict=True))
    if positive.all() or not positive.any():
        return
    found = fit_calibration(raw, positive, groups)
    grid = np.linspace(0, 1, 30)
    calibrated, intervals = found.calibrated(grid), found.interval(grid)
    assert (np.diff(calibrated) >= 0).all()
    assert ((intervals[:, 0] <= calibrated + 1e-12) & (calibrated <= intervals[:, 1] + 1e-12)).all()
    assert Calibration.model_validate(found.model_dump()) == found


@pytest.mark.parametrize("covariance", [[1, 5, 1], [-1, 0, 1], [1, 0], ["1", 0, 1], [float("nan"), 0, 1]])
def test_a_covariance_that_is_none(covariance):
    with pytest.raises(ValidationError):
        Calibration(slope=1, intercept=0, covariance=covariance, num_memes=1, num_positive=0)
