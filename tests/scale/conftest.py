"""Two small models, and memes to score."""

import sys
from pathlib import Path
from typing import NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from memeblend import MemeClassifier
from small_runs import small_data, small_recipe


class Fitted(NamedTuple):
    """Data sets and models made of them."""

    data: Path
    text: Path
    both: Path


@pytest.fixture(scope="session")
def fitted(tmp_path_factory):
    """A model whose member reads text, and one with a second member that reads images."""
    folder = tmp_path_factory.mktemp("scale")
    data = small_data(folder / "data")
    recipe = small_recipe("ensemble.method=all")
    for name, kinds in (("text", ("tfidf",)), ("both", ("tfidf", "image"))):
        kept = tuple(candidate for candidate in recipe.candidates if candidate.kind in kinds)
        MemeClassifier(recipe.model_copy(update={"candidates": kept}), out=folder / name).fit(data)
    return Fitted(data, folder / "text", folder / "both")
