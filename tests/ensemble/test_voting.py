"""Votes against a plain-Python count and scikit-learn."""

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

from memeblend.ensemble import blend, decide
from memeblend.ensemble.voting import VOTINGS, points
from memeblend.errors import PredictionError
from memeblend.evaluation import PredictionTable
from memeblend.labels import HUMOROUS, SENTIMENT


def plain_points(voting: str, said: int, probabilities: list[Any]) -> list[int]:
    """What one member gives to each class of one meme."""
    if voting == "majority":
        return [int(k == said) for k in range(len(probabilities))]
    if voting == "rank":
        return [sum(other < own for other in probabilities) for own in probabilities]
    return [0] * len(probabilities)


def plain_vote(
    classes: NDArray[np.int64], probabilities: NDArray[np.float64], voting: str = "majority", weights: Any = None
) -> list[int]:
    """The rule of the module's docstring, in exact arithmetic, meme by meme."""
    num_members, num_memes, num_classes = probabilities.shape
    weights = weights or [1] * num_members
    chosen = []
    for meme in range(num_memes):
        given, sums = [0] * num_classes, [Fraction(0)] * num_classes
        for member, weight in enumerate(weights):
            row = [Fraction(value) for value in probabilities[member, meme]]
            for k, point in enumerate(plain_points(voting, int(classes[member, meme]), row)):
                given[k] += weight * point
                sums[k] += weight * row[k]
        chosen.append(max(range(num_classes), key=lambda k: (given[k], sums[k], -k)))
    return chosen


