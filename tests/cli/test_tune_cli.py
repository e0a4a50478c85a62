"""`memeblend tune` as a user or a program calls it."""

import json

import pytest

from calling import call
from memeblend.recipe import load_recipe
from small_runs import SMALL, small_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("data"))


def test_a_search_whose_recipe_fit_takes(data, tmp_path):
    out = tmp_path / "run"
    tfidf = ("--search", "candidates.tfidf.class_weights={choice=['none', 'balanced']}")
    options = ("--recipe", SMALL, "--out", out, *tfidf, "--num-trials", 8, "--sampler", "random")
    result = call("tune", data, *options, "--json")
    found = json.loads(result.stdout)
    assert found["recipe"] == str(out / "tune" / "tuned.toml")
    assert found["candidates"]["tfidf-0"] != found["candidates"]["tfidf-1"]
    assert len(found["trials"]["tfidf"]) == 8
    assert "tfidf trial 1/8: finished" in result.stderr
    again = call("tune", data, *options, code=1)
    assert "--resume" in again.stderr
    shown = call("tune", data, *options, "--resume")
    assert "becomes tfidf-0" in shown.stdout
    assert "memeblend fit" in shown.stdout
    call("fit", data, "--recipe", found["recipe"], "--out", out, "--json")
    report = json.loads((out / "report.json").read_text())
    assert report["searches"]["tfidf"]["fields"] == ["class_weights"]
    candidates = report["label_tasks"]["mood"]["candidates"]
    assert {"tfidf-0", "tfidf-1"} <= set(candidates)
    assert load_recipe(out / "recipe.toml").search.num_trials == 8


def test_a_pre_training_stage_is_searched_and_the_command_line_goes_before_its_own_settings(data, tmp_path):
    recipe, own = tmp_path / "own.toml", SMALL.read_text(encoding="utf-8")
    own = own.replace('source = "tiny"', 'source = "pairs"') + '\n[search.stages."pretraining.pairs"]\nnum_trials = 5\n'
    own += f'[pretraining.pairs]\nkind = "contrastive"\ndata = ["{data}"]\n[pretraining.pairs.settings]\n'
    own += 'splits = ["train", "validation"]\nbatch_size = 8\nnum_steps = 2\nvalidation_batch_size = 4\n'
    recipe.write_text(own, encoding="utf-8")
    rate = ("--search", "pretraining.pairs.settings.learning_rate={choice=[1e-4,1e-3]}")
    options = ("--recipe", recipe, "--out", tmp_path / "run", *rate, "--metric", "text_recall@5")
    options += ("--sampler", "random", "--set", "pretraining.pairs.settings.num_validation=10")
    result = call("tune", data, *options, "--num-trials", 2, "--stage", "pretraining", code=1)
    assert "pretraining.pairs holds back 9 pairs" in result.stderr
    more = ("--set", 'pretraining.pairs.settings.splits=["train","validation","test"]')
    found = json.loads(call("tune", data, *options, *more, "--num-trials", 2, "--json").stdout)
    assert [trial["metric"] for trial in found["trials"]["pretraining.pairs"]] == ["text_recall@5"] * 2
    assert next(iter(found["candidates"])) == "pretraining.pairs"
    shown = call("tune", data, *options, *more, "--num-trials", 2, "--resume")
    assert "becomes" in shown.stdout
    assert "held-back" in shown.stdout
    assert load_recipe(found["recipe"]).search.stages["pretraining.pairs"].metric == "text_recall@5"


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--search", "nonsense"], "not of the form FIELD=SPACE", 1),
        (["--search", "candidates.tfidf.clas_weights={choice=[1]}"], "did you mean candidates.tfidf.class_weights?", 1),
        (["--search", "candidates.tfidf.class_weights={choose=[1]}"], "expected one of {choice = [...]}", 1),
        (["--search", "candidates.tfidf.class_weights={choice=["], "search.space: input should be a valid", 1),
        (["--num-trials", "0"], "greater than or equal to 1", 2),
        (["--sampler", "grid"], "search.sampler: input should be 'tpe' or 'random'", 1),
        (["--search", "candidates.tfidf.class_weights={choice=['none']}", "--metric", "bleu"], "metric 'bleu'", 1),
        (["--scheduler", "pbt"], "search.scheduler: input should be 'asha' or 'none'", 1),
        (["--stage", "nothing"], "has no stage 'nothing'", 1),
        ([], "has no field of any stage", 1),
    ],
)
def test_what_makes_no_sense_is_refused(data, tmp_path, arguments, message, code):
    result = call("tune", data, "--recipe", SMALL, "--out", tmp_path / "run", *arguments, code=code)
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "run").exists()


def test_an_address_that_does_not_answer_is_refused(data, tmp_path):
    pytest.importorskip("ray")
    tfidf = ("--search", "candidates.tfidf.class_weights={choice=['none', 'balanced']}")
    result = call(
        "tune", data, "--recipe", SMALL, "--out", tmp_path / "run", *tfidf, "--address", "ray://127.0.0.1:1", code=1
    )
    assert "Nothing answers at 'ray://127.0.0.1:1'" in result.stderr
