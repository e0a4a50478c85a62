import tomllib

import pytest
from pydantic import ValidationError

from memeblend.errors import RecipeError
from memeblend.recipe import Recipe, dump_recipe, load_recipe, preset_names
from memeblend.recipe.candidates import NEURAL_KINDS
from memeblend.recipe.loading import parse_recipe


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_valid_and_survives_its_own_text(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert parse_recipe(tomllib.loads(dump_recipe(recipe)), name) == recipe


def test_overlays_change_what_they_name_and_nothing_else(tmp_path):
    paper, released = load_recipe("memotion3").model_dump(), load_recipe("memotion3-as-released").model_dump()
    changed = {key for key in paper if paper[key] != released[key]}
    assert changed == {"name", "encoder", "losses", "pretraining", "candidates"}
    (tmp_path / "mine.toml").write_text('base = "theirs.toml"\n[set]\n"candidates.text.copies" = 3\nseed = 4\n')
    (tmp_path / "theirs.toml").write_text('base = "tiny"\nname = "theirs"\n')
    mine, tiny = load_recipe(tmp_path / "mine.toml", ["joint=false"]), load_recipe("tiny")
    assert (mine.name, mine.seed, mine.joint) == ("mine", 4, False)
    by_kind = {spec.kind: spec for spec in mine.candidates}
    assert by_kind["text"].copies == 3
    assert mine.candidates[0] == tiny.candidates[0]


@pytest.mark.parametrize(
    "text",
    ['base = "tiny"\nseed = 3\n', 'base = "it.toml"\n', "base = 4\n", 'base = "tiny"\nset = 3\n'],
    ids=["another key", "itself", "no name", "no table"],
)
def test_an_overlay_that_says_something_else_is_refused(tmp_path, text):
    (tmp_path / "it.toml").write_text(text)
    with pytest.raises(RecipeError, match="is an overlay, which says base"):
        load_recipe(tmp_path / "it.toml")


def test_all_problems_are_reported_at_once_with_suggestions():
    with pytest.raises(RecipeError) as caught:
        load_recipe(
            "tiny",
            [
                "trainng.num_epochs=3",
                "training.batch_size=0",
                "candidates.align.projetion_size=4",
                "losses.a.kind=fokal",
            ],
        )
    message = str(caught.value)
    assert len(caught.value.problems) == 4
    assert "unknown key 'trainng': did you mean 'training'?" in message
    assert "training.batch_size: input should be greater than 0, found 0" in message
    assert "did you mean 'projection_size'?" in message
    assert "fokal" in message


def test_overrides_are_typed_and_reach_candidates_by_kind():
    recipe = load_recipe(
        "tiny",
        ["seed=7", "candidates.fusion.norm=false", "candidates.text.training.num_epochs=2", "name=mine", "joint=false"],
    )
    assert (recipe.seed, recipe.name, recipe.joint) == (7, "mine", False)
    fusions = [spec for spec in recipe.candidates if spec.kind == "fusion"]
    assert len(fusions) == 2
    assert not any(spec.norm for spec in fusions)
    epochs = {spec.kind: spec.training.num_epochs for spec in recipe.candidates if spec.kind in NEURAL_KINDS}
    assert epochs["text"] == 2
    assert epochs["image"] == recipe.training.num_epochs


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training", "not of the form key=value"),
        ("=3", "not of the form key=value"),
        ("candidates.zeroshot.x=1", "addresses no candidate"),
        ("name.inner=1", "which has no fields"),
    ],
)
def test_a_malformed_override_is_refused(override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("tiny", [override])


def test_training_of_the_recipe_fills_candidates_up():
    recipe = load_recipe("tiny", ["training.batch_size=5", "candidates.image.training.batch_size=9"])
    sizes = {spec.kind: spec.training.batch_size for spec in recipe.candidates if spec.kind in NEURAL_KINDS}
    assert sizes["image"] == 9
    assert sizes["text"] == sizes["align"] == 5


def test_a_recipe_is_frozen():
    with pytest.raises(ValidationError):
        load_recipe("tiny").seed = 3


def test_an_unknown_preset_suggests_the_nearest():
    with pytest.raises(RecipeError, match="Did you mean 'tiny'"):
        load_recipe("tinny")


def test_a_file_that_is_no_toml_or_not_there(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text("name = ")
    with pytest.raises(RecipeError, match="not valid TOML"):
        load_recipe(path)
    with pytest.raises(RecipeError, match="Could not read the recipe"):
        load_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ('[[candidates]]\nkind = "fusion"', "has no image and no text"),
        ('[[candidates]]\nkind = "tfidf"\n[[candidates]]\nkind = "tfidf"', "more than once"),
        ("candidates = []", "at least one entry"),
        ('[[candidates]]\nkind = "align"\nstart = "encoder"\nblend_weights = { text = 1, image = 1, fused = 0 }',
         "fused must be above 0"),
        ('[[candidates]]\nkind = "tfidf"\n[label_tasks.a]\nkind = "binary"\nclasses = ["x"]', "at least two"),
        ('[[candidates]]\nkind = "tfidf"\n[encoder.tiny]\npatch_size = 17', "not a multiple of patch_size"),
    ],
)  # fmt: skip
def test_combinations_that_make_no_sense_are_refused(tmp_path, extra, message):
    path = tmp_path / "r.toml"
    path.write_text(f'name = "x"\n{extra}\n')
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


def test_the_recipe_explains_each_field():
    schema = Recipe.model_json_schema()
    for part in ("Training", "TinyEncoder", "FusionCandidate"):
        for name, field in schema["$defs"][part]["properties"].items():
            assert field.get("description") or "$ref" in field or name == "kind", (part, name)
