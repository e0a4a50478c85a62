"""Baselines by hand, by simulation and against the paper's numbers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import f1_score

from memeblend.errors import PredictionError
from memeblend.evaluation import baselines, class_prior, confusion_counts, score_of_counts
from memeblend.evaluation.baselines import best_constant_class, chance_score


def test_prior_leaves_missing_labels_out() -> None:
    assert class_prior(np.array([0, 2, 2, -1]), 3).tolist() == pytest.approx([1 / 3, 0, 2 / 3])
    with pytest.raises(PredictionError, match="no label"):
        class_prior(np.array([-1, -1]), 3)


def test_majority_is_the_fit_splits_and_best_constant_the_scored_splits() -> None:
    labels = np.array([0, 0, 0, 1])
    found = baselines(labels, class_prior(np.array([0, 1, 1]), 2))
    # Always 0: F1 of class 0 = 6/7 with weight 3/4; always 1: F1 = 2/5 with weight 1/4.
    assert found["majority"] == pytest.approx(0.25 * 2 / 5)
    assert found["best_constant"] == pytest.approx(0.75 * 6 / 7)
    assert best_constant_class(labels, 2) == 0


def test_majority_equals_scikit_learns_dummy() -> None:
    rng = np.random.default_rng(3)
    fit_labels, labels = rng.choice(4, 200, p=[0.1, 0.2, 0.6, 0.1]), rng.choice(4, 90)
    dummy = DummyClassifier(strategy="most_frequent").fit(np.zeros((200, 1)), fit_labels)
    expected = f1_score(labels, dummy.predict(np.zeros((90, 1))), average="weighted")
    assert baselines(labels, class_prior(fit_labels, 4))["majority"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([580, 579, 341], 0.2156),
        ([99, 973, 375, 53], 0.5104),
        ([1457, 43], 0.9572),
        ([641, 804, 44, 11], 0.3741),
        ([123, 977, 376, 24], 0.5138),
    ],
)
def test_best_constant_of_the_papers_validation_split(counts: list[int], expected: float) -> None:
    """Class counts of the paper's table 2; much of its table 4 lies close to these constants."""
    labels = np.repeat(np.arange(len(counts)), counts)
    found = baselines(labels, class_prior(labels, len(counts)))
    assert found["best_constant"] == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("num_memes", [3, 60])
def test_chance_is_the_mean_of_many_draws(num_memes: int) -> None:
    rng = np.random.default_rng(1)
    prior = np.array([0.5, 0.3, 0.2, 0.0])
    labels = np.concatenate([[0, 1, 3], rng.choice(4, num_memes - 3)])
    drawn = rng.choice(4, size=(3000, num_memes), p=prior)
    draws = score_of_counts(np.stack([confusion_counts(labels, row, 4) for row in drawn]), "weighted_f1")
    error = np.std(draws) / np.sqrt(len(draws))
    assert chance_score(labels, prior) == pytest.approx(np.mean(draws), abs=4 * error)


def test_chance_by_hand() -> None:
    # One meme of class 0, class 0 drawn with probability 0.3: F1 is 1 or 0.
    assert chance_score(np.array([0]), np.array([0.3, 0.7])) == pytest.approx(0.3)
    # A certain class is a constant.
    labels = np.array([0, 0, 0, 1])
    assert chance_score(labels, np.array([1.0, 0.0])) == pytest.approx(0.75 * 6 / 7)
    assert chance_score(np.array([-1]), np.array([0.5, 0.5])) == 0


def test_chance_of_many_memes_is_near_the_large_sample_limit() -> None:
    labels = np.repeat([0, 1], [6000, 4000])
    limit = 0.6 * 2 * 0.6 * 0.5 / 1.1 + 0.4 * 2 * 0.4 * 0.5 / 0.9
    assert chance_score(labels, np.array([0.5, 0.5])) == pytest.approx(limit, abs=1e-4)
