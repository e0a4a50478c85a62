"""Limits follow from costs in closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from memeblend.policy.costs import Costs

cost = st.floats(0.01, 100)


def test_limits_by_hand():
    assert Costs(false_alarm=1, miss=5, review=0.3).band() == pytest.approx((0.06, 0.7))
    assert Costs(false_alarm=2, miss=1, review=0.5).band() == pytest.approx((0.5, 0.75))


def test_a_dear_reviewer_is_never_asked():
    assert Costs(false_alarm=1, miss=4, review=0.8).band() == pytest.approx((0.2, 0.2))
    assert Costs(false_alarm=1, miss=1, review=0.5).band() == (0.5, 0.5)


def test_a_free_reviewer_sees_everything():
    assert Costs(review=0).band() == (0, 1)


@given(cost, cost, st.floats(0, 100))
def test_the_closed_form_is_what_a_grid_of_probabilities_finds(false_alarm, miss, review):
    low, high = Costs(false_alarm=false_alarm, miss=miss, review=review).band()
    assert 0 <= low <= high <= 1
    for p in np.linspace(0.0005, 0.9995, 500):
        expected = {"pass": p * miss, "review": review, "auto": (1 - p) * false_alarm}
        verdict = "auto" if p >= high else "review" if p >= low else "pass"
        assert expected[verdict] <= min(expected.values()) + 1e-9


@given(cost, cost, st.floats(0, 10), st.floats(0.1, 10))
def test_only_ratios_matter(false_alarm, miss, review, unit):
    scaled = Costs(false_alarm=false_alarm * unit, miss=miss * unit, review=review * unit)
    plain = Costs(false_alarm=false_alarm, miss=miss, review=review).band()
    # A band that is but just there may close by rounding; it is no wider than that then.
    assert scaled.band() == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "1", True, None, [1]])
def test_costs_are_numbers_above_0(wrong):
    with pytest.raises(ValidationError):
        Costs(miss=wrong)
