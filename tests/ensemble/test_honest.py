"""The score to expect of a choice: against a plain loop, on hard little sets, in simulations of the winner's curse."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from memeblend.ensemble import EnsembleChoice, SearchSettings, search
from memeblend.ensemble.combining import combine
from memeblend.ensemble.honest import (
    HonestScore,
    Procedure,
    expected_score,
    expected_scores_by_method,
    grouped_folds,
)
from memeblend.errors import PredictionError
from memeblend.evaluation import PredictionTable, bootstrap_interval, paired_bootstrap
from memeblend.labels import SENTIMENT, LabelTask

BINARY = LabelTask("hateful", "binary", ("no", "yes"))
MAXIMUM = SearchSettings()
SMALLEST = SearchSettings(rule="one_standard_error")


def voters(
    skills: Sequence[float],
    num_memes: int,
    seed: int,
    task: LabelTask = BINARY,
    groups: NDArray[np.int64] | None = None,
    labels: NDArray[np.int64] | None = None,
) -> list[PredictionTable]:
    """Candidates that favour the true class by their skill, and else say whatever comes."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, task.num_classes, num_memes)
    labels = drawn if labels is None else labels
    tables = []
    for index, skill in enumerate(skills):
        scores = rng.normal(size=(num_memes, task.num_classes))
        scores[np.arange(num_memes), labels] += skill * (labels >= 0)
        probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        tables.append(
            PredictionTable(
                f"c{index}",
                task,
                np.arange(num_memes).astype(str),
                np.full(num_memes, "select"),
                np.arange(num_memes) if groups is None else groups,
                labels,
                probabilities,
                "f",
            )
        )
    return tables


def by(wanted: SearchSettings) -> Procedure:
    return Procedure(lambda tables: search(tables, wanted), combine)


def honest(tables: Sequence[PredictionTable], wanted: SearchSettings = MAXIMUM, **more: Any) -> HonestScore:
    return expected_score(tables, *by(wanted), objective=wanted.objective, **more)


