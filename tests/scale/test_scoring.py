"""Scoring in one process: the classes of `predict`, every row once, going on after a kill, faults."""

import os

import numpy as np
import pandas as pd
import pytest

from builders import draw_image, write_csv
from memeblend import Manifest, MemeClassifier
from memeblend.errors import ClusterError, DataError, MissingExtraError, ModelError, OutputError, PolicyError
from memeblend.policy import Costs, Policy
from memeblend.scale import scorer as scorer_module
from memeblend.scale.scorer import Scorer
from memeblend.scale.scoring import score
from memeblend.training.progress import Silent
from small_runs import small_rows


def predictions(out):
    return pd.read_parquet(out / "predictions").set_index("meme_id")


def rejected(out):
    return pd.read_parquet(out / "rejected").set_index("where")["reason"].to_dict()


def many(data, num_memes, name="many.csv"):
    """A table of so many rows that share the pictures of the data set."""
    rows = small_rows(data, 60)
    return write_csv(data / name, [rows[i % 60] | {"id": f"n{i}"} for i in range(num_memes)])


@pytest.fixture(scope="session")
def scored(fitted, tmp_path_factory):
    """300 memes, scored in pieces of 64 rows."""
    table = many(fitted.data, 300)
    out = tmp_path_factory.mktemp("scored") / "out"
    return table, out, score(table, fitted.both, out, piece_rows=64)


def test_memes_get_the_classes_of_predict(scored, fitted):
    table, out, found = scored
    expected = MemeClassifier.load(fitted.both).predict_tables(Manifest.read(table, label_tasks=None)).to_frame()
    expected = expected.set_index("meme_id")
    frame = predictions(out)
    assert frame.index.tolist() == expected.index.tolist()
    assert list(frame.columns) == list(expected.columns)
    for name in expected:
        if expected[name].dtype.kind == "f":
            np.testing.assert_allclose(frame[name], expected[name], atol=1e-5)
        else:
            assert frame[name].tolist() == expected[name].tolist()
    assert {name: found[name] for name in ("num_memes", "num_scored", "num_rejected", "num_pieces", "num_now")} == {
        "num_memes": 300,
        "num_scored": 300,
        "num_rejected": 0,
        "num_pieces": 5,
        "num_now": 300,
    }


def test_the_same_call_again_scores_nothing(scored, fitted, monkeypatch):
    table, out, found = scored
    monkeypatch.setattr(scorer_module.Scorer, "score", None)
    again = score(table, fitted.both, out, piece_rows=64)
    now = {"num_now": 0, "seconds": 0.0, "memes_per_second": 0.0, "peak_megabytes": 0}
    assert again == found | now | {name: again[name] for name in ("format", "fingerprint")}


def test_what_is_in_memory_at_a_time_does_not_follow_the_piece(scored, fitted, tmp_path, monkeypatch):
    table, out, _ = scored
    monkeypatch.setattr(scorer_module, "_AT_ONCE", 7)
    sizes = []
    whole = Scorer._predicted
    monkeypatch.setattr(
        Scorer, "_predicted", lambda self, raw, rows, images: sizes.append(len(rows)) or whole(self, raw, rows, images)
    )
    score(table, fitted.text, tmp_path / "out", piece_rows=1000)
    assert max(sizes) == 7
    assert sum(sizes) == 300
    assert predictions(tmp_path / "out").index.tolist() == predictions(out).index.tolist()


class Killed(Exception):
    pass


def test_a_killed_scoring_goes_on(scored, fitted, tmp_path, monkeypatch):
    table, out, _ = scored
    whole = Scorer.score

    def killed(self, piece):
        if piece.number == 2:
            # Dead between the predictions and the word that they are whole.
            with monkeypatch.context() as patch:
                patch.setattr(self.folder, "mark_done", lambda *args: (_ for _ in ()).throw(Killed()))
                return whole(self, piece)
        return whole(self, piece)

    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "score", killed)
        with pytest.raises(Killed):
            score(table, fitted.both, tmp_path / "out", piece_rows=64)
    assert len(predictions(tmp_path / "out")) == 192
    found = score(table, fitted.both, tmp_path / "out", piece_rows=64)
    assert (found["num_now"], found["num_scored"]) == (172, 300)
    pd.testing.assert_frame_equal(predictions(tmp_path / "out"), predictions(out))


