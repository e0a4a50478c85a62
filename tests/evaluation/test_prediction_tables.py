"""Prediction tables: round trips, derived label tasks, and every refusal at once."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memeblend.errors import OutputError, PredictionError
from memeblend.evaluation import PredictionTable
from memeblend.labels import HUMOROUS, SENTIMENT, LabelTask


def table(**changes: Any) -> PredictionTable:
    values: dict[str, Any] = {
        "candidate": "text-0",
        "label_task": SENTIMENT,
        "meme_ids": ["d/train/1", "d/test/1", "d/test/2"],
        "splits": ["train", "test", "test"],
        "groups": [0, 1, 1],
        "labels": [0, 2, -1],
        "probabilities": [[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.4, 0.4, 0.2]],
        "manifest_fingerprint": "abc",
    }
    return PredictionTable(**values | changes)


def assert_same(first: PredictionTable, second: PredictionTable) -> None:
    assert first.candidate == second.candidate
    assert first.label_task == second.label_task
    assert first.manifest_fingerprint == second.manifest_fingerprint
    for name in ("meme_ids", "splits", "groups", "labels", "probabilities", "predicted"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert (first.decisions is None) == (second.decisions is None)


def rewritten(path: Path, change: Any) -> Path:
    """Write a good table, apply `change` to its columns (a dict of lists) and keep its metadata."""
    table().write(path)
    arrow = pq.read_table(path)
    columns = change(arrow.to_pydict())
    pq.write_table(pa.table(columns).replace_schema_metadata(arrow.schema.metadata), path)
    return path


@pytest.mark.parametrize("decisions", [None, [1, 2, 0]])
def test_round_trip(tmp_path: Path, decisions: list[int] | None) -> None:
    written = table(decisions=decisions)
    written.write(tmp_path / "text-0.parquet")
    assert_same(PredictionTable.read(tmp_path / "text-0.parquet"), written)
    assert_same(PredictionTable.read(tmp_path / "text-0.parquet", SENTIMENT), written)
    assert [path.name for path in tmp_path.iterdir()] == ["text-0.parquet"]


@given(
    st.lists(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3), min_size=1, max_size=8),
)
def test_rows_sum_to_one_and_keep_their_bits_when_built_again(rows: list[list[float]]) -> None:
    raw = np.array(rows)
    raw = (raw / raw.sum(axis=1, keepdims=True)).astype(np.float32)
    num = len(raw)
    once = table(
        meme_ids=[str(i) for i in range(num)], splits=["a"] * num, groups=[0] * num, labels=[0] * num, probabilities=raw
    )
    np.testing.assert_allclose(once.probabilities.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_array_equal(once.probabilities.argmax(axis=1), raw.argmax(axis=1))
    again = once.take(np.arange(num))
    np.testing.assert_array_equal(again.probabilities, once.probabilities)


def test_predicted_takes_the_lowest_class_among_equals_unless_decided_otherwise() -> None:
    assert table().predicted.tolist() == [0, 2, 0]
    assert table(decisions=[2, 1, 1]).predicted.tolist() == [2, 1, 1]


def test_splits_and_labels_select_rows() -> None:
    whole = table(decisions=[2, 1, 0])
    assert whole.split_names == ("train", "test")
    tested = whole.of_splits(["test"])
    assert tested.meme_ids.tolist() == ["d/test/1", "d/test/2"]
    assert tested.predicted.tolist() == [1, 0]
    assert tested.labelled().meme_ids.tolist() == ["d/test/1"]
    with pytest.raises(PredictionError, match=r"no predictions of split.*validation.*train, test"):
        whole.of_splits(["validation", "test"])


def test_derived_follows_the_predicted_level_not_the_summed_probability() -> None:
    source = PredictionTable(
        "fusion-0",
        HUMOROUS,
        np.array(["a", "b", "c"]),
        np.array(["test"] * 3),
        np.arange(3),
        np.array([0, 3, -1]),
        np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]]),
        "abc",
    )
    derived = source.derived()
    assert derived.label_task.name == "humorous_present"
    assert derived.labels.tolist() == [0, 1, -1]
    # The first meme's most probable level is 0 (absent), although present sums to .6.
    assert derived.predicted.tolist() == [0, 1, 0]
    np.testing.assert_allclose(derived.probabilities, [[0.4, 0.6], [0.1, 0.9], [0.25, 0.75]])
    with pytest.raises(ValueError, match="no intensity levels"):
        table().derived()


def test_alignment_reorders_and_lists_what_differs() -> None:
    whole = table()
    turned = whole.take(np.array([2, 0, 1]))
    assert_same(turned.aligned_to(whole), whole)
    with pytest.raises(PredictionError) as caught:
        whole.take(np.array([0, 1])).aligned_to(table(meme_ids=["d/train/1", "d/test/9", "d/test/2"]))
    assert {problem.meme_id for problem in caught.value.problems} == {"d/test/1", "d/test/2", "d/test/9"}


def test_an_outside_table_takes_labels_and_groups_from_another(tmp_path: Path) -> None:
    def strip(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {name: values[::-1] for name, values in columns.items() if name not in ("label", "group")}

    path = rewritten(tmp_path / "outside.parquet", strip)
    outside = PredictionTable.read(path)
    assert outside.labels.tolist() == [-1, -1, -1]
    assert len(set(outside.groups.tolist())) == 3
    assert_same(outside.with_truth_of(table()), table())


def test_a_table_without_metadata_needs_to_be_told_its_label_task(tmp_path: Path) -> None:
    path = tmp_path / "outside.parquet"
    table().write(path)
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    with pytest.raises(PredictionError, match="does not say what its label task is"):
        PredictionTable.read(path)
    assert_same(PredictionTable.read(path, SENTIMENT), table())


def test_all_row_problems_are_listed_at_once() -> None:
    with pytest.raises(PredictionError) as caught:
        table(
            meme_ids=["a", "a", "c"],
            splits=["train", "", "test"],
            labels=[0, 3, -2],
            decisions=[0, -1, 0],
            probabilities=[[0.5, 0.25, 0.15], [np.nan, 0.5, 0.5], [-0.5, 1.0, 0.5]],
        )
    found = [problem.what for problem in caught.value.problems]
    for words in (
        "duplicate meme id, first seen in row 1",
        "empty split",
        "label index 3",
        "label index -2",
        "decision index -1",
        "NaN or infinite",
        "negative (-0.5)",
        "sum to 0.9",
    ):
        assert sum(words in what for what in found) == 1, words
    assert len(found) == 8


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(PredictionError) as caught:
        table(groups=[0, 1], probabilities=[[0.5, 0.5]] * 3)
    assert [problem.what for problem in caught.value.problems] == [
        "groups has shape (2,), expected (3,)",
        "probabilities has shape (3, 2), expected (3, 3)",
    ]


def without(*names: str) -> Any:
    return lambda columns: {name: values for name, values in columns.items() if name not in names}


def changed(name: str, values: list[Any]) -> Any:
    return lambda columns: columns | {name: values}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("meme_id", "candidate"), ["column 'meme_id' is missing", "column 'candidate' is missing"]),
        (without("probability_neutral"), ["classes negative, positive; label task 'sentiment' has negative, neutral"]),
        (changed("probability_angry", [0.0] * 3), ["negative, neutral, positive, angry"]),
        (
            changed("label", ["negative", "angry", "sad"]),
            ["row 2, column label: 'angry'", "row 3, column label: 'sad'"],
        ),
        (changed("candidate", ["a", "b", "a"]), ["column candidate: holds a, b, expected one value"]),
        (changed("label_task", ["humorous"] * 3), ["is not the label task 'sentiment'"]),
        (changed("probability_neutral", ["x", "y", "z"]), ["column probability_neutral: holds string"]),
        (changed("probability_neutral", [0.25, None, 0.9]), ["row 2 (meme 'd/test/1')", "row 3 (meme 'd/test/2')"]),
        (changed("group", [0, None, 1]), ["column group: holds missing values"]),
        (changed("group", ["x", "y", "z"]), ["column group: holds string"]),
        (changed("meme_id", ["a", None, "a"]), ["empty meme_id", "duplicate meme id"]),
        (changed("decision", ["negative", None, "neutral"]), ["decision index -1"]),
        (lambda columns: {name: values[:0] for name, values in columns.items()}, ["holds no rows"]),
    ],
)
def test_bad_files_are_refused_with_reasons(tmp_path: Path, change: Any, words: list[str]) -> None:
    path = rewritten(tmp_path / "bad.parquet", change)
    with pytest.raises(PredictionError) as caught:
        PredictionTable.read(path)
    for some in words:
        assert some in str(caught.value)


def test_class_order_must_be_the_label_tasks(tmp_path: Path) -> None:
    table().write(tmp_path / "t.parquet")
    turned = LabelTask("sentiment", "ordinal", ("positive", "neutral", "negative"))
    with pytest.raises(PredictionError, match="has positive, neutral, negative, in this order"):
        PredictionTable.read(tmp_path / "t.parquet", turned)
    nominal = LabelTask("sentiment", "nominal", SENTIMENT.classes)
    with pytest.raises(PredictionError, match=r"'kind': 'ordinal'.*expected.*'kind': 'nominal'"):
        PredictionTable.read(tmp_path / "t.parquet", nominal)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_files_cut_short_are_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "cut.parquet"
    table().write(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(PredictionError, match="cut short"):
        PredictionTable.read(path)


def test_damaged_metadata_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table().write(path)
    wrong = {b"memeblend": json.dumps({"label_task": {"name": "sentiment"}}).encode()}
    pq.write_table(pq.read_table(path).replace_schema_metadata(wrong), path)
    with pytest.raises(PredictionError, match="do not describe a label task"):
        PredictionTable.read(path)
    with pytest.raises(PredictionError, match="no prediction table"):
        PredictionTable.read(tmp_path / "nowhere.parquet")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.parquet"
    table().write(path)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OutputError, match="No space left"):
        table(candidate="other").write(path)
    assert PredictionTable.read(path).candidate == "text-0"
    assert len(list(tmp_path.iterdir())) == 1


def test_reading_many_rows_is_quick(tmp_path: Path) -> None:
    num = 20_000
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), size=num)
    big = table(
        meme_ids=[f"d/test/{row}" for row in range(num)],
        splits=["test"] * num,
        groups=np.arange(num),
        labels=np.zeros(num),
        probabilities=probabilities,
    )
    big.write(tmp_path / "big.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(PredictionTable.read(tmp_path / "big.parquet"), big)
