"""Sets of classes: by hand, and covering what they state on exchangeable memes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memeblend.policy.conformal import cross_fitted, least_number, least_probability, members


def simulated(rng, num_groups, size):
    """Groups of `size` equal memes with miscalibrated probabilities of 4 classes."""
    true = rng.dirichlet(np.ones(4), num_groups)
    labels = np.array([rng.choice(4, p=row) for row in true])
    said = true**2 / (true**2).sum(axis=1, keepdims=True)
    groups = np.arange(num_groups)
    return tuple(np.repeat(values, size, axis=0) for values in (said, labels, groups))


def test_the_bound_by_hand():
    of_true = np.array([0.9, 0.1, 0.5, 0.7, 0.3, 0.8, 0.6, 0.4, 0.2])
    # ceil(10 * 0.8) = 8: the eighth largest
    assert least_probability(of_true, np.arange(9), 0.8) == 0.2
    assert least_probability(of_true, np.arange(9), 0.9) == 0.1
    assert least_probability(of_true, np.arange(9), 0.91) is None
    assert [least_number(coverage) for coverage in (0.5, 0.8, 0.9, 0.95, 0.99)] == [1, 4, 9, 19, 99]


@given(st.integers(1, 60), st.floats(0.05, 0.97))
def test_a_bound_there_is_iff_there_are_memes_enough(num, coverage):
    found = least_probability(np.linspace(0, 1, num), np.arange(num), coverage)
    assert (found is None) == (num < least_number(coverage))


def test_a_group_weighs_as_one():
    of_true, groups = np.array([0.9, 0.8, 0.7, 0.1, 0.1, 0.1]), np.array([0, 1, 2, 3, 3, 3])
    # four groups and the new one: 1/5 each; three of them cover 0.6
    assert least_probability(of_true, groups, 0.6) == 0.7
    assert least_probability(of_true, np.arange(6), 0.6) == 0.1


def test_sets_by_hand_are_never_empty():
    found = members(np.array([[0.6, 0.3, 0.1], [0.34, 0.33, 0.33], [0.4, 0.4, 0.2]]), 0.4)
    assert found.tolist() == [[True, False, False], [True, False, False], [True, True, False]]


@pytest.mark.parametrize("coverage", [0.7, 0.9])
@pytest.mark.parametrize("size", [1, 3])
def test_new_memes_are_covered_as_stated(coverage, size):
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        said, labels, groups = simulated(rng, 40, size)
        least = least_probability(said[np.arange(len(labels)), labels], groups, coverage)
        new, true, _ = simulated(rng, 20, 1)
        covered.append(members(new, least)[np.arange(20), true].mean())
    # 6000 memes: three standard errors are below 0.02; sets that are never empty may cover more
    assert coverage - 0.02 <= np.mean(covered) <= coverage + 0.05


def test_cross_fitted_coverage_is_that_of_new_memes():
    rng = np.random.default_rng(1)
    said, labels, groups = simulated(rng, 1000, 2)
    found = cross_fitted(said, labels, groups, 0.9)
    assert found[np.arange(2000), labels].mean() == pytest.approx(0.9, abs=0.03)
    assert (found[::2] == found[1::2]).all()  # duplicates share a fold


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_few_memes_are_covered_whatever_happens(num, seed):
    said, labels, groups = simulated(np.random.default_rng(seed), num, 1)
    assert cross_fitted(said, labels, groups, 0.95).all()