def test_bad_rows_are_rejected_with_reasons(fitted, tmp_path):
    data = tmp_path / "data"
    rows = small_rows(data, 12)
    rows[1]["image"] = "pictures/gone.png"
    (data / "pictures" / "2.png").write_bytes(b"no picture")
    rows[3]["image"] = ""
    rows[4]["image"] = "../outside.png"
    draw_image(tmp_path / "outside.png", 1)
    rows[5]["id"] = ""
    rows[6]["split"] = ""
    table = write_csv(data / "memes.csv", rows)
    with table.open("a") as stream:
        stream.write("too,short\n")
    found = score(table, fitted.both, tmp_path / "out", piece_rows=5)
    reasons = rejected(tmp_path / "out")
    assert (found["num_scored"], found["num_rejected"]) == (6, 7)
    assert sorted(int(where.split()[2].rstrip(",")) for where in reasons) == [3, 4, 5, 6, 7, 8, 14]
    assert "does not exist" in reasons["memes.csv row 3"]
    assert "not an image" in reasons["memes.csv row 4"]
    assert "names no image" in reasons["memes.csv row 5"]
    assert "leads upwards" in reasons["memes.csv row 6"]
    assert "cells" in reasons["memes.csv row 14"]
    ids = predictions(tmp_path / "out").index.tolist()
    assert len(ids) == len(set(ids)) == 6


def test_a_model_that_reads_text_does_not_ask_for_images(fitted, tmp_path):
    rows = [{"id": i, "image": f"{i}.png", "text": "happy"} for i in range(3)]
    found = score(write_csv(tmp_path / "t.csv", rows), fitted.text, tmp_path / "out")
    assert found["num_scored"] == 3


def test_no_row_at_all_can_be_scored(fitted, tmp_path):
    rows = [{"id": i, "text": "happy"} for i in range(3)]
    found = score(write_csv(tmp_path / "t.csv", rows), fitted.both, tmp_path / "out")
    assert (found["num_scored"], found["num_rejected"]) == (0, 3)
    assert set(rejected(tmp_path / "out").values()) == {"names no image, but the model reads images"}
    assert not (tmp_path / "out" / "predictions").exists()


def test_a_folder_of_images(fitted, tmp_path):
    found = score(fitted.data / "pictures", fitted.both, tmp_path / "out", piece_rows=40)
    assert found["num_scored"] == 60
    assert "0.png" in predictions(tmp_path / "out").index


def test_a_policy_says_what_is_done(fitted, tmp_path):
    model, table = MemeClassifier.load(fitted.text), many(tmp_path, 20)
    policy = Policy.fit(model.validation_, {"mood": Costs(false_alarm=1, miss=5, review=0.3)}, coverage=0.8)
    policy.write(tmp_path / "policy.toml")
    score(table, fitted.text, tmp_path / "out", piece_rows=8, policy=tmp_path / "policy.toml")
    expected = policy.decide(model.predict_tables(Manifest.read(table, label_tasks=None)).tables)
    assert predictions(tmp_path / "out")["verdict"].tolist() == [said["verdict"] for said in expected]
    with pytest.raises(OutputError, match="cut otherwise"):
        score(table, fitted.text, tmp_path / "out", piece_rows=8)
    (tmp_path / "policy.toml").write_text("nonsense = 1")
    with pytest.raises(PolicyError):
        score(table, fitted.text, tmp_path / "other", policy=tmp_path / "policy.toml")


