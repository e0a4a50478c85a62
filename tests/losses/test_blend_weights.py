"""Blend weights against hand-computed values, a grid search on a quadratic, noise, and laws that must hold."""

import doctest
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from memeblend.losses import LossChange, balancing, estimated_weights, ogr, uniform_weights

unhurried = settings(deadline=None, max_examples=60)
loss = st.floats(0.001, 50)
changes = st.dictionaries(st.sampled_from("abcdef"), st.builds(LossChange, loss, loss, loss, loss), min_size=1)


def change(generalization, overfitting):
    """A branch's losses with these G and O, from 1 on both parts."""
    after = 1 - generalization
    return LossChange(1.0, after - overfitting, 1.0, after)


def test_g_and_o_by_hand():
    found = LossChange(train_before=1.0, train_after=0.4, held_out_before=1.1, held_out_after=0.8)
    assert found.generalization == pytest.approx(0.3)
    assert found.overfitting == pytest.approx(0.3)  # the gap grew from .1 to .4
    assert found.ogr == pytest.approx(1.0)
    assert LossChange(1.0, 0.5, 1.0, 1.0).ogr is None


def test_weights_by_hand():
    # G / O^2: .2 / .01 = 20, .3 / .09 = 3.33, .1 / .04 = 2.5
    found = estimated_weights({"text": change(0.2, 0.1), "image": change(0.3, 0.3), "fused": change(0.1, 0.2)})
    total = 20 + 10 / 3 + 2.5
    assert found == pytest.approx({"text": 20 / total, "image": 10 / 3 / total, "fused": 2.5 / total})


def test_one_branch_has_all_the_weight():
    assert estimated_weights({"fused": change(0.2, 0.5)}) == {"fused": 1.0}
    assert estimated_weights({"fused": change(-0.2, 0.5)}) == {"fused": 1.0}


@pytest.mark.parametrize("generalization", [0.0, -0.3])
def test_a_branch_that_learns_nothing_that_generalises_gets_no_weight(generalization):
    found = estimated_weights({"text": change(0.2, 0.1), "image": change(generalization, 0.001)})
    assert found == {"text": 1.0, "image": 0.0}


def test_where_no_branch_generalises_the_weights_stay_or_are_equal():
    none = {"text": change(-0.1, 0.1), "image": change(0.0, 0.3)}
    assert estimated_weights(none) == {"text": 0.5, "image": 0.5}
    assert estimated_weights(none, otherwise={"text": 3.0, "image": 1.0}) == {"text": 0.75, "image": 0.25}


@pytest.mark.parametrize("overfitting", [0.0, 1e-300, 0.019, -0.4])
def test_overfitting_near_zero_or_below_counts_as_the_least(overfitting):
    branches = {"text": change(0.2, overfitting), "image": change(0.2, 0.04)}
    assert estimated_weights(branches) == pytest.approx({"text": 0.8, "image": 0.2})  # .04 is twice .02


def test_the_branch_that_predicts_keeps_a_least_weight():
    branches = {"text": change(0.3, 0.1), "image": change(0.1, 0.1), "fused": change(-0.1, 0.1)}
    found = estimated_weights(branches, predicting="fused", least_predicting=0.2)
    assert found == pytest.approx({"text": 0.6, "image": 0.2, "fused": 0.2})
    assert estimated_weights(branches, predicting="text", least_predicting=0.2)["fused"] == 0


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -0.1])
def test_losses_that_can_not_be_are_refused(wrong):
    with pytest.raises(ValueError, match="train_after is"):
        LossChange(1.0, wrong, 1.0, 1.0)


@pytest.mark.parametrize(
    ("branches", "settings"),
    [
        ({}, {}),
        ({"a": change(0.1, 0.1)}, {"least_overfitting": 0.0}),
        ({"a": change(0.1, 0.1)}, {"least_predicting": 1.0}),
        ({"a": change(0.1, 0.1)}, {"predicting": "b"}),
    ],
)
def test_wrong_arguments_are_refused(branches, settings):
    with pytest.raises(ValueError, match="expected"):
        estimated_weights(branches, **settings)