def grouped(num_memes: int, seed: int) -> NDArray[np.int64]:
    """Half of the memes alone, the others in groups of very different sizes."""
    rng = np.random.default_rng(seed)
    shared = rng.zipf(1.6, num_memes) % max(1, num_memes // 4)
    return np.where(rng.random(num_memes) < 0.5, num_memes + np.arange(num_memes), shared)


@given(num_memes=st.integers(2, 60), num_folds=st.integers(2, 7), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_folds_keep_groups_whole_and_none_is_empty(num_memes: int, num_folds: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, num_memes)
    groups = grouped(num_memes, seed)
    num_groups = len(np.unique(groups))
    folds = grouped_folds(labels, groups, num_folds, 2, seed)
    assert len(folds) == (0 if num_groups == 1 else 1 if num_groups <= num_folds else 2)
    for fold in folds:
        assert set(fold.tolist()) == set(range(min(num_folds, num_groups)))
        for group in np.unique(groups):
            assert len(set(fold[groups == group].tolist())) == 1
    assert np.array_equal(folds, grouped_folds(labels, groups, num_folds, 2, seed))


def misfit(labels: NDArray[np.int64], fold: NDArray[np.int64]) -> float:
    """Chi-square of the folds' sizes and class counts against equal shares."""
    held = np.zeros((fold.max() + 1, labels.max() + 2))
    np.add.at(held, (fold, labels), 1)
    held[:, -1] = held.sum(axis=1)
    wanted = held.mean(axis=0)
    return float(((held - wanted) ** 2 / wanted).sum())


def test_folds_are_as_even_as_those_of_scikit_learn() -> None:
    ours, theirs = [], []
    for seed in range(8):
        labels = np.random.default_rng(seed).choice(3, 200, p=[0.6, 0.3, 0.1])
        groups = grouped(200, seed)
        ours.append(misfit(labels, grouped_folds(labels, groups, 5, 1, seed)[0]))
        fold = np.zeros(200, dtype=np.int64)
        cut = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels, groups)
        for number, (_, held_out) in enumerate(cut):
            fold[held_out] = number
        theirs.append(misfit(labels, fold))
    assert np.mean(ours) < 1.05 * np.mean(theirs)


def test_memes_alone_are_dealt_out_evenly_and_anew_for_each_repeat() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    folds = grouped_folds(labels, np.arange(100), 5, 3, 0)
    for fold in folds:
        for label, share in ((0, 10), (1, 6), (2, 4)):
            assert np.bincount(fold[labels == label]).tolist() == [share] * 5
    together = [fold[:, None] == fold for fold in folds]
    assert not np.array_equal(together[0], together[1])
    assert not np.array_equal(together[1], together[2])


@pytest.mark.parametrize("wanted", [MAXIMUM, SMALLEST, SearchSettings(method="top_k", top_k=2, voting="weighted")])
def test_equals_a_plain_loop(wanted: SearchSettings) -> None:
    groups = grouped(90, 1)
    tables = voters([0.3, 0.6, 0.0, 0.4], 90, 3, SENTIMENT, groups)
    labels = tables[0].labels
    scores, chosen = [], []
    for fold in grouped_folds(labels, groups, 4, 3, 7):
        said = np.full(90, -1)
        for number in range(4):
            choice = search([table.take(fold != number) for table in tables], wanted)
            chosen.append(choice.members)
            said[fold == number] = combine([table.take(fold == number) for table in tables], choice).predicted
        scores.append(f1_score(labels, said, average="weighted", zero_division=0))
    found = honest(tables[::-1], wanted, num_folds=4, num_repeats=3, seed=7)
    whole = search(tables, wanted)
    assert found.members == whole.members
    assert found.selected_on == pytest.approx(whole.score, abs=1e-12)
    assert found.expected == pytest.approx(np.mean(scores), abs=1e-12)
    assert found.optimism == pytest.approx(whole.score - np.mean(scores), abs=1e-12)
    assert found.chosen_share == {
        name: pytest.approx(sum(name in members for members in chosen) / 12) for name in ("c0", "c1", "c2", "c3")
    }
    assert found.same_members == pytest.approx(chosen.count(whole.members) / 12)
    assert found.num_sets == len(set(chosen))
    assert found.mean_size == pytest.approx(np.mean([len(members) for members in chosen]))
    assert (found.num_memes, found.num_groups) == (90, len(np.unique(groups)))
    assert (found.num_folds, found.num_repeats, found.note) == (4, 3, "")


def test_who_chooses_never_sees_a_meme_that_is_judged_nor_its_duplicates() -> None:
    groups = grouped(60, 2)
    tables = voters([0.5, 0.5, 0.5], 60, 0, groups=groups)
    seen: list[PredictionTable] = []
    judged: list[PredictionTable] = []

    def choose(offered: Sequence[PredictionTable]) -> EnsembleChoice:
        seen.append(offered[0])
        return search(offered, SearchSettings(method="top_k", top_k=2))

    def join(members: Sequence[PredictionTable], choice: EnsembleChoice) -> PredictionTable:
        assert tuple(table.candidate for table in members) == choice.members
        judged.append(members[0])
        return combine(members, choice)

    expected_score(tables, choose, join, num_folds=3, num_repeats=2)
    assert len(seen) == len(judged) == 1 + 3 * 2  # once on all memes
    for one, other in itertools.islice(zip(seen, judged, strict=True), 1, None):
        assert not set(one.groups.tolist()) & set(other.groups.tolist())
        assert len(one) + len(other) == 60
    for repeat in (judged[1:4], judged[4:7]):
        assert sorted(meme_id for table in repeat for meme_id in table.meme_ids) == sorted(tables[0].meme_ids)


def test_without_a_choice_it_is_the_plain_bootstrap() -> None:
    groups = grouped(80, 3)
    (only,) = tables = voters([0.5], 80, 1, SENTIMENT, groups)
    found = honest(tables, num_repeats=3, seed=5)
    score = f1_score(only.labels, only.predicted, average="weighted", zero_division=0)
    assert found.expected == pytest.approx(score)
    assert found.optimism == pytest.approx(0, abs=1e-12)
    assert found.interval == pytest.approx(bootstrap_interval(only.labels, only.predicted, groups, 3, seed=5), abs=1e-3)
    low, high = found.interval or (0, 0)
    assert found.standard_error == pytest.approx((high - low) / (2 * 1.96), rel=0.1)
    assert (found.chosen_share, found.same_members, found.num_sets, found.mean_size) == ({"c0": 1}, 1, 1, 1)


def test_differences_are_paired_and_on_the_same_folds() -> None:
    tables = voters([0.9, 0.0], 150, 2)
    procedures = {
        "first": by(replace(MAXIMUM, method="best_single")),
        "second": Procedure(lambda offered: search(offered[1:], MAXIMUM), combine),
        "again": by(replace(MAXIMUM, method="best_single")),
    }
    found = expected_scores_by_method(tables, procedures, num_repeats=2, seed=3)
    assert list(found.by_procedure) == ["first", "second", "again"]
    for name, procedure in procedures.items():
        assert found.by_procedure[name] == expected_score(tables, *procedure, num_repeats=2, seed=3)
    difference = found.difference("first", "second")
    assert difference is not None
    plain = paired_bootstrap(tables[0].labels, tables[0].predicted, tables[1].predicted, tables[0].groups, 2, seed=3)
    assert difference.difference == pytest.approx(plain.difference)
    assert difference.interval == pytest.approx(plain.interval, abs=1e-3)
    same = found.difference("first", "again")
    assert same is not None
    assert (same.difference, same.interval) == (0, (0, 0))
    with pytest.raises(KeyError, match="third"):
        found.difference("first", "third")


def test_scores_that_need_probabilities_are_resampled_on_the_same_memes(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = grouped(60, 4)
    tables = voters([0.4, 0.4, 0.2], 60, 1, groups=groups)
    by_counts = honest(tables, num_repeats=2)
    monkeypatch.setattr("memeblend.ensemble.honest.METRICS", ())
    by_rows = honest(tables, num_repeats=2)
    assert by_rows.interval == pytest.approx(by_counts.interval, abs=1e-12)
    assert by_rows.standard_error == pytest.approx(by_counts.standard_error, abs=1e-12)


@pytest.mark.parametrize(
    ("objective", "task"),
    [
        ("log_loss", BINARY),
        ("roc_auc", BINARY),
        ("average_precision", BINARY),
        ("quadratic_kappa", SENTIMENT),
        ("mean_absolute_error", SENTIMENT),
        ("macro_f1", SENTIMENT),
    ],
)
def test_every_objective_is_flattered_by_choosing(objective: Any, task: LabelTask) -> None:
    wanted = SearchSettings(objective=objective)
    found = [honest(voters([0.1] * 5, 60, seed, task), wanted, num_folds=3, num_repeats=1) for seed in range(4)]
    assert np.mean([one.optimism for one in found]) > 0
    for one in found:
        assert one.interval is not None
        assert one.expected is not None
        assert one.interval[0] < one.expected < one.interval[1]


def test_pooled_probabilities_are_those_of_the_members() -> None:
    (only,) = tables = voters([0.5], 60, 1)
    found = honest(tables, SearchSettings(objective="roc_auc"), num_repeats=1)
    assert found.expected == pytest.approx(roc_auc_score(only.labels, only.probabilities[:, 1]))


def test_fewer_groups_than_folds_make_each_a_fold_of_its_own() -> None:
    groups = np.repeat([4, 9, 2], [10, 5, 5])
    found = honest(voters([0.5, 0.2], 20, 0, groups=groups), num_folds=5, num_repeats=4)
    assert (found.num_folds, found.num_repeats, found.num_groups) == (3, 1, 3)
    assert found.expected is not None
    assert "3 duplicate groups are too few for 5 folds" in found.note
    assert "Only 3 independent groups" in found.note


def test_a_single_group_cannot_both_choose_and_judge() -> None:
    tables = voters([0.5, 0.2], 20, 0, groups=np.zeros(20, dtype=np.int64))
    found = expected_scores_by_method(tables, {"one": by(MAXIMUM), "other": by(SMALLEST)})
    score = found.by_procedure["one"]
    assert score.members == search(tables, MAXIMUM).members
    assert (score.expected, score.standard_error, score.interval, score.optimism) == (None,) * 4
    assert (score.chosen_share, score.same_members, score.mean_size, score.num_sets) == ({}, None, None, 0)
    assert (score.num_folds, score.num_repeats) == (0, 0)
    assert "single duplicate group" in score.note
    assert found.difference("one", "other") is None


def test_a_single_class_is_scored_and_said() -> None:
    found = honest(voters([0.5, 0.2], 40, 0, labels=np.ones(40, dtype=np.int64)), num_repeats=1)
    assert found.expected is not None
    assert "Only the class yes occurs" in found.note


def test_folds_in_which_a_choice_is_refused_are_noted() -> None:
    labels = np.array([1] * 10 + [0] * 30)
    groups = np.array([0] * 10 + list(range(1, 31)))
    found = expected_scores_by_method(
        voters([0.5, 0.2], 40, 0, groups=groups, labels=labels),
        {"auc": by(SearchSettings(objective="roc_auc")), "f1": by(MAXIMUM)},
        objective="roc_auc",
        num_repeats=1,
    )
    refused, other = found.by_procedure["auc"], found.by_procedure["f1"]
    assert refused.expected is None
    assert "refused in some folds: No ensemble can be chosen" in refused.note
    assert refused.chosen_share  # of the folds in which one could be made
    assert other.expected is not None
    assert found.difference("auc", "f1") is None


def test_what_is_refused_on_all_memes_is_an_error() -> None:
    labels = np.ones(40, dtype=np.int64)
    with pytest.raises(PredictionError, match="needs two classes"):
        honest(voters([0.5], 40, 0, labels=labels), SearchSettings(objective="roc_auc"))
    with pytest.raises(PredictionError, match="No meme has a label"):
        honest(voters([0.5], 40, 0, labels=-labels))
    with pytest.raises(ValueError, match="1 folds and 4 repeats"):
        honest(voters([0.5], 40, 0), num_folds=1)


def test_memes_without_a_label_are_left_out() -> None:
    tables = voters([0.5, 0.3], 60, 0)
    hidden = np.arange(60) % 3 == 0
    partly = [replace(table, labels=np.where(hidden, -1, table.labels)) for table in tables]
    assert honest(partly) == honest([table.take(~hidden) for table in tables])


def test_equal_candidates_cost_nothing_to_choose_from() -> None:
    one = voters([0.5], 50, 0)[0]
    found = honest([replace(one, candidate=name) for name in ("a", "b", "c")])
    assert (found.members, found.chosen_share) == (("a",), {"a": 1, "b": 0, "c": 0})
    assert found.optimism == pytest.approx(0, abs=1e-12)


def test_is_plain_json() -> None:
    for groups in (None, np.zeros(30, dtype=np.int64)):
        found = honest(voters([0.5, 0.2], 30, 0, groups=groups)).to_dict()
        assert json.loads(json.dumps(found, allow_nan=False)) == found


def summed_up(num_seeds: int, skills: Sequence[float], wanted: SearchSettings, num_repeats: int) -> list[HonestScore]:
    return [honest(voters(skills, 300, seed), wanted, num_repeats=num_repeats, seed=seed) for seed in range(num_seeds)]


@pytest.mark.parametrize(
    ("num_seeds", "num_repeats"), [(16, 1), pytest.param(150, 4, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_voters_of_no_skill_are_expected_to_have_none(num_seeds: int, num_repeats: int) -> None:
    """Chance is .5. Expected scores must not exceed it by more than their own standard error, on average, nor by more
    than three standard errors of their mean; the plain maximum exceeds it by far more than either."""
    found = summed_up(num_seeds, [0] * 8, MAXIMUM, num_repeats)
    expected = np.array([one.expected for one in found], dtype=np.float64)
    own_error = np.mean([one.standard_error for one in found], dtype=np.float64)
    selected_on = np.array([one.selected_on for one in found])
    assert expected.mean() - 0.5 <= own_error
    assert abs(expected.mean() - 0.5) <= 3 * expected.std(ddof=1) / math.sqrt(num_seeds)
    assert selected_on.mean() - 0.5 > 1.5 * own_error
    assert (selected_on > 0.5).all()
    assert (selected_on - 0.5 > 0.02).mean() > 0.9
    if num_repeats > 1:  # a single repeat can't tell how the draw of the folds changes the choice
        assert 0.8 < own_error / np.sqrt(((expected - 0.5) ** 2).mean()) < 1.25


def test_one_standard_error_finds_the_one_skilled_voter_more_often() -> None:
    sets = [voters([0.5] + [0.0] * 7, 300, seed) for seed in range(40)]
    alone = {
        wanted.rule: sum(search(tables, wanted).members == ("c0",) for tables in sets) for wanted in (MAXIMUM, SMALLEST)
    }
    assert alone["one_standard_error"] >= 36
    assert alone["maximum"] <= 30


@pytest.mark.parametrize(
    ("num_seeds", "num_repeats"), [(12, 1), pytest.param(100, 4, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_expected_score_tracks_the_one_on_fresh_memes(num_seeds: int, num_repeats: int) -> None:
    skills = [0.5] + [0.0] * 7
    found = summed_up(num_seeds, skills, SMALLEST, num_repeats)
    inside, gaps = [], []
    for seed, one in enumerate(found):
        fresh = voters(skills, 4000, 10_000 + seed)
        choice = search(voters(skills, 300, seed), SMALLEST)
        decided = combine(fresh, choice)
        true = f1_score(decided.labels, decided.predicted, average="weighted")
        assert one.expected is not None
        assert one.interval is not None
        inside.append(one.interval[0] <= true <= one.interval[1])
        gaps.append(one.expected - true)
    assert np.mean(inside) >= 0.8
    assert abs(np.mean(gaps)) <= 3 * np.std(gaps, ddof=1) / math.sqrt(num_seeds)