def test_what_was_scored_otherwise_is_left_alone(scored, fitted, tmp_path):
    table, out, _ = scored
    with pytest.raises(OutputError, match="other memes, of another model, or cut otherwise"):
        score(table, fitted.both, out, piece_rows=65)
    with pytest.raises(OutputError, match="other memes, of another model"):
        score(table, fitted.text, out, piece_rows=64)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="something else"):
        score(table, fitted.text, tmp_path)
    with pytest.raises(OutputError, match="something else"):
        score(table, fitted.text, tmp_path / "notes.txt")
    (tmp_path / "scoring.json").write_text("{")
    with pytest.raises(OutputError, match="can't be read"):
        score(table, fitted.text, tmp_path)


def test_a_table_that_changes_meanwhile_is_noticed(fitted, tmp_path, monkeypatch):
    table = many(tmp_path, 20)
    whole = Scorer.score

    def cut(self, piece):
        if piece.number == 1:
            many(tmp_path, 12)
        return whole(self, piece)

    monkeypatch.setattr(Scorer, "score", cut)
    with pytest.raises(DataError, match="must not change"):
        score(table, fitted.text, tmp_path / "out", piece_rows=10)


def test_a_model_that_can_not_be_used(fitted, tmp_path):
    table = many(tmp_path, 2)
    with pytest.raises(ModelError, match="Expected a memeblend model"):
        score(table, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_rule_that_needs_the_whole_table_is_refused(fitted, tmp_path, monkeypatch):
    class Estimating:
        serving_prior = "estimated"

    whole = scorer_module._load

    def loaded(folder):
        model = whole(folder)
        model.rules_ = dict.fromkeys(model.rules_, Estimating())
        return model

    monkeypatch.setattr(scorer_module, "_load", loaded)
    with pytest.raises(ModelError, match="piece by piece"):
        score(many(tmp_path, 2), fitted.text, tmp_path / "out")


def test_workers_without_ray_and_fewer_memes_than_workers(fitted, tmp_path, monkeypatch):
    table = many(tmp_path, 3)
    with pytest.raises(DataError, match=r"3 meme\(s\) are fewer than 4 workers"):
        score(table, fitted.text, tmp_path / "out", num_workers=4)
    with pytest.raises(DataError, match="can't be"):
        score(table, fitted.text, tmp_path / "out", num_workers=-1)
    with monkeypatch.context() as patch:
        patch.setattr("memeblend.ray_session.has_ray", lambda: False)
        with pytest.raises(MissingExtraError, match=r"memeblend\[ray\]"):
            score(table, fitted.text, tmp_path / "out", num_workers=2)
    assert not (tmp_path / "out").exists()


def test_a_cluster_that_does_not_answer(fitted, tmp_path):
    pytest.importorskip("ray")
    with pytest.raises(ClusterError, match="Nothing answers"):
        score(many(tmp_path, 3), fitted.text, tmp_path / "out", num_workers=2, address="127.0.0.1:1")


class Told(Silent):
    def __init__(self):
        self.lines = []

    def advance(self, num_done, note=""):
        self.lines.append((num_done, note))


def test_the_progress_says_how_fast_it_goes(fitted, tmp_path):
    told = Told()
    score(many(tmp_path, 20), fitted.text, tmp_path / "out", piece_rows=8, progress=told)
    assert [num_done for num_done, _ in told.lines] == [8, 16, 20]
    assert "memes a second" in told.lines[0][1]
    assert told.lines[-1][1].endswith("0 seconds left")


def test_a_full_disk_leaves_no_half_part(fitted, tmp_path, monkeypatch):
    def full(self, number, facts):
        raise OutputError("No space left.")

    monkeypatch.setattr("memeblend.scale.folder.ScoreFolder.mark_done", full)
    with pytest.raises(OutputError, match="No space"):
        score(many(tmp_path, 5), fitted.text, tmp_path / "out")
    assert not [name for _, _, names in os.walk(tmp_path / "out") for name in names if name.endswith(".part")]
