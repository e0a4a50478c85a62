"""Shares with intervals."""

import numpy as np
import pytest

from memeblend.policy.shares import effective_number, share_of, wilson


def test_wilson_by_hand():
    # Wikipedia's formula for 8 of 10
    assert wilson(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0.0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1), abs=1e-4)


def test_duplicates_count_once():
    assert effective_number(np.arange(10)) == 10
    assert effective_number(np.repeat(np.arange(5), 2)) == 5
    assert effective_number(np.zeros(10)) == 1
    assert effective_number(np.array([], dtype=int)) == 0


def test_share_of():
    found = share_of(np.array([True, False, True, True]), np.arange(4))
    assert (found["num"], found["num_memes"], found["share"]) == (3, 4, 0.75)
    assert found["interval"] == list(wilson(0.75, 4))
    assert share_of(np.zeros(0, dtype=bool), np.zeros(0)) == {
        "num": 0, "num_memes": 0, "share": None, "interval": None,
    }  # fmt: skip
