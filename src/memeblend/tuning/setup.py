"""What the trials of a stage have in common: where they work, on which memes, and with which recipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from memeblend.data.manifest import Manifest
from memeblend.data.splits import SplitRoles
from memeblend.errors import DataError, RecipeError
from memeblend.files import write_json
from memeblend.recipe import Recipe, Search
from memeblend.recipe.chain import ClassifyStage
from memeblend.recipe.searched import Searched, how, put
from memeblend.run.places import stage_folder, with_places
from memeblend.run.pretraining import stage_recipe
from memeblend.run.work import Work
from memeblend.training.progress import Silent

_MANIFEST, _MEMES, _PAIRS = "manifest.parquet", "memes.json", "pairs-{:02d}.parquet"
_SHARED = "The run and the cache must lie on a disk that all workers share, under the same names."


@dataclass(frozen=True)
class Setup:
    """What all trials of a stage have in common; small, and the same for a process elsewhere that shares the disk.

    Attributes:
        run: the run's folder, with the preprocessor and the candidates that the stage starts from.
        cache_dir: where decoded images and states are kept.
        recipe: the recipe that values are put into.
        searched: the stage.
    """

    run: Path
    cache_dir: Path
    recipe: Recipe
    searched: Searched

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.searched.name

    @property
    def search(self) -> Search:
        """How it is searched."""
        return how(self.recipe.search, self.searched)

    @property
    def folder(self) -> Path:
        """Holds a folder for each trial."""
        return self.run / "tune" / self.name / "trials"

    @property
    def kept(self) -> Path:
        """Where the memes of the search are."""
        return self.folder.parent if self.searched.stage else self.run / "tune"

    @property
    def home(self) -> Path:
        """Where candidates that the stage starts from are, and will be: the run, or its pre-training stage."""
        return stage_folder(self.run, self.searched.stage) if self.searched.stage else self.run

    def own_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe that the stage's candidate is trained by, with folders in the place of stages' names.

        Args:
            recipe: the whole one.
        """
        stage = recipe.pretraining.get(self.searched.stage)
        if isinstance(stage, ClassifyStage):
            return stage_recipe(recipe, stage, self.searched.stage, self.run)
        return with_places(recipe, self.run)


def with_values(setup: Setup, values: dict[str, object]) -> Recipe:
    """The recipe with a trial's values put in, and nothing more to search.

    Raises:
        RecipeError: the values don't go together.
    """
    data = setup.recipe.model_dump(mode="json")
    put(data, setup.searched, json.loads(json.dumps(values)))
    data["search"] = Search().model_dump(mode="json")
    try:
        recipe = Recipe.model_validate(data)
        setup.own_recipe(recipe)  # which is checked as any recipe is
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"{where or 'recipe'}: {first['msg'].removeprefix('Value error, ')}") from error
    return recipe


def write_memes(work: Work, folder: Path) -> None:
    """Keep the memes of a search where every worker finds them.

    Raises:
        OutputError: they could not be written.
    """
    work.manifest.write(folder / _MANIFEST)
    write_json(folder / _MEMES, {"roles": work.roles.to_dict(), "groups": work.groups.tolist()})


def read_memes(setup: Setup, recipe: Recipe, folder: Path) -> Work:
    """The work of a recipe on the memes of a search, in a folder.

    Raises:
        DataError: the memes are not there.
    """
    try:
        state = json.loads((setup.kept / _MEMES).read_text(encoding="utf-8"))
        roles = SplitRoles(**{role: tuple(names) for role, names in state["roles"].items()})
        groups = np.array(state["groups"], dtype=np.int64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"The memes of the search could not be read from '{setup.kept}': {error}.", fix=_SHARED) from (
            error
        )
    manifest = Manifest.read(setup.kept / _MANIFEST, allow_outside=True)
    return Work(folder, recipe, manifest, roles, groups, setup.cache_dir, Silent())


def write_pairs(manifests: Sequence[Manifest], folder: Path) -> None:
    """Keep the memes of a contrastive stage where every worker finds them.

    Raises:
        OutputError: they could not be written.
    """
    for number, manifest in enumerate(manifests):
        manifest.write(folder / _PAIRS.format(number))


def read_pairs(setup: Setup) -> list[Manifest]:
    """The memes of a contrastive stage.

    Raises:
        DataError: they are not there.
    """
    data = setup.recipe.pretraining[setup.searched.stage].data
    paths = [setup.kept / _PAIRS.format(number) for number in range(len(data))]
    return [Manifest.read(path, label_tasks=None, allow_outside=True) for path in paths]
