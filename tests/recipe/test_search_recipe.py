"""What a recipe says of its search: the fields of each stage, the settings of each, and what is refused."""

import pytest

from memeblend.errors import RecipeError
from memeblend.recipe import dump_recipe, load_recipe
from memeblend.recipe.searched import all_searched, fields_of, how, own_fields, put

TEXT = """
name = "it"

[encoder]
source = "pairs"

[pretraining.pairs]
kind = "contrastive"
data = ["a.csv"]
settings = { num_steps = 10, eval_every = 5 }

[pretraining.words]
kind = "classify"
data = ["a.csv"]
losses = { default = { kind = "focal", gamma = 1.0 } }
candidates = [{ kind = "text", training = { batch_size = 8 } }, { kind = "image" }]

[[candidates]]
kind = "text"
start = "words"

[[candidates]]
kind = "image"
start = "words"

[search]
num_trials = 7

[search.space]
"candidates.text.head_dropout" = { choice = [0.1] }
"training.weight_decay" = { choice = [0.1] }
"pretraining.pairs.num_epochs" = { choice = [1, 2] }
"pretraining.pairs.settings.learning_rate" = { loguniform = [1e-5, 1e-3] }
"pretraining.words.training.learning_rate" = { choice = [1e-3] }
"pretraining.words.candidates.text.losses.default.gamma" = { choice = [2.0] }
"""
STAGES = 'search.stages={"pretraining" = {grace = 1}, "pretraining.words" = {metric = "accuracy", num_trials = 3}, ' \
         '"pretraining.words.image" = {num_trials = 4}, "text" = {reduction = 9}}'  # fmt: skip


@pytest.fixture
def load(tmp_path):
    path = tmp_path / "it.toml"
    path.write_text(TEXT, encoding="utf-8")
    return lambda *settings: load_recipe(path, settings)


def by_name(recipe):
    return {one.name: one for one in all_searched(recipe.candidates, recipe.pretraining)}


def test_each_stage_has_its_own_fields_and_those_of_the_whole_that_it_is_part_of(load):
    recipe = load()
    found = {name: list(fields_of(one, recipe.search)) for name, one in by_name(recipe).items()}
    of_words = ["pretraining.words.training.learning_rate"]
    assert found == {
        "pretraining.pairs": ["pretraining.pairs.num_epochs", "pretraining.pairs.settings.learning_rate"],
        "pretraining.words.text": [*of_words, "pretraining.words.candidates.text.losses.default.gamma"],
        "pretraining.words.image": of_words,
        "text": ["candidates.text.head_dropout", "training.weight_decay"],
        "image": ["training.weight_decay"],
    }


def test_a_stage_has_settings_of_its_own_over_its_groups_and_the_recipes(load):
    recipe = load(STAGES)
    found = {name: how(recipe.search, one) for name, one in by_name(recipe).items()}
    assert {name: one.num_trials for name, one in found.items()} == {
        "pretraining.pairs": 7,
        "pretraining.words.text": 3,
        "pretraining.words.image": 4,
        "text": 7,
        "image": 7,
    }
    assert [one.grace for one in found.values()] == [1, 1, 1, 2, 2]
    assert [one.metric for one in found.values()] == ["loss", "accuracy", "accuracy", "weighted_f1", "weighted_f1"]
    assert [one.reduction for one in found.values()] == [3, 3, 3, 9, 3]
    # Once said of all, a setting of a stage's own holds no more.
    alike = recipe.search.alike(["num_trials"])
    assert {how(alike, one).num_trials for one in by_name(recipe).values()} == {7}
    assert how(alike, by_name(recipe)["text"]).reduction == 9
    assert how(load("search.metric=image_recall@5").search, by_name(recipe)["pretraining.pairs"]).metric == (
        "image_recall@5"
    )


def test_a_written_recipe_says_of_stages_what_was_said_and_no_more(load, tmp_path):
    recipe = load(STAGES)
    path = tmp_path / "written.toml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert load_recipe(path).search.stages["text"].model_fields_set == {"reduction"}


