"""Gaps between groups of names, planted and not."""

import numpy as np
import pytest

from memeblend.redteam.asking import NAME_VARIANTS
from memeblend.redteam.fairness import compare
from memeblend.redteam.names import GROUPS, NUM_NAMES

OF_MUSLIMS = np.array([variant.group == "muslim" for variant in NAME_VARIANTS])
FEMALE = np.array([variant.gender == "female" for variant in NAME_VARIANTS])


def memes(number=80, seed=0):
    rng = np.random.default_rng(seed)
    base = np.repeat(rng.random((number, 1)) * 0.5, len(NAME_VARIANTS), axis=1)
    return base, rng.integers(0, NUM_NAMES, number), np.arange(number)


def test_a_planted_difference_is_found_to_the_number():
    scores, places, groups = memes()
    found = compare(scores + 0.12 * OF_MUSLIMS, places, groups)
    changes = {one.group: one.change for one in found["community"].groups}
    assert changes["muslim"] == pytest.approx(0.1)
    assert changes["hindu"] == pytest.approx(-0.02)
    gap = found["community"].gap
    assert gap.value == pytest.approx(0.12)
    assert gap.interval == pytest.approx((0.12, 0.12))
    assert gap.highest == "muslim"
    assert gap.told_from_chance
    assert found["gender"].gap.value == pytest.approx(0, abs=1e-12)


def test_genders_are_compared_too():
    scores, places, groups = memes()
    gap = compare(scores + 0.04 * FEMALE, places, groups)["gender"].gap
    assert (gap.highest, gap.lowest) == ("female", "male")
    assert gap.value == pytest.approx(0.04)


def test_names_that_do_not_matter_make_no_gap():
    scores, places, groups = memes()
    gap = compare(scores, places, groups)["community"].gap
    assert gap.value == pytest.approx(0, abs=1e-12)
    assert not gap.told_from_chance


def test_single_names_that_matter_are_not_taken_for_their_group():
    told = above = 0
    for seed in range(40):
        scores, places, groups = memes(60, seed)
        of_name = np.random.default_rng([seed, 7]).normal(0, 0.1, (NUM_NAMES, len(NAME_VARIANTS)))
        gap = compare(scores + of_name[places], places, groups, seed=seed)["community"].gap
        told += gap.told_from_chance
        above += gap.interval[0] > 0
    assert told <= 7  # 2 of 40 are expected
    assert above <= 7  # and so few intervals shut out that there is no gap


@pytest.mark.parametrize("number", [1, 2, 5])
def test_few_memes_have_wide_intervals_but_no_crash(number):
    scores, places, groups = memes(number)
    noisy = scores + np.random.default_rng(1).normal(0, 0.1, scores.shape)
    found = compare(noisy, places, groups)
    assert all(np.isfinite(one.interval).all() for one in found["community"].groups)
    assert len(found["community"].groups) == len(GROUPS)
