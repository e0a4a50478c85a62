"""The paper's whole chain, small: made-up sets and the real ImgFlip sample where it is there, by one command, twice."""

import json
import os
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from made_up_sets import write_all
from memeblend.cli.app import app
from memeblend.model import MemeClassifier
from memeblend.recipe import load_recipe
from memeblend.reproduce.paper import COLUMNS
from memeblend.run import Run

SETTINGS = [
    "encoder.max_length=12",
    "encoder.tiny.hidden_size=16",
    "encoder.tiny.text_layers=1",
    "encoder.tiny.image_layers=1",
    "encoder.tiny.num_heads=2",
    "encoder.tiny.image_size=32",
    "encoder.tiny.patch_size=16",
    "encoder.tiny.vocab_size=300",
    "pretraining.contrastive.num_epochs=1",
    "pretraining.contrastive.settings.num_validation=8",
    "pretraining.contrastive.settings.validation_batch_size=8",
    "pretraining.binary.training.num_epochs=1",
    "pretraining.binary.candidates.text.lstm_hidden_size=8",
    "pretraining.binary.candidates.oscar.source=tiny",
    "pretraining.binary.candidates.oscar.hidden_size=16",
    "pretraining.binary.candidates.oscar.num_layers=1",
    "pretraining.binary.candidates.oscar.num_heads=2",
    "pretraining.binary.candidates.oscar.training.num_epochs=1",
    "training.num_epochs=1",
    "candidates.text.lstm_hidden_size=8",
    "candidates.image.training.num_epochs=1",
    "candidates.image.training.num_epochs_of={}",
    "candidates.fusion.num_blocks=1",
    "candidates.fusion.num_heads=2",
    "candidates.oscar.training.num_epochs=1",
    "ensemble.num_repeats=1",
    "ensemble.num_folds=2",
]
SAMPLE = Path(os.environ.get("MEMEBLEND_DATA", "../shared/data")) / "imgflip575k"


def reproduced(root, out, *options):
    arguments = ["reproduce", "memotion3", "--data", str(root), "--out", str(out), "--encoder", "tiny", *options]
    for setting in SETTINGS:
        arguments += ["--set", setting]
    called = CliRunner().invoke(app, arguments)
    assert called.exit_code == 0, called.stderr
    return called


def finished(out):
    return {str(path): path.stat().st_mtime_ns for path in out.rglob("stage.json")}


@pytest.mark.slow
def test_from_raw_sets_to_tables_and_submission_and_again_without_training(tmp_path):
    root, out = write_all(tmp_path / "raw"), tmp_path / "run"
    if SAMPLE.is_dir():
        (root / "imgflip575k").rename(tmp_path / "made-up-imgflip")
        (root / "imgflip575k").symlink_to(SAMPLE.resolve())
    called = reproduced(root, out, "--limit", "160", "--json")
    found = json.loads(called.stdout)
    sizes = {size["name"]: size["counts"] for size in found["table_1"]}
    assert sizes["memotion3"] == {"train": 28, "validation": 6, "test": 6}
    assert sizes["pretrainuni"] == {"train": 62, "test": 18}
    assert sizes["hateful_memes"] == {"train": 24, "validation": 8, "test": 8}
    assert sum(len(row["counts"]) for row in found["table_2"]) == 2 * (3 + 4 + 4 + 4 + 2)
    rows = found["table_4"]["rows"]
    assert len(rows) == 11
    for row in rows:
        for name in COLUMNS:
            cell = row["label_tasks"][name]
            assert cell["interval"][0] <= cell["ours"] <= cell["interval"][1]
            assert 0 <= cell["reports"] <= 1
    best = {row["title"]: row["label_tasks"] for row in rows}
    for name in COLUMNS:  # the best subset of eight is as good as that of four, and as each of them
        scores = [best[title][name]["ours"] for title in best if title.startswith(("CLIP-text", "OSCAR", "CLIP-image"))]
        assert best["Ensemble-2"][name]["ours"] >= max(best["Ensemble-1"][name]["ours"], *scores) - 1e-12
    assert set(found["challenge"]) == {"A", "B", "C"}
    assert found["challenge"]["A"]["ours"] is None  # the test memes have no labels
    with zipfile.ZipFile(found["submission"]["zip"]) as archive:
        lines = archive.read("answer.txt").decode().splitlines()
    model = MemeClassifier.load(out)
    predicted = model.predict(Run.load(out).manifest.take(Run.load(out).manifest.splits == "test"))
    levels = {task.name: task.classes for task in model.label_tasks_}
    expected = [
        "".join(str(levels[name].index(row[name])) for name in ("humorous", "sarcastic", "offensive", "motivational"))
        for _, row in predicted.iterrows()
    ]
    assert [line.split("_")[2] for line in lines] == expected
    assert json.loads((out / "reproduction.json").read_text()) == found
    assert load_recipe(out / "recipe.toml").pretraining["contrastive"].start == "tiny"
    assert "pretraining binary: text-0, image-0, oscar-0 on 80 memes." in " ".join(called.stderr.split())
    before = finished(out)
    shown = reproduced(root, out, "--limit", "160").stdout
    assert finished(out) == before
    for words in ("Table 1: memes", "Table 2: memotion3, sentiment", "Table 4: offensive", "CLIP-multi0 without GB"):
        assert words in shown
    assert "0.4966" in shown
    assert "0.7977" in shown
    assert "no reproduction of the paper" in shown
