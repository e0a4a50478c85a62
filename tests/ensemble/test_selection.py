"""The choice of members against plain loops over itertools.combinations, method by method."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offered_tables import candidates, renamed
from sklearn.metrics import accuracy_score, f1_score

from memeblend.ensemble import EnsembleChoice, SearchSettings, blend, search, search_shared
from memeblend.ensemble.offered import Offered
from memeblend.ensemble.scoring import Scorer, standard_error
from memeblend.errors import PredictionError
from memeblend.evaluation import PredictionTable
from memeblend.evaluation.intervals import resampled_scores
from memeblend.labels import HUMOROUS, MOTIVATIONAL, SENTIMENT, LabelTask

OBJECTIVES = {
    "weighted_f1": lambda labels, said: f1_score(labels, said, average="weighted", zero_division=0),
    "macro_f1": lambda labels, said: f1_score(labels, said, average="macro", zero_division=0),
    "accuracy": accuracy_score,
}


def by_size_and_name(tables: list[PredictionTable], objective: str, voting: Any = "majority") -> list[Any]:
    """All subsets with the score of their blend: (-score, size, names)."""
    ranked = []
    for size in range(1, len(tables) + 1):
        for subset in itertools.combinations(tables, size):
            score = OBJECTIVES[objective](subset[0].labels, blend(subset, voting=voting).predicted)
            ranked.append((-round(score, 12), size, tuple(table.candidate for table in subset)))
    return ranked


@given(
    num=st.integers(1, 5),
    num_memes=st.integers(1, 25),
    seed=st.integers(0, 10_000),
    objective=st.sampled_from(sorted(OBJECTIVES)),
    voting=st.sampled_from(["majority", "soft", "rank"]),
    steps=st.sampled_from([0, 4]),
)
@settings(max_examples=30, deadline=None)
def test_equals_a_loop_over_all_subsets(
    num: int, num_memes: int, seed: int, objective: Any, voting: Any, steps: int
) -> None:
    tables = candidates(num, num_memes, seed, steps=steps)
    expected_score, _, expected_members = min(by_size_and_name(tables, objective, voting))
    wanted = SearchSettings(objective=objective, voting=voting)
    found = search(tables, wanted)
    assert found.members == expected_members
    assert found.score == pytest.approx(-expected_score, abs=1e-12)
    assert (found.num_subsets, found.voting, found.weights) == (2**num - 1, voting, ())
    assert search(tables[::-1], wanted) == found


@given(num=st.integers(1, 5), seed=st.integers(0, 10_000), steps=st.sampled_from([0, 4]))
@settings(max_examples=15, deadline=None)
def test_one_standard_error_is_the_smallest_subset_close_to_the_best(num: int, seed: int, steps: int) -> None:
    tables = candidates(num, 40, seed, steps=steps)
    ranked = by_size_and_name(tables, "accuracy")
    best = -min(ranked)[0]
    # Of the mean of n independent zeros and ones, the jackknife gives sqrt(p (1 - p) / (n - 1)).
    least = best - np.sqrt(best * (1 - best) / 39)
    expected = min((one for one in ranked if -one[0] >= least - 1e-9), key=lambda one: (one[1], one[0], one[2]))
    found = search(tables, SearchSettings(objective="accuracy", rule="one_standard_error"))
    assert (found.members, found.rule) == (expected[2], "one_standard_error")


@pytest.mark.parametrize("objective", ["weighted_f1", "macro_f1", "quadratic_kappa"])
def test_standard_error_is_that_of_the_group_bootstrap(objective: Any) -> None:
    tables = candidates(3, 600, 0, HUMOROUS)
    groups = np.arange(600) // 3
    tables = [replace(table, groups=groups) for table in tables]
    found = standard_error([Scorer(Offered.of(tables), objective, "majority")], np.array([1, 1, 1]))
    blended = blend(tables)
    draws = resampled_scores(blended.labels, [blended.predicted], groups, 4, metric=objective, num_resamples=2000)
    assert found == pytest.approx(draws.std(), rel=0.15)


@pytest.mark.parametrize("objective", ["log_loss", "roc_auc"])
def test_standard_error_of_probabilities(objective: Any) -> None:
    (table,) = candidates(1, 400, 0, MOTIVATIONAL)
    scorer = Scorer(Offered.of([table]), objective, "soft")
    rng = np.random.default_rng(0)
    draws = [
        Scorer(Offered.of([_redrawn(table, rng.integers(0, 400, 400))]), objective, "soft").own[0] for _ in range(300)
    ]
    assert standard_error([scorer], np.array([1])) == pytest.approx(np.std(draws), rel=0.25)


def _redrawn(table: PredictionTable, rows: Any) -> PredictionTable:
    return replace(table, labels=table.labels[rows], probabilities=table.probabilities[rows])


def test_a_single_group_has_no_standard_error() -> None:
    tables = [replace(table, groups=np.zeros(30, int)) for table in candidates(3, 30, 0)]
    rule = search(tables, SearchSettings(rule="one_standard_error"))
    assert rule.members == search(tables).members


def test_equal_subsets_go_to_the_smallest_then_the_first_by_name() -> None:
    one, two = candidates(2, 20, 0)
    copies = [renamed(one, name) for name in ("z", "b", "k")]
    two = replace(two, candidate="a", probabilities=np.eye(3)[(one.labels + 1) % 3])
    assert search([*copies, two]).members == ("b",)


@pytest.mark.parametrize("voting", ["majority", "soft", "weighted", "rank"])
@pytest.mark.parametrize("method", ["exhaustive", "greedy", "best_single"])
def test_candidates_that_all_say_the_same_give_the_first(method: Any, voting: Any) -> None:
    (one,) = candidates(1, 30, 0)
    found = search([renamed(one, name) for name in "dbca"], SearchSettings(method=method, voting=voting, num_bags=1))
    assert found.members == ("a",)


@pytest.mark.parametrize("method", ["exhaustive", "greedy", "top_k", "best_single", "all"])
def test_one_candidate_only(method: Any) -> None:
    (one,) = candidates(1, 30, 0)
    found = search([one], SearchSettings(method=method))
    assert (found.members, found.weights, found.method) == (("c00",), (), method)
    assert found.score == pytest.approx(f1_score(one.labels, one.predicted, average="weighted"))


@pytest.mark.parametrize("method", ["exhaustive", "greedy", "top_k", "best_single", "all"])
@pytest.mark.parametrize("objective", ["weighted_f1", "mean_absolute_error", "log_loss"])
def test_a_single_class_in_the_selection_split(method: Any, objective: Any) -> None:
    tables = [replace(table, labels=np.zeros(30, int)) for table in candidates(4, 30, 0)]
    found = search(tables, SearchSettings(method=method, objective=objective, rule="one_standard_error"))
    assert np.isfinite(found.score)
    with pytest.raises(PredictionError, match="quadratic_kappa needs two classes, and all 30 labelled memes are"):
        search(tables, SearchSettings(method=method, objective="quadratic_kappa"))


def test_top_k_best_single_and_all_by_hand() -> None:
    tables = candidates(5, 60, 3)
    own = {table.candidate: accuracy_score(table.labels, table.predicted) for table in tables}
    ranked = sorted(own, key=lambda name: (-own[name], name))
    for method, expected, num_tried in (("top_k", ranked[:2], 5), ("best_single", ranked[:1], 5), ("all", ranked, 1)):
        found = search(tables, SearchSettings(objective="accuracy", method=method, top_k=2))
        assert (found.members, found.num_subsets) == (tuple(sorted(expected)), num_tried)
        members = [table for table in tables if table.candidate in found.members]
        assert found.score == pytest.approx(accuracy_score(tables[0].labels, blend(members).predicted))
    assert len(search(tables, SearchSettings(method="top_k", top_k=9)).members) == 5


@pytest.mark.parametrize(
    ("task", "objective", "weight"),
    [
        (HUMOROUS, "accuracy", lambda score: score),
        (HUMOROUS, "mean_absolute_error", lambda score: 1 - score / 3),
        (MOTIVATIONAL, "log_loss", lambda score: np.exp(-score)),
        (HUMOROUS, "quadratic_kappa", lambda score: max(score, 0.001)),
    ],
)
def test_weights_are_the_members_own_scores(task: LabelTask, objective: Any, weight: Any) -> None:
    tables = candidates(4, 80, 2, task, skill=0.3)
    tables.append(replace(tables[0], candidate="worse", probabilities=np.roll(tables[0].probabilities, 1, axis=1)))
    found = search(tables, SearchSettings(objective=objective, voting="weighted", method="all"))
    for name, given_weight in zip(found.members, found.weights, strict=True):
        own = search([table for table in tables if table.candidate == name], SearchSettings(objective=objective))
        assert given_weight == pytest.approx(weight(own.score), abs=0.0006)
    blended = blend(tables, voting="weighted", weights=found.weights)
    alone = search([blended], SearchSettings(objective=objective))
    assert found.score == pytest.approx(alone.score)


def test_only_labelled_memes_count_and_the_splits_are_named() -> None:
    tables = candidates(3, 40, 1)
    hidden = np.arange(40) % 4 == 0
    partly = [
        replace(
            table,
            splits=np.where(np.arange(40) < 20, "select", "more"),
            labels=np.where(hidden, -1, table.labels),
        )
        for table in tables
    ]
    found = search(partly)
    kept = search([table.take(~hidden) for table in tables])
    assert (found.members, found.score, found.num_memes) == (kept.members, kept.score, 30)
    assert found.selected_on == ("select", "more")


@pytest.mark.parametrize("method", ["exhaustive", "greedy"])
def test_choice_survives_json(method: Any) -> None:
    found = search(candidates(3, 20, 2), SearchSettings(voting="weighted", method=method))
    assert found.weights
    assert EnsembleChoice.from_dict(found.to_dict()) == found


def test_within_a_limit_of_milliseconds() -> None:
    tables = candidates(4, 60, 4)
    cost = {"c00": 1.0, "c01": 2.0, "c02": 4.0, "c03": 8.0}
    affordable = [one for one in by_size_and_name(tables, "weighted_f1") if sum(cost[name] for name in one[2]) <= 7]
    found = search(tables, SearchSettings(max_total_ms=7, milliseconds=cost))
    assert (found.members, found.num_subsets) == (min(affordable)[2], len(affordable))
    for method in ("greedy", "top_k", "best_single"):
        found = search(tables, SearchSettings(method=method, max_total_ms=7, milliseconds=cost))
        assert 0 < sum(cost[name] for name in found.members) <= 7
    with pytest.raises(PredictionError, match="All 4 candidates together take 15 ms a meme, more than the 7 ms"):
        search(tables, SearchSettings(method="all", max_total_ms=7, milliseconds=cost))
    with pytest.raises(PredictionError, match=r"at most 0.5 ms a meme; the cheapest, 'c00', takes 1 ms"):
        search(tables, SearchSettings(max_total_ms=0.5, milliseconds=cost))
    with pytest.raises(PredictionError, match=r"not known:\n  - candidate 'c03': has no milliseconds"):
        search(tables, SearchSettings(max_total_ms=7, milliseconds=dict.fromkeys(("c00", "c01", "c02"), 1)))


def test_refusals() -> None:
    with pytest.raises(PredictionError, match=r"25 candidates.*at most 24 can be.\nChoose with method 'greedy'"):
        search(candidates(25, 2, 0))
    assert search(candidates(25, 30, 0), SearchSettings(method="greedy", num_bags=2)).members
    (one,) = candidates(1, 2, 0)
    with pytest.raises(PredictionError, match=r"No meme of split.*select"):
        search([replace(one, labels=np.array([-1, -1]))])
    with pytest.raises(PredictionError, match="no prediction tables"):
        search([])
    with pytest.raises(PredictionError, match="candidate 'c00': is given more than once"):
        search([one, one])
    fewer = candidates(2, 5, 0)
    with pytest.raises(PredictionError, match="'c00' predicts it, 'c01' does not"):
        search([fewer[0], fewer[1].take(np.arange(4))])
    turned = replace(SENTIMENT, classes=SENTIMENT.classes[::-1])
    with pytest.raises(PredictionError, match=r"candidate 'c01': label task .*positive.*expected"):
        search([fewer[0], replace(fewer[1], label_task=turned)])


def test_one_member_list_for_all_label_tasks() -> None:
    by_task = {
        task.name: candidates(4, 50, seed, task) for seed, task in enumerate((SENTIMENT, HUMOROUS, MOTIVATIONAL))
    }
    means = {}
    for size in range(1, 5):
        for names in itertools.combinations([f"c{index:02d}" for index in range(4)], size):
            scores = [
                accuracy_score(tables[0].labels, blend([t for t in tables if t.candidate in names]).predicted)
                for tables in by_task.values()
            ]
            means[names] = round(float(np.mean(scores)), 12)
    expected = min(means, key=lambda names: (-means[names], len(names), names))
    found = search_shared(by_task, SearchSettings(objective="accuracy"))
    assert {choice.members for choice in found.values()} == {expected}
    assert list(found) == list(by_task) == [choice.label_task for choice in found.values()]
    assert np.mean([choice.score for choice in found.values()]) == pytest.approx(means[expected])
    for method in ("greedy", "top_k", "best_single", "all"):
        for rule in ("maximum", "one_standard_error"):
            found = search_shared(by_task, SearchSettings(method=method, rule=rule))
            assert len({choice.members for choice in found.values()}) == 1
    alone = search_shared({"sentiment": by_task["sentiment"]}, SearchSettings(rule="one_standard_error"))
    assert alone["sentiment"] == search(by_task["sentiment"], SearchSettings(rule="one_standard_error"))


def test_shared_refusals() -> None:
    by_task = {"sentiment": candidates(3, 20, 0), "humorous": candidates(2, 20, 0, HUMOROUS)}
    with pytest.raises(PredictionError, match="label task 'humorous': has c00, c01; 'sentiment' has c00, c01, c02"):
        search_shared(by_task)
    with pytest.raises(PredictionError, match="no label task"):
        search_shared({})


@pytest.mark.slow
def test_twenty_candidates_are_all_searched() -> None:
    tables = candidates(20, 60, 0)
    found = search(tables)
    assert found.num_subsets == 2**20 - 1
    assert found.score >= max(search([table]).score for table in tables)
    members = [table for table in tables if table.candidate in found.members]
    said = blend(members).predicted
    assert found.score == pytest.approx(f1_score(tables[0].labels, said, average="weighted"), abs=1e-12)
