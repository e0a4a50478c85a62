"""A cluster named by its client server's address: the work is done there, what it tells and returns comes here."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest

from builders import write_csv
from memeblend import MemeClassifier
from memeblend.errors import DataError, ModelError
from memeblend.ray_client import is_far, our_error
from memeblend.recipe.loading import parse_recipe
from memeblend.run import read_labelled
from memeblend.scale.scoring import score
from memeblend.training.progress import Silent
from memeblend.tuning import TuneSettings, tune
from small_runs import small_data, small_recipe, small_rows

SERVE = """
import signal, sys, ray
from ray.util.client.server.server import serve
ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=10**8, _temp_dir=sys.argv[2])
server = serve("127.0.0.1", int(sys.argv[1]))
print("ready", flush=True)
signal.sigwait([signal.SIGTERM])
server.stop(0)
ray.shutdown()
"""


class Told(Silent):
    """A progress and a watch that keep what they hear."""

    def __init__(self):
        self.heard = []
        self.counts = []
        self.last = []

    def start(self, label, total):
        self.heard.append((label, total))

    def advance(self, num_done, note=""):
        self.counts.append(num_done)

    def trials(self, stage, trials, total):
        self.last = list(trials)


def test_only_a_client_servers_address_is_far(monkeypatch):
    assert is_far("ray://head:10001")
    assert not is_far("head:6379")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert not is_far("auto")
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    assert is_far("auto")
    assert not is_far("")


def test_an_error_of_which_ray_kept_the_text_alone():
    text = (
        "ray::_Worker()\n  File 'a.py', line 3\nmemeblend.errors.ModelError: There is no model.\nTo change attempts ..."
    )
    found = our_error(RuntimeError(text))
    assert type(found) is ModelError
    assert found.message == "There is no model."
    assert our_error(RuntimeError("memeblend.errors.Nonsense: x")) is None
    assert our_error(RuntimeError("memeblend.errors.Problem: x")) is None
    chained = RuntimeError("a")
    chained.__cause__ = found
    assert our_error(chained) is found


@pytest.fixture(scope="module")
def address():
    """A cluster of two cores with a client server."""
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="t", dir="/tmp")
    command = [sys.executable, "-W", "ignore", "-c", SERVE, str(port), folder]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # it listens on loopback alone
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as cluster:
        try:
            assert any("ready" in line for line in cluster.stdout)
            yield f"ray://127.0.0.1:{port}"
        finally:
            cluster.send_signal(signal.SIGTERM)
            cluster.wait(60)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_memes_are_scored_and_a_recipe_is_searched_there(address, tmp_path, monkeypatch):
    data = small_data(tmp_path / "data")
    recipe = small_recipe("ensemble.method=all")
    tfidf = recipe.model_copy(update={"candidates": tuple(one for one in recipe.candidates if one.kind == "tfidf")})
    MemeClassifier(tfidf, out=tmp_path / "model").fit(data)
    (tmp_path / "many").mkdir()
    rows = small_rows(tmp_path / "many", 60)
    write_csv(tmp_path / "many" / "memes.csv", [rows[i % 60] | {"id": f"n{i}"} for i in range(120)])
    monkeypatch.chdir(tmp_path)  # relative paths are taken from here, there too

    told, lines = Told(), []
    options = {"num_workers": 2, "address": address, "piece_rows": 30, "progress": told, "notify": lines.append}
    found = score(Path("many/memes.csv"), Path("model"), Path("far"), **options)
    assert found["num_scored"] == found["num_now"] == 120
    assert told.heard == [("scoring 120 memes", 120)]
    assert told.counts == [30, 60, 90, 120]
    assert any("meme_id from 'id'" in line for line in lines)
    score("many/memes.csv", "model", "near", piece_rows=30)
    pd.testing.assert_frame_equal(pd.read_parquet("far/predictions"), pd.read_parquet("near/predictions"))
    with pytest.raises(DataError, match=r"nothing\.csv"):
        score("nothing.csv", "model", "other", num_workers=2, address=address)

    plain = tfidf.model_dump(mode="json")
    space = {"candidates.tfidf.class_weights": {"choice": ["none", "balanced"]}}
    plain["search"] |= {"space": space, "num_trials": 3, "sampler": "random"}
    searched = parse_recipe(plain, "small")
    results = {}
    for where, settings in (("far", TuneSettings(num_workers=2, address=address)), ("near", TuneSettings())):
        watch = Told()
        folder, cache = Path(f"run-{where}"), Path("cache")
        manifest = read_labelled(Path("data"), searched)
        one = tune(manifest, searched, folder, settings, cache_dir=cache, progress=Silent(), watch=watch)
        results[where] = [(trial.number, trial.values, trial.state, trial.value) for trial in one.trials["tfidf"]]
        assert [trial.state for trial in watch.last] == [trial.state for trial in one.trials["tfidf"]]
        assert (folder / "tune" / "tuned.toml").is_file()
    assert results["far"] == results["near"]
