"""`red_team`: a model, memes, what to try, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.data.duplicates import find_duplicates, hash_images
from memeblend.data.manifest import Manifest
from memeblend.errors import ImageError
from memeblend.evaluation.metrics import confusion_counts, score_of_counts
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import MISSING, LabelTask, with_derived
from memeblend.model import MemeClassifier
from memeblend.model.memes import check_inputs, meme_digests, splits_to_evaluate
from memeblend.policy.policy import Policy
from memeblend.redteam.asking import Answers, Asker
from memeblend.redteam.examples import worst_examples
from memeblend.redteam.fairness import NameProbe, probe_names, scored_with_names
from memeblend.redteam.grid import Cell, Settings
from memeblend.redteam.judging import check_budget, judge
from memeblend.redteam.measuring import SCORES, Outcome, outcomes
from memeblend.redteam.report import CellReport, RedTeamReport
from memeblend.training.progress import Progress, Silent


def red_team(
    model: MemeClassifier,
    memes: Manifest,
    settings: Settings | None = None,
    policy: Policy | None = None,
    *,
    progress: Progress | None = None,
) -> RedTeamReport:
    """Change memes in every way of the grid and see what a model makes of them.

    Args:
        model: a fitted or loaded model.
        memes: memes, best with labels and not those that it was trained on; see `choose_memes`.
        settings: what to try; None tries everything.
        policy: what is done about memes, whose verdicts are watched too; its budget judges the report.
        progress: who watches.

    Raises:
        DataError: there are no memes, or a member reads images and some have none.
        ImageError: images that can't be decoded; all of them listed.
        MemeblendError: the budget names what there is not.
        ModelError: the model is not fitted.
    """
    settings, progress = settings or Settings(), progress or Silent()
    check_inputs(memes.meme_ids.tolist(), memes.table["image"].notna().tolist(), model.candidates_)
    memes = _in_our_classes(model, memes)
    budget = policy.redteam if policy is not None else None
    groups = _groups(memes, any("image" in read for read in model.reads_.values()))
    asker = Asker(model, memes, groups, settings)
    trained = [task.name for task in model.label_tasks_]
    if budget is not None:
        check_budget(budget, [task.name for task in with_derived(model.label_tasks_)])
    answers = asker.ask(progress)
    progress.start("measuring", 1)
    found = _outcomes(answers, asker.cells, policy, settings.seed)
    names = _names(answers, model.label_tasks_, memes, settings)
    cells = [(cell, found.get(cell.name, {})) for cell in settings.cells]
    report = RedTeamReport(
        settings=settings,
        about=_about(model, memes, groups, policy),
        clean={name: _clean(table) for name, table in answers.clean.tables.items()},
        cells=tuple(
            CellReport(
                cell,
                asker.why_not(cell.perturbation.changes),
                int(answers.cells[cell.name].changed.sum()) if of_cell else 0,
                of_cell,
            )
            for cell, of_cell in cells
        ),
        names=names,
        examples=tuple(
            worst_examples(
                answers.clean,
                [(cell, answers.cells[cell.name]) for cell in asker.cells],
                trained,
                memes,
                seed=settings.seed,
                most=settings.num_examples,
            )
        ),
        judgement=None if budget is None else judge(budget, cells, names, trained),
    )
    progress.advance(1)
    return report


def choose_memes(model: MemeClassifier, memes: Manifest, split: str = "", limit: int = 0, seed: int = 0) -> Manifest:
    """The memes to try: as `MemeClassifier.evaluate` chooses them, and not too many.

    Args:
        model: the model.
        memes: memes.
        split: a split, several joined by "+", or "all"; "" takes the split that reported when the model was trained
            where the memes have it, else all memes but those that trained or chose.
        limit: most memes, a stratified part; 0 takes all.
        seed: of that part.

    Raises:
        DataError: no such split.
    """
    names, _ = splits_to_evaluate(memes, split, model.roles_["report"])
    rows = np.isin(memes.splits, names)
    if not split and set(names) != set(model.roles_["report"]):
        unseen = rows & ~np.isin(meme_digests(memes), model.seen_)
        rows = unseen if unseen.any() else rows
    chosen = memes.take(rows)
    return chosen.limit(max(limit, len(chosen.split_names)), seed) if limit else chosen


def _in_our_classes(model: MemeClassifier, memes: Manifest) -> Manifest:
    """The same memes with the model's label tasks, whose classes may come in another order there."""
    there = {task.name for task in memes.label_tasks}
    return Manifest(memes.table, tuple(task for task in model.label_tasks_ if task.name in there), memes.root)


def _groups(memes: Manifest, need_images: bool) -> NDArray[np.int64]:
    """Duplicate group of each meme; images that members read must all be decodable."""
    hashes, problems = hash_images(memes)
    if problems and need_images:
        raise ImageError(f"{len(problems)} image(s) can't be decoded.", problems=problems)
    return find_duplicates(memes, hashes).groups


def _outcomes(
    answers: Answers, cells: Sequence[Cell], policy: Policy | None, seed: int
) -> dict[str, dict[str, Outcome]]:
    """What each cell did to each label task."""
    found: dict[str, dict[str, Outcome]] = {cell.name: {} for cell in cells}
    categories = policy.categories if policy is not None else {}
    for name, clean in answers.clean.tables.items():
        changed = [answers.cells[cell.name].predictions.tables[name] for cell in cells]
        for cell, outcome in zip(cells, outcomes(clean, changed, categories.get(name), seed=seed), strict=True):
            found[cell.name][name] = outcome
    return found


def _names(answers: Answers, label_tasks: Sequence[LabelTask], memes: Manifest, settings: Settings) -> NameProbe | None:
    tasks = [task for task in label_tasks if scored_with_names(task)]
    if not answers.names or not tasks:
        return None
    return probe_names(answers.names, tasks, memes.texts, seed=settings.seed)


def _clean(table: PredictionTable) -> dict[str, Any]:
    """Scores of the memes as they are; none where no meme has a label."""
    if (table.labels == MISSING).all():
        return {}
    counts = confusion_counts(table.labels, table.predicted, table.label_task.num_classes)
    return {metric: float(score_of_counts(counts, metric)) for metric in SCORES}


def _about(
    model: MemeClassifier, memes: Manifest, groups: NDArray[np.int64], policy: Policy | None
) -> Mapping[str, Any]:
    return {
        "num_memes": len(memes),
        "num_groups": int(np.unique(groups).size),
        "num_seen": int(np.isin(meme_digests(memes), model.seen_).sum()),
        "splits": list(memes.split_names),
        "fingerprint": memes.fingerprint,
        "label_tasks": [task.name for task in model.label_tasks_],
        "reads": {name: list(read) for name, read in model.reads_.items()},
        "policy": policy is not None and bool(policy.categories),
    }