def test_values_are_put_where_the_stage_has_them(load):
    recipe = load()
    data, names = recipe.model_dump(mode="json"), by_name(recipe)
    values = {"pretraining.pairs.num_epochs": 2, "pretraining.pairs.settings.learning_rate": 0.5}
    put(data, names["pretraining.pairs"], values)
    assert own_fields(names["pretraining.pairs"], values) == {"num_epochs": 2, "settings": {"learning_rate": 0.5}}
    stage = data["pretraining"]["pairs"]
    assert (stage["num_epochs"], stage["settings"]["learning_rate"]) == (2, 0.5)
    values = {
        "pretraining.words.training.batch_size": 4,
        "pretraining.words.candidates.text.losses.default.gamma": 2.0,
    }
    put(data, names["pretraining.words.text"], values)
    assert own_fields(names["pretraining.words.text"], values) == {"losses": {"default": {"gamma": 2.0}}}
    text, image = data["pretraining"]["words"]["candidates"]
    # The loss is the stage's with another gamma; the batch is the image's too, which took it from the stage.
    assert (text["losses"]["default"]["kind"], text["losses"]["default"]["gamma"]) == ("focal", 2.0)
    assert (text["training"]["batch_size"], image["training"]["batch_size"]) == (8, 4)
    assert data["training"]["batch_size"] != 4


def test_a_stage_that_is_taken_out_takes_its_search_with_it(load, tmp_path):
    gone = [
        "pretraining={}",
        "encoder.source=owner/clip",
        *(f"candidates.{k}.start=encoder" for k in ("text", "image")),
    ]
    recipe = load(STAGES, *gone)
    assert list(recipe.search.space) == ["candidates.text.head_dropout", "training.weight_decay"]
    assert list(recipe.search.stages) == ["text"]
    overlay = tmp_path / "less.toml"
    overlay.write_text('base = "it.toml"\n[set]\npretraining = {}\n"encoder.source" = "owner/clip"\n'
                       '"candidates.text.start" = "encoder"\n"candidates.image.start" = "encoder"\n')  # fmt: skip
    assert load_recipe(overlay).search.space == recipe.search.space


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("pretraining.pears.num_epochs", "pretraining.pears.num_epochs, which .* did you mean pretraining.pairs?"),
        ("pretraining.pairs.settings.learning_rat", "did you mean pretraining.pairs.settings.learning_rate?"),
        ("pretraining.pairs", "which is no field of this recipe; .*pretraining.pairs"),
        ("pretraining.pairs.kind", "which is no field of this recipe"),
        ("pretraining.words.candidates.txt.head_dropout", "did you mean pretraining.words.candidates.text?"),
        (
            "pretraining.words.candidates.text.head_dropot",
            "did you mean pretraining.words.candidates.text.head_dropout",
        ),
        ("pretraining.words.candidates.text.copies", "which is no field of this recipe"),
        ("pretraining.pairs.data", "judged on the same memes"),
        ("pretraining.pairs.start", "start from the same"),
        ("pretraining.pairs.settings.num_validation", "judged on the same memes"),
        ("pretraining.pairs.settings.encoder.max_length", "start from the same"),
        ("pretraining.words.splits.select_fraction", "judged on the same memes"),
        ("pretraining.words.candidates.text.start", "start from the same"),
        ("candidates.words.head_dropout", "which is no field of this recipe"),
        ("pretraining", "which is no field of this recipe"),
    ],
)
def test_a_space_that_names_no_field_that_could_be_searched_is_refused(load, key, message):
    with pytest.raises(RecipeError, match=message):
        load(f'search.space={{"{key}" = {{choice = [1]}}}}')


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ('{"pretraining.word" = {grace = 1}}', "pretraining.word, which is no stage .* did you mean pretraining.words"),
        ('{"pretraining.pairs" = {grce = 1}}', "did you mean 'grace'"),
        ('{"pretraining.pairs" = {metric = "bleu"}}', "search.stages.pretraining.pairs.metric: input should be"),
        ('{"pretraining.pairs" = {num_trials = 0}}', "greater than 0"),
    ],
)
def test_settings_of_what_is_no_stage_or_no_setting_are_refused(load, stages, message):
    with pytest.raises(RecipeError, match=message):
        load(f"search.stages={stages}")
