"""What a run is given: memes read for training, and whether a recipe can be carried out on them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from memeblend.candidates.base import Planned
from memeblend.candidates.making import needs
from memeblend.data.cache import unreadable_images
from memeblend.data.manifest import Manifest
from memeblend.data.rows import Notify, log_line
from memeblend.data.splits import SplitRoles
from memeblend.decisions.fitting import check_settings
from memeblend.errors import DataError, MissingExtraError, PredictionError, Problem, RecipeError
from memeblend.evaluation.baselines import class_prior
from memeblend.evaluation.metrics import why_undefined
from memeblend.labels import MEMOTION_LABEL_TASKS, MISSING, PRESENT_SUFFIX
from memeblend.recipe import Recipe
from memeblend.recipe.candidates import BoostingCandidate, EncoderCandidate, OscarCandidate, stem
from memeblend.run.choosing import decision_settings
from memeblend.run.folder import rows_of
from memeblend.training.encoder import image_transform


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
    transform = image_transform(recipe.first_encoder())
    return manifest.reject(unreadable_images(manifest, transform), rejected_to, notify)


def possible(planned: list[Planned], manifest: Manifest, notes: list[str]) -> list[Planned]:
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


def check_labels(manifest: Manifest, roles: SplitRoles) -> None:
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
        seen = np.unique(labels[rows_of(manifest, roles, ["fit"])])
        classes = [task.classes[index] for index in seen if index != MISSING]
        if len(classes) < 2:
            found = f"only '{classes[0]}'" if classes else "no label at all"
            problems.append(Problem(f"label task {task.name}", f"the fit split has {found}, expected two classes"))
        problems += [
            Problem(f"label task {task.name}", f"no meme with the role {role} has a label")
            for role in ("select", "report")
            if not (labels[rows_of(manifest, roles, [role])] != MISSING).any()
        ]
    if problems:
        raise DataError(
            "Some label tasks can't be learned from these memes:",
            problems=problems,
            fix="Name the label tasks to learn with --label-task (only_label_tasks in a recipe), or add labels.",
        )


def check_choice(recipe: Recipe, manifest: Manifest, roles: SplitRoles) -> None:
    """Refuse an objective or decisions that these memes don't allow, before anything is trained.

    Raises:
        RecipeError: `decisions` names label tasks that there are not.
        PredictionError: settings of `decisions` that don't fit a label task, or an objective not defined for it.
    """
    names = [task.name for task in manifest.label_tasks]
    unknown = sorted({*recipe.decisions.costs, *recipe.decisions.serving_prior} - set(names))
    if unknown:
        raise RecipeError(
            f"The recipe's decisions name {', '.join(unknown)}, which these memes have no labels for.",
            fix=f"Label tasks here: {', '.join(names)}.",
        )
    choosing = "select" if recipe.ensemble.chosen_on == "select" else "report"
    fit, seen = (rows_of(manifest, roles, [role]) for role in ("fit", choosing))
    problems = []
    for task in manifest.label_tasks:
        labels = manifest.labels(task.name)
        check_settings(task, decision_settings(recipe, task.name), class_prior(labels[fit], task.num_classes))
        reason = why_undefined(task, labels[seen][labels[seen] != MISSING], recipe.ensemble.objective)
        problems += [Problem(f"label task {task.name}", reason)] if reason else []
    if problems:
        raise PredictionError(
            f"ensemble.objective is '{recipe.ensemble.objective}', which is not defined here:",
            problems=problems,
            fix="weighted_f1, macro_f1, accuracy and log_loss are always defined.",
        )


def check_needs(recipe: Recipe) -> None:
    """Refuse candidates that lack a package or a region file, before anything is trained.

    Raises:
        MissingExtraError: a package is not installed.
        RecipeError: a region file is not there.
    """
    for spec in recipe.candidates:
        needed = {}
        if isinstance(spec, BoostingCandidate) and spec.engine == "xgboost":
            needed = {"xgboost": "boost"}
        elif isinstance(spec, EncoderCandidate) and spec.encoders == "lora":
            needed = {"peft": "peft"}
        for package, extra in needed.items():
            if find_spec(package) is None:
                raise MissingExtraError(
                    f"Candidate '{stem(spec)}' needs the package {package}, which is not installed.",
                    fix=f'Install the extra: pip install "memeblend[{extra}]"',
                )
        if (
            isinstance(spec, OscarCandidate)
            and spec.regions != "grid"
            and not Path(spec.regions).expanduser().is_file()
        ):
            raise RecipeError(
                f"There is no region file '{spec.regions}', which candidate 'oscar' reads.",
                fix="Write it with `memeblend regions`, or set candidates.oscar.regions=grid.",
            )


def check_losses(recipe: Recipe, manifest: Manifest) -> None:
    unknown = sorted(set(recipe.losses) - {"default"} - {task.name for task in manifest.label_tasks})
    # A preset may name losses of Memotion's label tasks and be used on other memes; a typo may not pass.
    unknown = [name for name in unknown if name not in {task.name for task in MEMOTION_LABEL_TASKS}]
    if unknown:
        there = ", ".join(task.name for task in manifest.label_tasks)
        raise RecipeError(
            f"The recipe's losses name {', '.join(unknown)}, which these memes have no labels for.",
            fix=f"Label tasks here: {there}.",
        )
