"""The gains of all subsets against `blend` and scikit-learn, subset by subset."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offered_tables import candidates
from sklearn import metrics as oracle

from memeblend.ensemble import blend, exhaustive
from memeblend.ensemble.exhaustive import first_by_name, subset_gains, subset_members, subset_sizes, subset_totals
from memeblend.ensemble.offered import Offered
from memeblend.ensemble.scoring import Scorer
from memeblend.ensemble.voting import VOTINGS
from memeblend.errors import PredictionError
from memeblend.evaluation import PredictionTable
from memeblend.labels import HUMOROUS, MOTIVATIONAL, SENTIMENT, LabelTask

ORACLES: dict[str, Any] = {
    "weighted_f1": lambda t: oracle.f1_score(t.labels, t.predicted, average="weighted", zero_division=0),
    "macro_f1": lambda t: oracle.f1_score(t.labels, t.predicted, average="macro", zero_division=0),
    "accuracy": lambda t: oracle.accuracy_score(t.labels, t.predicted),
    "quadratic_kappa": lambda t: oracle.cohen_kappa_score(
        t.labels, t.predicted, labels=list(range(4)), weights="quadratic"
    ),
    "mean_absolute_error": lambda t: -oracle.mean_absolute_error(t.labels, t.predicted),
    "log_loss": lambda t: -oracle.log_loss(t.labels, t.probabilities, labels=list(range(t.label_task.num_classes))),
    "roc_auc": lambda t: oracle.roc_auc_score(t.labels, t.probabilities[:, 1]),
    "average_precision": lambda t: oracle.average_precision_score(t.labels, t.probabilities[:, 1]),
}
OF_TASK = {
    HUMOROUS: ["weighted_f1", "macro_f1", "accuracy", "quadratic_kappa", "mean_absolute_error", "log_loss"],
    MOTIVATIONAL: ["weighted_f1", "roc_auc", "average_precision", "log_loss"],
}


def check_against_blend(tables: list[PredictionTable], objective: Any, voting: Any, rows: Any = None) -> None:
    """Every subset's gain (or those in some rows) equals the oracle's score of the members' blend."""
    scorer = Scorer(Offered.of(tables), objective, voting)
    gains = subset_gains(scorer)
    assert gains.shape == (2 ** len(tables) - 1,)
    for row in range(len(gains)) if rows is None else rows:
        members = np.flatnonzero(subset_members(row, len(tables)))
        weights = (scorer.units[members] / 1000).tolist() if voting == "weighted" else None
        blended = blend([tables[member] for member in members], voting=voting, weights=weights)
        assert gains[row] == pytest.approx(ORACLES[objective](blended), abs=1e-11), (row, members)


@pytest.mark.parametrize("voting", VOTINGS)
@pytest.mark.parametrize(
    ("task", "objective"), [(task, objective) for task, names in OF_TASK.items() for objective in names]
)
@given(num=st.integers(1, 5), num_memes=st.integers(2, 80), seed=st.integers(0, 10_000), steps=st.sampled_from([0, 4]))
@settings(max_examples=4, deadline=None)
def test_every_voting_and_objective(
    task: LabelTask, objective: str, voting: str, num: int, num_memes: int, seed: int, steps: int
) -> None:
    tables = candidates(num, num_memes, seed, task, steps=steps)
    labels = tables[0].labels.copy()
    labels[:2] = 0, 1  # scores of ranking need two classes
    check_against_blend([replace(table, labels=labels) for table in tables], objective, voting)


@pytest.mark.parametrize("voting", ["majority", "weighted", "rank"])
@pytest.mark.parametrize("steps", [0, 4])
def test_ranked_halves_equal_blend_too(voting: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exhaustive, "_UNRANKED", 0)
    monkeypatch.setattr(exhaustive, "_SORTED", 2**8)
    monkeypatch.setattr(exhaustive, "_BUFFER", 10_000)
    monkeypatch.setattr(exhaustive, "_WORTH_THREADS", 1)
    check_against_blend(candidates(7, 130, 0, HUMOROUS, steps=steps), "weighted_f1", voting)
    check_against_blend(candidates(4, 3, 1, SENTIMENT, steps=steps), "accuracy", voting)


def test_large_searches_equal_blend_on_a_sample() -> None:
    rows = np.random.default_rng(0).integers(0, 2**15 - 1, 40)
    check_against_blend(candidates(15, 200, 3, HUMOROUS, steps=4), "weighted_f1", "majority", rows)


@pytest.mark.parametrize("limit", ["_MAX_TABLE", "_MAX_CLASSES"])
def test_adding_up_one_by_one_changes_nothing(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer(Offered.of(candidates(6, 90, 5, HUMOROUS, steps=4)), "macro_f1", "majority")
    counted = subset_gains(scorer)
    monkeypatch.setattr(exhaustive, limit, 1)
    np.testing.assert_array_equal(subset_gains(scorer), counted)


def test_memes_on_which_all_agree() -> None:
    tables = candidates(3, 30, 0)
    alike = [replace(tables[0], candidate=name) for name in "abc"]
    gains = subset_gains(Scorer(Offered.of(alike), "accuracy", "majority"))
    np.testing.assert_allclose(gains, (tables[0].predicted == tables[0].labels).mean())


def test_subsets_by_row() -> None:
    assert subset_members(0, 3).tolist() == [1, 0, 0]
    assert subset_members(5, 3).tolist() == [0, 1, 1]
    assert subset_sizes(3).tolist() == [1, 1, 2, 1, 2, 2, 3]
    assert subset_totals(np.array([1.0, 10.0, 100.0])).tolist() == [1, 10, 11, 100, 101, 110, 111]


@given(num=st.integers(2, 7), size=st.integers(1, 6), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_first_by_name_is_the_first_of_the_sorted_lists(num: int, size: int, seed: int) -> None:
    rows = np.flatnonzero(subset_sizes(num) == min(size, num))
    rows = np.random.default_rng(seed).permutation(rows)[:6]
    lists = {int(row): np.flatnonzero(subset_members(int(row), num)).tolist() for row in rows}
    assert first_by_name(rows, num) == min(lists, key=lambda row: lists[row])


@pytest.mark.parametrize(
    ("task", "objective", "words"),
    [
        (LabelTask("topic", "nominal", ("a", "b", "c")), "quadratic_kappa", "defined for ordinal .* is nominal"),
        (HUMOROUS, "roc_auc", "defined for binary .* is ordinal"),
        (MOTIVATIONAL, "mean_absolute_error", "defined for ordinal .* is binary"),
    ],
)
def test_objectives_that_are_not_defined(task: LabelTask, objective: Any, words: str) -> None:
    with pytest.raises(PredictionError, match=words):
        Scorer(Offered.of(candidates(2, 20, 0, task)), objective, "majority")
