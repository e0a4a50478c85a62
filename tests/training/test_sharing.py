"""Workers that share batches of labelled memes: losses, gradients and candidates are those of one process."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from memeblend.data.manifest import Manifest
from memeblend.run import carry_out
from memeblend.training.progress import Silent
from memeblend.training.sharing import num_encoded, shared_collate, whole_logits
from memeblend.training.workers import ALONE, Workers
from shared_training import BATCHES, CASES, recipe_in, steps
from small_runs import small_data

SCRIPT = Path(__file__).parents[1] / "gloo_workers.py"


def work(what, size, folder, *more):
    command = [sys.executable, str(SCRIPT), what, str(size), str(folder), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]


@pytest.fixture
def no_dropout(monkeypatch):
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, values: values)


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_loss_and_gradients_are_those_of_one_process_with_the_whole_batch(tmp_path, no_dropout, size):
    found = work("shared", size, tmp_path, *CASES)
    for case in CASES:
        for number, (loss, gradients) in enumerate(steps(case, ALONE, tmp_path)):
            assert loss > 0
            for of_worker in found:
                shared_loss, shared = of_worker[case][number]
                where = f"{case}, batch of {len(BATCHES[number])}"
                assert abs(shared_loss - loss) < 1e-5, where
                assert shared.keys() == gradients.keys()
                for name, value in gradients.items():
                    torch.testing.assert_close(shared[name], value, rtol=1e-4, atol=1e-5, msg=f"{where}, {name}")
                    assert shared[name].equal(found[0][case][number][1][name])


class Rows:
    """A dataset whose inputs are its rows."""

    labels = torch.arange(10)[:, None]

    def collate(self, rows):
        return {"rows": torch.tensor(rows), "labels": self.labels[torch.tensor(rows)]}


def test_a_batch_is_dealt_out_with_the_labels_of_all():
    parts = [shared_collate(Rows(), Workers(rank, 3))([4, 5, 6, 7]) for rank in range(3)]
    assert [part["rows"].tolist() for part in parts] == [[4, 7], [5], [6]]
    assert all(part["labels"].flatten().tolist() == [4, 7, 5, 6] for part in parts)


def test_a_worker_without_a_meme_of_its_own_encodes_the_first():
    part = shared_collate(Rows(), Workers(2, 3))([4, 5])
    assert part["rows"].tolist() == [4]
    assert part["labels"].flatten().tolist() == [4, 5]
    assert [num_encoded(2, Workers(rank, 3)) for rank in range(3)] == [1, 1, 1]
    assert [num_encoded(7, Workers(rank, 3)) for rank in range(3)] == [3, 2, 2]


def test_alone_nothing_is_dealt_out():
    data, logits = Rows(), {"text": {"mood": torch.ones(2, 2)}}
    assert shared_collate(data, ALONE) == data.collate
    assert whole_logits(logits, ["text"], 2, ALONE) is logits


def probabilities(run):
    return {
        (name, task): torch.from_numpy(table.probabilities)
        for name, tables in run.tables.items()
        for task, table in tables.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("settings", [(), ("joint=false", "candidates.fusion.encoders='frozen'")])
def test_two_workers_train_the_candidates_of_one_and_one_goes_on(tmp_path, no_dropout, settings):
    small_data(tmp_path / "data")
    recipe, manifest = recipe_in(tmp_path, *settings), Manifest.read(tmp_path / "data" / "memes.csv")
    names, _ = work("train", 2, tmp_path, *settings)
    marks = [tmp_path / "run" / "stages" / name / "stage.json" for name in names]
    before = [mark.stat().st_mtime_ns for mark in marks]
    run = carry_out(manifest, recipe, tmp_path / "run", cache_dir=tmp_path / "cache", progress=Silent())
    assert [mark.stat().st_mtime_ns for mark in marks] == before
    alone = carry_out(manifest, recipe, tmp_path / "alone", cache_dir=tmp_path / "cache", progress=Silent())
    found, expected = probabilities(run), probabilities(alone)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=2e-3, msg=str(key))
