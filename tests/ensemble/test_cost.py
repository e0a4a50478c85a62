"""Costs of ensembles, and the Pareto front against a comparison of every pair."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memeblend.ensemble import SearchSettings, search
from memeblend.ensemble.cost import (
    CandidateCost,
    CostPoint,
    all_subsets,
    cost_points,
    ensemble_cost,
    pareto_front,
)
from memeblend.ensemble.exhaustive import subset_gains
from memeblend.ensemble.offered import Offered
from memeblend.ensemble.scoring import Scorer
from memeblend.errors import PredictionError
from memeblend.evaluation import PredictionTable
from memeblend.labels import SENTIMENT

COSTS = {"text": CandidateCost(2.0, 10), "image": CandidateCost(5.0, 20), "fusion": CandidateCost(9.0, 40)}


def test_costs_add_up_and_a_member_is_paid_once() -> None:
    assert ensemble_cost(["text", "fusion"], COSTS) == CandidateCost(11.0, 50)
    assert ensemble_cost(["text", "text", "image"], COSTS) == CandidateCost(7.0, 30)
    assert ensemble_cost([], COSTS) == CandidateCost(0.0, 0)


def test_unknown_costs_are_all_named() -> None:
    with pytest.raises(PredictionError) as caught:
        ensemble_cost(["text", "theirs", "other"], COSTS)
    assert [problem.where for problem in caught.value.problems] == ["member 'other'", "member 'theirs'"]


@pytest.mark.parametrize(("milliseconds", "size"), [(-1.0, 0), (math.nan, 0), (math.inf, 0), (1.0, -1)])
def test_impossible_costs_are_refused(milliseconds: float, size: int) -> None:
    with pytest.raises(ValueError, match="expected finite numbers"):
        CandidateCost(milliseconds, size)


def beaten(point: tuple[float, float], points: Sequence[tuple[float, float]]) -> bool:
    score, time = point
    return any(
        other_score >= score and other_time <= time and (other_score, other_time) != point
        for other_score, other_time in points
    )


coarse = st.integers(-3, 3).map(lambda step: step / 4) | st.sampled_from([math.inf, -math.inf])
"""Few values, so that ties are common."""


@given(points=st.lists(st.tuples(coarse, coarse), max_size=12))
@settings(max_examples=200, deadline=None)
def test_front_equals_comparing_every_pair(points: list[tuple[float, float]]) -> None:
    found = pareto_front([score for score, _ in points], [time for _, time in points])
    assert found.tolist() == [not beaten(point, points) for point in points]
    assert found.any() == bool(points)


def test_front_by_hand() -> None:
    scores = [0.5, 0.6, 0.6, 0.55, 0.7, 0.7]
    times = [1.0, 2.0, 2.0, 2.0, 9.0, 8.0]
    assert pareto_front(scores, times).tolist() == [True, True, True, False, False, True]


def test_front_refuses_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="NaN"):
        pareto_front([math.nan], [1.0])
    with pytest.raises(ValueError, match="expected one of each"):
        pareto_front([1.0, 2.0], [1.0])


def points_of(scores: Sequence[float], **more: object) -> dict[str, CostPoint]:
    found = cost_points(["fusion", "image", "text"], all_subsets(3), scores, COSTS, **more)  # type: ignore[arg-type]
    return {"+".join(point.members): point for point in found}


def test_points_worth_drawing_by_hand() -> None:
    # fusion, image, fusion+image, text, fusion+text, image+text, all three
    found = points_of([0.6, 0.5, 0.61, 0.4, 0.65, 0.65, 0.62], chosen=["image", "fusion"])
    assert list(found) == ["text", "image", "image+text", "fusion", "fusion+image", "fusion+image+text"]
    assert [point.milliseconds for point in found.values()] == [2.0, 5.0, 7.0, 9.0, 14.0, 16.0]
    assert [name for name, point in found.items() if point.on_front] == ["text", "image", "image+text"]
    assert [name for name, point in found.items() if point.chosen] == ["fusion+image"]
    first = next(iter(found.values())).to_dict()
    assert json.loads(json.dumps(first)) == {
        "members": ["text"],
        "score": 0.4,
        "milliseconds": 2.0,
        "on_front": True,
        "chosen": False,
    }


def test_candidates_of_unknown_cost_are_drawn_but_never_on_the_front() -> None:
    costs = {name: cost for name, cost in COSTS.items() if name != "fusion"}
    found = cost_points(["fusion", "image", "text"], all_subsets(3), [0.9, 0.5, 0.9, 0.4, 0.9, 0.6, 0.9], costs)
    assert [(point.members, point.milliseconds) for point in found if "fusion" in point.members] == [
        (("fusion",), None),
        (("fusion", "image"), None),
        (("fusion", "image", "text"), None),
    ]
    assert [point.members for point in found if point.on_front] == [("text",), ("image",), ("image", "text")]


def test_subsets_need_not_be_all() -> None:
    some = np.array([[True, False, False], [False, True, False], [False, False, True]])
    found = points_of([0.6, 0.5, 0.4, 0.6, 0.6, 0.6, 0.6])
    assert len(found) > 3
    alone = cost_points(["fusion", "image", "text"], some, [0.6, 0.5, 0.4], COSTS, chosen=["text"])
    assert [(point.members, point.chosen) for point in alone] == [
        (("text",), True),
        (("image",), False),
        (("fusion",), False),
    ]


@pytest.mark.parametrize(
    ("scores", "chosen", "message"),
    [
        ([0.5], (), "expected"),
        ([math.nan] + [0.5] * 6, (), "not finite"),
        ([0.5] * 7, ("text", "theirs"), r"\(text, theirs\) is not among"),
    ],
)
def test_points_refuse_what_does_not_fit(scores: list[float], chosen: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        points_of(scores, chosen=chosen)
    with pytest.raises(ValueError, match="no member"):
        cost_points(["text"], np.array([[False]]), [0.5], COSTS)


@given(seed=st.integers(0, 10_000), num=st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_points_equal_a_plain_loop(seed: int, num: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"c{index}" for index in range(num)]
    costs = {name: CandidateCost(float(rng.integers(0, 4)), 0) for name in names}
    score = {
        tuple(members): float(rng.integers(0, 5)) / 4
        for size in range(1, num + 1)
        for members in itertools.combinations(names, size)
    }
    plain = {members: (value, ensemble_cost(members, costs).milliseconds) for members, value in score.items()}
    included = all_subsets(num)
    rows = [tuple(name for name, is_in in zip(names, row, strict=True) if is_in) for row in included]
    assert sorted(rows) == sorted(score)
    found = cost_points(names, included, [score[row] for row in rows], costs)
    drawn = {point.members: point for point in found}
    assert len(drawn) == len(found)
    for members, point in drawn.items():
        assert (point.score, point.milliseconds) == plain[members]
        assert point.on_front == (not beaten(plain[members], list(plain.values())))
    front = {values for values in plain.values() if not beaten(values, list(plain.values()))}
    assert {plain[point.members] for point in found if point.on_front} == front
    assert {(name,) for name in names} <= set(drawn)
    for size in range(1, num + 1):
        best = max((value, -time) for members, (value, time) in plain.items() if len(members) == size)
        assert any(len(members) == size and plain[members] == (best[0], -best[1]) for members in drawn)


def test_subsets_are_in_the_order_of_the_search() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 80)
    ids, splits, groups = np.arange(80).astype(str), np.full(80, "select"), np.arange(80)
    tables = [
        PredictionTable(
            name, SENTIMENT, ids, splits, groups, labels,
            0.7 * rng.dirichlet(np.ones(3), 80) + 0.3 * np.eye(3)[labels], "f",
        )
        for name in ("fusion", "image", "text")
    ]  # fmt: skip
    gains = subset_gains(Scorer(Offered.of(tables), "weighted_f1", "majority"))
    choice = search(tables, SearchSettings())
    (chosen,) = [point for point in points_of(gains.tolist(), chosen=choice.members).values() if point.chosen]
    assert chosen.score == pytest.approx(choice.score, abs=1e-12)
    assert chosen.score == gains.max()
