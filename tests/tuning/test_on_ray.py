"""Searches on a Ray of this machine: as in one process, with workers killed, and with the driver killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tuning_helpers import RATE, Seen, small_search

from memeblend.recipe.loading import parse_recipe
from memeblend.run import read_labelled

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

RECIPE = Path(__file__).parents[1] / "small.toml"
SPACE = {RATE: {"loguniform": [1e-4, 1e-2]}}


def told(trials):
    return [(trial.number, trial.values, trial.state, trial.value, trial.curves) for trial in trials]


def test_workers_find_what_one_process_finds(data, run_tune):
    recipe = small_search(SPACE, num_trials=5, sampler="tpe", batch_size=3)
    manifest = read_labelled(data, recipe)
    alone = run_tune(manifest, recipe, folder="alone")
    seen = Seen()
    many = run_tune(manifest, recipe, folder="many", num_workers=2, watch=seen)
    assert told(many.trials["fusion"]) == told(alone.trials["fusion"])
    assert many.recipe == alone.recipe
    assert told(seen.last["fusion"][0]) == told(many.trials["fusion"])


def test_workers_find_of_a_contrastive_stage_what_one_process_finds(data, run_tune):
    space = {"pretraining.pairs.settings.learning_rate": {"loguniform": [1e-4, 1e-2]}}
    own = {"kind": "contrastive", "data": [str(data)], "num_epochs": 2}
    own["settings"] = {"splits": ["train", "validation", "test"], "batch_size": 8, "validation_batch_size": 4}
    recipe = small_search({}, num_trials=5, batch_size=3, grace=1).model_dump(mode="json")
    recipe["search"]["space"] = space
    recipe = parse_recipe(
        recipe | {"encoder": recipe["encoder"] | {"source": "pairs"}, "pretraining": {"pairs": own}}, ""
    )
    manifest = read_labelled(data, recipe)
    alone = run_tune(manifest, recipe, folder="alone")
    many = run_tune(manifest, recipe, folder="many", num_workers=2)
    assert told(many.trials["pretraining.pairs"]) == told(alone.trials["pretraining.pairs"])
    assert many.recipe == alone.recipe


def command(data, out, *more):
    fields = ["--search", f"{RATE}={{loguniform=[1e-4, 1e-2]}}"]
    epochs = ["--set", "candidates.fusion.training.num_epochs=40", "--set", "candidates.fusion.training.patience=0"]
    return [
        *(
            sys.executable,
            "-W",
            "ignore",
            "-c",
            "from memeblend.cli import main; main()",
            "tune",
            str(data),
            "--out",
            str(out),
        ),
        *("--recipe", str(RECIPE), "--stage", "fusion", *epochs, *fields),
        *("--scheduler", "none", "--num-trials", "3", "--num-workers", "1", "--json", *more),
    ]


def children_of(pid):
    import psutil

    return psutil.Process(pid).children(recursive=True)


def line_of(process):
    """A process's command line; "" where it has ended meanwhile."""
    import psutil

    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def is_running(process):
    """Whether it is; one that has ended and that nobody has asked about yet is not."""
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def wait_for(condition, seconds=600):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return found


def epochs_of(folder, trial):
    path = folder / "tune" / "fusion" / "trials" / trial / "training" / "joint" / "metrics.jsonl"
    return path.read_text().count("eval_weighted_f1") if path.is_file() else 0


def test_a_killed_worker_is_started_again_and_goes_on(data, tmp_path):
    out = tmp_path / "run"
    with subprocess.Popen(command(data, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as driver:
        wait_for(lambda: epochs_of(out, "000") >= 5 or driver.poll() is not None)
        workers = [one for one in children_of(driver.pid) if "ImplicitFunc" in line_of(one)]
        assert workers
        for worker in workers:
            worker.kill()
        printed, errors = driver.communicate(timeout=600)
    assert driver.returncode == 0, errors
    trials = json.loads(printed)["trials"]["fusion"]
    assert [trial["state"] for trial in trials] == ["finished"] * 3
    assert len(trials[0]["curves"]["joint"]) == 40


def test_a_killed_driver_leaves_nothing_running_and_is_gone_on_with(data, tmp_path):
    out = tmp_path / "run"
    with subprocess.Popen(command(data, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        wait_for(lambda: epochs_of(out, "001") >= 3)
        started = children_of(driver.pid)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    wait_for(lambda: not [one for one in started if is_running(one)], 240)  # Ray's own take a minute to notice
    result = out / "tune" / "fusion" / "trials" / "000" / "result.json"
    before = result.stat().st_mtime_ns
    done = subprocess.run(command(data, out, "--resume"), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    trials = json.loads(done.stdout)["trials"]["fusion"]
    assert [trial["state"] for trial in trials] == ["finished"] * 3
    assert all(len(trial["curves"]["joint"]) == 40 for trial in trials)
    assert result.stat().st_mtime_ns == before
    assert "RAY_AUTH_TOKEN" not in os.environ
