"""The commands, as a user or a program calls them."""

import json
import subprocess
import sys

import pytest

from builders import write_csv
from calling import call
from small_runs import SMALL, small_data, small_rows

COMMANDS = ("demo", "doctor", "fit", "evaluate", "predict", "report", "recipes")
OPTIONS = ["--recipe", str(SMALL)]


def as_json(result):
    lines = result.stdout.splitlines()
    assert len(lines) == 1, result.stdout
    return json.loads(lines[0])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def fitted(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    return run, as_json(call("fit", data, "--out", run, "--json", *OPTIONS))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    assert command in call("--help").stdout
    assert "Usage" in call(command, "--help").stdout


def test_fit_json_has_the_agreed_shape(fitted):
    run, found = fitted
    assert found["run"] == str(run)
    assert found["model"] == str(run / "model")
    assert found["split"] == "test"
    assert set(found["label_tasks"]) == {"mood", "level"}
    names = {"tfidf-0", "text-0", "image-0", "fusion-0", "fusion_unblended-0", "align-0"}
    for name, entry in found["label_tasks"].items():
        assert {"weighted_f1", "macro_f1", "accuracy", "interval", "num_memes", "classes", "per_class"} <= set(entry)
        assert set(entry["baselines"]) == {"majority", "best_constant", "chance"}
        assert set(found["candidates"][name]) == names
        chosen = found["ensembles"][name]
        assert chosen["selected_on"] == ["validation"]
        assert set(chosen["members"]) <= names
        assert chosen["weighted_f1"] >= max(chosen["candidates"].values()) - 1e-12


def test_fit_for_a_person_names_splits_and_files(data, tmp_path):
    shown = call("fit", data, "--out", tmp_path / "run", "--label-task", "mood", *OPTIONS).stdout
    assert "Candidates: weighted F1 on 'test' (reports)" in shown
    assert "chosen on 'validation'" in shown
    assert "level" not in shown
    assert "report.html" in shown


def test_evaluate_json(fitted, data):
    run, summary = fitted
    found = as_json(call("evaluate", run, data, "--json"))
    assert found["split"] == "test"
    for name, entry in found["label_tasks"].items():
        assert entry["weighted_f1"] == pytest.approx(summary["label_tasks"][name]["weighted_f1"])
    everything = as_json(call("evaluate", run / "model", data, "--split", "all", "--json"))
    assert (everything["split"], everything["num_memes"]) == ("all", 60)
    assert "weighted F1" in call("evaluate", run, data).stdout


def test_predict_images_with_texts(fitted, data):
    run, _ = fitted
    images = [data / "pictures" / "0.png", data / "pictures" / "1.png"]
    found = as_json(call("predict", run, *images, "--text", "awful thing", "--text", "lovely thing", "--json"))
    assert [meme["meme_id"] for meme in found["memes"]] == ["0.png", "1.png"]
    entry = found["memes"][0]["label_tasks"]["mood"]
    assert set(entry) == {"class", "probabilities", "votes"}
    shown = call("predict", run, images[0], "--text", "awful thing").stdout
    assert "0.png" in shown
    assert "votes" in shown


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_predict_a_folder_of_images_and_a_table(fitted, data, tmp_path, suffix):
    run, _ = fitted
    for source in (data / "pictures", data, data / "memes.csv"):
        out = tmp_path / f"p.{suffix}"
        result = call("predict", run, source, "--ocr", "none", "--out", out)
        assert "Wrote 60 row(s)" in result.stderr
        assert result.stdout == ""
        assert out.stat().st_size > 0


def test_report_is_written_anew(fitted):
    run, _ = fitted
    before = (run / "report.html").read_text()
    (run / "report.html").unlink()
    assert "report.html" in call("report", run).stdout
    assert (run / "report.html").read_text() == before
    assert set(as_json(call("report", run, "--json"))["label_tasks"]) == {"mood", "level"}


def test_recipes():
    assert "memotion3" in call("recipes").stdout
    overlays = {"memotion3-as-released", "memotion3-direct"}
    assert set(as_json(call("recipes", "--json"))) == {"boosting-as-released", "clip", "memotion3", "tiny"} | overlays
    assert "num_epochs = 15" in call("recipes", "memotion3").stdout


def test_doctor(data):
    assert "mood" in call("doctor", data).stdout
    assert as_json(call("doctor", data, "--json"))


def test_limit_takes_a_part_and_skip_bad_lists_what_it_drops(tmp_path):
    rows = small_rows(tmp_path)
    rows[3]["image"] = "pictures/gone.png"
    (tmp_path / rows[5]["image"]).write_bytes(b"not a picture")
    write_csv(tmp_path / "memes.csv", rows)
    few = [*OPTIONS, "--set", "training.num_epochs=1"]
    refused = call("fit", tmp_path, "--out", tmp_path / "run", *few, code=1)
    assert "gone.png" in refused.stderr
    found = as_json(call("fit", tmp_path, "--out", tmp_path / "run", "--skip-bad", "--limit", "40", "--json", *few))
    rejected = (tmp_path / "run" / "rejected.csv").read_text()
    assert "gone.png" in rejected
    assert rows[5]["id"] in rejected
    assert len(rejected.splitlines()) == 3
    assert found["num_memes"] <= 8


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fit"], 2, "Missing argument"),
        (["fit", "nowhere", "--out", "r"], 1, "nowhere"),
        (["fit", "{data}", "--out", "{tmp}/r", "--recipe", "tinny"], 1, "Did you mean 'tiny'"),
        (["fit", "{data}", "--out", "{tmp}/r", "--set", "seeed=1"], 1, "did you mean 'seed'"),
        (["fit", "{data}", "--out", "{tmp}/r", "--label-task", "anger"], 1, "no label task 'anger'"),
        (["fit", "{data}", "--out", "{data}"], 1, "is not a run"),
        (["fit", "{data}", "--out", "{tmp}/r", "--column", "image"], 1, "not of the form"),
        (["evaluate", "{data}", "{data}"], 1, "Expected a memeblend model"),
        (["evaluate", "{run}", "{data}", "--split", "none"], 1, "no split 'none'"),
        (["predict", "{run}"], 1, "nothing to predict"),
        (["predict", "{run}", "nothing.png"], 1, "nothing.png"),
        (["predict", "{run}", "{data}", "--out", "p.docx"], 1, "should end in"),
        (["predict", "{run}", "{data}", "--text", "x"], 1, "--text goes with images"),
        (["predict", "{run}", "{data}/pictures/0.png", "--text", "x", "--text", "y"], 1, "came with 2 text"),
        (["predict", "{run}", "{tmp}"], 1, "neither images nor a table"),
        (["report", "{data}"], 1, "holds no finished run"),
        (["recipes", "memotion4"], 1, "Did you mean 'memotion3'"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_refusals_are_sentences_with_the_right_exit_code(fitted, data, tmp_path, arguments, code, message):
    places = {"run": fitted[0], "data": data, "tmp": tmp_path}
    result = call(*[argument.format(**places) for argument in arguments], code=code)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_full_disk_is_a_sentence(fitted, data, tmp_path, monkeypatch):
    import errno
    import os

    def no_space(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    out = tmp_path / "p.csv"
    assert "No space left on device" in call("predict", fitted[0], data, "--out", out, code=1).stderr
    assert list(tmp_path.iterdir()) == []
    assert "No space left on device" in call("fit", data, "--out", tmp_path / "run", *OPTIONS, code=1).stderr


def test_the_installed_command_works():
    done = subprocess.run(
        [sys.executable, "-c", "from memeblend.cli import main; main(['recipes', '--json'])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "tiny" in json.loads(done.stdout)


@pytest.mark.slow
def test_demo(tmp_path):
    found = as_json(call("demo", "--out", tmp_path / "demo", "--num-memes", "200", "--json"))
    assert set(found["label_tasks"]) >= {"sentiment", "humorous", "sarcastic", "offensive", "motivational"}
    again = call("demo", "--out", tmp_path / "demo", "--num-memes", "200")
    assert "synthetic" in again.stdout


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path):
    odd = {"mood": "[/mood]"}
    rows = [{odd.get(name, name): value for name, value in row.items()} for row in small_rows(tmp_path)]
    write_csv(tmp_path / "memes.csv", rows)
    shown = call("fit", tmp_path, "--out", tmp_path / "run", *OPTIONS, "--set", "training.num_epochs=1").stdout
    assert "[/mood]" in shown
    image = tmp_path / "pictures" / "[b].png"
    (tmp_path / "pictures" / "0.png").rename(image)
    assert "[b].png" in call("predict", tmp_path / "run", image, "--text", "awful").stdout


def test_a_rerun_lists_dropped_rows_once_and_others_files_are_safe(tmp_path):
    rows = small_rows(tmp_path / "data")
    (tmp_path / "data" / rows[5]["image"]).write_bytes(b"not a picture")
    write_csv(tmp_path / "data" / "memes.csv", rows)
    few = [*OPTIONS, "--set", "training.num_epochs=1", "--skip-bad"]
    for _ in range(2):
        call("fit", tmp_path / "data", "--out", tmp_path / "run", *few)
        assert len((tmp_path / "run" / "rejected.csv").read_text().splitlines()) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "rejected.csv").write_text("my own")
    call("fit", tmp_path / "data", "--out", tmp_path / "mine", *few, code=1)
    assert (tmp_path / "mine" / "rejected.csv").read_text() == "my own"