@st.composite
def grids(draw: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Members whose probabilities are eighths, so that ties of every kind are common and exact."""
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 10))
    num_classes = draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    probabilities = rng.multinomial(8, np.full(num_classes, 1 / num_classes), size=shape) / 8
    return rng.integers(0, num_classes, shape), probabilities


@given(grids(), st.sampled_from(VOTINGS), st.lists(st.integers(1, 4), min_size=6, max_size=6))
@settings(max_examples=200, deadline=None)
def test_equals_a_plain_count(case: tuple[NDArray[np.int64], NDArray[np.float64]], voting: Any, weights: Any) -> None:
    classes, probabilities = case
    weights = weights[: len(classes)]
    found = decide(classes, probabilities, voting, weights)
    assert found.tolist() == plain_vote(classes, probabilities, voting, weights)
    np.testing.assert_array_equal(decide(classes[::-1], probabilities[::-1], voting, weights[::-1]), found)
    assert decide(classes, probabilities, voting).tolist() == plain_vote(classes, probabilities, voting)


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
    assert decide(classes, probabilities).tolist() == [1, 2, 0]


def test_equal_sums_in_another_order_are_a_tie() -> None:
    # In floats .1 + .2 + .3 != .3 + .2 + .1; the lower class must win all the same.
    values = np.array([[0.1, 0.3], [0.2, 0.2], [0.3, 0.1]])
    probabilities = np.stack([values, values[::-1]], axis=1)
    classes = np.array([[0, 0], [1, 1], [0, 1]])
    assert decide(classes[:2], probabilities[:2]).tolist() == [1, 0]
    assert decide(np.array([[0], [1]]), np.array([[[0.1 + 0.2, 0.3]], [[0.3, 0.3]]])).tolist() == [0]


def test_rank_by_hand() -> None:
    # The first is very sure of class 0, the others mildly of class 1, and a rank knows no sureness.
    # Class 0: 2 + 1 + 0 = 3 points, class 1: 0 + 2 + 2 = 4, class 2: 0 + 0 + 1 = 1.
    probabilities = np.array([[[0.98, 0.01, 0.01]], [[0.33, 0.35, 0.32]], [[0.31, 0.36, 0.33]]])
    classes = probabilities.argmax(axis=2)
    # In the first row classes 1 and 2 are equal: neither is below the other, so both get no point.
    assert points("rank", classes, probabilities).tolist() == [[[2, 0, 0]], [[1, 2, 0]], [[0, 2, 1]]]
    assert decide(classes, probabilities, "rank").tolist() == [1]
    assert decide(classes, probabilities, "soft").tolist() == [0]


class _Fixed:
    """A fitted classifier whose predictions are known."""

    def __init__(self, probabilities: NDArray[np.float64]) -> None:
        self.probabilities = probabilities

    def predict(self, _: Any) -> NDArray[np.int64]:
        return self.probabilities.argmax(axis=1)

    def predict_proba(self, _: Any) -> NDArray[np.float64]:
        return self.probabilities


@pytest.mark.parametrize("weights", [None, [1.0, 1.0, 2.0, 2.0, 4.0], [0.25, 0.5, 0.125, 1.5, 0.75]])
@pytest.mark.parametrize("voting", ["majority", "soft"])
def test_equals_scikit_learn_where_there_are_no_ties(voting: Any, weights: Any) -> None:
    rng = np.random.default_rng(0)
    num_memes = 400
    probabilities = rng.dirichlet(np.ones(3), size=(5, num_memes))
    classes = probabilities.argmax(axis=2)
    voter = VotingClassifier(
        [(str(index), None) for index in range(5)], voting="hard" if voting == "majority" else "soft", weights=weights
    )
    voter.estimators_ = [_Fixed(rows) for rows in probabilities]
    voter.le_ = LabelEncoder().fit([0, 1, 2])
    memes = np.zeros((num_memes, 1))
    expected = voter.predict(memes)
    per_member = np.array(weights or [1.0] * 5)[:, None, None]
    votes = ((classes[:, :, None] == np.arange(3)) * per_member).sum(axis=0)
    clear = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) == 1
    if voting == "soft":
        clear[:] = True
    assert clear.sum() > 200
    np.testing.assert_array_equal(decide(classes, probabilities, voting, weights)[clear], expected[clear])
    blended = blend([member(f"c{row}", rows) for row, rows in enumerate(probabilities)], voting=voting, weights=weights)
    np.testing.assert_array_equal(blended.predicted[clear], expected[clear])
    if voting == "soft":
        np.testing.assert_allclose(blended.probabilities, voter.predict_proba(memes), atol=1e-12)


def test_no_members() -> None:
    with pytest.raises(ValueError, match="expected at least one"):
        decide(np.zeros((0, 1), int), np.full((0, 1, 2), 0.5))


def test_unknown_voting() -> None:
    with pytest.raises(ValueError, match="expected one of majority, soft, weighted, rank"):
        decide(np.zeros((1, 1), int), np.full((1, 1, 2), 0.5), "plurality")  # type: ignore[arg-type]


def test_a_vote_outweighs_all_probabilities_in_large_ensembles() -> None:
    probabilities = np.zeros((301, 1, 2))
    probabilities[:, 0, 0] = 1
    classes = np.repeat([[0], [1]], [150, 151], axis=0)
    assert decide(classes, probabilities).tolist() == [1]
    assert decide(classes, probabilities, weights=[2.0] * 150 + [1.0] * 151).tolist() == [0]


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0], "1 weights for 2 members"),
        ([1.0, float("nan")], "weight 2: is nan, expected a number of at least 0.001"),
        ([-1.0, 0.0], "weight 1: is -1"),
        ([60_000.0, 60_000.0], "Divide all of them"),
    ],
)
def test_weights_that_can_t_be_used(weights: Any, words: str) -> None:
    with pytest.raises(PredictionError, match=words):
        decide(np.zeros((2, 1), int), np.full((2, 1, 2), 0.5), "soft", weights)


def test_shapes_must_fit() -> None:
    with pytest.raises(ValueError, match=r"classes has shape \(2, 3\), expected \(2, 4\)"):
        decide(np.zeros((2, 3), int), np.full((2, 4, 2), 0.5))


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


def test_weights_follow_the_tables_they_are_given_with() -> None:
    one, other = member("z", [[0.6, 0.3, 0.1]]), member("a", [[0.1, 0.3, 0.6]])
    blended = blend([one, other], voting="weighted", weights=[3.0, 1.0])
    np.testing.assert_allclose(blended.probabilities, [[1.9 / 4, 0.3, 0.9 / 4]])
    assert blended.predicted.tolist() == [0]
    assert blend([one, other], weights=[1.0, 3.0]).predicted.tolist() == [2]
    np.testing.assert_array_equal(blend([one, other], weights=()).probabilities, blend([one, other]).probabilities)
    with pytest.raises(PredictionError, match="'weighted' needs the members' weights"):
        blend([one, other], voting="weighted")


def test_one_member_is_itself_whatever_the_rule() -> None:
    rng = np.random.default_rng(0)
    only = member("a", rng.dirichlet(np.ones(3), 50))
    for voting in VOTINGS:
        blended = blend([only], voting=voting, weights=[0.3])
        np.testing.assert_array_equal(blended.predicted, only.predicted)
        np.testing.assert_allclose(blended.probabilities, only.probabilities, atol=1e-15)


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
