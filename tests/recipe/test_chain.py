"""Arrows between the stages of a recipe: what they may name, and every reason for which they are refused."""

from pathlib import Path

import pytest

from memeblend.errors import RecipeError
from memeblend.recipe import load_recipe
from memeblend.recipe.chain import training_order

STAGE = 'kind = "classify"\ndata = ["a.csv"]\n'
BASE = """
name = "it"
encoder = { source = "owner/clip" }
candidates = [{ kind = "text", start = "words" }, { kind = "image" }]
"""
WORDS = f'[pretraining.words]\n{STAGE}candidates = [{{ kind = "text", start = "PLACE" }}]\n'


def load(tmp_path, text, *settings):
    path = tmp_path / "it.toml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, settings)


def contrastive(name, start):
    return f'[pretraining.{name}]\nkind = "contrastive"\ndata = ["a.csv"]\nstart = "{start}"\n'


def test_stages_come_after_what_they_start_from(tmp_path):
    text = BASE.replace("owner/clip", "second") + WORDS.replace("PLACE", "more") + contrastive("second", "first")
    text += f'[pretraining.more]\n{STAGE}candidates = [{{ kind = "text" }}]\n' + contrastive("first", "tiny")
    recipe = load(tmp_path, text)
    assert training_order(recipe.pretraining, recipe.encoder.source) == ["first", "second", "more", "words"]
    assert recipe.first_encoder().source == "tiny"


def test_training_is_filled_up_from_the_recipe_through_the_stage(tmp_path):
    text = BASE + "[training]\nbatch_size = 7\nnum_epochs = 3\n" + WORDS.replace("PLACE", "encoder")
    recipe = load(tmp_path, text, "pretraining.words.training.num_epochs=5")
    stage = recipe.pretraining["words"]
    assert (stage.candidates[0].training.batch_size, stage.candidates[0].training.num_epochs) == (7, 5)
    recipe = load(tmp_path, text, "pretraining.words.candidates.text.training.num_epochs=9")
    assert recipe.pretraining["words"].candidates[0].training.num_epochs == 9


@pytest.mark.parametrize(
    ("change", "setting", "message"),
    [
        (("PLACE", "encoder"), "candidates.text.start=wrds", r'text.start is "wrds", which is no stage .*\(words\)'),
        (("PLACE", "encoder"), "candidates.image.start=words", "which trains text and no image"),
        (("PLACE", "encoder"), "encoder.source=words", "only a contrastive stage makes an encoder"),
        (("PLACE", "encoder"), "encoder.source=word", "did you mean words"),
        (("PLACE", "encoder"), "candidates.text.start=encoder", "nothing starts from pretraining.words"),
        (("PLACE", "words"), "seed=1", "goes in a circle: each of words -> words starts from the next"),
        (("PLACE", "encoder"), "encoder.source=tiny", "whose tokenizer is made anew"),
        (("PLACE", "encoder"), "pretraining.words.data=[]", "pretraining.words.data"),
        (("PLACE", "encoder"), "pretraining.words.candidates.text.copies=2", "a stage trains one of each"),
        (("PLACE", "encoder"), "candidates.text.chain=true", "which needs joint = false"),
        (("PLACE", "encoder"), "training.schedule_epochs=3", "schedule_epochs 3 is below num_epochs 12"),
        (("words]", "best]"), "candidates.text.start=best", "has a name that means something else"),
        (("PLACE", "encoder"), 'search.space={"encoder.max_length" = {choice = [8]}}', "depend on the encoder"),
        (("PLACE", "encoder"), "pretraining.words.losss.default.kind=focal", "did you mean 'losses'"),
    ],
)
def test_what_leads_nowhere_is_refused(tmp_path, change, setting, message):
    with pytest.raises(RecipeError, match=message):
        load(tmp_path, BASE + WORDS.replace(*change), setting)


def test_a_circle_of_several_is_named(tmp_path):
    text = BASE.replace("owner/clip", "a") + contrastive("a", "b") + contrastive("b", "a")
    with pytest.raises(RecipeError, match="each of a -> b -> a starts from the next"):
        load(tmp_path, text + WORDS.replace("PLACE", "encoder"))


def test_a_contrastive_stage_takes_seed_and_encoder_from_the_recipe(tmp_path):
    text = BASE.replace("owner/clip", "a").replace("words", "encoder") + contrastive("a", "tiny")
    assert load(tmp_path, text, "pretraining.a.settings.num_steps=3").pretraining["a"].settings.num_steps == 3
    with pytest.raises(RecipeError, match="takes seed and encoder from the recipe"):
        load(tmp_path, text, "pretraining.a.settings.seed=3")


def test_the_shipped_chain_is_valid_with_and_without_its_stages():
    path = Path(__file__).parents[2] / "examples" / "chain.toml"
    assert set(load_recipe(path).pretraining) == {"contrast", "harm"}
    from_nothing = ["encoder.source=tiny", "candidates.text.start=encoder", "candidates.image.start=encoder"]
    assert not load_recipe(path, [*from_nothing, "pretraining={}"]).pretraining


def test_the_example_with_minilm_is_tiny_with_another_text_encoder():
    recipe, tiny = load_recipe(Path(__file__).parents[2] / "examples" / "minilm.toml"), load_recipe("tiny")
    assert (recipe.encoder.source, recipe.encoder.pair.text, recipe.encoder.pair.image) == ("pair", "minilm", "tiny")
    assert recipe.encoder.tiny == tiny.encoder.tiny
    assert [spec.kind for spec in recipe.candidates] == [spec.kind for spec in tiny.candidates]
    rates = {spec.kind: spec.training.learning_rate for spec in recipe.candidates if hasattr(spec, "training")}
    assert rates["text"] == rates["fusion"] == rates["align"] == 1e-4
