"""A run: a folder in which a recipe was carried out on a manifest, from candidates to chosen ensembles.

    recipe.toml        the resolved recipe
    manifest.parquet   the memes with the roles' splits
    stages/            a folder for each finished piece of work: preprocessor, then each candidate
    predictions/       a prediction table for each candidate and label task
    report.{json,md,html}, model/   written from these by `MemeClassifier.fit`

The same command on the same folder goes on where it was stopped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.candidates.base import Candidate, FitContext, Planned
from memeblend.candidates.making import load_candidate, make_candidate, needs, plan
from memeblend.data.cache import unreadable_images
from memeblend.data.duplicates import duplicate_groups
from memeblend.data.manifest import Manifest
from memeblend.data.rows import Notify, log_line
from memeblend.data.splits import SplitRoles, assign_roles
from memeblend.ensemble.selection import EnsembleChoice, search
from memeblend.errors import DataError, ModelError, OutputError, Problem
from memeblend.evaluation.tables import PredictionTable
from memeblend.files import digest, file_name, replacing_folder, write_json, write_text
from memeblend.labels import MISSING, PRESENT_SUFFIX, LabelTask
from memeblend.recipe import Recipe, dump_recipe, load_recipe
from memeblend.training.encoder import encoder_fingerprint, make_preprocessor
from memeblend.training.preprocessing import Memes, Preprocessor, prepare
from memeblend.training.progress import Progress
from memeblend.training.stages import Stage

REJECTED = "rejected.csv"
"""File in a run's folder that lists the rows which were dropped while reading the memes."""

_FILE = "run.json"
_FORMAT = 1  # part of every stage's fingerprint: raise it when the meaning of a stage's files changes


