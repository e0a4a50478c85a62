"""`fit` by workers of Ray: as by one process, with a worker killed, with the driver killed. Takes minutes."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from memeblend.data.manifest import Manifest
from memeblend.errors import ClusterError, DataError, MissingExtraError, RecipeError
from memeblend.run import Run, carry_out
from memeblend.scale import together
from memeblend.scale.fitting import fit_with_workers
from memeblend.training.progress import Silent
from small_runs import small_data, small_recipe

EPOCHS = 40
RECIPE = f"""
name = "long"
copies = 1
encoder = {{ source = "tiny", max_length = 12, tiny = {{ hidden_size = 16, text_layers = 1, image_layers = 1, \
num_heads = 2, image_size = 16, patch_size = 8, vocab_size = 300 }} }}
training = {{ num_epochs = {EPOCHS}, batch_size = 8, learning_rate = 1e-3, patience = 0 }}
candidates = [ {{ kind = "tfidf" }}, {{ kind = "text", lstm_hidden_size = 8, head_dropout = 0.0 }} ]
"""


def test_what_workers_can_not_train(tmp_path, monkeypatch):
    manifest = Manifest.read(small_data(tmp_path / "data") / "memes.csv")
    out = tmp_path / "out"

    def fit(num_workers, *settings):
        fit_with_workers(manifest, small_recipe(*settings), out, num_workers=num_workers, cache_dir=tmp_path / "cache")

    with pytest.raises(DataError, match="0 workers can't be"):
        fit(0)
    with pytest.raises(DataError, match=r"36 meme\(s\) are fewer than 37 workers"):
        fit(37)
    with pytest.raises(RecipeError, match=r"training\.batch_size 2 of text-0 is fewer memes"):
        fit(3, "training.batch_size=2")
    monkeypatch.setattr("memeblend.ray_session.has_ray", lambda: False)
    with pytest.raises(MissingExtraError, match="ray"):
        fit(2)
    assert not list(out.glob("stages/*/stage.json"))


def test_an_address_that_does_not_answer_is_refused_before_anything_is_trained(tmp_path):
    pytest.importorskip("ray")
    manifest = Manifest.read(small_data(tmp_path / "data") / "memes.csv")
    with pytest.raises(ClusterError, match=r"Nothing answers at '127\.0\.0\.1:1'"):
        fit_with_workers(
            manifest,
            small_recipe(),
            tmp_path / "out",
            num_workers=2,
            address="127.0.0.1:1",
            cache_dir=tmp_path / "cache",
        )
    assert not (tmp_path / "out").exists()


def erring():
    """A training that counts its calls, and says no; made here, since workers can't import this module."""

    def training(workers, progress, given):
        with (given["folder"] / f"called-{workers.rank}").open("a") as stream:
            stream.write("x")
        raise given["error"]

    return training


@pytest.mark.slow
@pytest.mark.parametrize("error", [RecipeError("Not so.", fix="Another way."), KeyError("a mistake")])
def test_what_would_come_again_is_not_tried_again(tmp_path, error):
    pytest.importorskip("ray")
    with pytest.raises(type(error), match=str(error.args[0])):
        together.train_together(
            erring(), {"folder": tmp_path, "error": error}, tmp_path / "books", together.Crew(2), Silent()
        )
    assert max(len(path.read_text()) for path in tmp_path.glob("called-*")) == 1
    assert not (tmp_path / "books").exists()


def command(folder, *more):
    recipe = folder / "long.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    given = [str(folder / "data"), "--out", str(folder / "run"), "--recipe", str(recipe), *more]
    return [sys.executable, "-W", "ignore", "-c", "from memeblend.cli import main; main()", "fit", *given]


def start(folder, *more):
    return subprocess.Popen(
        command(folder, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"MEMEBLEND_CACHE": str(folder / "cache")},
    )


def num_epochs(folder):
    path = folder / "run" / "stages" / "text-0" / "training" / "joint" / "metrics.jsonl"
    return path.read_text().count("eval_weighted_f1") if path.is_file() else 0


def wait_for(condition, seconds=170):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return found


def children_of(process):
    import psutil

    return psutil.Process(process.pid).children(recursive=True)


def still_running(processes):
    return [one for one in processes if one.is_running() and one.status() != "zombie"]


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_the_run_is_that_of_one_process(tmp_path):
    pytest.importorskip("ray")
    small_data(tmp_path / "data")
    driver = start(tmp_path, "--num-workers", "2", "--json")
    wait_for(lambda: num_epochs(tmp_path) >= 5 or driver.poll() is not None)
    started = children_of(driver)
    killed = [one for one in started if "RayTrainWorker" in " ".join(one.cmdline())]
    killed[-1].kill()
    printed, errors = driver.communicate(timeout=300)
    assert driver.returncode == 0, errors
    assert "A worker failed" in errors
    assert num_epochs(tmp_path) == EPOCHS
    wait_for(lambda: not still_running(started), 120)
    found = Run.load(tmp_path / "run")
    alone = carry_out(found.manifest, found.recipe, tmp_path / "alone", cache_dir=tmp_path / "cache", progress=Silent())
    assert found.tables.keys() == alone.tables.keys()
    for name, tables in alone.tables.items():
        for task, table in tables.items():
            np.testing.assert_allclose(found.tables[name][task].probabilities, table.probabilities, atol=0.02)
    assert json.loads(printed)["candidates"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_driver_leaves_nothing_running_and_one_process_goes_on(tmp_path, how):
    pytest.importorskip("ray")
    small_data(tmp_path / "data")
    driver = start(tmp_path, "--num-workers", "2")
    wait_for(lambda: num_epochs(tmp_path) >= 5 or driver.poll() is not None)
    started = children_of(driver)
    driver.send_signal(how)
    _, errors = driver.communicate(timeout=120)
    assert driver.returncode == (-how if how == signal.SIGKILL else 130)
    assert ("goes on from here" in errors) == (how == signal.SIGINT)
    wait_for(lambda: not still_running(started), 120)
    assert (tmp_path / "run" / "workers").exists() == (how == signal.SIGKILL)
    before = num_epochs(tmp_path)
    assert before < EPOCHS
    done = subprocess.run(
        command(tmp_path, "--json"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"MEMEBLEND_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    assert num_epochs(tmp_path) == EPOCHS
