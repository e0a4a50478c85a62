"""A search as a whole: stage after stage, each with what the ones before it found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from memeblend.candidates.making import plan
from memeblend.data.manifest import Manifest
from memeblend.errors import DataError, OutputError, Problem, RecipeError, TrainingError
from memeblend.files import digest, write_json, write_text
from memeblend.ray_client import carry_out_there, is_far
from memeblend.ray_session import need_ray
from memeblend.recipe import Recipe, dump_recipe
from memeblend.recipe.candidates import NeuralCandidate, stem
from memeblend.recipe.search import Choice, LogUniform, RandInt, Space, Uniform, fields_of
from memeblend.run.folder import claimed
from memeblend.run.inputs import possible
from memeblend.run.work import Work, begin
from memeblend.training.progress import Progress
from memeblend.tuning.adopting import tuned, write_table
from memeblend.tuning.drawing import has_optuna
from memeblend.tuning.on_ray import run_on_ray
from memeblend.tuning.searching import Course, run_here
from memeblend.tuning.training import Maker, Setup, before_stage, num_select, with_values, write_memes
from memeblend.tuning.trials import Trial

_SEARCH = "search.json"
_FORMAT = 1
_FEWEST = 10
"""Labelled memes of a label task without which no trial can be told from another."""


class Watch(Protocol):
    """Sees a search."""

    def trials(self, stage: str, trials: Sequence[Trial], total: int) -> None:
        """The trials of a stage so far, whenever one of them has changed, and how many there will be."""


@dataclass(frozen=True)
class TuneSettings:
    """How a search is carried out; what is searched stands in the recipe.

    Attributes:
        stage: search this stage alone; "" searches all that the recipe has a space for.
        resume: go on with a search that the folder holds.
        num_workers: trials at a time; 0 makes them one after the other in this process.
        address: of a Ray cluster; "" starts Ray on this machine where there are workers.
    """

    stage: str = ""
    resume: bool = False
    num_workers: int = 0
    address: str = ""


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        recipe: with the best and second-best trials' values as copies "0" and "1" of each stage.
        path: of its TOML file.
        trials: of each stage searched.
        adopted: for each stage the trials that became its copies, in order.
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
        manifest: labelled memes.
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
    stages = _stages(recipe, settings.stage)
    for name in stages:
        _check_values(recipe, name)
    with claimed(folder):
        work = begin(manifest, recipe, folder, cache_dir=cache_dir, progress=progress)
        _check_enough(work)
        left_out: list[str] = []
        there = {one.name for one in possible(plan(recipe), work.manifest, left_out)}
        if any(f"{name}-0" not in there for name in stages):
            raise DataError(" ".join(left_out), fix="Name another stage with --stage.")
        write_memes(work, folder / "tune")
        trials: dict[str, list[Trial]] = {}
        adopted: dict[str, list[Trial]] = {}
        for name in stages:
            setup = Setup(folder.absolute(), cache_dir.absolute(), recipe, name, _trials_folder(folder, name))
            course = _course(setup, work, settings)
            _train_before(replace_recipe(work, recipe), name)
            _carry_out(course, setup, settings, watch)
            trials[name] = [course.trials[number] for number in sorted(course.trials)]
            _check_any_worked(name, trials[name])
            recipe, adopted[name] = tuned(recipe, name, trials[name])
            write_text(folder / "tune" / "tuned.toml", dump_recipe(recipe))
            write_table(folder / "tune" / "trials.parquet", trials, adopted)
    return Found(recipe, folder / "tune" / "tuned.toml", trials, adopted)


def replace_recipe(work: Work, recipe: Recipe) -> Work:
    """The same work with what was found put into its recipe."""
    return Work(work.folder, recipe, work.manifest, work.roles, work.groups, work.cache_dir, work.progress)


def _with_sampler(recipe: Recipe, progress: Progress) -> Recipe:
    """Without Optuna trials are drawn at random."""
    if recipe.search.sampler == "random" or has_optuna():
        return recipe
    progress.say('Optuna is not installed (pip install "memeblend[ray]"), so trials are drawn at random.')
    return recipe.model_copy(update={"search": recipe.search.model_copy(update={"sampler": "random"})})


def _stages(recipe: Recipe, stage: str) -> list[str]:
    """The stages to search, in the order in which they can be trained."""
    planned = list(dict.fromkeys(one.name.rpartition("-")[0] for one in plan(recipe)))
    if stage and stage not in planned:
        raise RecipeError(f"The recipe has no stage '{stage}'.", fix=f"Its stages are {', '.join(planned)}.")
    named = {name for name in planned if any(key.startswith(f"candidates.{name}.") for key in recipe.search.space)}
    found = [stage] if stage else [name for name in planned if name in named]
    if not found or not fields_of(found[0], recipe):
        where = f"stage '{stage}'" if stage else "any stage"
        raise RecipeError(
            f"The recipe's search.space has no field of {where}.",
            fix="Add one, for example --search 'candidates.fusion.training.learning_rate={loguniform=[1e-5, 1e-2]}'",
        )
    for name in found:
        spec = next(spec for spec in recipe.candidates if stem(spec) == name)
        metric = recipe.search.metric
        if isinstance(spec, NeuralCandidate) and spec.training.metric != metric:
            raise RecipeError(
                f"search.metric is {metric}, which stage {name} does not report: its training.metric is "
                f"{spec.training.metric}.",
                fix="Set both alike.",
            )
    return found


def _check_values(recipe: Recipe, name: str) -> None:
    """Refuse a space with values that a field does not take, each tried alone, before anything is trained."""
    setup = Setup(Path(), Path(), recipe, name, Path())
    problems = []
    for key, space in fields_of(name, recipe).items():
        for value in _ends(space):
            try:
                changed = with_values(setup, {key: value})
            except RecipeError as error:
                problems.append(Problem(f"search.space {key}", f"{json.dumps(value)} can't be tried: {error.message}"))
                continue
            if name not in [stem(spec) for spec in changed.candidates]:
                what = f"{json.dumps(value)} makes it another kind of candidate"
                problems.append(Problem(f"search.space {key}", what))
    if problems:
        raise RecipeError("The recipe's search space can't be searched:", problems=problems)


def _ends(space: Space) -> Sequence[Any]:
    match space:
        case Choice():
            return space.choice
        case Uniform():
            return space.uniform
        case LogUniform():
            return space.loguniform
        case RandInt():
            return (space.randint[0], space.randint[1] - 1)


def _check_enough(work: Work) -> None:
    found = {task.name: num_select(work, task.name) for task in work.manifest.label_tasks}
    problems = [
        Problem(f"label task {name}", f"{count} labelled memes select")
        for name, count in found.items()
        if count < _FEWEST
    ]
    if problems:
        raise DataError(
            f"The memes that select ({', '.join(work.roles.select)}) are too few to tell trials apart; each label task "
            f"needs {_FEWEST}:",
            problems=problems,
            fix="Use more memes, or raise splits.select_fraction where the data has no split of its own for it.",
        )


def _trials_folder(folder: Path, name: str) -> Path:
    return folder.absolute() / "tune" / name / "trials"


def _course(setup: Setup, work: Work, settings: TuneSettings) -> Course:
    """The stage's course, new or gone on with."""
    search, space = setup.recipe.search, fields_of(setup.name, setup.recipe)
    path = setup.folder.parent / _SEARCH
    how = search.model_dump(mode="json", exclude={"num_trials", "space"})
    recipe = setup.recipe.model_dump(mode="json", exclude={"search", "ensemble", "decisions", "name"})
    spaces = {key: value.model_dump(mode="json") for key, value in space.items()}
    made = digest(_FORMAT, work.inputs, recipe, how, spaces)
    before = _read_search(path)
    if before is not None and not settings.resume:
        raise OutputError(
            f"'{path.parent}' holds a search already.",
            fix="Go on with it with --resume (and a higher --num-trials, if you like), or choose another --out.",
        )
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


def _train_before(work: Work, name: str) -> None:
    """Train what the stage starts from, unless that is done; at the least the preprocessor is made."""
    for one in before_stage(work.recipe, name)[0]:
        work.train(one)
    work.make_ready()


def _carry_out(course: Course, setup: Setup, settings: TuneSettings, watch: Watch) -> None:
    total = setup.recipe.search.num_trials

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
