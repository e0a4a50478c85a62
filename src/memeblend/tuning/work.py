"""A search as a whole: stage after stage, each with what the ones before it found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from memeblend.data.manifest import Manifest
from memeblend.errors import OutputError, Problem, TrainingError
from memeblend.files import digest, write_json, write_text
from memeblend.ray_client import carry_out_there, is_far
from memeblend.ray_session import need_ray
from memeblend.recipe import Recipe, dump_recipe
from memeblend.recipe.searched import fields_of
from memeblend.run.folder import claimed
from memeblend.run.work import with_roles
from memeblend.training.progress import Progress
from memeblend.tuning.adopting import tuned, write_table
from memeblend.tuning.choosing import check_search, chosen, with_metric
from memeblend.tuning.drawing import has_optuna
from memeblend.tuning.grounds import Preparing, check_memes, read_stages
from memeblend.tuning.on_ray import run_on_ray
from memeblend.tuning.searching import Course, run_here
from memeblend.tuning.setup import Setup
from memeblend.tuning.training import Maker
from memeblend.tuning.trials import Trial

_SEARCH = "search.json"
_FORMAT = 1


class Watch(Protocol):
    """Sees a search."""

    def trials(self, stage: str, trials: Sequence[Trial], total: int) -> None:
        """The trials of a stage so far, whenever one of them has changed, and how many there will be."""


@dataclass(frozen=True)
class TuneSettings:
    """How a search is carried out; what is searched stands in the recipe.

    Attributes:
        stage: search this stage alone, or those of "candidates", "pretraining" or "pretraining.NAME"; "" searches all
            that the recipe has a space for.
        resume: go on with a search that the folder holds.
        num_workers: trials at a time; 0 makes them one after the other in this process.
        address: of a Ray cluster; "" starts Ray on this machine where there are workers.
        metric: what to make best; "" takes the recipe's.
    """

    stage: str = ""
    resume: bool = False
    num_workers: int = 0
    address: str = ""
    metric: str = ""


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        recipe: with the best and second-best trials' values as copies "0" and "1" of each candidate that was searched,
            and the best one's in pre-training stages.
        path: of its TOML file.
        trials: of each stage searched.
        adopted: for each stage its best and second-best distinct trials.
    """

    recipe: Recipe
    path: Path
    trials: Mapping[str, Sequence[Trial]]
    adopted: Mapping[str, Sequence[Trial]]


def tune(
    manifest: Manifest,
    recipe: Recipe,
    folder: Path,
    settings: TuneSettings,
    *,
    cache_dir: Path,
    progress: Progress,
    watch: Watch,
) -> Found:
    """Search fields of a recipe on a manifest; the memes that report take no part.

    Args:
        manifest: labelled memes, on which the recipe's candidates are searched; its pre-training stages have their own.
        recipe: its `search` says what and how.
        folder: a run's folder; candidates that stages start from are trained in it.
        settings: how it is carried out.
        cache_dir: where decoded images and states are kept; trials share it.
        progress: who watches what is made ready.
        watch: who sees the trials.

    Raises:
        RecipeError: the space or the stage is wrong, or a metric that the stage does not train by.
        DataError: the memes can't be trained on, or are too few to select by.
        TrainingError: all trials of a stage failed; each with its error.
        MissingExtraError: workers or a cluster are asked for without Ray.
        ClusterError: no cluster answers at the address.
        OutputError: the folder holds another search, or can't be written.
    """
    if settings.num_workers or settings.address:
        need_ray("Several workers and clusters")
    if is_far(settings.address):
        settings_there = replace(settings, address="auto")
        carried_out = partial(tune, manifest, recipe, folder.absolute(), settings_there, cache_dir=cache_dir.absolute())
        return carry_out_there(settings.address, carried_out, {"progress": progress, "watch": watch})
    recipe = _with_sampler(recipe, progress)
    every = chosen(recipe, settings.stage)
    recipe = with_metric(recipe, every, settings.metric)
    check_search(recipe, every)
    of_stages = read_stages(recipe, every, progress)
    run, cache_dir = folder.absolute(), cache_dir.absolute()
    with claimed(folder):
        for searched in every:
            _check_unbegun(Setup(run, cache_dir, recipe, searched), settings)
        memes = None
        if own := [one for one in every if not one.stage]:
            memes = with_roles(manifest, recipe, cache_dir=cache_dir, progress=progress)
            check_memes(memes, recipe, own)
        preparing = Preparing(memes, of_stages, progress)
        trials: dict[str, list[Trial]] = {}
        adopted: dict[str, list[Trial]] = {}
        for searched in every:
            setup = Setup(run, cache_dir, recipe, searched)
            trials[setup.name] = _searched(setup, preparing, settings, watch)
            recipe, adopted[setup.name] = tuned(recipe, searched, trials[setup.name])
            write_text(run / "tune" / "tuned.toml", dump_recipe(recipe))
            write_table(run / "tune" / "trials.parquet", trials, adopted)
    return Found(recipe, folder / "tune" / "tuned.toml", trials, adopted)


