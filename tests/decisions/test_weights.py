"""Weights against brute force, costs against enumeration, presence against a loop."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from decision_tables import simulated
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from memeblend.decisions.weights import (
    expected_costs,
    fit_present_threshold,
    fit_weights,
    weighted_decisions,
    within_presence,
)
from memeblend.evaluation.metrics import Metric, confusion_counts, score_of_counts
from memeblend.labels import HUMOROUS, MOTIVATIONAL

METRICS: tuple[Metric, ...] = ("weighted_f1", "macro_f1")
AVERAGES = {"weighted_f1": "weighted", "macro_f1": "macro"}


def score(labels: NDArray[np.int64], decided: NDArray[np.int64], metric: Metric) -> float:
    return float(f1_score(labels, decided, average=AVERAGES[metric], zero_division=0))


def test_a_threshold_by_hand() -> None:
    """Below one half: 0.4 and 0.45 are class 1 too, 0.2 and 0.1 are not."""
    probabilities = np.array([[0.6, 0.4], [0.55, 0.45], [0.8, 0.2], [0.9, 0.1]])
    weights = fit_weights(probabilities, np.array([1, 1, 0, 0]), "macro_f1")
    assert weighted_decisions(probabilities, weights).tolist() == [1, 1, 0, 0]
    assert np.prod(weights) == pytest.approx(1)
    # The middle between the odds 1.5 (for 0.4) and 4 (for 0.2), in logarithms.
    assert weights[1] / weights[0] == pytest.approx(np.sqrt(1.5 * 4))


@given(
    num=st.integers(2, 40), seed=st.integers(0, 10_000), metric=st.sampled_from(METRICS), steps=st.sampled_from([0, 5])
)
@settings(max_examples=30, deadline=None)
def test_two_classes_are_exact(num: int, seed: int, metric: Metric, steps: int) -> None:
    """No threshold between any two probabilities does better."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, num)
    labels[:2] = [0, 1]
    positive = np.clip(0.3 * rng.normal(size=num) + 0.3 + 0.2 * labels, 0, 1)
    if steps:
        positive = np.rint(positive * steps) / steps  # many equal, many 0 and 1
    points = np.unique(np.concatenate([[0.0, 1.0], positive]))
    thresholds = np.concatenate([[-1.0], (points[1:] + points[:-1]) / 2, [2.0]])
    # A weight is positive and finite, so 0 stays below and 1 above every threshold.
    decisions = [((positive > at) | (positive == 1)) & (positive > 0) for at in thresholds]
    best = max(score(labels, decided.astype(np.int64), metric) for decided in decisions)
    probabilities = np.stack([1 - positive, positive], axis=1)
    weights = fit_weights(probabilities, labels, metric)
    assert score(labels, weighted_decisions(probabilities, weights), metric) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(10))
def test_three_classes_are_no_worse_than_a_fine_grid(seed: int, metric: Metric) -> None:
    table = simulated(60, seed, prior=[0.15, 0.25, 0.6])
    grid = np.exp(np.linspace(-4, 4, 81))
    decided = [weighted_decisions(table.probabilities, np.array([1, *pair])) for pair in itertools.product(grid, grid)]
    counts = np.stack([confusion_counts(table.labels, said, 3) for said in decided])
    weights = fit_weights(table.probabilities, table.labels, metric)
    found = score(table.labels, weighted_decisions(table.probabilities, weights), metric)
    assert found >= score_of_counts(counts, metric).max() - 1e-12


@pytest.mark.parametrize("metric", METRICS)
def test_four_classes_are_no_worse_than_random_search(metric: Metric) -> None:
    table = simulated(120, 5, HUMOROUS, prior=[0.1, 0.2, 0.2, 0.5])
    rng = np.random.default_rng(0)
    decided = [weighted_decisions(table.probabilities, one) for one in np.exp(2 * rng.normal(size=(5000, 4)))]
    counts = np.stack([confusion_counts(table.labels, said, 4) for said in decided])
    weights = fit_weights(table.probabilities, table.labels, metric)
    found = score(table.labels, weighted_decisions(table.probabilities, weights), metric)
    assert found >= score_of_counts(counts, metric).max() - 1e-12


