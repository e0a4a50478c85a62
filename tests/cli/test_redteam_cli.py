"""`memeblend redteam` as a person and as CI call it."""

import json
from functools import partial

import pytest

import calling
from memeblend import MemeClassifier
from small_runs import small_data, small_recipe

QUICK = ("--only", "leetspeak,jpeg,names", "--severities", "3")


call = partial(calling.call, "redteam")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    recipe = small_recipe("ensemble.method=all")
    kept = tuple(candidate for candidate in recipe.candidates if candidate.kind in ("tfidf", "image"))
    run = tmp_path_factory.mktemp("run") / "run"
    MemeClassifier(recipe.model_copy(update={"candidates": kept}), out=run).fit(data)
    return run


def budget(folder, text):
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_json_and_folder(model, data, tmp_path):
    found = json.loads(call(model, data, *QUICK, "--json", "--out", tmp_path / "out").stdout)
    assert [cell["name"] for cell in found["cells"]] == ["leetspeak@3", "jpeg@3"]
    assert found["passed"] is True
    assert found["budget"] is None
    assert found["num_memes"] == 12
    assert json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8")) == found
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_person_sees_a_table_and_why_a_cell_does_not_apply(model, data):
    shown = call(model, data, *QUICK, "--limit", 5).stdout
    assert "5 memes" in shown
    assert "leetspeak@3" in shown
    assert "largest gap" in shown


def test_exit_codes_follow_the_budget(model, data, tmp_path):
    kept = budget(tmp_path, "[redteam]\nmax_flip_rate = 1.0\n")
    assert "The budget is kept" in call(model, data, *QUICK, "--budget", kept).stderr
    broken = budget(tmp_path, "[redteam]\nmax_flip_rate = 0.0\n")
    said = call(model, data, "--only", "leetspeak,ocr_noise", "--split", "all", "--budget", broken, code=1)
    assert "The budget is not kept" in said.stderr
    assert "flip rate of" in said.stderr
    unsure = budget(tmp_path, '[redteam.cells]\n"emoji@2" = 0.5\n')
    assert "can't be told" in call(model, data, *QUICK, "--budget", unsure).stderr
    strict = budget(tmp_path, '[redteam]\nstrict = true\n[redteam.cells]\n"emoji@2" = 0.5\n')
    call(model, data, *QUICK, "--budget", strict, code=1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[redteam]\nmax_flip_rat = 0.1", "max_flip_rate"),
        ("[redteam.cells]\nletspeak = 0.1", "did you mean leetspeak?"),
        ("[redteam]\nmax_flip_rate = 2", "max_flip_rate"),
        ("[redteam]", "no limit"),
        ("", "no budget"),
        ("[redteam", "policy.toml"),
    ],
)
def test_budgets_that_can_not_be_used_are_refused(model, data, tmp_path, text, words):
    assert words in call(model, data, *QUICK, "--budget", budget(tmp_path, text), code=1).stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--only", "letspeak"), "did you mean leetspeak?"),
        (("--severities", "1,x"), "--severities like 1,3"),
        (("--severities", "9"), "severity 9"),
        (("--split", "nowhere"), "no split 'nowhere'"),
        (("--budget", "absent.toml"), "absent.toml"),
    ],
)
def test_options_that_can_not_be_are_refused(model, data, options, words):
    assert words in call(model, data, *options, code=1).stderr
