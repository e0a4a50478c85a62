"""`memeblend policy`, and `predict --policy`."""

import json

import pandas as pd
import pytest

from calling import call
from memeblend import MemeClassifier
from memeblend.cli.policy import read_costs
from memeblend.errors import PolicyError
from memeblend.policy import Costs
from small_runs import small_data, small_recipe

COST = "mood=false_alarm:1,miss:5,review:0.3"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    recipe = small_recipe()
    out = tmp_path_factory.mktemp("runs") / "run"
    MemeClassifier(recipe.model_copy(update={"candidates": recipe.candidates[:1]}), out=out).fit(data)
    return out / "model"


@pytest.fixture(scope="module")
def policy(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("policies") / "policy.toml"
    return path, call("policy", model, "--out", path, "--cost", COST, "--coverage", 0.8, "--json")


def test_fitted_written_and_shown(model, policy):
    path, result = policy
    found = json.loads(result.stdout)
    assert set(found) == {"policy", "implied"}
    assert found["policy"]["categories"]["mood"]["cost"] == {"false_alarm": 1.0, "miss": 5.0, "review": 0.3}
    assert found["implied"]["num_memes"] == 12
    assert set(found["implied"]["sets"]) == {"mood", "level"}
    again = call("policy", model, "--policy", path, "--json")
    assert json.loads(again.stdout) == found
    shown = call("policy", model, "--policy", path)
    assert "another model" not in shown.stderr
    for part in ("review from", "0.060", "0.700", "Memes by their gravest category: auto", "observed (cross-fitted)"):
        assert part in shown.stdout
    assert "mood: calibrated on 6 memes of 12; the intervals are wide." in shown.stderr


def test_predict_says_what_the_policy_does(model, data, policy, tmp_path):
    path, _ = policy
    found = json.loads(call("predict", model, data, "--policy", path, "--json").stdout)["memes"]
    assert {one["policy"]["verdict"] for one in found} <= {"pass", "review", "auto"}
    call("predict", model, data, "--policy", path, "--out", tmp_path / "p.csv")
    frame = pd.read_csv(tmp_path / "p.csv")
    assert frame["verdict"].tolist() == [one["policy"]["verdict"] for one in found]
    assert frame["mood_calibrated"].tolist() == [one["policy"]["categories"]["mood"]["calibrated"] for one in found]
    image = next((data / "pictures").iterdir())
    shown = call("predict", model, image, "--text", "a lovely day", "--policy", path).stdout
    assert any(f": {verdict}" in shown for verdict in ("pass", "review", "auto"))
    assert "policy" in shown


def test_a_policy_of_another_model_is_said_to_be_one(model, data, policy, tmp_path):
    path, _ = policy
    (tmp_path / "other.toml").write_text(path.read_text().replace('fitted_on = "', 'fitted_on = "f00'))
    for arguments in (("policy", model), ("predict", model, data)):
        assert "fitted on another model" in call(*arguments, "--policy", tmp_path / "other.toml").stderr


def test_wrong_options_are_sentences(model, data, tmp_path):
    (tmp_path / "bad.toml").write_text("[categories.rude]\nthreshold = 0.5")
    for arguments, said in (
        (("policy", model, "--cost", "rude=miss:2"), "unknown category 'rude': the model has mood"),
        (("policy", model, "--cost", "level=miss:2"), "'level' is no category"),
        (
            ("policy", model, "--coverage", 0.99),
            "12 labelled memes, duplicates apart, but sets of coverage 0.99 need 99",
        ),
        (("policy", model, "--out", tmp_path / "p.json"), "should end in .toml"),
        (("policy", model, "--policy", "x.toml", "--cost", COST), "Give either."),
        (("policy", model, "--policy", "none.toml"), "No such file"),
        (("predict", model, data, "--policy", tmp_path / "bad.toml"), "unknown category 'rude'"),
    ):
        result = call(*arguments, code=1)
        assert said in result.stderr
        assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("p.*"))


def test_costs_from_options():
    assert read_costs(["a=miss:5", "b=false_alarm:2, review:0"]) == {
        "a": Costs(miss=5),
        "b": Costs(false_alarm=2, review=0),
    }
    assert read_costs([]) == {}
    with pytest.raises(PolicyError) as error:
        read_costs(["a", "=miss:1", "b=miss:x", "c=mis:1", "d=miss:0", "e=miss:1", "e=miss:2", "f=miss:nan"])
    for part in (
        "'a' is not of the form",
        "'=miss:1' names no category",
        "'b=miss:x' is not of the form",
        "--cost c: unknown key 'mis': did you mean 'miss'?",
        "--cost d: miss: input should be greater than 0",
        "'e=miss:2' names no category, or one a second time",
        "--cost f: miss: input should be a finite number",
    ):
        assert part in str(error.value)
