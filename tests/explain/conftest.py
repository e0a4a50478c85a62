"""A small model of which every candidate is a member, one of text alone, and memes made ready."""

import numpy as np
import pytest

from memeblend import Manifest, MemeClassifier
from memeblend.training.preprocessing import prepare
from small_runs import every_kind_recipe, small_data, small_recipe


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def model(data, tmp_path_factory):
    recipe, kinds = small_recipe("ensemble.method=all"), ("oscar", "boosting", "knn")
    more = tuple(one for one in every_kind_recipe().candidates if one.kind in kinds)
    recipe = recipe.model_copy(update={"candidates": (*recipe.candidates, *more)})
    return MemeClassifier(recipe, out=tmp_path_factory.mktemp("runs") / "run").fit(data)


@pytest.fixture(scope="session")
def text_model(data, tmp_path_factory):
    recipe = small_recipe("ensemble.method=all")
    recipe = recipe.model_copy(update={"candidates": recipe.candidates[:2]})  # tfidf and text
    return MemeClassifier(recipe, out=tmp_path_factory.mktemp("runs") / "text").fit(data)


@pytest.fixture(scope="session")
def background(model, data):
    manifest = Manifest.read(data)
    return prepare(manifest.take(np.arange(5)), model.preprocessor_, cache_dir=None)


@pytest.fixture(scope="session")
def picture(data):
    return data / "pictures" / "3.png"
