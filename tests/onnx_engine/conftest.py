"""A small model of texts and images and its export, shared by the tests of this folder."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from memeblend import MemeClassifier
from memeblend.onnx_engine.exporting import export_onnx
from small_runs import small_data, small_recipe

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))  # for `small_models`


@dataclass(frozen=True)
class Exported:
    """A data set, a model of it and the export of that."""

    data: Path
    model: Path
    folder: Path


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Members that read texts (one of them without torch) and images."""
    folder = tmp_path_factory.mktemp("exported")
    recipe = small_recipe("ensemble.method=all")
    kept = tuple(one for one in recipe.candidates if one.kind in ("tfidf", "text", "image"))
    data = small_data(folder / "data")
    MemeClassifier(recipe.model_copy(update={"candidates": kept}), out=folder / "run").fit(data)
    export_onnx(folder / "run", folder / "export")
    return Exported(data, folder / "run" / "model", folder / "export")