@unhurried
@given(changes, st.floats(1e-6, 1e6))
def test_weights_are_shares_that_do_not_depend_on_the_losses_unit_or_the_order(branches, unit):
    found = estimated_weights(branches)
    assert math.fsum(found.values()) == pytest.approx(1)
    assert all(0 <= value <= 1 for value in found.values())
    scaled = {
        name: LossChange(
            *(unit * value for value in (c.train_before, c.train_after, c.held_out_before, c.held_out_after))
        )
        for name, c in branches.items()
    }
    # What cancels in G and O is rounded otherwise after scaling, which near 0 is all that is left of them.
    if all(abs(c.generalization) > 1e-6 and abs(c.overfitting) > 1e-6 for c in branches.values()):
        assert estimated_weights(scaled) == pytest.approx(found, rel=1e-5, abs=1e-9)
    assert estimated_weights(dict(reversed(branches.items()))) == pytest.approx(found)


@unhurried
@given(changes, st.floats(0, 0.9))
def test_the_least_weight_is_kept_and_the_others_stay_in_proportion(branches, least):
    name = min(branches)
    free, bound = estimated_weights(branches), estimated_weights(branches, predicting=name, least_predicting=least)
    assert bound[name] >= min(least, 1) - 1e-12
    assert math.fsum(bound.values()) == pytest.approx(1)
    for one, other in itertools.combinations(set(branches) - {name}, 2):
        assert bound[one] * free[other] == pytest.approx(bound[other] * free[one])


def test_the_closed_form_is_the_best_of_a_grid_on_a_quadratic():
    """Three branches move three blocks of a parameter downhill on a train loss whose bottom is displaced at random.

    The true loss is |theta|^2 / 2; the train loss adds <noise, theta> with noise along each branch's direction, of
    known size and random sign, so the branches' overfitting is uncorrelated. The blended step whose expected squared
    overfitting-to-generalisation ratio is least must be that of the closed form.
    """
    step, sizes = 1e-4, torch.tensor([0.3, 0.9, 0.5])
    theta = torch.tensor([1.0, 2.0, 1.5], dtype=torch.float64)
    directions = torch.diag(theta)  # each branch's gradient, in its own block

    def true(at):
        return float(at @ at) / 2

    def measured(moved, signs):
        """G and O of a step to `moved`, from losses at both ends."""
        noise = signs * sizes.double() / theta  # <noise, v_i> = sign_i size_i
        generalization = true(theta) - true(moved)
        gap_before, gap_after = (-float(noise @ at) for at in (theta, moved))
        return generalization, gap_after - gap_before

    all_signs = [torch.tensor(signs, dtype=torch.float64) for signs in itertools.product((-1, 1), repeat=3)]
    alone = {}
    for index, name in enumerate(("a", "b", "c")):
        generalization, overfitting = measured(theta - step * directions[index], torch.ones(3, dtype=torch.float64))
        alone[name] = LossChange(10.0, 10.0 - generalization - overfitting, 10.0, 10.0 - generalization)
    closed = list(estimated_weights(alone, least_overfitting=1e-9).values())

    def expected_ratio(weights):
        moved = theta - step * torch.tensor(weights, dtype=torch.float64) @ directions
        pairs = [measured(moved, signs) for signs in all_signs]
        return sum((o / g) ** 2 for g, o in pairs) / len(pairs)

    shares = range(0, 101, 2)
    grid = [(a / 100, b / 100, 1 - (a + b) / 100) for a in shares for b in shares if a + b <= 100]
    best = min(grid, key=expected_ratio)
    assert best == pytest.approx(closed, abs=0.02)
    assert expected_ratio(closed) <= expected_ratio(best) * (1 + 1e-6)


def test_a_branch_that_only_memorises_noise_gets_a_weight_near_zero():
    torch.manual_seed(0)
    labels = torch.randint(2, (160,))
    told = torch.randn(160, 4) + 2 * labels[:, None]
    inputs = {"told": told, "noise": torch.randn(160, 200)}
    fit, held_out = slice(0, 80), slice(80, 160)
    found = {}
    for name, values in inputs.items():
        layer = torch.nn.Linear(values.shape[1], 2)
        torch.nn.init.zeros_(layer.weight)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)

        def measured(layer=layer, values=values):
            with torch.no_grad():
                return [float(F.cross_entropy(layer(values[part]), labels[part])) for part in (fit, held_out)]

        before = measured()
        for _ in range(40):
            optimizer.zero_grad()
            F.cross_entropy(layer(values[fit]), labels[fit]).backward()
            optimizer.step()
        after = measured()
        found[name] = LossChange(before[0], after[0], before[1], after[1])
    assert found["noise"].train_after < 0.1
    assert estimated_weights(found)["noise"] < 0.01


def test_uniform_weights():
    assert uniform_weights(["a", "b", "c", "d"]) == dict.fromkeys("abcd", 0.25)


@pytest.mark.parametrize("module", [ogr, balancing])
def test_examples_in_docstrings(module):
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0
