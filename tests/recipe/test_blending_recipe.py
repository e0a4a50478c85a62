"""The choices of `blending` in a recipe: what is refused, and what candidates are called."""

import pytest

from memeblend.errors import RecipeError
from memeblend.recipe import dump_recipe, load_recipe
from memeblend.recipe.candidates import stem


def recipe(*lines):
    text = ['name = "it"', "[[candidates]]", 'kind = "text"', "[[candidates]]", 'kind = "image"', "[[candidates]]"]
    return "\n".join([*text, 'kind = "fusion"', *lines])


def load(tmp_path, *lines):
    path = tmp_path / "it.toml"
    path.write_text(recipe(*lines))
    return load_recipe(path)


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ((), "fusion"),
        (('blending = "none"',), "fusion_unblended"),
        (('blending = "uniform"',), "fusion_uniform"),
        (('blending = "offline"',), "fusion_offline"),
        (('blending = "online"', 'start = "encoder"'), "fusion_online"),
        (('blending = "online"', 'start = "encoder"', 'encoders = "frozen"'), "fusion_online_frozen"),
        (('blending = "ogm_ge"', "modulation = { alpha = 0.1, noise = false }"), "fusion_ogm_ge"),
        (('blending = "modality_dropout"', "modality_dropout = 0.5"), "fusion_modality_dropout"),
    ],
)
def test_each_way_has_a_name_and_is_read_back(tmp_path, lines, name):
    found = load(tmp_path, *lines)
    assert stem(found.candidates[2]) == name
    path = tmp_path / "again.toml"
    path.write_text(dump_recipe(found))
    assert load_recipe(path) == found


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (('blending = "offlin"',), "blending: input should be"),
        (('blending = "online"',), 'uni-modal candidates that it starts from have trained.*start = "encoder"'),
        (('blending = "offline"', 'encoders = "frozen"'), "frozen encoders of uni-modal candidates have trained"),
        (('blending = "ogm_ge"', 'encoders = "frozen"'), "no gradients to modulate"),
        (
            ('blending = "online"', 'start = "encoder"', "estimation = { warm_up = 12 }"),
            "warm_up is 12, which leaves none of training.num_epochs 12",
        ),
        (("estimation = { held_out = 1.0 }",), "estimation.held_out: input should be less than 1"),
        (("estimation = { super_epoch = 0 }",), "estimation.super_epoch"),
        (("estimation = { least_overfitting = 0 }",), "estimation.least_overfitting"),
        (("estimation = { superepoch = 2 }",), "did you mean 'super_epoch'"),
        (("modulation = { alpha = 0 }",), "modulation.alpha"),
        (("modality_dropout = 0",), "modality_dropout"),
    ],
)
def test_what_can_not_be_is_refused(tmp_path, lines, message):
    with pytest.raises(RecipeError, match=message):
        load(tmp_path, *lines)


def test_the_papers_recipe_keeps_the_papers_weights():
    found = {stem(spec): spec for spec in load_recipe("memotion3").candidates}
    assert found["fusion"].blending == "fixed"
    assert found["fusion"].blend_weights.model_dump() == {"text": 0.3, "image": 0.3, "fused": 0.4}
