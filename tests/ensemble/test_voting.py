"""Majority votes against a plain-Python count and scikit-learn."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import VotingClassifier
from sklearn.preprocessing import LabelEncoder

from memeblend.ensemble import blend, majority_vote
from memeblend.errors import PredictionError
from memeblend.evaluation import PredictionTable
from memeblend.labels import HUMOROUS, SENTIMENT


def plain_vote(classes: NDArray[np.int64], probabilities: NDArray[np.float64]) -> list[int]:
    """The rule of the module's docstring, in exact arithmetic, meme by meme."""
    num_members, num_memes, num_classes = probabilities.shape
    chosen = []
    for meme in range(num_memes):
        votes = [sum(int(classes[member, meme]) == k for member in range(num_members)) for k in range(num_classes)]
        sums = [
            sum(Fraction(probabilities[member, meme, k]) for member in range(num_members)) for k in range(num_classes)
        ]
        chosen.append(max(range(num_classes), key=lambda k: (votes[k], sums[k], -k)))
    return chosen


@st.composite
def grids(draw: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Members whose probabilities are eighths, so that ties of every kind are common and exact."""
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 10))
    num_classes = draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    probabilities = rng.multinomial(8, np.full(num_classes, 1 / num_classes), size=shape) / 8
    return rng.integers(0, num_classes, shape), probabilities


@given(grids())
@settings(max_examples=150, deadline=None)
def test_equals_a_plain_count(case: tuple[NDArray[np.int64], NDArray[np.float64]]) -> None:
    classes, probabilities = case
    assert majority_vote(classes, probabilities).tolist() == plain_vote(classes, probabilities)
    turned = majority_vote(classes[::-1], probabilities[::-1])
    np.testing.assert_array_equal(turned, majority_vote(classes, probabilities))


def test_ties_by_hand() -> None:
    classes = np.array([[0, 0, 1], [1, 2, 0]])
    probabilities = np.array(
        [
            [[0.5, 0.4, 0.1], [0.4, 0.3, 0.3], [0.3, 0.4, 0.3]],
            [[0.2, 0.6, 0.2], [0.0, 0.5, 0.5], [0.4, 0.3, 0.3]],
        ]
    )
    # Meme 1: 0 and 1 tie, .7 against 1.0. Meme 2: 0 and 2 tie, .4 against .8; class 1 (.8) has no vote.
    # Meme 3: 0 and 1 tie with .7 each, so the lower.
    assert majority_vote(classes, probabilities).tolist() == [1, 2, 0]


def test_equal_sums_in_another_order_are_a_tie() -> None:
    # In floats .1 + .2 + .3 != .3 + .2 + .1; the lower class must win all the same.
    values = np.array([[0.1, 0.3], [0.2, 0.2], [0.3, 0.1]])
    probabilities = np.stack([values, values[::-1]], axis=1)
    classes = np.array([[0, 0], [1, 1], [0, 1]])
    assert majority_vote(classes[:2], probabilities[:2]).tolist() == [1, 0]
    assert majority_vote(np.array([[0], [1]]), np.array([[[0.1 + 0.2, 0.3]], [[0.3, 0.3]]])).tolist() == [0]


class _Fixed:
    """A fitted classifier whose predictions are known."""

    def __init__(self, predicted: NDArray[np.int64]) -> None:
        self.predicted = predicted

    def predict(self, _: Any) -> NDArray[np.int64]:
        return self.predicted


def test_equals_scikit_learn_where_there_are_no_ties() -> None:
    rng = np.random.default_rng(0)
    num_memes = 400
    probabilities = rng.dirichlet(np.ones(3), size=(5, num_memes))
    classes = probabilities.argmax(axis=2)
    voter = VotingClassifier([("unused", None)], voting="hard")
    voter.estimators_ = [_Fixed(row) for row in classes]
    voter.le_ = LabelEncoder().fit([0, 1, 2])
    expected = voter.predict(np.zeros((num_memes, 1)))
    votes = (classes[:, :, None] == np.arange(3)).sum(axis=0)
    clear = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) == 1
    assert clear.sum() > 200
    np.testing.assert_array_equal(majority_vote(classes, probabilities)[clear], expected[clear])


@pytest.mark.parametrize("num_members", [0, 64])
def test_too_few_or_many_members(num_members: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 63"):
        majority_vote(np.zeros((num_members, 1), int), np.full((num_members, 1, 2), 0.5))


def test_the_largest_ensemble_is_still_exact() -> None:
    probabilities = np.zeros((63, 1, 2))
    probabilities[:, 0, 0] = 1
    classes = np.repeat([[0], [1]], [31, 32], axis=0)
    assert majority_vote(classes, probabilities).tolist() == [1]


def test_shapes_must_fit() -> None:
    with pytest.raises(ValueError, match=r"classes has shape \(2, 3\), expected \(2, 4\)"):
        majority_vote(np.zeros((2, 3), int), np.full((2, 4, 2), 0.5))


def member(name: str, probabilities: Any, **changes: Any) -> PredictionTable:
    num = len(probabilities)
    values: dict[str, Any] = {
        "label_task": SENTIMENT,
        "meme_ids": [f"m{row}" for row in range(num)],
        "splits": ["select"] * num,
        "groups": range(num),
        "labels": [0] * num,
        "probabilities": probabilities,
        "manifest_fingerprint": "f",
    }
    return PredictionTable(name, **values | changes)


def test_blend_by_hand() -> None:
    first = member("a", [[0.9, 0.05, 0.05], [0.2, 0.3, 0.5]])
    second = member("b", [[0.4, 0.6, 0.0], [0.2, 0.3, 0.5]])
    third = member("c", [[0.4, 0.6, 0.0], [0.5, 0.3, 0.2]])
    blended = blend([first, second, third], "ours")
    assert blended.candidate == "ours"
    assert blended.predicted.tolist() == [1, 2]
    # The mean of the first meme is (.5667, .4167, .0167), but two of three vote for class 1: exchanged.
    np.testing.assert_allclose(blended.probabilities[0], [1.25 / 3, 1.7 / 3, 0.05 / 3])
    np.testing.assert_allclose(blended.probabilities[1], [0.3, 0.3, 0.4])
    np.testing.assert_allclose(first.probabilities[0], [0.9, 0.05, 0.05])


@given(grids())
@settings(max_examples=60, deadline=None)
def test_the_decision_carries_the_highest_probability(case: tuple[Any, NDArray[np.float64]]) -> None:
    _, probabilities = case
    if probabilities.shape[2] != 3:
        return
    tables = [member(f"c{index}", rows) for index, rows in enumerate(probabilities)]
    blended = blend(tables)
    rows = np.arange(len(blended))
    np.testing.assert_array_equal(blended.probabilities[rows, blended.predicted], blended.probabilities.max(axis=1))
    np.testing.assert_allclose(blended.probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(np.sort(blended.probabilities, axis=1), np.sort(probabilities.mean(axis=0), axis=1))
    again = blend(tables[::-1])
    np.testing.assert_array_equal(again.probabilities, blended.probabilities)


def test_rows_in_another_order_are_aligned() -> None:
    rng = np.random.default_rng(0)
    first, second = (member(name, rng.dirichlet(np.ones(3), 6)) for name in "ab")
    expected = blend([first, second])
    found = blend([first, second.take(np.array([3, 1, 5, 0, 2, 4]))])
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    np.testing.assert_array_equal(found.meme_ids, first.meme_ids)


def test_all_differences_are_listed() -> None:
    even = [[1 / 3] * 3] * 3
    with pytest.raises(PredictionError) as caught:
        blend(
            [
                member("a", even),
                member("a", even),
                member("b", even, manifest_fingerprint="other"),
                member("c", even, meme_ids=["m0", "m1", "x"]),
                member("d", even, labels=[0, 1, 0], groups=[0, 0, 0], splits=["test"] * 3),
                member("e", [[0.25] * 4] * 3, label_task=HUMOROUS),
            ]
        )
    text = str(caught.value)
    for words in (
        "'a': is given more than once",
        "'b': manifest fingerprint 'other', expected 'f'",
        "meme 'm2': 'a' predicts it, 'c' does not",
        "meme 'x': 'c' predicts it, 'a' does not",
        "'d': labels differ for 1 of 3",
        "'d': groups differ for 2 of 3",
        "'d': splits differ for 3 of 3",
        "'e': label task",
    ):
        assert words in text
    with pytest.raises(PredictionError, match="no prediction tables"):
        blend([])
