"""Rules applied: what they change, what they keep, and that they survive JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from decision_tables import simulated, table_of
from hypothesis import given, settings
from hypothesis import strategies as st

from memeblend.decisions import DecisionRule
from memeblend.ensemble import blend
from memeblend.errors import PredictionError
from memeblend.evaluation import PredictionTable
from memeblend.labels import HUMOROUS, MOTIVATIONAL, SENTIMENT

FULL = DecisionRule(
    HUMOROUS,
    temperature=1.7,
    prior_fit=(0.1, 0.2, 0.3, 0.4),
    serving_prior=(0.4, 0.3, 0.2, 0.1),
    class_weights=(1.0, 2.0, 0.5, 1.0),
    present_threshold=0.4,
    notes=("made",),
)


def voted(num: int, seed: int) -> PredictionTable:
    """A blend of three candidates, whose votes often overrule the mean probability."""
    members = [replace(simulated(num, seed), candidate="0")]
    rng = np.random.default_rng(seed)
    members += [
        replace(members[0], candidate=str(index), probabilities=rng.dirichlet(np.ones(3), size=num)) for index in (1, 2)
    ]
    return blend(members)


def test_nothing_set_changes_nothing() -> None:
    rule = DecisionRule(SENTIMENT)
    assert rule.is_identity
    for table in (simulated(20, 0), voted(20, 0)):
        same = rule.apply(table)
        assert same.probabilities.tolist() == table.probabilities.tolist()
        assert (same.decisions is None) == (table.decisions is None)
        assert same.predicted.tolist() == table.predicted.tolist()


@given(seed=st.integers(0, 1000), temperature=st.sampled_from([0.1, 0.5, 3.0, 100.0]))
@settings(max_examples=25, deadline=None)
def test_a_temperature_keeps_the_vote_and_its_class_the_most_probable(seed: int, temperature: float) -> None:
    table = voted(40, seed)
    changed = DecisionRule(SENTIMENT, temperature=temperature).apply(table)
    assert changed.predicted.tolist() == table.predicted.tolist()
    assert (changed.probabilities[np.arange(40), changed.predicted] == changed.probabilities.max(axis=1)).all()
    assert not np.allclose(changed.probabilities, table.probabilities)


def test_the_order_of_the_parts_by_hand() -> None:
    """0.8, 0.2 -> temperature 2: 2/3, 1/3 -> shares 1:1 to 1:4: 1/3, 2/3 -> weights 3, 1: class 0."""
    table = table_of([[0.8, 0.2]], [0], MOTIVATIONAL)
    rule = DecisionRule(MOTIVATIONAL, 2.0, (0.5, 0.5), (0.2, 0.8))
    shifted = rule.apply(table)
    assert shifted.probabilities[0] == pytest.approx([1 / 3, 2 / 3])
    assert shifted.predicted.tolist() == [1]
    weighted = replace(rule, class_weights=(3.0, 1.0)).apply(table)
    assert weighted.probabilities[0] == pytest.approx([1 / 3, 2 / 3])
    assert weighted.predicted.tolist() == [0]
    costly = replace(rule, costs=((0.0, 9.0), (1.0, 0.0))).apply(table)  # 2/3 * 1 for class 0, 1/3 * 9 for class 1
    assert costly.predicted.tolist() == [0]


def test_between_equals_the_decision_before_stands() -> None:
    table = table_of([[0.4, 0.4, 0.2], [0.4, 0.4, 0.2]], [0, 0], decisions=[1, 0])
    assert DecisionRule(SENTIMENT, class_weights=(1.0, 1.0, 1.0)).apply(table).predicted.tolist() == [1, 0]


def test_weights_decide_from_probabilities_not_from_the_vote() -> None:
    table = table_of([[0.5, 0.3, 0.2]], [0], decisions=[0])
    decided = DecisionRule(SENTIMENT, class_weights=(1.0, 2.0, 1.0)).apply(table)
    assert decided.predicted.tolist() == [1]
    assert decided.probabilities.tolist() == [[0.5, 0.3, 0.2]]


@pytest.mark.parametrize("task", [HUMOROUS, MOTIVATIONAL])
@given(
    seed=st.integers(0, 10_000),
    threshold=st.floats(0, 1),
    decider=st.sampled_from(["none", "weights", "costs"]),
    temperature=st.sampled_from([1.0, 0.2, 5.0]),
    has_votes=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_present_iff_the_level_is_above_zero(
    task: object, seed: int, threshold: float, decider: str, temperature: float, has_votes: bool
) -> None:
    rng = np.random.default_rng(seed)
    num_levels = task.num_classes  # type: ignore[attr-defined]
    probabilities = rng.dirichlet([0.3] * num_levels, size=25)
    probabilities[:num_levels] = np.eye(num_levels)
    decisions = rng.integers(0, num_levels, 25).tolist() if has_votes else None
    table = table_of(probabilities.tolist(), [0] * 25, task, decisions=decisions)  # type: ignore[arg-type]
    rule = DecisionRule(
        task,  # type: ignore[arg-type]
        temperature=temperature,
        class_weights=tuple(rng.uniform(0.1, 9, num_levels).tolist()) if decider == "weights" else None,
        costs=tuple(map(tuple, rng.uniform(0, 9, (num_levels, num_levels)).tolist())) if decider == "costs" else None,
        present_threshold=threshold,
    )
    levels = rule.apply(table)
    derived = levels.derived()
    assert (derived.predicted == (levels.predicted > 0)).all()
    assert (derived.predicted == (levels.probabilities[:, 1:].sum(axis=1) > threshold)).all()


def test_the_level_of_a_present_meme_is_its_best_above_zero() -> None:
    table = table_of([[0.4, 0.2, 0.3, 0.1], [0.4, 0.2, 0.3, 0.1], [0.9, 0.1, 0, 0]], [0, 0, 0], HUMOROUS)
    assert table.predicted.tolist() == [0, 0, 0]
    assert DecisionRule(HUMOROUS, present_threshold=0.5).apply(table).predicted.tolist() == [2, 2, 0]
    assert DecisionRule(HUMOROUS, present_threshold=0.7).apply(table).predicted.tolist() == [0, 0, 0]
    weighted = DecisionRule(HUMOROUS, class_weights=(9.0, 2.0, 1.0, 1.0), present_threshold=0.5)
    assert weighted.apply(table).predicted.tolist() == [1, 1, 0]


def test_estimated_shares_are_those_of_each_split() -> None:
    fitted = (0.2, 0.3, 0.5)
    first = simulated(2000, 3, prior=fitted)
    other = simulated(2000, 1, prior=[0.6, 0.3, 0.1], prior_fit=fitted, split="test")
    few = simulated(5, 2, prior=fitted, split="rest")
    parts = [first, other, few]
    both = PredictionTable(
        "made",
        SENTIMENT,
        np.concatenate([table.meme_ids for table in parts]),
        np.concatenate([table.splits for table in parts]),
        np.arange(4005),
        np.concatenate([table.labels for table in parts]),
        np.concatenate([table.probabilities for table in parts]),
        "f",
    )
    rule = DecisionRule(SENTIMENT, prior_fit=fitted, serving_prior="estimated")
    found = rule.estimated_priors(both)
    assert list(found) == ["validation", "test", "rest"]
    assert found["validation"].prior == pytest.approx(fitted, abs=0.06)
    assert found["test"].prior == pytest.approx([0.6, 0.3, 0.1], abs=0.06)
    assert found["rest"].prior == fitted
    assert "only 5 meme(s)" in found["rest"].reason
    applied = rule.apply(both)
    assert applied.of_splits(["test"]).probabilities == pytest.approx(rule.apply(other).probabilities)
    assert applied.of_splits(["rest"]).probabilities.tolist() == few.probabilities.tolist()
    assert (applied.predicted == both.labels).mean() > (both.predicted == both.labels).mean()


def test_rules_survive_json() -> None:
    others = (
        DecisionRule(SENTIMENT),
        DecisionRule(SENTIMENT, prior_fit=(0.2, 0.3, 0.5), serving_prior="estimated"),
        DecisionRule(MOTIVATIONAL, costs=((0.0, 1.0), (5.0, 0.0))),
    )
    for rule in (FULL, *others):
        text = json.dumps(rule.to_dict(), allow_nan=False)
        assert DecisionRule.from_dict(json.loads(text)) == rule


def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(PredictionError) as caught:
        DecisionRule(
            SENTIMENT,
            temperature=0.0,
            prior_fit=(0.5, 0.5, 0.0),
            serving_prior=(0.4, 0.3, 0.3),
            class_weights=(1.0, -1.0, 1.0),
            costs=((0.0, 1.0), (1.0, 0.0)),
            present_threshold=1.5,
        )
    assert [problem.what for problem in caught.value.problems] == [
        "temperature is 0.0, expected a number above 0",
        "class 'positive' is expected with share 0.3, but no meme of the fit split has it",
        "class_weights are (1.0, -1.0, 1.0), expected 3 numbers above 0",
        "class_weights and costs are both given, expected one of them",
        "rows of [2, 2] numbers, expected 3 rows of 3 (true class)",
        "has a present_threshold, but no intensity levels",
        "present_threshold is 1.5, expected 0 to 1",
    ]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"serving_prior": (0.4, 0.3, 0.3)}, "no prior_fit"),
        ({"prior_fit": (0.4, 0.3, 0.3), "serving_prior": (0.4, 0.3)}, "one share for each of negative"),
        ({"prior_fit": (0.4, 0.3, 0.2), "serving_prior": "estimated"}, "prior_fit: the shares sum to 0.9"),
        ({"prior_fit": (1.4, 0.3, -0.7), "serving_prior": "estimated"}, "numbers from 0 up"),
        ({"prior_fit": (0.4, 0.3, 0.3), "serving_prior": "guessed"}, "'guessed', expected 'estimated'"),
        ({"costs": ((0.0, 1.0, -1.0),) * 3}, "a cost is negative"),
    ],
)
def test_refusals(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(PredictionError, match=words):
        DecisionRule(SENTIMENT, **wrong)  # type: ignore[arg-type]


def test_a_table_of_another_label_task_is_refused() -> None:
    with pytest.raises(PredictionError, match=r"of label task .*humorous.*, the table of candidate 'made' of"):
        FULL.apply(simulated(3, 0))
