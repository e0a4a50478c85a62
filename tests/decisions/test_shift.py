"""Correction for class shares, by hand and on memes whose shares are known."""

from __future__ import annotations

import numpy as np
import pytest
from decision_tables import simulated
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from memeblend.decisions import shift
from memeblend.decisions.calibration import LARGEST_TEMPERATURE, LEAST_TEMPERATURE
from memeblend.decisions.shift import LEAST_MEMES, corrected, estimate_prior, fit_behaved_prior
from memeblend.labels import MOTIVATIONAL


def test_correction_by_hand() -> None:
    # 0.6 * 0.25 / 0.75 = 0.2 and 0.4 * 0.75 / 0.25 = 1.2, so 1/7 and 6/7.
    moved = corrected(np.array([[0.6, 0.4]]), np.array([0.75, 0.25]), np.array([0.25, 0.75]))
    assert moved[0] == pytest.approx([1 / 7, 6 / 7])


def test_correction_there_and_back() -> None:
    probabilities = simulated(50, 0).probabilities
    one, other = np.array([0.2, 0.3, 0.5]), np.array([0.6, 0.3, 0.1])
    assert corrected(corrected(probabilities, one, other), other, one) == pytest.approx(probabilities)
    assert corrected(probabilities, one, one) is probabilities


def test_classes_without_share() -> None:
    moved = corrected(np.array([[0.5, 0.3, 0.2], [0, 0, 1.0]]), np.array([0.5, 0.5, 0]), np.array([0.5, 0.5, 0.0]))
    assert moved.tolist() == [[0.5, 0.3, 0.2], [0, 0, 1.0]]  # equal shares: nothing to correct
    moved = corrected(np.array([[0.5, 0.3, 0.2], [0, 0, 1.0]]), np.array([0.5, 0.5, 0]), np.array([1.0, 0, 0]))
    assert moved.tolist() == [[1, 0, 0], [0, 0, 1.0]]  # the second row has nowhere else to go


def test_the_true_shares_are_recovered_and_help() -> None:
    fitted, serving = [0.2, 0.3, 0.5], [0.6, 0.3, 0.1]
    table = simulated(4000, 0, prior=serving, prior_fit=fitted)
    estimate = estimate_prior(table.probabilities, np.array(fitted))
    assert estimate.reason == ""
    assert estimate.prior == pytest.approx(serving, abs=0.03)
    moved = corrected(table.probabilities, np.array(fitted), np.array(estimate.prior))
    assert log_loss(table.labels, moved) < log_loss(table.labels, table.probabilities) - 0.1
    # At its end, the mean corrected probability of a class is its share: the equation that is solved.
    assert moved.mean(axis=0) == pytest.approx(estimate.prior, abs=1e-6)


def test_unshifted_memes_keep_their_shares() -> None:
    fitted = [0.2, 0.3, 0.5]
    estimate = estimate_prior(simulated(4000, 1, prior=fitted).probabilities, np.array(fitted))
    assert estimate.prior == pytest.approx(fitted, abs=0.03)


def test_probabilities_that_say_nothing_change_no_share() -> None:
    fitted = np.array([0.2, 0.8])
    assert estimate_prior(np.tile(fitted, (40, 1)), fitted).prior == pytest.approx([0.2, 0.8])


def test_a_class_of_share_zero_stays_there() -> None:
    probabilities = simulated(200, 2).probabilities
    estimate = estimate_prior(probabilities, np.array([0.5, 0.5, 0.0]))
    assert estimate.prior[2] == 0
    assert sum(estimate.prior) == pytest.approx(1)
    # Memes that lie wholly on that class count for neither of the others.
    with_certain = np.vstack([probabilities, np.eye(3)[[2] * 10]])
    assert estimate_prior(with_certain, np.array([0.5, 0.5, 0.0])).prior == pytest.approx(estimate.prior, abs=1e-5)


@pytest.mark.parametrize("overconfidence", [1.0, 2.5])
def test_the_prior_trained_with_is_found_with_the_temperature(overconfidence: float) -> None:
    trained = [0.6, 0.3, 0.1]
    table = simulated(6000, 0, prior=[0.2, 0.3, 0.5], prior_fit=trained, overconfidence=overconfidence)
    how = table.probabilities, table.labels, np.full(3, 1 / 3)
    temperature, prior = fit_behaved_prior(*how, with_temperature=True)
    assert temperature == pytest.approx(overconfidence, rel=0.05)
    assert prior == pytest.approx(trained, abs=0.03)
    fixed, other = fit_behaved_prior(*how, with_temperature=False)
    assert fixed == 1
    assert other.sum() == pytest.approx(1)


def test_the_prior_found_has_the_least_log_loss_against_scikit_learn() -> None:
    """Without the pull it would be a logistic regression of one slope and one intercept a class; with 4000 memes the
    pull is nothing, and for two classes scikit-learn fits just that."""
    table = simulated(4000, 1, MOTIVATIONAL, prior=[0.3, 0.7], prior_fit=[0.5, 0.5], overconfidence=1.5)
    odds = np.log(table.probabilities[:, 1] / table.probabilities[:, 0])
    oracle = LogisticRegression(C=1e9, tol=1e-10).fit(odds[:, None], table.labels)
    temperature, prior = fit_behaved_prior(
        table.probabilities, table.labels, np.array([0.5, 0.5]), with_temperature=True
    )
    assert 1 / temperature == pytest.approx(oracle.coef_[0, 0], rel=1e-3)
    shares = np.bincount(table.labels) / 4000
    bias = np.log(shares[1] / prior[1]) - np.log(shares[0] / prior[0])
    assert bias == pytest.approx(oracle.intercept_[0], abs=2e-3)


def test_the_prior_of_separable_or_absent_classes_stays_finite() -> None:
    fitted = np.array([0.5, 0.3, 0.2])
    right = np.eye(3)[[0, 1, 0, 1]]
    temperature, prior = fit_behaved_prior(right, np.array([0, 1, 0, 1]), fitted, with_temperature=True)
    assert temperature >= LEAST_TEMPERATURE
    assert prior[2] == 0.2
    assert (prior > 0).all()
    assert prior.sum() == pytest.approx(1)
    temperature, prior = fit_behaved_prior(right, np.array([1, 0, 1, 0]), fitted, with_temperature=True)
    assert temperature == pytest.approx(LARGEST_TEMPERATURE)
    one = fit_behaved_prior(right, np.array([1, 1, 1, 1]), fitted, with_temperature=True)
    assert (one[0], one[1].tolist()) == (1, fitted.tolist())
    never = fit_behaved_prior(right, np.array([0, 1, 0, 2]), np.array([0.6, 0.4, 0]), with_temperature=True)[1]
    assert never[2] == 0
    assert never.sum() == pytest.approx(1)


def test_few_memes_give_no_estimate() -> None:
    fitted = np.array([0.5, 0.5])
    estimate = estimate_prior(np.array([[0.9, 0.1]] * (LEAST_MEMES - 1)), fitted)
    assert estimate.prior == (0.5, 0.5)
    assert "only 29 meme(s), at least 30" in estimate.reason


def test_an_estimate_that_does_not_settle_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift, "_MOST_ITERATIONS", 3)
    table = simulated(100, 0, prior=[0.7, 0.2, 0.1], prior_fit=[0.2, 0.3, 0.5])
    estimate = estimate_prior(table.probabilities, np.array([0.2, 0.3, 0.5]))
    assert estimate.prior == (0.2, 0.3, 0.5)
    assert "did not settle within 3 steps" in estimate.reason