def test_weights_do_not_depend_on_the_order_of_memes() -> None:
    table = simulated(80, 1, HUMOROUS)
    order = np.random.default_rng(0).permutation(80)
    one = fit_weights(table.probabilities, table.labels, "macro_f1")
    other = fit_weights(table.probabilities[order], table.labels[order], "macro_f1")
    assert one == pytest.approx(other, rel=1e-12)


def test_weights_stay_equal_where_nothing_is_better() -> None:
    probabilities = np.eye(3)[[0, 1, 2, 2]]
    assert fit_weights(probabilities, np.array([0, 1, 2, 2]), "weighted_f1").tolist() == [1, 1, 1]
    assert fit_weights(probabilities, np.array([1, 2, 0, 0]), "weighted_f1").tolist() == [1, 1, 1]


def test_a_class_without_labels_keeps_weight_one() -> None:
    table = simulated(60, 2, HUMOROUS, prior=[0.2, 0.4, 0.0, 0.4], prior_fit=[0.25] * 4)
    weights = fit_weights(table.probabilities, table.labels, "macro_f1")
    assert weights[2] == 1
    assert weights[[0, 1, 3]].prod() == pytest.approx(1)
    # Memes that are certainly of that class change nothing and break nothing.
    certain = np.vstack([table.probabilities, np.eye(4)[[2]]])
    assert (fit_weights(certain, np.append(table.labels, 0), "macro_f1") > 0).all()


def test_one_class_alone_keeps_equal_weights() -> None:
    assert fit_weights(np.array([[0.3, 0.7], [0.6, 0.4]]), np.array([1, 1]), "macro_f1").tolist() == [1, 1]


def test_meme_weights_are_copies_of_memes() -> None:
    table = simulated(50, 4, prior=[0.2, 0.3, 0.5])
    times = np.random.default_rng(0).integers(1, 4, 50)
    weights = fit_weights(table.probabilities, table.labels, "weighted_f1", times.astype(np.float64))
    copied, labels = np.repeat(table.probabilities, times, axis=0), np.repeat(table.labels, times)
    assert weights == pytest.approx(fit_weights(copied, labels, "weighted_f1"), rel=1e-9)


@given(seed=st.integers(0, 10_000), num_classes=st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_least_cost_equals_enumeration(seed: int, num_classes: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(num_classes), size=8)
    costs = rng.integers(0, 10, (num_classes, num_classes)).astype(np.float64)
    expected = expected_costs(probabilities, costs)
    for row, one in enumerate(probabilities):
        for decided in range(num_classes):
            by_hand = sum(one[true] * costs[true, decided] for true in range(num_classes))
            assert expected[row, decided] == pytest.approx(by_hand)


def test_a_costly_miss_lowers_the_threshold() -> None:
    """A miss costs 9 and a false alarm 1, so class 1 is decided from one tenth on."""
    costs = np.array([[0.0, 1.0], [9.0, 0.0]])
    positive = np.array([0.05, 0.09, 0.11, 0.5])
    expected = expected_costs(np.stack([1 - positive, positive], axis=1), costs)
    assert expected.argmin(axis=1).tolist() == [0, 0, 1, 1]


def test_presence_bounds_the_levels() -> None:
    scores = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
    bounded = within_presence(scores, np.array([True, False]), 0.0)
    assert bounded.tolist() == [[0, 0.3, 0.2], [0.2, 0, 0]]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("task", [HUMOROUS, MOTIVATIONAL])
def test_the_present_threshold_is_exact(task: object, metric: Metric) -> None:
    table = simulated(90, 7, task, overconfidence=0.5)  # type: ignore[arg-type]
    present, truth = table.probabilities[:, 1:].sum(axis=1), (table.labels > 0).astype(np.int64)
    best = max(score(truth, (present > at).astype(np.int64), metric) for at in [-1, *present])
    threshold = fit_present_threshold(table.probabilities, table.labels, metric)
    assert score(truth, (present > threshold).astype(np.int64), metric) == pytest.approx(best, abs=1e-12)
