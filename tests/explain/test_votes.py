"""Votes: pivotal members by brute force, under every way to vote."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memeblend.decisions import DecisionRule
from memeblend.ensemble.selection import EnsembleChoice
from memeblend.ensemble.voting import VOTINGS
from memeblend.evaluation.tables import PredictionTable
from memeblend.explain.votes import decide_alone, votes
from memeblend.labels import LabelTask

TASK = LabelTask("level", "ordinal", ("none", "few", "all"))


def table(name, *probabilities):
    num = len(probabilities)
    return PredictionTable(
        name,
        TASK,
        np.array([str(row) for row in range(num)]),
        np.full(num, "prepared"),
        np.arange(num),
        np.full(num, -1),
        np.array(probabilities, dtype=float),
        "",
    )


def choice(members, voting="majority", weights=()):
    return EnsembleChoice(TASK.name, tuple(members), "weighted_f1", 1.0, ("v",), 1, 1, voting, tuple(weights))


def by_hand(said, voting, weights):
    """The class decided for, counted in plain Python: points, then summed probability, then the lowest index."""
    points, sums = [0.0] * 3, [0.0] * 3
    for probabilities, weight in zip(said, weights, strict=True):
        for index, probability in enumerate(probabilities):
            sums[index] += weight * probability
            if voting == "majority":
                points[index] += weight * (index == list(probabilities).index(max(probabilities)))
            elif voting == "rank":
                points[index] += weight * sum(other < probability for other in probabilities)
    return max(range(3), key=lambda index: (points[index], sums[index], -index))


# Eighths, so that sums are exact and ties are frequent.
eighths = st.tuples(st.integers(0, 8), st.integers(0, 8)).filter(lambda pair: sum(pair) <= 8).map(
    lambda pair: (pair[0] / 8, pair[1] / 8, 1 - sum(pair) / 8)
)  # fmt: skip


@given(st.lists(eighths, min_size=1, max_size=4), st.sampled_from(VOTINGS), st.data())
def test_every_part_of_a_vote_is_what_counting_anew_gives(said, voting, data):
    names = [f"m-{number}" for number in range(len(said))]
    weights = [data.draw(st.sampled_from([1, 2, 3])) for _ in said] if voting == "weighted" else []
    counted = weights or [1] * len(said)
    found = votes(
        [table(*pair) for pair in zip(names, said, strict=True)], choice(names, voting, weights), DecisionRule(TASK)
    )
    decided = by_hand(said, voting, counted)
    for place, vote in enumerate(found):
        assert (vote.member, vote.decided, vote.weight) == (names[place], decided, counted[place])
        others = [one for other, one in enumerate(said) if other != place]
        kept = [one for other, one in enumerate(counted) if other != place]
        assert vote.without == (by_hand(others, voting, kept) if others else None)
        assert vote.pivotal == (bool(others) and vote.without != decided)
        for sure in range(3):
            changed = list(said)
            changed[place] = tuple(float(index == sure) for index in range(3))
            assert vote.if_sure[sure] == by_hand(changed, voting, counted)
        assert vote.could_change == (set(vote.if_sure) != {decided})


def test_the_odd_voter_is_pivotal():
    tables = [table("a", (0.6, 0.4, 0)), table("b", (0.1, 0.9, 0)), table("c", (0.6, 0.4, 0))]
    found = {vote.member: vote for vote in votes(tables, choice("abc"), DecisionRule(TASK))}
    assert [found[name].decided for name in "abc"] == [0, 0, 0]
    # without a or c, one vote each: the summed probability (.7 against 1.3) goes to b's class
    assert [found[name].pivotal for name in "abc"] == [True, False, True]
    assert found["a"].without == 1


def test_a_rule_after_the_vote_counts():
    tables = [table("a", (0.6, 0.4, 0)), table("b", (0.7, 0.3, 0))]
    rule = DecisionRule(TASK, class_weights=(1.0, 5.0, 1.0))
    found = votes(tables, choice("ab"), rule)
    assert [vote.decided for vote in found] == [1, 1]
    assert [vote.class_index for vote in found] == [0, 0]


def test_variants_of_a_meme_do_not_shift_the_prior_that_a_rule_estimates():
    rule = DecisionRule(TASK, prior_fit=(0.4, 0.3, 0.3), serving_prior="estimated")
    many = np.concatenate([[(0.4, 0.3, 0.3)], np.random.default_rng(0).dirichlet((3, 1, 1), 400)])
    alone = decide_alone([table("a", many[0])], choice("a"), rule)
    together = decide_alone([table("a", *many)], choice("a"), rule)
    np.testing.assert_allclose(together[0][:1], alone[0])
    shifted = rule.apply(replace(table("a", *many)))
    assert np.abs(shifted.probabilities[0] - alone[0][0]).max() > 0.01


def test_one_member_leaves_nobody():
    (found,) = votes([table("a", (0.2, 0.8, 0))], choice("a"), DecisionRule(TASK))
    assert found.without is None
    assert not found.pivotal
    assert found.could_change
    assert found.if_sure == (0, 1, 2)
    with pytest.raises(AttributeError):
        found.weight = 2
