"""Recall against values worked out by hand and against drawing the lots."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memeblend.evaluation.retrieval import recall_at, retrieval_scores


def test_recall_by_hand():
    similarity = np.array([[0.9, 0.5, 0.1], [0.2, 0.3, 0.9], [0.5, 0.4, 0.6]])
    relevant = np.eye(3, dtype=bool)  # ranks 1, 2, 1
    assert recall_at(similarity, relevant, 1) == pytest.approx(2 / 3)
    assert recall_at(similarity, relevant, 2) == 1


def test_ties_are_broken_by_lot():
    similarity = np.array([[0.9, 0.5, 0.5, 0.5, 0.1]])
    relevant = np.array([[False, True, False, False, False]])
    assert recall_at(similarity, relevant, 1) == 0
    assert recall_at(similarity, relevant, 2) == pytest.approx(1 / 3)
    assert recall_at(similarity, relevant, 3) == pytest.approx(2 / 3)
    assert recall_at(similarity, relevant, 4) == 1


def test_any_of_several_right_items_answers():
    similarity = np.array([[0.9, 0.5, 0.5, 0.1]])
    relevant = np.array([[False, True, True, True]])
    assert recall_at(similarity, relevant, 1) == 0
    assert recall_at(similarity, relevant, 2) == 1


def test_who_finds_all_alike_gets_what_chance_gives():
    scores = retrieval_scores(np.zeros((20, 1)), np.zeros((10, 1)), np.stack([np.arange(20), np.arange(20) // 2], 1))
    assert scores["image_recall@1"] == pytest.approx(0.1)
    assert scores["image_recall@5"] == pytest.approx(0.5)
    assert scores["text_recall@1"] == pytest.approx(0.1)  # two of twenty are right
    assert scores["text_recall@5"] == pytest.approx(1 - (15 * 14) / (20 * 19))
    assert scores["image_recall@10"] == 1


def test_a_text_of_two_images_is_right_with_either():
    texts, images = np.eye(2), np.array([[0.0, 1.0], [1.0, 0.0], [0.6, 0.8]])
    found = retrieval_scores(texts, images, np.array([[0, 0], [0, 1], [1, 2]]), at=[1])
    # Text 0 asks: image 1 is nearest and right. Text 1: image 0 is nearest and wrong. Images 0: text 1, wrong.
    assert found["image_recall@1"] == 0.5
    assert found["text_recall@1"] == pytest.approx(2 / 3)


@settings(deadline=None, max_examples=60)
@given(
    scores=st.lists(st.integers(0, 2), min_size=1, max_size=5),
    marks=st.lists(st.booleans(), min_size=5, max_size=5),
    k=st.integers(1, 6),
)
def test_the_chance_is_that_of_all_orders(scores, marks, k):
    relevant = np.array([marks[: len(scores)]])
    if not relevant.any():
        relevant[0, 0] = True
    orders = list(itertools.permutations(range(len(scores))))
    hits = 0
    for order in orders:
        ranked = sorted(order, key=lambda item: -scores[item])  # stable: the order breaks the ties
        hits += bool(relevant[0, ranked[:k]].any())
    assert recall_at(np.array([scores], float), relevant, k) == pytest.approx(hits / len(orders))


@pytest.mark.parametrize(
    ("similarity", "relevant", "k", "message"),
    [
        (np.zeros((2, 3)), np.ones((2, 2), bool), 1, "one shape"),
        (np.zeros((0, 3)), np.ones((0, 3), bool), 1, "one shape"),
        (np.zeros((1, 2)), np.zeros((1, 2), bool), 1, "no right item"),
        (np.full((1, 2), np.nan), np.ones((1, 2), bool), 1, "finite"),
        (np.zeros((1, 2)), np.ones((1, 2), bool), 0, "at least 1"),
    ],
)
def test_what_can_not_be_scored(similarity, relevant, k, message):
    with pytest.raises(ValueError, match=message):
        recall_at(similarity, relevant, k)
