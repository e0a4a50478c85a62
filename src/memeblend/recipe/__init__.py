"""Recipes: what is to be done, frozen and validated as a whole before anything is done."""

from memeblend.recipe.candidates import (
    AlignCandidate,
    CandidateSpec,
    FusionCandidate,
    ImageCandidate,
    NeuralCandidate,
    TextCandidate,
    TfidfCandidate,
)
from memeblend.recipe.loading import dump_recipe, load_pretraining, load_recipe, preset_names
from memeblend.recipe.parts import Training
from memeblend.recipe.pretraining import Pretraining
from memeblend.recipe.schema import Recipe
from memeblend.recipe.search import Search

__all__ = [
    "AlignCandidate",
    "CandidateSpec",
    "FusionCandidate",
    "ImageCandidate",
    "NeuralCandidate",
    "Pretraining",
    "Recipe",
    "Search",
    "TextCandidate",
    "TfidfCandidate",
    "Training",
    "dump_recipe",
    "load_pretraining",
    "load_recipe",
    "preset_names",
]
