"""Greedy selection against a plain loop, and what bags and limits do."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offered_tables import candidates
from sklearn.metrics import accuracy_score

from memeblend.ensemble import SearchSettings, blend, search
from memeblend.evaluation import PredictionTable
from memeblend.labels import HUMOROUS


def score_of(tables: dict[str, PredictionTable], taken: list[str], voting: Any) -> float:
    times = Counter(taken)
    blended = blend([tables[name] for name in times], voting=voting, weights=[float(n) for n in times.values()])
    return round(float(accuracy_score(blended.labels, blended.predicted)), 12)


def plain_greedy(tables: dict[str, PredictionTable], voting: Any) -> Counter[str]:
    """Sorted start, then the best addition until four have brought nothing; the best ensemble on the way."""
    ranked = sorted(tables, key=lambda name: (-score_of(tables, [name], voting), name))
    starts = [ranked[:length] for length in range(1, len(ranked) + 1)]
    path = list(max(starts, key=lambda taken: score_of(tables, taken, voting)))
    best = len(path)
    while len(path) - best < 4:
        path.append(max(ranked, key=lambda name: score_of(tables, [*path, name], voting)))
        if score_of(tables, path, voting) > score_of(tables, path[:best], voting):
            best = len(path)
    return Counter(path[:best])


@pytest.mark.parametrize("voting", ["majority", "soft", "rank"])
@given(num=st.integers(1, 5), seed=st.integers(0, 10_000), steps=st.sampled_from([0, 4]))
@settings(max_examples=10, deadline=None)
def test_equals_a_plain_loop(voting: Any, num: int, seed: int, steps: int) -> None:
    tables = candidates(num, 30, seed, HUMOROUS, steps=steps)
    expected = plain_greedy({table.candidate: table for table in tables}, voting)
    found = search(tables, SearchSettings(objective="accuracy", voting=voting, method="greedy", num_bags=1))
    assert found.members == tuple(sorted(expected))
    times = np.array([expected[name] for name in found.members])
    weights = np.array(found.weights or [1] * len(times))
    np.testing.assert_array_equal(weights * times.sum(), times * weights.sum())


@pytest.mark.parametrize("voting", ["majority", "soft", "weighted", "rank"])
@pytest.mark.parametrize("objective", ["weighted_f1", "log_loss"])
def test_its_score_is_that_of_the_weighted_blend(voting: Any, objective: Any) -> None:
    tables = candidates(6, 80, 1, HUMOROUS)
    found = search(tables, SearchSettings(objective=objective, voting=voting, method="greedy"))
    members = [table for table in tables if table.candidate in found.members]
    blended = blend(members, voting=voting, weights=found.weights)
    assert found.score == pytest.approx(search([blended], SearchSettings(objective=objective)).score)
    assert found.weights


def test_bags_follow_the_seed() -> None:
    tables = candidates(8, 100, 2, HUMOROUS)

    def weights(seed: int) -> dict[str, float]:
        found = search(tables, SearchSettings(method="greedy", num_bags=5, seed=seed))
        return dict(zip(found.members, found.weights, strict=True))

    assert weights(0) == weights(0)
    assert weights(0) != weights(1)


def test_one_standard_error_takes_fewer() -> None:
    tables = candidates(8, 200, 5, HUMOROUS)
    sizes = {}
    for rule in ("maximum", "one_standard_error"):
        found = search(tables, SearchSettings(method="greedy", rule=rule, num_bags=1))
        sizes[rule] = sum(found.weights) or len(found.members)
    assert sizes["one_standard_error"] < sizes["maximum"]


@given(seed=st.integers(0, 1000), limit=st.floats(1, 12), num_bags=st.sampled_from([1, 4]))
@settings(max_examples=15, deadline=None)
def test_the_limit_holds_for_all_bags_together(seed: int, limit: float, num_bags: int) -> None:
    tables = candidates(5, 40, seed)
    cost = {table.candidate: 1.0 + index for index, table in enumerate(tables)}
    wanted = SearchSettings(method="greedy", num_bags=num_bags, max_total_ms=limit, milliseconds=cost)
    found = search(tables, wanted)
    assert 0 < sum(cost[name] for name in found.members) <= limit
