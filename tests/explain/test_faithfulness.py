"""Deletion and insertion curves by hand, on a model whose decision is known."""

import numpy as np
import pytest

from memeblend.explain.attribution import Attribution
from memeblend.explain.faithfulness import areas, mean_interval
from memeblend.explain.inputs import Meme

MEME = Meme(
    " ".join("abcdefghij"), None, tuple((2 * place, 2 * place + 1) for place in range(10)), 2, np.zeros(3, np.uint8)
)


def only_a(variants):
    """Sure as long as the word "a" is there."""
    return np.array([float("a" in one.text) for one in variants])


def attribution(words):
    return Attribution("m", "linear", tuple(words), None)


def test_areas_of_the_best_and_of_the_worst_order():
    best, worst = attribution([1.0] + [0.0] * 9), attribution([-1.0] + [0.0] * 9)
    found = areas(only_a, MEME, [best, worst], np.random.default_rng(0))
    # eleven points: deletion keeps "a" at the first alone, insertion has it from the second on
    assert (found[0].deletion, found[0].insertion) == pytest.approx((0.05, 0.95))
    assert (found[1].deletion, found[1].insertion) == pytest.approx((0.95, 0.05))
    assert found[0].random_deletion == found[1].random_deletion
    assert found[0].deletion_gain > 0 > found[1].deletion_gain
    assert found[0].insertion_gain > 0 > found[1].insertion_gain


def test_patches_are_ranked_with_words():
    pixels = np.full((4, 4, 3), 200, dtype=np.uint8)
    meme = Meme("a", pixels, ((0, 1),), 2, np.zeros(3, dtype=np.uint8))
    one = Attribution("m", "occlusion", (0.0,), ((0.0, 0.0), (0.0, 1.0)))

    def corner(variants):
        return np.array([float(one.pixels[3, 3, 0] > 0) for one in variants])

    (found,) = areas(corner, meme, [one], np.random.default_rng(0))
    assert found.deletion < 0.2
    assert found.insertion > 0.8


def test_attributions_of_different_parts_are_refused():
    with pytest.raises(ValueError, match="2 different sets"):
        areas(
            only_a,
            MEME,
            [attribution([0.0] * 10), Attribution("m", "rollout", None, ((1.0,),))],
            np.random.default_rng(0),
        )


def test_the_interval_draws_groups_whole():
    values = np.array([0.0, 1.0])
    assert mean_interval(values, np.array([7, 7])) == (0.5, 0.5)
    assert mean_interval(values, np.array([7, 8])) == (0.0, 1.0)
    many = np.random.default_rng(1).normal(1, 1, 400)
    low, high = mean_interval(many, np.arange(400))
    half = 1.96 * many.std() / 20
    assert (low, high) == pytest.approx((many.mean() - half, many.mean() + half), abs=0.02)
