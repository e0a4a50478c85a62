"""Objectives of many prediction sets at once against scikit-learn, one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from memeblend.evaluation import scores
from memeblend.evaluation.metrics import (
    OBJECTIVES,
    counts_of_many,
    objective_scores,
    score_of_counts,
    score_of_probabilities,
    why_undefined,
)
from memeblend.labels import HUMOROUS, MOTIVATIONAL, SENTIMENT, LabelTask


def made(num_sets: int, num_memes: int, num_classes: int, seed: int, steps: int = 6) -> tuple[Any, Any, Any]:
    """Labels of at least two classes, and coarse probabilities, so that equal ones are common."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num_memes)
    labels[:2] = 0, 1
    probabilities = rng.multinomial(steps, np.full(num_classes, 1 / num_classes), (num_sets, num_memes)) / steps
    return labels, probabilities.argmax(axis=2), probabilities


@given(st.integers(1, 4), st.integers(2, 40), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_rankings_equal_scikit_learn(num_sets: int, num_memes: int, seed: int) -> None:
    labels, _, probabilities = made(num_sets, num_memes, 2, seed)
    aucs = score_of_probabilities(labels, probabilities, "roc_auc")
    precisions = score_of_probabilities(labels, probabilities, "average_precision")
    for one, auc, precision in zip(probabilities, aucs, precisions, strict=True):
        assert auc == pytest.approx(oracle.roc_auc_score(labels, one[:, 1]))
        assert precision == pytest.approx(oracle.average_precision_score(labels, one[:, 1]))


@given(st.integers(1, 4), st.integers(2, 40), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_counts_and_log_loss_equal_scikit_learn(num_sets: int, num_memes: int, seed: int) -> None:
    labels, predicted, probabilities = made(num_sets, num_memes, 4, seed)
    counts = counts_of_many(labels, predicted, 4)
    losses = score_of_probabilities(labels, probabilities, "log_loss")
    kappas = objective_scores(labels, predicted, None, "quadratic_kappa", 4)
    errors = score_of_counts(counts, "mean_absolute_error")
    for index in range(num_sets):
        expected = oracle.confusion_matrix(labels, predicted[index], labels=range(4))
        np.testing.assert_array_equal(counts[index], expected)
        assert losses[index] == pytest.approx(oracle.log_loss(labels, probabilities[index], labels=range(4)))
        assert kappas[index] == pytest.approx(
            oracle.cohen_kappa_score(labels, predicted[index], labels=range(4), weights="quadratic")
        )
        assert errors[index] == pytest.approx(oracle.mean_absolute_error(labels, predicted[index]))


def test_log_loss_by_hand_and_in_the_scores() -> None:
    probabilities = np.array([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    found = scores(SENTIMENT, np.array([0, 2]), np.array([0, 2]), probabilities)
    assert found["log_loss"] == pytest.approx(np.log(2) / 2)


@pytest.mark.parametrize("objective", ["roc_auc", "average_precision", "quadratic_kappa"])
def test_undefined_scores_are_nan(objective: Any) -> None:
    labels, predicted = np.zeros(4, int), np.zeros((2, 4), int)
    assert np.isnan(objective_scores(labels, predicted, np.full((2, 4, 2), 0.5), objective, 2)).all()
    task = MOTIVATIONAL if objective != "quadratic_kappa" else HUMOROUS
    assert why_undefined(task, labels, objective) == (
        f"{objective} needs two classes, and all 4 labelled memes are '{task.classes[0]}'"
    )


def test_which_objectives_are_defined_for_which_label_tasks() -> None:
    labels = np.array([0, 1])
    nominal = LabelTask("topic", "nominal", ("a", "b", "c"))
    always = {"weighted_f1", "macro_f1", "accuracy", "log_loss"}
    for task, more in (
        (nominal, set()),
        (HUMOROUS, {"quadratic_kappa", "mean_absolute_error"}),
        (MOTIVATIONAL, {"roc_auc", "average_precision"}),
    ):
        assert {name for name in OBJECTIVES if not why_undefined(task, labels, name)} == always | more
        found = scores(task, labels, labels, np.full((2, task.num_classes), 1 / task.num_classes))
        assert {name for name in OBJECTIVES if name in found} == always | more


def test_refusals() -> None:
    labels, predicted, probabilities = made(1, 5, 2, 0)
    with pytest.raises(ValueError, match="unknown objective 'recall', expected one of weighted_f1"):
        objective_scores(labels, predicted, probabilities, "recall", 2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'log_loss' needs probabilities"):
        objective_scores(labels, predicted, None, "log_loss", 2)
    with pytest.raises(ValueError, match="unknown metric 'brier', expected one of roc_auc"):
        score_of_probabilities(labels, probabilities, "brier")  # type: ignore[arg-type]
