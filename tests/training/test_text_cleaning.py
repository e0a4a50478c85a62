"""The text cleaning of a recipe is part of the preprocessor: saved with it, and what every reader of texts goes by."""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from memeblend.data.cleaning import CLEANINGS, Cleaning
from memeblend.errors import ModelError, RecipeError
from memeblend.explain.inputs import Meme, token_words
from memeblend.recipe import load_recipe
from memeblend.recipe.parts import Encoder
from memeblend.training.encoder import make_preprocessor
from memeblend.training.preprocessing import Preprocessor

TEXTS = ["@one look at https://a.org", "@two look at www.b.org", "it’s LOUD", "it's   LOUD"]


def preprocessor(cleaning: Cleaning) -> Preprocessor:
    return make_preprocessor(Encoder(max_length=24, text_cleaning=cleaning), TEXTS)


def test_the_recipe_and_the_data_know_the_same_choices() -> None:
    assert get_args(Encoder.model_fields["text_cleaning"].annotation) == CLEANINGS
    assert load_recipe("tiny").encoder.text_cleaning == "none"
    with pytest.raises(RecipeError, match="text_cleaning"):
        load_recipe("tiny", ["encoder.text_cleaning='bleach'"])


def test_texts_that_clean_alike_are_read_alike() -> None:
    first, second, third, fourth = preprocessor("tweet").token_ids(TEXTS)
    assert first == second
    assert third == fourth
    assert len({tuple(ids) for ids in preprocessor("none").token_ids(TEXTS)}) == 4
    assert preprocessor("tweet").clean(TEXTS[:1]) == ["@USER look at HTTPURL"]


@pytest.mark.parametrize("cleaning", get_args(Cleaning))
@pytest.mark.parametrize("light", [False, True])
def test_saved_with_the_model(tmp_path: Path, cleaning: Cleaning, light: bool) -> None:
    made = preprocessor(cleaning)
    made.save(tmp_path)
    loaded = Preprocessor.load_light(tmp_path) if light else Preprocessor.load(tmp_path)
    assert loaded.cleaning == cleaning
    assert loaded.token_ids(TEXTS) == made.token_ids(TEXTS)


def test_older_and_altered_files(tmp_path: Path) -> None:
    preprocessor("tweet").save(tmp_path)
    file = tmp_path / "preprocessor.json"
    settings = json.loads(file.read_text())
    del settings["cleaning"]
    file.write_text(json.dumps(settings))
    assert Preprocessor.load(tmp_path).cleaning == "none"
    for wrong in ("bleach", 3, ["tweet"], None):
        file.write_text(json.dumps(settings | {"cleaning": wrong}))
        with pytest.raises(ModelError, match=r"preprocessor in .* could not be read"):
            Preprocessor.load(tmp_path)


@pytest.mark.parametrize("cleaning", get_args(Cleaning))
def test_explanations_find_the_words_of_a_cleaned_text(cleaning: Cleaning) -> None:
    made = replace(preprocessor(cleaning), max_length=64)
    meme = Meme.make(None, "  Don’t @someone at 5 p.m. ### LOUD!!!!!! end", made)
    found = token_words(meme, made)
    assert (found[0], found[-1]) == (-1, -1)
    inner = found[1:-1]
    assert (np.diff(inner[inner >= 0]) >= 0).all()
    words = [meme.word(place) for place in range(len(meme.words))]
    tokens = made.tokenizer.convert_ids_to_tokens(made.token_ids([meme.text])[0])
    for word, spelled in (("LOUD!!!!!!", "LOUD"), ("end", "end")):
        own = [token for token, place in zip(tokens, found, strict=True) if place == words.index(word)]
        assert spelled.lower() in "".join(own).lower()
