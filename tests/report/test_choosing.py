"""What a report says of the choice: pools, the score to expect, cost, ways to decide."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from report_results import HOSTILE, results
from sklearn.metrics import f1_score

from memeblend.decisions import DecisionRule, DecisionSettings
from memeblend.ensemble import SearchSettings, search
from memeblend.ensemble.combining import combine
from memeblend.ensemble.cost import CandidateCost
from memeblend.ensemble.honest import Procedure, expected_scores_by_method
from memeblend.labels import SENTIMENT
from memeblend.report import ReportInput, build_report, write_report

POOL = f"Pool {HOSTILE}"
COSTS = {"text-0": CandidateCost(2.0, 10), "fusion-0": CandidateCost(5.0, 20), "tfidf-0": CandidateCost(0.5, 5)}


@pytest.fixture(scope="module")
def given() -> ReportInput:
    plain = results()
    tasks = plain["label_tasks"]
    seen = {
        task.name: [table.of_splits(["dev"]) for table in plain["tables"] if table.label_task == task] for task in tasks
    }
    pooled = {name: search(tables, SearchSettings(method="all", voting="soft")) for name, tables in seen.items()}
    procedures = {
        "chosen": Procedure(search, combine),
        "best single": Procedure(lambda tables: search(tables, SearchSettings(method="best_single")), combine),
    }
    expected = {}
    for name, tables in seen.items():
        found = expected_scores_by_method(tables, procedures, num_folds=3, num_repeats=1)
        gain = found.difference("chosen", "best single")
        scores: dict[str, Any] = {way: score.to_dict() for way, score in found.by_procedure.items()}
        expected[name] = scores | {"gain": None if gain is None else gain.to_dict()}
    rule = DecisionRule(SENTIMENT, class_weights=(50.0, 1.0, 1.0), notes=(HOSTILE,))
    return ReportInput(
        **plain,
        pools={POOL: pooled},
        expected=expected,
        costs=COSTS,
        rules={"sentiment": rule},
        decisions={"sentiment": DecisionSettings(thresholds="weighted_f1")},
    )


@pytest.fixture(scope="module")
def report(given: ReportInput) -> dict[str, Any]:
    return build_report(given)


def test_a_pool_is_scored_like_the_ensemble_on_both_roles(given: ReportInput, report: dict[str, Any]) -> None:
    tables = [table for table in given.tables if table.label_task == SENTIMENT]
    mean = np.mean([table.of_splits(["test"]).labelled().probabilities for table in tables], axis=0)
    labels = tables[0].of_splits(["test"]).labelled().labels
    found = report["label_tasks"]["sentiment"]["pools"][POOL]
    assert found["weighted_f1"] == pytest.approx(f1_score(labels, mean.argmax(axis=1), average="weighted"))
    assert found["select_weighted_f1"] == pytest.approx(given.pools[POOL]["sentiment"].score)
    rows = {row["model"]: row["scores"] for row in report["table"]["report"]["rows"]}
    assert rows[POOL][0] == found["weighted_f1"]
    assert list(rows)[-3:] == [POOL, "ensemble", "best constant"]


def test_a_rule_decides_and_is_named(given: ReportInput, report: dict[str, Any]) -> None:
    found = report["label_tasks"]["sentiment"]
    # A weight of 50 says "negative" nearly always.
    assert np.array(found["ensemble"]["confusion"])[:, 0].sum() > 0.9 * found["ensemble"]["num_memes"]
    assert found["decisions"]["applied"]["class_weights"] == [50.0, 1.0, 1.0]
    assert found["decisions"]["notes"][0] == HOSTILE
    plain = build_report(replace(given, rules={}))["label_tasks"]["sentiment"]
    assert plain["decisions"]["applied"] is None
    assert plain["decisions"]["options"] == found["decisions"]["options"]  # studied on the vote before the rule
    assert {one["name"] for one in found["decisions"]["options"]} >= {"temperature", "thresholds_macro_f1"}


def test_costs_hold_every_candidate_and_the_chosen_ensemble(given: ReportInput, report: dict[str, Any]) -> None:
    points = report["label_tasks"]["topic"]["costs"]
    by_members = {tuple(point["members"]): point for point in points}
    for name, cost in COSTS.items():
        assert by_members[name,]["milliseconds"] == cost.milliseconds
    assert by_members["tfidf-0",]["on_front"]  # nothing is cheaper
    chosen = given.choices["topic"]
    assert by_members[chosen.members]["chosen"]
    assert by_members[chosen.members]["score"] == pytest.approx(chosen.score)
    assert "costs" not in report["label_tasks"]["sarcastic_present"]


def test_no_costs_no_picture(given: ReportInput) -> None:
    assert build_report(replace(given, costs={}))["label_tasks"]["topic"]["costs"] == []


def test_it_is_written_for_people(given: ReportInput, report: dict[str, Any], tmp_path: Any) -> None:
    write_report(report, {}, tmp_path)
    html = (tmp_path / "report.html").read_text()
    text = (tmp_path / "report.md").read_text()
    assert "<script" not in html
    for words in ("What to expect of this way to choose", "Chosen when memes are left out", "best single"):
        assert words in html
        assert words in text
    assert "Score against milliseconds a meme" in html
    assert "ms a meme" in text
    assert "Other ways to decide than the plain vote" in html
    assert "Ways to decide" in text
    expected = given.expected["sentiment"]["chosen"]["expected"]
    assert f"{expected:.3f}" in html
    assert f"{expected:.3f}" in text
