"""`memeblend pretrain`, as a user or a program calls it."""

import json
from functools import partial

import pytest

import calling
from builders import write_csv
from small_runs import small_rows

SETTINGS = [
    "encoder.max_length=12",
    "encoder.tiny.hidden_size=16",
    "encoder.tiny.text_layers=1",
    "encoder.tiny.image_layers=1",
    "encoder.tiny.num_heads=2",
    "encoder.tiny.image_size=16",
    "encoder.tiny.patch_size=8",
    "encoder.tiny.vocab_size=300",
    "batch_size=8",
    "num_steps=2",
    "eval_every=2",
    "num_validation=5",
]


call = partial(calling.call, "pretrain")


def options(*extra):
    return [part for setting in (*SETTINGS, *extra) for part in ("--set", setting)]


@pytest.fixture
def data(tmp_path):
    rows = small_rows(tmp_path / "data", 20)
    rows.append(rows[0] | {"id": "gone", "image": "pictures/gone.png"})
    write_csv(tmp_path / "data" / "memes.csv", rows)
    return tmp_path / "data"


def test_json_is_one_object_and_missing_images_are_listed(data, tmp_path):
    found = json.loads(call(data, "--out", tmp_path / "encoder", "--json", *options()).stdout)
    assert found["data"]["num_pairs"] == 12
    assert found["encoder_folder"] == str(tmp_path / "encoder")
    listed = list((tmp_path / "encoder-skipped").iterdir())
    assert len(listed) == 1
    assert "gone" in listed[0].read_text()


def test_a_person_sees_scores_and_what_to_do_next(data, tmp_path):
    shown = call(data, data, "--out", tmp_path / "encoder", *options()).stdout
    assert "image_recall@10" in shown
    assert "left out, other split: 16" in shown
    assert f"--set encoder.source={tmp_path / 'encoder'}" in shown


def test_from_goes_on_from_an_encoder(data, tmp_path):
    call(data, "--out", tmp_path / "first", *options())
    found = call(data, "--out", tmp_path / "second", "--from", tmp_path / "first", "--json", *options())
    assert json.loads(found.stdout)["settings"]["encoder"]["source"] == str(tmp_path / "first")


def test_refusals_are_sentences(data, tmp_path):
    assert "did you mean 'num_steps'" in call(data, "--out", tmp_path / "e", "--set", "num_stepz=1", code=1).stderr
    found = call(data, "--out", tmp_path / "e", "--from", "./nowhere/at/all", *options(), code=1)
    assert "Traceback" not in found.stderr
    assert "nowhere" in found.stderr
