"""The work of a run: train the candidates one after the other, then choose the ensembles."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memeblend.candidates.base import Candidate, FitContext, Planned
from memeblend.candidates.making import load_candidate, make_candidate, plan
from memeblend.data.duplicates import duplicate_groups
from memeblend.data.manifest import Manifest
from memeblend.data.splits import SplitRoles, assign_roles
from memeblend.ensemble.cost import CandidateCost
from memeblend.evaluation.tables import PredictionTable
from memeblend.files import digest, replacing_folder, write_json, write_text
from memeblend.recipe import Recipe, dump_recipe
from memeblend.recipe.candidates import CandidateSpec, EncoderCandidate, OscarCandidate
from memeblend.recipe.chain import RESERVED
from memeblend.run.choosing import NOTHING, check_pools
from memeblend.run.folder import (
    RUN_FILE,
    Run,
    candidate_folder,
    claimed,
    disk_errors,
    preprocessor_folder,
    rows_of,
    table_path,
)
from memeblend.run.hands import HERE, Hands
from memeblend.run.inputs import check_choice, check_labels, check_losses, check_needs, possible
from memeblend.run.places import with_places
from memeblend.run.reselecting import outside_names, outside_tables, with_choice
from memeblend.training.encoder import encoder_fingerprint, make_preprocessor
from memeblend.training.preprocessing import Memes, Preprocessor, prepare
from memeblend.training.progress import Progress
from memeblend.training.stages import Stage
from memeblend.training.workers import ALONE, Workers

_COST = "cost.json"
_FORMAT = 3  # part of every stage's fingerprint: raise it when the meaning of a stage's files changes


def carry_out(
    manifest: Manifest,
    recipe: Recipe,
    folder: Path,
    *,
    cache_dir: Path,
    progress: Progress,
    hands: Hands = HERE,
) -> Run:
    """Train the recipe's candidates on a manifest and choose the ensembles.

    Args:
        manifest: labelled memes.
        recipe: what to do.
        folder: where; it may hold an earlier run, whose finished stages are kept where their inputs are the same.
        cache_dir: where decoded images are kept between runs.
        progress: who watches.
        hands: who trains.

    Raises:
        DataError: the memes can't be trained on; every reason at once.
        OutputError: the folder belongs to something else, is in use, or can't be written.
    """
    with claimed(folder):
        notes: list[str] = []
        work = begin(manifest, recipe, folder, cache_dir=cache_dir, progress=progress, hands=hands)
        manifest, roles, groups = work.manifest, work.roles, work.groups
        wanted = plan(work.recipe)
        check_pools(recipe, [one.name for one in wanted] + outside_names(folder, manifest))
        planned = possible(wanted, manifest, notes)
        (folder / RUN_FILE).unlink(missing_ok=True)  # what it says is no longer so until this ends
        write_text(folder / "recipe.toml", dump_recipe(recipe))
        manifest.write(folder / "manifest.parquet")
        for note in notes:
            progress.say(note)
        hands.candidates(work, planned)
        tables = {one.name: work.train(one) for one in planned}
        _forget_others(folder, {table_path(folder, name, task) for name in tables for task in manifest.label_tasks})
        tables |= outside_tables(folder, manifest, tables, notes)
        run = Run(folder, recipe, manifest, roles, groups, tables, NOTHING, work.costs, work.seconds, tuple(notes))
        run = with_choice(run, recipe, progress)
        run.save()
        return run


def begin(
    manifest: Manifest, recipe: Recipe, folder: Path, *, cache_dir: Path, progress: Progress, hands: Hands = HERE
) -> Work:
    """Give the memes their roles, check that the recipe can be carried out on them, and train its pre-training stages.

    Args:
        manifest: labelled memes.
        recipe: what to do.
        folder: the run's folder, claimed.
        cache_dir: where decoded images are kept between runs.
        progress: who watches.
        hands: who trains its pre-training stages.

    Raises:
        DataError: the memes can't be trained on; every reason at once.
        RecipeError: the recipe names label tasks or files that there are not.
        PredictionError: an objective or decisions that these memes don't allow.
        MissingExtraError: a candidate needs a package that is not installed.
    """
    memes = with_roles(manifest, recipe, cache_dir=cache_dir, progress=progress)
    if recipe.pretraining:
        from memeblend.run.pretraining import train_stages  # whose stages are works themselves

        train_stages(recipe, folder, cache_dir=cache_dir, progress=progress, hands=hands)
    return Work(folder, recipe, *memes, cache_dir, progress)


class WithRoles(NamedTuple):
    """Memes whose splits have roles.

    Attributes:
        manifest: the memes.
        roles: of their splits.
        groups: number of each meme's group of duplicates.
    """

    manifest: Manifest
    roles: SplitRoles
    groups: NDArray[np.int64]


def with_roles(manifest: Manifest, recipe: Recipe, *, cache_dir: Path, progress: Progress) -> WithRoles:
    """Give the memes their roles, and check that the recipe's candidates can be trained on them.

    Args:
        manifest: labelled memes.
        recipe: what to do.
        cache_dir: where decoded images are kept between runs.
        progress: who watches.

    Raises:
        DataError: the memes can't be trained on; every reason at once.
        RecipeError: the recipe names label tasks or files that there are not.
        PredictionError: an objective or decisions that these memes don't allow.
        MissingExtraError: a candidate needs a package that is not installed.
    """
    tasks = recipe.only_label_tasks or tuple(task.name for task in manifest.label_tasks)
    manifest = manifest.with_label_tasks(tasks)
    progress.start("looking for duplicates", len(manifest))
    groups = duplicate_groups(
        manifest, cache_dir=cache_dir, progress=lambda num_done, _total: progress.advance(num_done)
    )
    splits = recipe.splits
    manifest, roles = assign_roles(
        manifest,
        groups,
        fit=splits.fit,
        select=splits.select,
        report=splits.report,
        select_fraction=splits.select_fraction,
        report_fraction=splits.report_fraction,
        seed=recipe.seed,
    )
    check_labels(manifest, roles)
    check_losses(recipe, manifest)
    check_choice(recipe, manifest, roles)
    check_needs(recipe)
    return WithRoles(manifest, roles, groups)


class Work:
    """The training of candidates one after the other, with what they share made once.

    With several workers each has a `Work` of the same memes and recipe, made ready before, and calls `make` alike.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        manifest: Manifest,
        roles: SplitRoles,
        groups: NDArray[np.int64],
        cache_dir: Path,
        progress: Progress,
        workers: Workers = ALONE,
    ) -> None:
        self.folder = folder
        self.workers = workers
        self.recipe = with_places(recipe, folder)
        self.manifest = manifest
        self.roles = roles
        self.groups = groups
        self.cache_dir = cache_dir
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self.costs: dict[str, CandidateCost] = {}
        self._fingerprints: dict[str, str] = {}
        self.inputs = digest(
            _FORMAT,
            manifest.fingerprint,
            roles.to_dict(),
            manifest.meme_ids.tolist(),
            encoder_fingerprint(self.recipe.encoder),
        )

    @cached_property
    def _labels(self) -> NDArray[np.int64]:
        columns = [self.manifest.labels(task.name) for task in self.manifest.label_tasks]
        return np.stack(columns, axis=1)  # [num_memes, num_label_tasks]

    @cached_property
    def _memes(self) -> Memes:
        """The memes made ready; asked for only when there is something to train."""
        fit = rows_of(self.manifest, self.roles, ["fit"])

        def work(stage_folder: Path) -> None:
            texts = self.manifest.texts
            made = make_preprocessor(self.recipe.encoder, [texts[row] for row in fit])
            with replacing_folder(stage_folder / "preprocessor") as temporary:
                made.save(temporary)

        stage = Stage(self.folder / "stages" / "preprocessor", self.inputs)
        stage.run(work)
        preprocessor = Preprocessor.load(preprocessor_folder(self.folder))
        self.progress.start("reading images", len(self.manifest))
        return prepare(
            self.manifest,
            preprocessor,
            cache_dir=self.cache_dir,
            progress=lambda num_done, _total: self.progress.advance(num_done),
        )

    def make_ready(self) -> None:
        """Make the preprocessor and decode the images, unless that is done."""
        self._memes  # noqa: B018 (made when asked for)

    def stage(self, planned: Planned) -> Stage:
        """Where a candidate is trained, with the fingerprint of what goes into it; asked for those that it starts from
        before."""
        recipe = self.recipe
        tasks = self.manifest.label_tasks
        fingerprint = digest(
            self.inputs,
            planned.spec.model_dump(mode="json", exclude={"copies", "variants", "losses"}),
            planned.number,
            recipe.seed,
            recipe.joint,
            {task.name: recipe.loss_of(task.name, planned.spec).model_dump(mode="json") for task in tasks},
            [self._fingerprints[name] for name in planned.starts_from],
            _files_named_by(planned.spec),
        )
        self._fingerprints[planned.name] = fingerprint
        return Stage(self.folder / "stages" / planned.name, fingerprint)

    def make(self, planned: Planned) -> Stage:
        """Train a candidate unless that is done; gives where it lies."""
        stage = self.stage(planned)
        if self.workers.from_first(lambda: stage.is_done):
            return stage
        if not self.workers.is_first:
            with tempfile.TemporaryDirectory(prefix="mb") as nowhere:
                self._train(planned, Path(nowhere))
            return stage
        (self.folder / RUN_FILE).unlink(missing_ok=True)  # of a run whose candidate this was
        for path in self._tables(planned.name).values():
            path.unlink(missing_ok=True)
        with disk_errors(stage.folder):
            stage.run(lambda stage_folder: self._train(planned, stage_folder))
        return stage

    def _tables(self, name: str) -> dict[str, Path]:
        return {task.name: table_path(self.folder, name, task) for task in self.manifest.label_tasks}

    def train(self, planned: Planned) -> dict[str, PredictionTable]:
        """Train a candidate unless that is done, and give its prediction tables."""
        stage, paths = self.make(planned), self._tables(planned.name)
        self.seconds[planned.name] = float(stage.facts["seconds"])
        if not all(path.is_file() for path in (*paths.values(), stage.folder / _COST)):
            self._predict(planned.name, paths)
        self.costs[planned.name] = CandidateCost(**json.loads((stage.folder / _COST).read_text(encoding="utf-8")))
        return {task.name: PredictionTable.read(paths[task.name], task) for task in self.manifest.label_tasks}

    def context(self, stage_folder: Path) -> FitContext:
        """What a candidate is trained with that works in a folder; of the memes that report it has nothing."""
        memes = self._memes
        fit, select = (rows_of(self.manifest, self.roles, [role]) for role in ("fit", "select"))
        return FitContext(
            recipe=self.recipe,
            label_tasks=self.manifest.label_tasks,
            fit=memes.take(fit),
            fit_labels=self._labels[fit],
            select=memes.take(select),
            select_labels=self._labels[select],
            seed=self.recipe.seed,
            folder=stage_folder,
            fitted=self._fitted,
            progress=self.progress,
            fit_groups=self.groups[fit],
            workers=self.workers,
        )

    def _train(self, planned: Planned, stage_folder: Path) -> None:
        made = stage_folder / "candidate"
        if self.workers.from_first(made.is_dir):  # killed after all of it was done but the stage's own mark
            return self._clean(stage_folder)
        candidate = make_candidate(planned)
        candidate.fit(self.context(stage_folder))
        if not self.workers.is_first:
            return None
        with replacing_folder(made) as temporary:
            candidate.save(temporary)
        return self._clean(stage_folder)

    def _clean(self, stage_folder: Path) -> None:
        for checkpoints in stage_folder.glob("training/*/checkpoints"):
            shutil.rmtree(checkpoints)

    def _fitted(self, name: str) -> Candidate:
        return load_candidate(name, candidate_folder(self.folder, name))

    def _predict(self, name: str, paths: Mapping[str, Path]) -> None:
        """Write a candidate's prediction tables of the memes that choose and report, and what predicting cost."""
        judged = rows_of(self.manifest, self.roles, ["select", "report"])
        # Without cached states, since serving has none: the time is what the report and budgets go by.
        memes, candidate = replace(self._memes.take(judged), cache_dir=None), self._fitted(name)
        began = time.perf_counter()
        probabilities = candidate.predict(memes)
        milliseconds = 1000 * (time.perf_counter() - began) / len(memes)
        for column, task in enumerate(self.manifest.label_tasks):
            PredictionTable(
                candidate=name,
                label_task=task,
                meme_ids=self.manifest.meme_ids[judged],
                splits=self.manifest.splits[judged],
                groups=self.groups[judged],
                labels=self._labels[judged, column],
                probabilities=probabilities[task.name],
                manifest_fingerprint=self.manifest.fingerprint,
            ).write(paths[task.name])
        files = [path for path in candidate_folder(self.folder, name).rglob("*") if path.is_file()]
        cost = CandidateCost(round(milliseconds, 3), sum(path.stat().st_size for path in files))
        write_json(self.folder / "stages" / name / _COST, asdict(cost))


def _files_named_by(spec: CandidateSpec) -> dict[str, list[tuple[int, int]]]:
    """Size and time of the files outside the run that a candidate is made from: a changed file trains anew."""
    named: set[str] = set()
    if isinstance(spec, OscarCandidate):
        named = {spec.source, spec.regions} - {"grid"}
    elif isinstance(spec, EncoderCandidate):
        named = {spec.start}
    found = {}
    for name in named - set(RESERVED):
        path = Path(name).expanduser()
        files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.is_file() else []
        found[name] = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return found


def _forget_others(folder: Path, kept: set[Path]) -> None:
    """Remove prediction tables that an earlier recipe of this folder made and this one does not.

    Tables of candidates that have no stage here were put there by the user and stay.
    """
    for path in (folder / "predictions").glob("*.parquet"):
        if path not in kept and (folder / "stages" / path.name.split(".")[0]).is_dir():
            path.unlink()