def _searched(setup: Setup, preparing: Preparing, settings: TuneSettings, watch: Watch) -> list[Trial]:
    """All trials of a stage, made or made before."""
    grounds = preparing.grounds(setup)
    course = _course(setup, grounds.inputs)
    grounds.train_before(setup.searched)
    _carry_out(course, setup, settings, watch)
    trials = [course.trials[number] for number in sorted(course.trials)]
    _check_any_worked(setup.name, trials)
    return trials


def _with_sampler(recipe: Recipe, progress: Progress) -> Recipe:
    """Without Optuna trials are drawn at random."""
    if recipe.search.sampler == "random" or has_optuna():
        return recipe
    progress.say('Optuna is not installed (pip install "memeblend[ray]"), so trials are drawn at random.')
    return recipe.model_copy(update={"search": recipe.search.model_copy(update={"sampler": "random"})})


def _search_file(setup: Setup) -> Path:
    return setup.folder.parent / _SEARCH


def _check_unbegun(setup: Setup, settings: TuneSettings) -> None:
    """Refuse to go on with a search unasked."""
    path = _search_file(setup)
    if not settings.resume and _read_search(path) is not None:
        raise OutputError(
            f"'{path.parent}' holds a search already.",
            fix="Go on with it with --resume (and a higher --num-trials, if you like), or choose another --out.",
        )


def _course(setup: Setup, inputs: str) -> Course:
    """The stage's course, new or gone on with."""
    search, space = setup.search, fields_of(setup.searched, setup.recipe.search)
    path = _search_file(setup)
    how = search.model_dump(mode="json", exclude={"num_trials", "space", "stages"})
    recipe = setup.recipe.model_dump(mode="json", exclude={"search", "ensemble", "decisions", "name"})
    spaces = {key: value.model_dump(mode="json") for key, value in space.items()}
    made = digest(_FORMAT, inputs, recipe, how, spaces)
    before = _read_search(path)
    if before is not None and before != made:
        raise OutputError(
            f"'{path.parent}' holds a search of other memes, another recipe or other settings.",
            fix="Go on with what it was begun with (only --num-trials may differ), or choose another --out.",
        )
    write_json(path, {"fingerprint": made, "search": how, "space": spaces})
    return Course(search, space, int(digest(setup.recipe.seed, setup.name), 16) % 2**31, setup.folder)


def _read_search(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"'{path}' could not be read: {error}.", fix="Choose another --out.") from error


def _carry_out(course: Course, setup: Setup, settings: TuneSettings, watch: Watch) -> None:
    total = setup.search.num_trials

    def changed() -> None:
        watch.trials(setup.name, [course.trials[number] for number in sorted(course.trials)], total)

    changed()
    if settings.num_workers or settings.address:
        run_on_ray(course, setup, changed, num_workers=max(1, settings.num_workers), address=settings.address)
        return
    maker = Maker(setup)

    def told(number: int, key: str, scores: list[float]) -> None:
        course.told(number, key, scores)
        changed()

    run_here(course, lambda asked: maker.make(asked, told), changed)


def _check_any_worked(name: str, trials: Sequence[Trial]) -> None:
    if all(trial.state == "failed" or trial.value is None for trial in trials):
        raise TrainingError(
            f"All {len(trials)} trials of stage {name} failed:",
            problems=[Problem(f"trial {trial.number}", trial.error) for trial in trials],
            fix="A field's space may reach too far; see the errors.",
        )
