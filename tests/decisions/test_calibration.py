"""Temperature and calibration errors against hand-computed values, scikit-learn and known simulations."""

from __future__ import annotations

import numpy as np
import pytest
from decision_tables import simulated
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from memeblend.decisions.calibration import (
    FLOOR,
    LARGEST_TEMPERATURE,
    LEAST_TEMPERATURE,
    brier_score,
    expected_calibration_error,
    fit_temperature,
    log_losses,
    reliability_curve,
    scaled,
)


def test_scaling_by_hand() -> None:
    one = np.array([[0.8, 0.2]])
    assert scaled(one, 1.0) is one
    # Half the logit of 4:1 is 2:1; twice the logit is 16:1.
    assert scaled(one, 2.0)[0] == pytest.approx([2 / 3, 1 / 3])
    assert scaled(one, 0.5)[0] == pytest.approx([16 / 17, 1 / 17])


def test_scaling_of_zeros_and_ones() -> None:
    certain = np.array([[1.0, 0.0, 0.0]])
    # Logits 0 and log(1e-12), divided by 12 log(10): 0 and -1.
    halves = scaled(certain, -np.log(FLOOR))[0]
    assert halves == pytest.approx(np.array([1, np.exp(-1), np.exp(-1)]) / (1 + 2 * np.exp(-1)))
    assert log_losses(certain, np.array([1])) == pytest.approx([-np.log(1e-12)])


@given(seed=st.integers(0, 1000), temperature=st.floats(LEAST_TEMPERATURE, LARGEST_TEMPERATURE))
@settings(max_examples=30, deadline=None)
def test_scaling_never_turns_the_order_of_classes(seed: int, temperature: float) -> None:
    probabilities = np.random.default_rng(seed).dirichlet([0.3] * 4, size=20)
    changed = scaled(probabilities, temperature)
    assert changed.sum(axis=1) == pytest.approx(1)
    order = probabilities.argsort(axis=1)
    assert (np.diff(np.take_along_axis(changed, order, axis=1)) >= 0).all()


@pytest.mark.parametrize("known", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found_again(known: float) -> None:
    table = simulated(6000, 0, prior=[0.2, 0.3, 0.5], overconfidence=known)
    assert fit_temperature(table.probabilities, table.labels) == pytest.approx(known, rel=0.06)


@pytest.mark.parametrize("seed", range(5))
def test_the_temperature_has_the_least_log_loss(seed: int) -> None:
    table = simulated(150, seed, overconfidence=2.0)
    found = fit_temperature(table.probabilities, table.labels)

    def loss(log_temperature: float) -> float:
        return float(log_loss(table.labels, scaled(table.probabilities, np.exp(log_temperature)), labels=[0, 1, 2]))

    oracle = minimize_scalar(loss, bounds=(np.log(LEAST_TEMPERATURE), np.log(LARGEST_TEMPERATURE)), method="bounded")
    assert loss(float(np.log(found))) <= oracle.fun + 1e-12
    assert np.log(found) == pytest.approx(oracle.x, abs=1e-3)


def test_the_bounds_hold_where_there_is_no_minimum() -> None:
    right = np.array([[0.6, 0.4], [0.3, 0.7]])
    assert fit_temperature(right, np.array([0, 1])) == LEAST_TEMPERATURE
    assert fit_temperature(right, np.array([1, 0])) == LARGEST_TEMPERATURE
    assert fit_temperature(np.full((3, 2), 0.5), np.array([0, 1, 1])) == 1.0


def test_hard_votes_are_softened_to_their_accuracy() -> None:
    """Of 0/1 probabilities that are right 3 times in 4, the best constant confidence is 3/4."""
    said = np.eye(2)[[0, 0, 1, 1] * 5]
    found = fit_temperature(said, np.array([0, 0, 1, 0] * 5))
    assert scaled(said, found).max(axis=1) == pytest.approx(0.75)
    assert fit_temperature(np.eye(2)[[0, 1]], np.array([0, 1])) == LEAST_TEMPERATURE


def test_brier_by_hand() -> None:
    probabilities = np.array([[1.0, 0.0, 0.0], [0.5, 0.3, 0.2]])
    # 0 for the first; 0.5^2 + 0.7^2 + 0.2^2 = 0.78 for the second.
    assert brier_score(probabilities, np.array([0, 1])) == pytest.approx(0.39)


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.6, 0.4], [0.3, 0.7], [0.8, 0.2], [0.1, 0.9]])
    labels = np.array([1, 1, 0, 1])
    # Bins {0.6, 0.7}: confidence 0.65, accuracy 0.5. {0.8, 0.9}: 0.85, 1. Gaps 0.15 and 0.15.
    assert expected_calibration_error(probabilities, labels, num_bins=2) == pytest.approx(0.15)
    assert reliability_curve(probabilities, labels, num_bins=2) == [
        {"confidence": pytest.approx(0.65), "accuracy": 0.5, "num_memes": 2},
        {"confidence": pytest.approx(0.85), "accuracy": 1.0, "num_memes": 2},
    ]
    # One bin: confidence 0.75, accuracy 0.75.
    assert expected_calibration_error(probabilities, labels, num_bins=1) == pytest.approx(0)


def test_equal_confidences_share_a_bin_whatever_the_order() -> None:
    probabilities = np.array([[0.7, 0.3]] * 6 + [[0.9, 0.1]] * 2)
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 1])
    curve = reliability_curve(probabilities, labels, num_bins=4)
    assert [(point["num_memes"], point["accuracy"]) for point in curve] == [(6, 0.5), (2, 0.5)]
    assert reliability_curve(probabilities[::-1], labels[::-1], num_bins=4) == curve


def test_the_curve_equals_scikit_learn() -> None:
    table = simulated(500, 3)
    confidence = table.probabilities.max(axis=1)
    right = table.probabilities.argmax(axis=1) == table.labels
    accuracy, mean = calibration_curve(right, confidence, n_bins=10, strategy="quantile")
    curve = reliability_curve(table.probabilities, table.labels)
    assert [point["num_memes"] for point in curve] == [50] * 10
    assert [point["accuracy"] for point in curve] == pytest.approx(accuracy)
    assert [point["confidence"] for point in curve] == pytest.approx(mean)


def test_one_meme_has_a_curve() -> None:
    assert reliability_curve(np.array([[0.2, 0.8]]), np.array([1])) == [
        {"confidence": 0.8, "accuracy": 1.0, "num_memes": 1}
    ]
