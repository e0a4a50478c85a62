"""The judgement of a table: the shape promised to programs, and the words promised to people."""

from __future__ import annotations

import json

import numpy as np
import pytest

from memeblend.errors import PredictionError
from memeblend.evaluation import PredictionTable, class_prior, evaluate_table
from memeblend.labels import SENTIMENT


def table_of(labels: np.ndarray, predicted: np.ndarray, num_train: int = 0) -> PredictionTable:
    num = len(labels)
    probabilities = np.full((num, 3), 0.1)
    probabilities[np.arange(num), predicted] = 0.8
    splits = ["train"] * num_train + ["validation"] * (num - num_train)
    ids = [f"d/{split}/{row}" for row, split in enumerate(splits)]
    return PredictionTable(
        "fusion-0", SENTIMENT, np.array(ids), np.array(splits), np.arange(num), labels, probabilities, "f"
    )


def test_has_every_promised_key_and_survives_json() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 3, 120)
    predicted = np.where(rng.random(120) < 0.7, np.maximum(labels, 0), 0)
    result = evaluate_table(table_of(labels, predicted, 40), ["validation"], class_prior(labels, 3))
    assert {
        "weighted_f1", "macro_f1", "accuracy", "interval", "baselines", "num_memes", "classes", "per_class",
    } <= set(result)  # fmt: skip
    assert set(result["baselines"]) == {"majority", "best_constant", "chance"}
    assert result["num_memes"] == int((labels[40:] >= 0).sum())
    assert result["splits"] == ["validation"]
    assert result["interval"][0] < result["weighted_f1"] < result["interval"][1]
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result == evaluate_table(table_of(labels, predicted, 40), ["validation"], class_prior(labels, 3))


@pytest.mark.parametrize(
    ("right", "words"),
    [
        (0.9, "told from a constant."),
        (0.0, "cannot be told from a constant."),
        (-1.0, "worse than a constant."),
    ],
)
def test_verdict_in_words(right: float, words: str) -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 300, p=[0.8, 0.1, 0.1])
    if right < 0:
        predicted = (labels + 1) % 3
    else:
        predicted = np.where(rng.random(300) < right, labels, 0)
        predicted[:20] = labels[:20] if right else 0
    result = evaluate_table(table_of(labels, predicted), None, class_prior(labels, 3))
    assert result["verdict"].endswith(words)
    assert f"{result['weighted_f1']:.3f} [{result['interval'][0]:.3f}" in result["verdict"]
    assert result["constants"] == {"majority": "negative", "best_constant": "negative"}


def test_few_memes_are_said_to_be_few() -> None:
    result = evaluate_table(table_of(np.array([0, 1]), np.array([0, 1])), None, np.array([0.5, 0.5, 0.0]))
    assert "only 2 independent group(s)" in result["verdict"]


def test_one_class_only_is_judged() -> None:
    result = evaluate_table(table_of(np.zeros(40, int), np.zeros(40, int)), None, np.array([1.0, 0, 0]))
    assert result["weighted_f1"] == 1
    assert result["quadratic_kappa"] is None
    assert "cannot be told from a constant" in result["verdict"]


def test_nothing_to_judge_is_refused() -> None:
    with pytest.raises(PredictionError, match="No meme has a label"):
        evaluate_table(table_of(np.array([-1, -1]), np.array([0, 1])), None, np.full(3, 1 / 3))
    with pytest.raises(PredictionError, match="no predictions of split"):
        evaluate_table(table_of(np.array([0, 1]), np.array([0, 1])), ["test"], np.full(3, 1 / 3))
