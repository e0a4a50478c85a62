"""Making a trial: a candidate trained with the trial's values on the fit memes, judged on those that select."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from memeblend.candidates.base import Candidate, Planned
from memeblend.candidates.making import load_candidate, make_candidate, plan
from memeblend.data.manifest import Manifest
from memeblend.data.splits import SplitRoles
from memeblend.errors import DataError, MemeblendError, RecipeError
from memeblend.files import write_json
from memeblend.recipe import Recipe
from memeblend.recipe.candidates import stem
from memeblend.recipe.search import Search, put
from memeblend.run.folder import candidate_folder, rows_of
from memeblend.run.places import with_places
from memeblend.run.work import Work
from memeblend.training.progress import Silent
from memeblend.training.trainer import mean_score
from memeblend.tuning.halving import Race
from memeblend.tuning.searching import Asked
from memeblend.tuning.trials import Trial

_MANIFEST, _MEMES = "manifest.parquet", "memes.json"
Told = Callable[[int, str, list[float]], None]
"""Told of a trial's number, the key of a model under training and its metric after each epoch so far."""


@dataclass(frozen=True)
class Setup:
    """What all trials of a stage have in common; small, and the same for a process elsewhere that shares the disk.

    Attributes:
        run: the run's folder, with the preprocessor and the candidates that the stage starts from.
        cache_dir: where decoded images and states are kept.
        recipe: the recipe that values are put into.
        name: the stage: the candidate's name without its number.
        folder: holds a folder for each trial.
    """

    run: Path
    cache_dir: Path
    recipe: Recipe
    name: str
    folder: Path

    @property
    def position(self) -> int:
        """Position of the stage's candidate in the recipe."""
        return [stem(spec) for spec in self.recipe.candidates].index(self.name)


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
    kept = setup.run / "tune"
    try:
        state = json.loads((kept / _MEMES).read_text(encoding="utf-8"))
        roles = SplitRoles(**{role: tuple(names) for role, names in state["roles"].items()})
        groups = np.array(state["groups"], dtype=np.int64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"The memes of the search could not be read from '{kept}': {error}.",
            fix="The run and the cache must lie on a disk that all workers share, under the same names.",
        ) from error
    manifest = Manifest.read(kept / _MANIFEST, allow_outside=True)
    return Work(folder, recipe, manifest, roles, groups, setup.cache_dir, Silent())


def with_values(setup: Setup, values: dict[str, object]) -> Recipe:
    """The recipe with a trial's values put in, and nothing more to search.

    Raises:
        RecipeError: the values don't go together.
    """
    data = setup.recipe.model_dump(mode="json")
    put(data, setup.name, setup.position, json.loads(json.dumps(values)))
    data["search"] = Search().model_dump(mode="json")
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"{where or 'recipe'}: {first['msg'].removeprefix('Value error, ')}") from error


def before_stage(recipe: Recipe, name: str) -> tuple[list[Planned], Planned]:
    """The candidates that a stage's first starts from, in the order in which they are trained, and itself."""
    planned = plan(recipe)
    needed = {f"{name}-0"}
    for one in reversed(planned):
        if one.name in needed:
            needed |= set(one.starts_from)
    return [one for one in planned if one.name in needed - {f"{name}-0"}], next(
        one for one in planned if one.name == f"{name}-0"
    )


class Maker:
    """Makes the trials of a stage in this process, with the memes read once."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    @cached_property
    def _work(self) -> Work:
        return read_memes(self.setup, self.setup.recipe, self.setup.run)

    def make(self, asked: Asked, told: Told) -> Trial:
        """Train and judge a trial; goes on from what a killed worker left. What goes wrong is the trial's error.

        Args:
            asked: which.
            told: told of its epochs.
        """
        began = time.monotonic()
        folder = self.setup.folder / f"{asked.number:03d}"
        race = Race(asked.limits)
        curves: dict[str, list[float]] = _curves_before(folder, self.setup.recipe.search.metric)

        def on_epoch(key: str, epoch: int, score: float) -> bool:
            curve = curves.setdefault(key, [])
            curve[epoch - 1 :] = [score]
            told(asked.number, key, list(curve))
            return race.falls_behind(key, epoch, score)

        trial = Trial(asked.number, asked.values)
        try:
            value = self._value(asked, folder, on_epoch)
            trial = replace(trial, state="stopped" if race.stopped else "finished", value=value)
        except MemeblendError as error:
            trial = replace(trial, state="failed", error=str(error))
        except Exception as error:  # a library's; the other trials go on
            trial = replace(trial, state="failed", error=f"{type(error).__name__}: {error}")
        self._clean(folder)
        return replace(trial, curves=curves, seconds=round(time.monotonic() - began, 2))

    def _value(self, asked: Asked, folder: Path, on_epoch: Callable[[str, int, float], bool]) -> float:
        setup = self.setup
        recipe = with_places(with_values(setup, dict(asked.values)), setup.run)
        before, planned = before_stage(recipe, setup.name)
        work, base = self._work, setup.run
        if any(not key.startswith(f"candidates.{setup.name}.") for key in asked.values):
            # Fields of the whole recipe also change what the stage starts from.
            base = folder / "run"
            work = read_memes(setup, recipe, base)
            for one in before:
                work.train(one)

        def fitted(name: str) -> Candidate:
            return load_candidate(name, candidate_folder(base, name))

        context = replace(work.context(folder), recipe=recipe, told=on_epoch, fitted=fitted)
        candidate = make_candidate(planned)
        candidate.fit(context)
        metric = setup.recipe.search.metric
        found = mean_score(context.label_tasks, context.select_labels, dict(candidate.predict(context.select)), metric)
        return found[metric]

    def _clean(self, folder: Path) -> None:
        """Leave a trial's metrics alone."""
        shutil.rmtree(folder / "run", ignore_errors=True)
        for checkpoints in folder.glob("training/*/checkpoints"):
            shutil.rmtree(checkpoints, ignore_errors=True)


def _curves_before(folder: Path, metric: str) -> dict[str, list[float]]:
    """The metrics of epochs that a killed worker had finished, from the Trainer's own log."""
    curves: dict[str, list[float]] = {}
    for path in sorted(folder.glob("training/*/metrics.jsonl")):
        try:
            entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError):
            continue
        curves[path.parent.name] = [entry[f"eval_{metric}"] for entry in entries if f"eval_{metric}" in entry]
    return curves


def num_select(work: Work, task: str) -> int:
    """Labelled memes of a label task that select."""
    labels = work.manifest.labels(task)[rows_of(work.manifest, work.roles, ["select"])]
    return int((labels >= 0).sum())
