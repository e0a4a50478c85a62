"""Anyone's probabilities as a candidate: what is taken in, and every reason for which it is refused."""

import numpy as np
import pandas as pd
import pytest

from memeblend.errors import DataError, PredictionError
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import LabelTask
from memeblend.run.outside import read_outside

MOOD = LabelTask("mood", "binary", ("bad", "good"))
LEVEL = LabelTask("level", "ordinal", ("none", "some", "much"))
IDS = [f"set/validation/{number}" for number in range(4)] + [f"set/test/{number}" for number in range(4)]
ALL_IDS = ["set/train/0", "set/train/1", *IDS]


def reference_of(task):
    return PredictionTable(
        candidate="tfidf-0",
        label_task=task,
        meme_ids=np.array(IDS),
        splits=np.array(["validation"] * 4 + ["test"] * 4),
        groups=np.arange(8),
        labels=np.arange(8) % task.num_classes,
        probabilities=np.full((8, task.num_classes), 1 / task.num_classes),
        manifest_fingerprint="print",
    )


REFERENCE = {task.name: reference_of(task) for task in (MOOD, LEVEL)}


def frame(**columns):
    good = np.linspace(0.1, 0.9, len(IDS))
    base = {"meme_id": IDS, "probability_bad": 1 - good, "probability_good": good}
    return pd.DataFrame(base | columns)


def taken_in(table, tmp_path, reference=None, **options):
    path = tmp_path / "theirs.csv"
    table.to_csv(path, index=False)
    lines = []
    options = {"label_task": "mood", "notify": lines.append} | options
    return read_outside(path, "theirs", reference or REFERENCE, ALL_IDS, **options), lines


def test_rows_are_matched_by_id_in_any_order_and_take_the_runs_truth(tmp_path):
    found, _ = taken_in(frame().sample(frac=1, random_state=0), tmp_path)
    assert set(found) == {"mood"}
    table = found["mood"]
    assert table.candidate == "theirs"
    np.testing.assert_array_equal(table.meme_ids, IDS)
    np.testing.assert_allclose(table.probabilities[:, 1], np.linspace(0.1, 0.9, 8))
    np.testing.assert_array_equal(table.labels, REFERENCE["mood"].labels)
    np.testing.assert_array_equal(table.splits, REFERENCE["mood"].splits)


def test_columns_as_predict_writes_them_give_several_label_tasks_in_class_order(tmp_path):
    wide = pd.DataFrame(
        {"meme_id": IDS, "mood": "bad", "mood_p_good": 0.25, "mood_p_bad": 0.75}
        | {f"level_p_{name}": value for name, value in (("much", 0.5), ("some", 0.3), ("none", 0.2))}
    )
    found, _ = taken_in(wide, tmp_path, label_task="")
    np.testing.assert_allclose(found["mood"].probabilities[0], [0.75, 0.25])
    np.testing.assert_allclose(found["level"].probabilities[0], [0.2, 0.3, 0.5])


def test_memes_that_only_trained_are_left_aside_and_counted(tmp_path):
    more = pd.concat([frame(), frame().head(1).assign(meme_id="set/train/1")])
    found, lines = taken_in(more, tmp_path)
    assert len(found["mood"]) == 8
    assert lines == ["1 row(s) of memes that neither choose nor report are left aside"]


def test_a_run_with_one_label_task_needs_no_name_of_it(tmp_path):
    found, _ = taken_in(frame(), tmp_path, reference={"mood": REFERENCE["mood"]}, label_task="")
    assert set(found) == {"mood"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (frame().head(7), "'set/test/3': has no row"),
        (pd.concat([frame(), frame().head(1)]), "'set/validation/0': is in 2 rows"),
        (frame(meme_id=["other", *IDS[1:]]), "'other': is not a meme of this run"),
        (frame(probability_good=0.9), "sum"),
        (frame(probability_good=["x", *[0.5] * 7]), "row 2: probability_good is x"),
        (frame(probability_good=[None, *[0.5] * 7]), "probability_good is empty"),
        (frame(probability_good=["nan", *[0.5] * 7]), "finite"),
        (frame(probability_good=-0.5, probability_bad=1.5), "negative"),
        (frame().rename(columns={"probability_bad": "probability_awful"}), "classes awful, good; expected bad, good"),
        (frame().rename(columns={"meme_id": "id"}), "no column meme_id"),
        (frame(split=["train", *["validation"] * 3, *["test"] * 4]), "split 'train', but 'validation' in this run"),
        (pd.DataFrame({"meme_id": IDS, "p": 1}), "no column of probabilities"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, table, message):
    with pytest.raises(PredictionError, match=message):
        taken_in(table, tmp_path)


def test_all_problems_come_at_once(tmp_path):
    with pytest.raises(PredictionError) as caught:
        taken_in(frame(meme_id=["a", "b", *IDS[2:]]), tmp_path)
    assert len(caught.value.problems) == 4  # two unknown, two without a row


def test_label_task_must_be_known_and_named_where_there_are_several(tmp_path):
    with pytest.raises(PredictionError, match="several label tasks"):
        taken_in(frame(), tmp_path, label_task="")
    with pytest.raises(PredictionError, match="no label task 'moods'"):
        taken_in(frame(), tmp_path, label_task="moods")


def test_a_name_must_be_plain(tmp_path):
    frame().to_csv(tmp_path / "theirs.csv", index=False)
    with pytest.raises(DataError, match=r"'\.\./x' can't name a candidate"):
        read_outside(tmp_path / "theirs.csv", "../x", REFERENCE, ALL_IDS, label_task="mood", notify=print)
