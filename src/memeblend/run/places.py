"""Where a run's pre-training stages lie, and a recipe in which their names are folders."""

from __future__ import annotations

from pathlib import Path

from memeblend.recipe import Recipe
from memeblend.recipe.candidates import CandidateSpec, stem
from memeblend.recipe.chain import ContrastiveStage, Stages, start_field
from memeblend.recipe.parts import Encoder


def stage_folder(folder: Path, name: str) -> Path:
    """The folder of a pre-training stage of a run."""
    return folder.absolute() / "pretraining" / name


def with_places(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with the folders of finished stages in place of their names, and no stages left to train.

    Args:
        recipe: the recipe; one whose names were replaced already is given back.
        folder: the run's folder.
    """
    if not recipe.pretraining:
        return recipe
    return recipe.model_copy(
        update={
            "encoder": encoder_in(recipe, folder),
            "candidates": candidates_in(recipe.candidates, recipe.pretraining, folder),
            "pretraining": {},
        }
    )


def encoder_in(recipe: Recipe, folder: Path) -> Encoder:
    """The recipe's encoder with a folder for its source."""
    source = recipe.encoder.source
    return recipe.encoder.model_copy(update={"source": _place(source, "", recipe.pretraining, folder)})


def candidates_in(specs: tuple[CandidateSpec, ...], stages: Stages, folder: Path) -> tuple[CandidateSpec, ...]:
    """Candidates with folders for the stages that they start from."""
    found = []
    for spec in specs:
        field = start_field(spec)
        if field:
            spec = spec.model_copy(update={field: _place(getattr(spec, field), spec.kind, stages, folder)})
        found.append(spec)
    return tuple(found)


def _place(value: str, kind: str, stages: Stages, folder: Path) -> str:
    """The folder for a stage's name: of its encoder, or of its candidate of a kind; any other value as it is."""
    if value not in stages:
        return value
    stage, place = stages[value], stage_folder(folder, value)
    if isinstance(stage, ContrastiveStage):
        return str(place / "encoder")
    name = next(f"{stem(spec)}-0" for spec in stage.candidates if spec.kind == kind)
    return str(place / "stages" / name / "candidate")
