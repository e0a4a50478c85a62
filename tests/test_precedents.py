"""A model's precedents: found, corrected, extended and forgotten without training; the predictions follow at once."""

import json

import pytest
from typer.testing import CliRunner

from memeblend.cli.app import app
from memeblend.data.manifest import Manifest
from memeblend.errors import DataError, ModelError
from memeblend.model import MemeClassifier
from memeblend.precedents import add, nearest, relabel, remove
from memeblend.recipe import Recipe
from small_runs import every_kind_recipe, small_data, small_recipe


def only(*kinds: str) -> Recipe:
    recipe = every_kind_recipe()
    by_stem = {spec.kind: spec for spec in reversed(recipe.candidates)}
    ensemble = recipe.ensemble.model_copy(update={"pools": {"it": ("knn-0",)}, "pool": "it"})
    return recipe.model_copy(update={"candidates": tuple(by_stem[kind] for kind in kinds), "ensemble": ensemble})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    MemeClassifier(only("text", "image", "fusion", "knn"), out=folder).fit(data)
    return folder


@pytest.fixture
def model(run):
    return MemeClassifier.load(run)


def test_a_remembered_meme_finds_itself_and_names_its_labels(model, data):
    memes = Manifest.read(data)
    remembered = memes.take(memes.splits == "train").take(range(3))
    found = nearest(model, remembered, 2)
    for row, precedents in enumerate(found):
        assert precedents[0].meme_id == remembered.meme_ids[row]
        assert precedents[0].similarity == pytest.approx(1, abs=1e-5)
        assert precedents[0].labels["mood"] == ("bad", "good")[remembered.labels("mood")[row]]


def test_added_memes_decide_at_once(model, data):
    memes = Manifest.read(data)
    asked = memes.take(memes.splits == "test")
    before = model.predict(asked)["mood"].tolist()
    turned = asked.table.assign(mood=[{"bad": "good", "good": "bad"}[mood] for mood in before])
    assert add(model, Manifest(turned, asked.label_tasks, asked.root)) == len(asked)
    # Each meme now finds itself with the other label; one vote of cosine 1 need not win, but the share moves there.
    after = model.predict_proba(asked)["mood"]
    assert len(nearest(model, asked, 1)) == len(asked)
    for row, mood in enumerate(before):
        assert nearest(model, asked.take([row]), 1)[0][0].labels["mood"] != mood
    assert (after.argmax(axis=1) != [("bad", "good").index(mood) for mood in before]).any()
    for meme_id in asked.meme_ids:
        remove(model, str(meme_id))
    assert model.predict(asked)["mood"].tolist() == before


def test_what_can_not_be_edited_is_said(model, data):
    memes = Manifest.read(data)
    with pytest.raises(DataError, match="remembered already"):
        add(model, memes.take(memes.splits == "train"))
    with pytest.raises(DataError, match="remembers no meme 'nobody'"):
        relabel(model, "nobody", "mood", "bad")
    only_tfidf = MemeClassifier(small_recipe().model_copy(update={"candidates": small_recipe().candidates[:1]}))
    with pytest.raises(ModelError, match="is of kind knn"):
        nearest(only_tfidf.fit(data), memes, 1)


def test_the_commands_edit_a_model_that_stays_whole(run, data):
    def call(*arguments, code=0):
        result = CliRunner().invoke(app, ["precedents", *map(str, arguments)])
        assert result.exit_code == code, result.stdout + result.stderr + repr(result.exception)
        return result.stdout

    image = sorted((data / "pictures").iterdir())[0]
    found = json.loads(call("show", run, image, "--text", "awful thing", "--num", 3, "--json"))
    ((_, precedents),) = found.items()
    assert len(precedents) == 3
    first = precedents[0]["meme_id"]
    call("relabel", run, first, "mood", "")
    again = json.loads(call("show", run, image, "--text", "awful thing", "--num", 3, "--json"))
    assert next(iter(again.values()))[0]["labels"]["mood"] is None
    call("remove", run / "model", first)
    assert first not in call("show", run, image, "--text", "awful thing", "--num", 5)
    assert "awful" not in call("relabel", run, "nobody", "mood", "bad", code=1)
