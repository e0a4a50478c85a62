"""Workers of Ray: killed while they score and while they train; every id once, the same encoder. Takes minutes."""

import json
import os
import signal
import threading
import time
from contextlib import suppress

import pandas as pd
import pytest

from builders import write_csv
from memeblend.errors import ClusterError, DataError, MissingExtraError, ModelError, RecipeError
from memeblend.scale import scoring
from memeblend.scale.planning import Piece, make_plan
from memeblend.scale.pretraining import pretrain_with_workers
from memeblend.scale.scorer import ScoreSettings
from memeblend.scale.scoring import score
from memeblend.training.contrastive.work import pretrain
from memeblend.training.progress import Silent
from pair_memes import memes, small
from small_runs import small_rows


class KillsOne(Silent):
    """Kills the first worker that has done a piece."""

    def __init__(self, out):
        self.out = out
        self.killed = 0

    def advance(self, num_done, note=""):
        if not self.killed:
            facts = json.loads(next((self.out / "done").iterdir()).read_text())
            self.killed = int(facts["worker"].rpartition(":")[2])
            assert self.killed != os.getpid()
            os.kill(self.killed, signal.SIGKILL)


def write_many(data, num_memes):
    rows = small_rows(data, 60)
    return write_csv(data / "many.csv", [rows[i % 60] | {"id": f"n{i}"} for i in range(num_memes)])


def ids_of(out):
    return pd.read_parquet(out / "predictions", columns=["meme_id"])["meme_id"]


@pytest.mark.slow
def test_300_memes_by_two_workers(fitted, tmp_path):
    pytest.importorskip("ray")
    table = write_many(tmp_path / "data", 300)
    alone = score(table, fitted.both, tmp_path / "alone", piece_rows=50)
    found = score(table, fitted.both, tmp_path / "out", piece_rows=50, num_workers=2)
    assert found["num_scored"] == alone["num_scored"] == 300
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "out" / "predictions"),
        pd.read_parquet(tmp_path / "alone" / "predictions"),
        atol=1e-5,
    )


@pytest.mark.slow
def test_100_000_memes_with_a_killed_worker(fitted, tmp_path):
    pytest.importorskip("ray")
    table = write_many(tmp_path / "data", 100_000)
    killer = KillsOne(tmp_path / "out")
    found = score(table, fitted.both, tmp_path / "out", piece_rows=2500, num_workers=2, progress=killer)
    assert killer.killed
    assert found["num_scored"] == 100_000
    ids = ids_of(tmp_path / "out")
    assert len(ids) == ids.nunique() == 100_000
    peaks = [json.loads(path.read_text())["peak_megabytes"] for path in sorted((tmp_path / "out" / "done").iterdir())]
    assert len(peaks) == 40
    assert max(peaks) < 1.25 * min(peaks)  # a worker's first piece against its last


@pytest.mark.slow
def test_memes_that_kill_every_worker_are_told_of(fitted, tmp_path, monkeypatch):
    """What ends a whole process (a decoder's crash, the memory's end) must not be tried for ever."""
    pytest.importorskip("ray")

    class Dies(scoring._Worker):
        def __call__(self, batch):
            piece = Piece.from_dict(json.loads(batch["piece"][0]))
            if piece.number == 1:
                self.scorer._attempt(piece)
                with (tmp_path / "tries").open("a") as stream:
                    stream.write("x")
                os._exit(1)
            return super().__call__(batch)

    table = write_many(tmp_path / "data", 60)
    monkeypatch.setattr(scoring, "_Worker", Dies)
    with pytest.raises(ClusterError, match=r"4 workers died .* over piece 1 .*20 rows from row 21 on"):
        score(table, fitted.text, tmp_path / "out", piece_rows=20, num_workers=1)
    assert len((tmp_path / "tries").read_text()) == 4
    assert not list((tmp_path / "out").glob(".attempts*"))
    monkeypatch.undo()
    assert score(table, fitted.text, tmp_path / "out", piece_rows=20)["num_scored"] == 60


@pytest.mark.slow
def test_a_model_that_workers_can_not_read_is_told_of(fitted, tmp_path):
    pytest.importorskip("ray")
    plan = make_plan(write_many(tmp_path / "data", 60), 20, {}, tmp_path, print)
    settings = ScoreSettings(tmp_path / "nowhere", tmp_path / "out", plan.layout)
    with pytest.raises(ModelError, match="nowhere"):
        list(scoring._scored_by_workers(settings, plan.pieces, 1, ""))


def test_what_workers_can_not_train_on(tmp_path, monkeypatch):
    manifest = memes(tmp_path)
    with pytest.raises(DataError, match="fewer than 50 workers"):
        pretrain_with_workers([manifest], tmp_path / "out", small(), num_workers=50)
    with pytest.raises(RecipeError, match="batch_size 8 is fewer pairs"):
        pretrain_with_workers([manifest], tmp_path / "out", small(), num_workers=9)
    with pytest.raises(DataError, match="can't be"):
        pretrain_with_workers([manifest], tmp_path / "out", small(), num_workers=0)
    monkeypatch.setattr("memeblend.ray_session.has_ray", lambda: False)
    with pytest.raises(MissingExtraError):
        pretrain_with_workers([manifest], tmp_path / "out", small(), num_workers=2)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_killed_worker_of_a_training_is_replaced(tmp_path):
    pytest.importorskip("ray")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    settings = small("num_steps=300", "eval_every=20")
    alone = pretrain([memes(tmp_path / "one")], tmp_path / "one" / "encoder", settings)
    out = tmp_path / "two" / "encoder"
    killed = []

    def kill():
        while not list((out / "training" / "checkpoints").glob("checkpoint-*")):
            time.sleep(0.05)
        killed.extend(_trainers()[:1])
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    found = pretrain_with_workers([memes(tmp_path / "two")], out, settings, num_workers=2)
    thread.join(5)
    assert killed
    assert found["held_back"]["after"]["loss"] == pytest.approx(alone["held_back"]["after"]["loss"], abs=1e-3)


def _trainers():
    """Processes of this one's workers of Ray Train."""
    import psutil

    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process.pid)
    return found
