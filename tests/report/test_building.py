"""The content of report.json: every number traced back to the tables it came from."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from report_results import NAMES, results
from sklearn.metrics import f1_score

from memeblend.ensemble import blend
from memeblend.errors import PredictionError
from memeblend.evaluation import PredictionTable, evaluate_table, paired_bootstrap, task_means
from memeblend.labels import SARCASTIC, SENTIMENT
from memeblend.report import ReportInput, build_report
from memeblend.report.wrong import shortened, wrong_memes


@pytest.fixture(scope="module")
def report(given: ReportInput) -> dict[str, Any]:
    return build_report(given)


def ensemble_of(given: ReportInput, name: str) -> PredictionTable:
    tables = {table.candidate: table for table in given.tables if table.label_task.name == name}
    return blend([tables[member] for member in given.choices[name].members])


def test_is_plain_json_and_the_same_every_time(given: ReportInput, report: dict[str, Any]) -> None:
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert build_report(given) == report


def test_ensembles_are_judged_on_the_report_role(given: ReportInput, report: dict[str, Any]) -> None:
    for name in ("sentiment", "sarcastic", "topic"):
        found, table = report["label_tasks"][name], ensemble_of(given, name)
        prior = given.prior(table.label_task)
        expected = evaluate_table(table, ["test"], prior, seed=0)
        assert {key: found["ensemble"][key] for key in expected} == expected
        assert found["scored_on"] == {"role": "report", "splits": ["test"], "num_memes": expected["num_memes"]}
        assert found["ensemble"]["select_weighted_f1"] == pytest.approx(given.choices[name].score)


def test_candidates_have_scores_of_both_roles(given: ReportInput, report: dict[str, Any]) -> None:
    found = report["label_tasks"]["sentiment"]["candidates"]
    assert tuple(found) == NAMES
    for table in given.tables:
        if table.label_task == SENTIMENT:
            for splits, key in ((["test"], "weighted_f1"), (["dev"], "select_weighted_f1")):
                part = table.of_splits(splits).labelled()
                expected = f1_score(part.labels, part.predicted, average="weighted", zero_division=0)
                assert found[table.candidate][key] == pytest.approx(expected)


def test_derived_label_tasks_follow_the_ensemble(given: ReportInput, report: dict[str, Any]) -> None:
    assert list(report["label_tasks"]) == ["sentiment", "sarcastic", "sarcastic_present", "topic"]
    found = report["label_tasks"]["sarcastic_present"]
    derived = ensemble_of(given, "sarcastic").derived().of_splits(["test"]).labelled()
    assert found["derived_from"] == "sarcastic"
    assert found["ensemble"]["weighted_f1"] == pytest.approx(
        f1_score(derived.labels, derived.predicted, average="weighted", zero_division=0)
    )
    # The fit split has 10, 20, 30, 40 memes of the four levels.
    assert given.prior(SARCASTIC).tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert found["ensemble"]["constants"]["majority"] == "present"


def test_the_best_member_is_the_best_on_select(given: ReportInput, report: dict[str, Any]) -> None:
    for name in ("sentiment", "sarcastic", "topic"):
        found = report["label_tasks"][name]
        members = given.choices[name].members
        best = max(members, key=lambda member: found["candidates"][member]["select_weighted_f1"])
        assert found["against_best_member"]["member"] == best
        ensemble = ensemble_of(given, name).of_splits(["test"])
        (table,) = [one for one in given.tables if (one.candidate, one.label_task.name) == (best, name)]
        expected = paired_bootstrap(
            ensemble.labels,
            ensemble.predicted,
            table.of_splits(["test"]).predicted,
            ensemble.groups,
            ensemble.label_task.num_classes,
        )
        assert found["against_best_member"]["interval"] == list(expected.interval)


def test_members_and_their_agreement(given: ReportInput, report: dict[str, Any]) -> None:
    found = report["label_tasks"]["sentiment"]["members"]
    assert found["members"] == list(given.choices["sentiment"].members)
    assert (found["selected_on"], found["selected_on_role"]) == (["dev"], "select")
    decided = ensemble_of(given, "sentiment").of_splits(["test"]).predicted
    votes = {
        table.candidate: table.of_splits(["test"]).predicted
        for table in given.tables
        if table.label_task == SENTIMENT and table.candidate in found["members"]
    }
    assert found["agreement"] == pytest.approx({name: float((cast == decided).mean()) for name, cast in votes.items()})
    unanimous = np.all([cast == decided for cast in votes.values()], axis=0).mean()
    assert found["unanimous"] == pytest.approx(unanimous)
    top_two = [sorted(Counter(cast).values(), reverse=True)[:2] for cast in zip(*votes.values(), strict=True)]
    tied = [len(top) == 2 and top[0] == top[1] for top in top_two]
    assert found["decided_by_tie_break"] == pytest.approx(np.mean(tied))


def test_table_and_means(given: ReportInput, report: dict[str, Any]) -> None:
    table = report["table"]["report"]
    assert table["columns"] == ["sentiment", "sarcastic", "topic"]
    assert [row["model"] for row in table["rows"]] == [*NAMES, "ensemble", "best constant"]
    by_task = {name: entry["ensemble"] for name, entry in report["label_tasks"].items()}
    assert table["rows"][-2]["scores"] == [by_task[name]["weighted_f1"] for name in table["columns"]]
    assert table["rows"][-1]["scores"] == [by_task[name]["baselines"]["best_constant"] for name in table["columns"]]
    assert report["means"]["ensemble"] == task_means(by_task)
    assert set(report["means"]) == {*NAMES, "ensemble", "best_constant"}
    select = report["table"]["select"]["rows"]
    assert select[-2]["scores"] == pytest.approx([given.choices[name].score for name in table["columns"]])
    labels = ensemble_of(given, "sentiment").of_splits(["dev"]).labelled().labels
    constants = [f1_score(labels, np.full_like(labels, index), average="weighted") for index in range(3)]
    assert select[-1]["scores"][0] == pytest.approx(max(constants))


def test_summary_names_split_role_and_verdict(report: dict[str, Any]) -> None:
    assert [one["label_task"] for one in report["summary"]] == list(report["label_tasks"])
    for one in report["summary"]:
        assert "on test (role report, " in one["text"]
        assert "a constant" in one["text"]
        told = report["label_tasks"][one["label_task"]]["ensemble"]["told_from_constant"]
        assert (one["sign"] == 1) == told


def test_choosing_on_the_report_role_is_said_to_be_optimistic(given: ReportInput) -> None:
    swapped = replace(given, roles={"fit": ("train",), "select": ("test",), "report": ("dev",)})
    report = build_report(swapped)
    assert report["label_tasks"]["topic"]["members"]["selected_on_role"] == "report"
    assert all("optimistic" in one["text"] for one in report["summary"])


def test_curves_are_one_point_an_epoch(given: ReportInput, report: dict[str, Any]) -> None:
    expected = [
        {"epoch": 1.0, "train_loss": 1.0, "weighted_f1": 0.2},
        {"epoch": 2.0, "train_loss": 0.5, "weighted_f1": 0.4},
    ]
    assert report["curves"] == {"text-0": expected, "fusion-0": expected}
    long = [{"epoch": float(epoch), "loss": 1.0} for epoch in range(1001)]
    points = build_report(replace(given, curves={"text-0": long, "empty": []}))["curves"]
    assert list(points) == ["text-0"]
    assert len(points["text-0"]) <= 200


def test_class_balance_names_roles(given: ReportInput, report: dict[str, Any]) -> None:
    assert report["class_balance"]["sentiment"]["train"] == {
        "role": "fit",
        "counts": {"negative": 10, "neutral": 20, "positive": 30},
    }
    assert list(report["class_balance"]["sentiment"]) == ["train", "dev", "test"]


def test_thousands_of_memes_do_not_bloat_it() -> None:
    small, large = (
        len(json.dumps(build_report(ReportInput(**results(num, tasks=(SENTIMENT,))))["label_tasks"]))
        for num in (200, 6000)
    )
    assert large < 1.2 * small


def test_all_missing_results_are_listed() -> None:
    arguments = results(40)
    arguments["choices"].pop("topic")
    arguments["class_counts"].pop("train")
    arguments["tables"] = [table for table in arguments["tables"] if table.label_task != SENTIMENT]
    with pytest.raises(PredictionError) as caught:
        ReportInput(**arguments)
    text = str(caught.value)
    assert "'topic': no ensemble was chosen" in text
    assert "'sentiment': member" in text
    assert "'sarcastic': no class counts of a fit split" in text


def rows(name: str, ids: list[str], groups: list[int], labels: list[int], positive: list[float]) -> PredictionTable:
    probabilities = np.stack([1 - np.array(positive), positive], axis=1)
    task = replace(SENTIMENT, kind="nominal", classes=("no", "yes"))
    return PredictionTable(name, task, np.array(ids), np.array(["test"] * len(ids)), groups, labels, probabilities, "f")  # type: ignore[arg-type]


def test_wrong_memes_by_hand() -> None:
    ids, groups = ["a", "b", "c", "d"], [0, 0, 1, 2]
    # First label task: a, b and c are wrong with .9, .95 and .6; a and b are near-duplicates, so b stands for both.
    first = rows("ensemble", ids, groups, [0, 0, 0, 1], [0.9, 0.95, 0.6, 0.8])
    # Second label task: only d is wrong, with .7, and takes its turn after b.
    second = rows("ensemble", ids, groups, [0, 0, 0, 1], [0.1, 0.1, 0.2, 0.3])
    members = [rows("m0", ids, groups, [0, 0, 0, 1], [0.9, 0.2, 0.6, 0.8])]
    found = wrong_memes({"first": (first, members), "second": (second, members)}, {"b": "some\n\ttext"})
    assert [meme["meme_id"] for meme in found] == ["b", "d", "c"]
    assert found[0] == {
        "meme_id": "b",
        "split": "test",
        "ocr_text": "some text",
        "mistakes": [
            {
                "label_task": "first",
                "true": "no",
                "predicted": "yes",
                "probability": pytest.approx(0.95),
                "true_probability": pytest.approx(0.05),
                "votes": {"m0": "no"},
            }
        ],
    }


def test_at_most_twelve_wrong_memes_and_every_label_task_has_its_turn(report: dict[str, Any]) -> None:
    found = report["wrong_memes"]
    assert len(found) == 12
    assert len({meme["meme_id"] for meme in found}) == 12
    assert all(meme["split"] == "test" for meme in found)
    assert {found[row]["mistakes"][0]["label_task"] for row in range(12)} == {"sentiment", "sarcastic", "topic"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x00b\r\nc", "a b c"),
        ("abc\u202edef", "abc def"),
        ("broken \ud800 half", "broken half"),
        ("क्\u200dष 👩\u200d💻", "क्\u200dष 👩\u200d💻"),
        ("x" * 500, "x" * 399 + "…"),
    ],
)
def test_texts_are_made_printable(text: str, expected: str) -> None:
    assert shortened(text) == expected


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys, memeblend.report, memeblend.ensemble, memeblend.evaluation; "
        "print([m for m in ('torch', 'sklearn', 'matplotlib', 'jinja2', 'pandas', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
