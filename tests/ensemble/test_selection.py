"""The exhaustive search against a plain loop over itertools.combinations."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from memeblend.ensemble import EnsembleChoice, blend, search
from memeblend.errors import PredictionError
from memeblend.evaluation import PredictionTable
from memeblend.labels import HUMOROUS, SENTIMENT, LabelTask

OBJECTIVES = {
    "weighted_f1": lambda labels, said: f1_score(labels, said, average="weighted", zero_division=0),
    "macro_f1": lambda labels, said: f1_score(labels, said, average="macro", zero_division=0),
    "accuracy": accuracy_score,
}


def candidates(
    num: int, num_memes: int, seed: int, task: LabelTask = SENTIMENT, skill: float = 0.6, steps: int = 0
) -> list[PredictionTable]:
    """Random candidates; with `steps`, probabilities on a coarse grid so that ties are common."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, task.num_classes, num_memes)
    tables = []
    for index in range(num):
        scores = rng.normal(size=(num_memes, task.num_classes))
        scores[np.arange(num_memes), labels] += skill
        probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        if steps:
            probabilities = np.array([rng.multinomial(steps, row) for row in probabilities]) / steps
        tables.append(
            PredictionTable(
                f"c{index:02d}",
                task,
                np.array([f"m{row}" for row in range(num_memes)]),
                np.array(["select"] * num_memes),
                np.arange(num_memes),
                labels,
                probabilities,
                "f",
            )
        )
    return tables


@given(
    num=st.integers(1, 5),
    num_memes=st.integers(1, 25),
    seed=st.integers(0, 10_000),
    objective=st.sampled_from(sorted(OBJECTIVES)),
    steps=st.sampled_from([0, 4]),
)
@settings(max_examples=25, deadline=None)
def test_equals_a_loop_over_all_subsets(num: int, num_memes: int, seed: int, objective: Any, steps: int) -> None:
    tables = candidates(num, num_memes, seed, steps=steps)
    ranked = []
    for size in range(1, num + 1):
        for subset in itertools.combinations(tables, size):
            score = OBJECTIVES[objective](subset[0].labels, blend(subset).predicted)
            ranked.append((-round(score, 12), size, tuple(table.candidate for table in subset)))
    expected_score, _, expected_members = min(ranked)
    found = search(tables, objective)
    assert found.members == expected_members
    assert found.score == pytest.approx(-expected_score, abs=1e-12)
    assert found.num_subsets == 2**num - 1
    assert search(tables[::-1], objective) == found


def test_blocks_do_not_change_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = candidates(7, 30, 0)
    whole = search(tables)
    monkeypatch.setattr("memeblend.ensemble.selection._BLOCK_WORK", 2100)
    assert search(tables) == whole


def test_equal_subsets_go_to_the_smallest_then_the_first_by_name() -> None:
    one, two = candidates(2, 20, 0)
    copies = [
        PredictionTable(name, one.label_task, one.meme_ids, one.splits, one.groups, one.labels, one.probabilities, "f")
        for name in ("z", "b", "k")
    ]
    worse = (one.labels + 1) % 3
    two = PredictionTable("a", two.label_task, two.meme_ids, two.splits, two.groups, two.labels, np.eye(3)[worse], "f")
    assert search([*copies, two]).members == ("b",)


def test_only_labelled_memes_count_and_the_splits_are_named() -> None:
    tables = candidates(3, 40, 1)
    hidden = np.arange(40) % 4 == 0
    partly = [
        PredictionTable(
            table.candidate,
            table.label_task,
            table.meme_ids,
            np.where(np.arange(40) < 20, "select", "more"),
            table.groups,
            np.where(hidden, -1, table.labels),
            table.probabilities,
            "f",
        )
        for table in tables
    ]
    found = search(partly)
    kept = search([table.take(~hidden) for table in tables])
    assert (found.members, found.score, found.num_memes) == (kept.members, kept.score, 30)
    assert found.selected_on == ("select", "more")


def test_choice_survives_json() -> None:
    found = search(candidates(3, 20, 2))
    assert EnsembleChoice.from_dict(found.to_dict()) == found


def test_refusals() -> None:
    with pytest.raises(PredictionError, match=r"21 candidates.*at most 20"):
        search(candidates(21, 2, 0))
    unlabelled = candidates(1, 2, 0)[0]
    unlabelled = PredictionTable(
        "a",
        unlabelled.label_task,
        unlabelled.meme_ids,
        unlabelled.splits,
        unlabelled.groups,
        np.array([-1, -1]),
        unlabelled.probabilities,
        "f",
    )
    with pytest.raises(PredictionError, match=r"No meme of split.*select"):
        search([unlabelled])
    with pytest.raises(PredictionError, match="no prediction tables"):
        search([])


def test_twelve_candidates_are_all_searched() -> None:
    assert search(candidates(12, 500, 0, task=HUMOROUS)).num_subsets == 4095


@pytest.mark.slow
def test_twenty_candidates_are_all_searched() -> None:
    tables = candidates(20, 60, 0)
    found = search(tables)
    assert found.num_subsets == 2**20 - 1
    assert found.score >= max(search([table]).score for table in tables)
    members = [table for table in tables if table.candidate in found.members]
    said = blend(members).predicted
    assert found.score == pytest.approx(f1_score(tables[0].labels, said, average="weighted"), abs=1e-12)
