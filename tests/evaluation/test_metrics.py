"""Scores against scikit-learn, and the numbers scikit-learn does not have by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from memeblend.errors import PredictionError
from memeblend.evaluation import confusion_counts, score_of_counts, scores, task_means
from memeblend.labels import HUMOROUS, MOTIVATIONAL, SENTIMENT, LabelTask

FOUR = LabelTask("topic", "nominal", ("a", "b", "c", "d"))


@st.composite
def predictions(draw: Any, num_classes: int = 4) -> tuple[Any, Any, Any]:
    num_memes = draw(st.integers(1, 40))
    classes = st.lists(st.integers(0, num_classes - 1), min_size=num_memes, max_size=num_memes)
    labels, predicted = np.array(draw(classes)), np.array(draw(classes))
    probabilities = np.random.default_rng(draw(st.integers(0, 999))).dirichlet(np.ones(num_classes), num_memes)
    return labels, predicted, probabilities


@given(predictions())
@settings(max_examples=60, deadline=None)
def test_class_scores_equal_scikit_learn(case: tuple[Any, Any, Any]) -> None:
    labels, predicted, probabilities = case
    result = scores(FOUR, labels, predicted, probabilities)
    for name, average in (("weighted_f1", "weighted"), ("macro_f1", "macro")):
        expected = oracle.f1_score(labels, predicted, average=average, zero_division=0)
        assert result[name] == pytest.approx(expected, abs=1e-12)
    assert result["accuracy"] == pytest.approx(oracle.accuracy_score(labels, predicted))
    assert result["confusion"] == oracle.confusion_matrix(labels, predicted, labels=range(4)).tolist()
    per_class = oracle.precision_recall_fscore_support(labels, predicted, labels=range(4), zero_division=0)
    for index, name in enumerate(FOUR.classes):
        expected = [part[index] for part in per_class]
        assert list(result["per_class"][name].values()) == pytest.approx(expected)
    assert "quadratic_kappa" not in result
    assert "roc_auc" not in result


@given(st.lists(predictions(), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_many_prediction_sets_are_scored_at_once_as_one_by_one(cases: list[tuple[Any, Any, Any]]) -> None:
    counts = np.stack([confusion_counts(labels, predicted, 4) for labels, predicted, _ in cases])
    together = score_of_counts(counts, "weighted_f1")
    for value, (labels, predicted, _) in zip(together, cases, strict=True):
        expected = oracle.f1_score(labels, predicted, average="weighted", zero_division=0)
        assert value == pytest.approx(expected, abs=1e-12)


@given(predictions())
@settings(max_examples=40, deadline=None)
def test_ordinal_scores_equal_scikit_learn(case: tuple[Any, Any, Any]) -> None:
    labels, predicted, probabilities = case
    result = scores(HUMOROUS, labels, predicted, probabilities)
    assert result["mean_absolute_error"] == pytest.approx(oracle.mean_absolute_error(labels, predicted))
    if len({*labels.tolist(), *predicted.tolist()}) == 1:
        assert result["quadratic_kappa"] is None
    else:
        expected = oracle.cohen_kappa_score(labels, predicted, labels=list(range(4)), weights="quadratic")
        assert result["quadratic_kappa"] == pytest.approx(expected)


def test_kappa_by_hand() -> None:
    labels, predicted = np.array([0, 1, 2, 2]), np.array([0, 2, 2, 0])
    # Observed: (0 + 1 + 0 + 4) / 4. Expected, over all 16 pairs: label 0 gives 0 + 4 + 4 + 0, label 1 gives
    # 1 + 1 + 1 + 1, label 2 gives 4 + 0 + 0 + 4, twice: 28 / 16.
    result = scores(SENTIMENT, labels, predicted, np.full((4, 3), 1 / 3))
    assert result["quadratic_kappa"] == pytest.approx(1 - 1.25 / 1.75)
    assert result["mean_absolute_error"] == pytest.approx(0.75)


@given(predictions(num_classes=2))
@settings(max_examples=40, deadline=None)
def test_binary_scores_equal_scikit_learn(case: tuple[Any, Any, Any]) -> None:
    labels, predicted, probabilities = case
    result = scores(MOTIVATIONAL, labels, predicted, probabilities)
    if len(set(labels.tolist())) == 1:
        assert result["roc_auc"] is None
        assert result["average_precision"] is None
    else:
        assert result["roc_auc"] == pytest.approx(oracle.roc_auc_score(labels, probabilities[:, 1]))
        expected = oracle.average_precision_score(labels, probabilities[:, 1])
        assert result["average_precision"] == pytest.approx(expected)


def test_missing_labels_are_left_out() -> None:
    labels, predicted = np.array([0, -1, 1, -1]), np.array([0, 2, 2, 0])
    probabilities = np.full((4, 3), 1 / 3)
    result = scores(SENTIMENT, labels, predicted, probabilities)
    known = np.array([0, 2])
    assert result == scores(SENTIMENT, labels[known], predicted[known], probabilities[known])
    assert result["num_memes"] == 2
    with pytest.raises(PredictionError, match="No meme has a label for label task 'sentiment'"):
        scores(SENTIMENT, np.array([-1]), np.array([0]), np.full((1, 3), 1 / 3))


def test_unknown_metric_and_no_memes() -> None:
    nothing = np.zeros((2, 3, 3))
    assert score_of_counts(nothing, "macro_f1").tolist() == [0, 0]
    with pytest.raises(ValueError, match="expected one of weighted_f1, macro_f1, accuracy"):
        score_of_counts(nothing, "micro_f1")  # type: ignore[arg-type]


def test_task_means_are_those_of_the_paper() -> None:
    by_task = {
        "sentiment": {"weighted_f1": 0.4},
        "humorous": {"weighted_f1": 0.5},
        "sarcastic": {"weighted_f1": 0.7},
        "humorous_present": {"weighted_f1": 0.8},
        "sarcastic_present": {"weighted_f1": 0.9},
        "topic": {"weighted_f1": 0.1},
    }
    assert task_means(by_task) == pytest.approx({"A": 0.4, "B": 0.85, "C": 0.6})
    assert task_means({"topic": {"weighted_f1": 0.1}}) == {}
