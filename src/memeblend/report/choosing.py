"""What a report says of the choice: the score to expect, the pools, cost against score, decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from memeblend.decisions import study
from memeblend.ensemble.combining import combine
from memeblend.ensemble.cost import all_subsets, cost_points
from memeblend.ensemble.exhaustive import subset_gains
from memeblend.ensemble.offered import Offered
from memeblend.ensemble.scoring import Scorer
from memeblend.ensemble.selection import EnsembleChoice
from memeblend.evaluation.metrics import LOWER_IS_BETTER, confusion_counts, score_of_counts
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import LabelTask
from memeblend.report.given import ReportInput

_MOST_DRAWN = 20
"""Candidates up to which every subset is scored for the picture of cost."""


def pool_scores(given: ReportInput, task: LabelTask, tables: Mapping[str, PredictionTable]) -> dict[str, Any]:
    """For each pool the best ensemble of a label task, with its weighted F1 on the select and the report role."""
    found = {}
    for name, choices in given.pools.items():
        table = combine(list(tables.values()), choices[task.name])
        found[name] = choices[task.name].to_dict() | {
            "weighted_f1": weighted_f1_on(table, given.roles["report"]),
            "select_weighted_f1": weighted_f1_on(table, given.roles["select"]),
        }
    return found


def weighted_f1_on(table: PredictionTable, splits: Sequence[str]) -> float | None:
    """Weighted F1 on some splits; None where the table has no labelled meme of them."""
    part = table.take(np.isin(table.splits, splits)).labelled()
    if len(part) == 0:
        return None
    counts = confusion_counts(part.labels, part.predicted, table.label_task.num_classes)
    return float(score_of_counts(counts, "weighted_f1"))


def cost_picture(
    given: ReportInput, choice: EnsembleChoice, tables: Mapping[str, PredictionTable]
) -> list[dict[str, Any]]:
    """Score against milliseconds a meme, on the memes that chose: single candidates, the chosen ensemble, the best
    subset of each size and those that nothing beats. Empty where no candidate's cost is known, where lower scores are
    better, and where there are too many candidates to try every subset."""
    if not given.costs or choice.objective in LOWER_IS_BETTER or len(tables) > _MOST_DRAWN:
        return []
    offered = Offered.of([table.of_splits(choice.selected_on) for table in tables.values()])
    scores = subset_gains(Scorer(offered, choice.objective, choice.voting))
    points = cost_points(offered.names, all_subsets(len(tables)), scores, given.costs, chosen=choice.members)
    return [point.to_dict() for point in points]


def decision_study(given: ReportInput, task: LabelTask, voted: PredictionTable) -> dict[str, Any]:
    """What each way to decide would gain over the plain vote, and the rule that is applied.

    Args:
        given: the results of the run.
        task: the label task.
        voted: the ensemble's table before any rule.
    """
    rule = given.rules.get(task.name)
    found = study(
        voted.of_splits(given.roles["select"]),
        voted.of_splits(given.roles["report"]),
        given.prior(task),
        given.decisions.get(task.name),
        seed=given.seed,
    )
    applied = None if rule is None or rule.is_identity else rule.to_dict()
    notes = [*(rule.notes if rule is not None else ()), *found.notes]
    return found.to_dict() | {"applied": applied, "notes": notes}