@dataclass(frozen=True, eq=False)
class Run:
    """A carried-out recipe.

    Attributes:
        folder: the run's folder.
        recipe: the resolved recipe.
        manifest: the memes of all roles, with their splits.
        roles: the splits that fit, select and report.
        groups: duplicate group of each meme [num_memes].
        tables: for each candidate its prediction table of each label task, on the select and report splits.
        choices: the chosen ensemble of each label task.
        seconds: time that each stage took.
        notes: sentences about what was left out or assumed.
    """

    folder: Path
    recipe: Recipe
    manifest: Manifest
    roles: SplitRoles
    groups: NDArray[np.int64]
    tables: Mapping[str, Mapping[str, PredictionTable]]
    choices: Mapping[str, EnsembleChoice]
    seconds: Mapping[str, float]
    notes: tuple[str, ...]

    def save(self) -> None:
        """Write `run.json`, which says what was chosen and makes the folder a finished run."""
        state = {
            "roles": self.roles.to_dict(),
            "groups": self.groups.tolist(),
            "candidates": list(self.tables),
            "choices": {name: choice.to_dict() for name, choice in self.choices.items()},
            "seconds": dict(self.seconds),
            "notes": list(self.notes),
        }
        write_json(self.folder / _FILE, state)

    @classmethod
    def load(cls, folder: Path) -> Run:
        """Read a finished run.

        Raises:
            ModelError: the folder holds no finished run, or its files do not fit together.
        """
        try:
            state = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        except OSError as error:
            raise ModelError(
                f"'{folder}' holds no finished run: there is no {_FILE}.", fix="Run the same fit again; it goes on."
            ) from error
        except ValueError as error:
            raise ModelError(f"'{folder / _FILE}' could not be read: {error}.") from error
        recipe, manifest = load_recipe(folder / "recipe.toml"), Manifest.read(folder / "manifest.parquet")
        try:
            tables = {
                name: {
                    task.name: PredictionTable.read(_table(folder, name, task), task) for task in manifest.label_tasks
                }
                for name in state["candidates"]
            }
            choices = {name: EnsembleChoice.from_dict(choice) for name, choice in state["choices"].items()}
            roles = SplitRoles(**{role: tuple(names) for role, names in state["roles"].items()})
            groups = np.array(state["groups"], dtype=np.int64)
            return cls(
                folder, recipe, manifest, roles, groups, tables, choices, state["seconds"], tuple(state["notes"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"'{folder / _FILE}' is not what memeblend wrote: {error}.") from error

    def candidate(self, name: str) -> Candidate:
        """A finished candidate."""
        return load_candidate(name, _candidate_folder(self.folder, name))

    @cached_property
    def preprocessor(self) -> Preprocessor:
        """The preprocessor that all candidates share."""
        return Preprocessor.load(_preprocessor_folder(self.folder))

    def rows(self, *roles: str) -> NDArray[np.int64]:
        """Rows of the manifest whose split has one of these roles."""
        return _rows(self.manifest, self.roles, roles)

    def curves(self) -> dict[str, list[dict[str, Any]]]:
        """The metrics that each neural candidate logged while it was trained; one list for each of its models."""
        found = {}
        for path in sorted((self.folder / "stages").glob("*/*/metrics.jsonl")):
            name, key = path.parent.parent.name, path.parent.name
            lines = path.read_text(encoding="utf-8").splitlines()
            found[name if key == "joint" else f"{name} {key}"] = [json.loads(line) for line in lines]
        return found


def carry_out(manifest: Manifest, recipe: Recipe, folder: Path, *, cache_dir: Path, progress: Progress) -> Run:
    """Train the recipe's candidates on a manifest and choose the ensembles.

    Args:
        manifest: labelled memes.
        recipe: what to do.
        folder: where; it may hold an earlier run, whose finished stages are kept where their inputs are the same.
        cache_dir: where decoded images are kept between runs.
        progress: who watches.

    Raises:
        DataError: the memes can't be trained on; every reason at once.
        OutputError: the folder belongs to something else, is in use, or can't be written.
    """
    with _claimed(folder):
        notes: list[str] = []
        tasks = recipe.only_label_tasks or tuple(task.name for task in manifest.label_tasks)
        manifest = manifest.with_label_tasks(tasks)
        progress.start("looking for duplicates", 1)
        groups = duplicate_groups(manifest)
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
        _check_labels(manifest, roles)
        planned = _possible(plan(recipe), manifest, notes)
        write_text(folder / "recipe.toml", dump_recipe(recipe))
        manifest.write(folder / "manifest.parquet")
        for note in notes:
            progress.say(note)
        work = _Work(folder, recipe, manifest, roles, groups, cache_dir, progress)
        tables = {one.name: work.train(one) for one in planned}
        _forget_others(folder, set(tables))
        choices = _choose(recipe, roles, tables)
        run = Run(folder, recipe, manifest, roles, groups, tables, choices, work.seconds, tuple(notes))
        run.save()
        return run


def read_labelled(path: str | Path, recipe: Recipe, *, notify: Notify = log_line, **options: Any) -> Manifest:
    """Read memes to train on: label tasks that the recipe declares as declared, all others as inferred.

    Args:
        path: a table or a data-set folder.
        recipe: its `label_tasks` are the declared ones.
        notify: takes a line for everything inferred.
        options: as `Manifest.read` takes them.

    Raises:
        DataError: the memes can't be used, or a declared label task has no column.
    """
    manifest = Manifest.read(path, notify=notify, **options)
    declared = {task.name: task for task in recipe.declared()}
    if not declared:
        return manifest
    for task in declared.values():
        notify(f"label task '{task.name}' as the recipe declares it ({task.kind}): {', '.join(task.classes)}")
    inferred = {task.name: task for task in manifest.label_tasks}
    return Manifest.read(path, notify=notify, **options, label_tasks=tuple((inferred | declared).values()))


def drop_unreadable(manifest: Manifest, recipe: Recipe, rejected_to: Path, notify: Notify) -> Manifest:
    """The manifest without the memes whose images can't be decoded, which are listed in `rejected_to`.

    The images that can be decoded are in the cache afterwards, so they are not decoded again.

    Raises:
        DataError: nothing would be left.
    """
    transform = make_preprocessor(recipe.encoder, []).transform
    return manifest.reject(unreadable_images(manifest, transform), rejected_to, notify)


class _Work:
    """The training of candidates one after the other, with what they share made once."""

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        manifest: Manifest,
        roles: SplitRoles,
        groups: NDArray[np.int64],
        cache_dir: Path,
        progress: Progress,
    ) -> None:
        self.folder = folder
        self.recipe = recipe
        self.manifest = manifest
        self.roles = roles
        self.groups = groups
        self.cache_dir = cache_dir
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self._fingerprints: dict[str, str] = {}
        self._inputs = digest(
            _FORMAT,
            manifest.fingerprint,
            roles.to_dict(),
            manifest.meme_ids.tolist(),
            encoder_fingerprint(recipe.encoder),
        )

    @cached_property
    def _labels(self) -> NDArray[np.int64]:
        columns = [self.manifest.labels(task.name) for task in self.manifest.label_tasks]
        return np.stack(columns, axis=1)  # [num_memes, num_label_tasks]

    @cached_property
    def _memes(self) -> Memes:
        """The memes made ready; asked for only when there is something to train."""
        fit = _rows(self.manifest, self.roles, ["fit"])

        def work(stage_folder: Path) -> None:
            texts = self.manifest.texts
            made = make_preprocessor(self.recipe.encoder, [texts[row] for row in fit])
            with replacing_folder(stage_folder / "preprocessor") as temporary:
                made.save(temporary)

        stage = Stage(self.folder / "stages" / "preprocessor", self._inputs)
        stage.run(work)
        preprocessor = Preprocessor.load(_preprocessor_folder(self.folder))
        self.progress.start("reading images", len(self.manifest))
        return prepare(
            self.manifest,
            preprocessor,
            cache_dir=self.cache_dir,
            progress=lambda num_done, _total: self.progress.advance(num_done),
        )

    def train(self, planned: Planned) -> dict[str, PredictionTable]:
        """Train a candidate unless that is done, and give its prediction tables."""
        recipe = self.recipe
        tasks = self.manifest.label_tasks
        fingerprint = digest(
            self._inputs,
            planned.spec.model_dump(mode="json"),
            planned.number,
            recipe.seed,
            recipe.joint,
            {task.name: recipe.loss_of(task.name).model_dump(mode="json") for task in tasks},
            [self._fingerprints[name] for name in planned.starts_from],
        )
        self._fingerprints[planned.name] = fingerprint
        paths = {task.name: _table(self.folder, planned.name, task) for task in tasks}
        stage = Stage(self.folder / "stages" / planned.name, fingerprint)
        if not stage.is_done:
            for path in paths.values():
                path.unlink(missing_ok=True)
        stage.run(lambda stage_folder: self._train(planned, stage_folder))
        self.seconds[planned.name] = float(stage.facts["seconds"])
        if not all(path.is_file() for path in paths.values()):
            self._predict(planned.name, paths)
        return {task.name: PredictionTable.read(paths[task.name], task) for task in tasks}

    def _train(self, planned: Planned, stage_folder: Path) -> None:
        memes = self._memes
        fit, select = (_rows(self.manifest, self.roles, [role]) for role in ("fit", "select"))
        candidate = make_candidate(planned)
        candidate.fit(
            FitContext(
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
            )
        )
        with replacing_folder(stage_folder / "candidate") as temporary:
            candidate.save(temporary)
        for checkpoints in stage_folder.glob("*/checkpoints"):
            shutil.rmtree(checkpoints)

    def _fitted(self, name: str) -> Candidate:
        return load_candidate(name, _candidate_folder(self.folder, name))

    def _predict(self, name: str, paths: Mapping[str, Path]) -> None:
        """Write a candidate's prediction tables of the memes that choose and report."""
        judged = _rows(self.manifest, self.roles, ["select", "report"])
        probabilities = self._fitted(name).predict(self._memes.take(judged))
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


def _choose(
    recipe: Recipe, roles: SplitRoles, tables: Mapping[str, Mapping[str, PredictionTable]]
) -> dict[str, EnsembleChoice]:
    splits = roles.select if recipe.ensemble.chosen_on == "select" else roles.report
    first = next(iter(tables.values()))
    return {
        name: search(
            [of_candidate[name].of_splits(splits) for of_candidate in tables.values()], recipe.ensemble.objective
        )
        for name in first
    }


def _possible(planned: list[Planned], manifest: Manifest, notes: list[str]) -> list[Planned]:
    """The candidates that the memes allow; what is left out is noted."""
    has = {"ocr_text": manifest.has_texts, "images": manifest.has_images}
    kept = []
    for one in planned:
        reads = dict(zip(has, needs(one), strict=True))
        if all(has[what] for what, needed in reads.items() if needed):
            kept.append(one)
    left_out = [one.name for one in planned if one not in kept]
    if left_out:
        missing = " and no ".join(what for what, there in has.items() if not there)
        notes.append(f"The memes have no {missing}, so these candidates are left out: {', '.join(left_out)}.")
    if not kept:
        raise DataError(
            f"None of the recipe's candidates can be trained: the memes have no {missing}.",
            fix="Give the memes what is missing, or choose candidates that do without.",
        )
    return kept


def _check_labels(manifest: Manifest, roles: SplitRoles) -> None:
    """Each label task must have two classes to learn and something to choose and report on."""
    problems = []
    if not manifest.label_tasks:
        raise DataError(
            "These memes have no labels, so there is nothing to learn.",
            fix="A table needs at least one column of labels besides image, text, id and split.",
        )
    names = {task.name for task in manifest.label_tasks}
    for task in manifest.label_tasks:
        if task.intensity and task.name + PRESENT_SUFFIX in names:
            what = f"{task.name}{PRESENT_SUFFIX} is derived from {task.name}, but the memes have labels of that name"
            problems.append(Problem(f"label task {task.name}", what))
        labels = manifest.labels(task.name)
        seen = np.unique(labels[_rows(manifest, roles, ["fit"])])
        classes = [task.classes[index] for index in seen if index != MISSING]
        if len(classes) < 2:
            found = f"only '{classes[0]}'" if classes else "no label at all"
            problems.append(Problem(f"label task {task.name}", f"the fit split has {found}, expected two classes"))
        problems += [
            Problem(f"label task {task.name}", f"no meme with the role {role} has a label")
            for role in ("select", "report")
            if not (labels[_rows(manifest, roles, [role])] != MISSING).any()
        ]
    if problems:
        raise DataError(
            "Some label tasks can't be learned from these memes:",
            problems=problems,
            fix="Name the label tasks to learn with --label-task (only_label_tasks in a recipe), or add labels.",
        )


def _rows(manifest: Manifest, roles: SplitRoles, of: Iterable[str]) -> NDArray[np.int64]:
    names = [name for role in of for name in getattr(roles, role)]
    return np.flatnonzero(np.isin(manifest.splits, names))


def _table(folder: Path, name: str, task: LabelTask) -> Path:
    return folder / "predictions" / f"{name}.{file_name(task.name)}.parquet"


def _candidate_folder(folder: Path, name: str) -> Path:
    return folder / "stages" / name / "candidate"


def _preprocessor_folder(folder: Path) -> Path:
    return folder / "stages" / "preprocessor" / "preprocessor"


def _forget_others(folder: Path, names: set[str]) -> None:
    """Remove prediction tables of candidates that an earlier recipe of this folder had and this one has not."""
    for path in (folder / "predictions").glob("*.parquet"):
        if path.name.split(".")[0] not in names:
            path.unlink()


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """The folder, for this process alone.

    Raises:
        OutputError: it holds something that is not a run, or another process works in it.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"'{folder}' is a file; a run needs a folder.")
    others = {path.name for path in folder.iterdir()} - {REJECTED} if folder.is_dir() else set()
    if others and ".lock" not in others:
        raise OutputError(
            f"'{folder}' holds other files and is not a run of memeblend.", fix="Choose a new folder with --out."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise OutputError(f"Could not write in '{folder}': {error.strerror or error}.") from error
    with lock:
        import fcntl

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(
                f"Another process is working in '{folder}'.", fix="Wait for it to end, or choose another folder."
            ) from error
        yield
