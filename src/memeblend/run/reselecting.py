"""Choosing anew in a finished run: other settings, or candidates from outside. Nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from memeblend.data.manifest import Manifest
from memeblend.data.rows import Notify
from memeblend.errors import DataError, PredictionError
from memeblend.evaluation.baselines import class_prior
from memeblend.evaluation.tables import PredictionTable
from memeblend.files import write_text
from memeblend.labels import LabelTask
from memeblend.recipe import Recipe, dump_recipe, load_recipe
from memeblend.run.choosing import Tables, check_pools, choose
from memeblend.run.folder import Run, claimed, rows_of, table_path
from memeblend.run.outside import read_outside
from memeblend.training.progress import Progress

_RESERVED = ("ensemble", "best_constant")
"""Names of other rows in a report."""


def with_choice(run: Run, recipe: Recipe, progress: Progress) -> Run:
    """The run with its ensembles chosen as a recipe says.

    Raises:
        RecipeError: the recipe's pools name candidates that the run has not.
        PredictionError: no ensemble can be chosen, with the reason.
    """
    fit = rows_of(run.manifest, run.roles, ["fit"])
    tasks = run.manifest.label_tasks
    progress.start("choosing ensembles", len(tasks))
    chosen = choose(
        recipe,
        run.roles,
        run.tables,
        run.costs,
        {task.name: class_prior(run.manifest.labels(task.name)[fit], task.num_classes) for task in tasks},
        run.outside,
        progress.advance,
    )
    return replace(run, recipe=recipe, chosen=chosen)


def choose_again(folder: Path, settings: list[str], progress: Progress) -> Run:
    """Choose a finished run's ensembles anew and keep the choice.

    Args:
        folder: the run.
        settings: overrides of its recipe, such as "ensemble.method=greedy"; they stay in the run's recipe.toml.
        progress: who watches.

    Raises:
        ModelError: the folder holds no finished run.
        RecipeError: a setting is wrong.
        PredictionError: no ensemble can be chosen, with the reason.
    """
    with claimed(folder):
        run, recipe = Run.load(folder), load_recipe(folder / "recipe.toml", settings)
        check_pools(recipe, run.tables)
        run = with_choice(run, recipe, progress)
        write_text(folder / "recipe.toml", dump_recipe(run.recipe))
        run.save()
        return run


def add_outside(folder: Path, path: Path, name: str, label_task: str, notify: Notify, progress: Progress) -> Run:
    """Take anyone's probabilities into a finished run as a candidate, and choose its ensembles anew.

    Args:
        folder: the run.
        path: the table; see `memeblend.run.outside`.
        name: what the candidate will be called; one from outside that has this name already is replaced.
        label_task: the label task of `probability_<class>` columns; may be empty where the run has one alone.
        notify: told of rows left aside.
        progress: who watches.

    Raises:
        ModelError: the folder holds no finished run.
        DataError: the name is taken by one of the run's own candidates, or the file can't be read.
        PredictionError: the probabilities don't fit the run; every reason at once.
    """
    with claimed(folder):
        run = Run.load(folder)
        if name in _RESERVED or (folder / "stages" / name).is_dir():
            raise DataError(
                f"'{name}' is one of the run's own candidates or another name that it uses.",
                fix="Choose another name with --name.",
            )
        reference = {task: table for of_candidate in run.tables.values() for task, table in of_candidate.items()}
        made = read_outside(path, name, reference, run.manifest.meme_ids.tolist(), label_task=label_task, notify=notify)
        kept = {task: table for task, table in run.tables.get(name, {}).items() if task not in made}
        run = with_choice(replace(run, tables={**run.tables, name: kept | made}), run.recipe, progress)
        for table in made.values():
            table.write(table_path(folder, name, table.label_task))
        run.save()
        return run


def outside_tables(
    folder: Path, manifest: Manifest, own: Tables, notes: list[str]
) -> dict[str, dict[str, PredictionTable]]:
    """Tables of candidates from outside that an earlier run of the folder took in and that fit its memes still."""
    found: dict[str, dict[str, PredictionTable]] = {}
    reference = next(iter(own.values()))
    for task, name, path in _outside_files(folder, manifest):
        try:
            table = PredictionTable.read(path, task)
        except PredictionError as error:
            notes.append(f"Candidate '{name}' from outside is left out: {error.message}")
            continue
        if _same_memes(table, reference[task.name]):
            found.setdefault(name, {})[task.name] = table.with_truth_of(reference[task.name])
        else:
            notes.append(f"Candidate '{name}' from outside predicted other memes, so it is left out.")
    return found


def outside_names(folder: Path, manifest: Manifest) -> list[str]:
    """Names of the candidates from outside that a run's folder holds."""
    return sorted({name for _, name, _ in _outside_files(folder, manifest)})


def _outside_files(folder: Path, manifest: Manifest) -> Iterator[tuple[LabelTask, str, Path]]:
    """Label task, candidate and file of the prediction tables that no stage of the run made."""
    for task in manifest.label_tasks:
        ending = table_path(folder, "", task).name
        for path in sorted((folder / "predictions").glob(f"*{ending}")):
            name = path.name.removesuffix(ending)
            if not (folder / "stages" / name).is_dir():
                yield task, name, path


def _same_memes(table: PredictionTable, reference: PredictionTable) -> bool:
    """Whether two tables hold the same memes, in any order, with the same splits."""
    theirs, ours = ({(i, s) for i, s in zip(t.meme_ids, t.splits, strict=True)} for t in (table, reference))
    return table.manifest_fingerprint == reference.manifest_fingerprint and theirs == ours
