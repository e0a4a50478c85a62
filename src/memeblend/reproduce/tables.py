"""Table 4 of a run beside the paper's: each score with its best constant, its interval and the split it is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.ensemble.combining import combine
from memeblend.evaluation.baselines import class_prior
from memeblend.evaluation.evaluate import evaluate_table
from memeblend.evaluation.metrics import scores
from memeblend.evaluation.tables import PredictionTable
from memeblend.reproduce.paper import COLUMNS, TABLE_4, Row, best_constant
from memeblend.run import Run
from memeblend.run.choosing import CHOSEN


def table_4(run: Run) -> dict[str, Any]:
    """The paper's table 4 with this run's scores.

    Args:
        run: a finished run on Memotion 3.

    Returns:
        "chose" and "reports": the splits of the two; "num_memes" of each; "rows", a list of {"title", "model",
        "label_tasks": {NAME: cell}}; "best_constant": {NAME: {"paper", "ours"}}; "expected": {NAME: what nested
        cross-validation on the memes that chose says of the chosen ensemble, None where it can't}. A cell holds "paper"
        and "ours" (weighted F1 on the memes that chose, as in the paper), "interval", "best_constant",
        "told_from_constant" and "reports" (weighted F1 on memes that chose nothing); "ours" and the others are None
        where the run has no such model.
    """
    names = [name for name in COLUMNS if any(task.name == name for task in run.manifest.label_tasks)]
    priors = {
        name: class_prior(run.manifest.labels(name)[run.rows("fit")], run.manifest.label_task(name).num_classes)
        for name in names
    }
    rows = [_row(run, row, names, priors) for row in TABLE_4]
    found = {name: [row["label_tasks"][name]["best_constant"] for row in rows] for name in names}
    ours = {name: next((value for value in values if value is not None), None) for name, values in found.items()}
    return {
        "chose": list(run.roles.select),
        "reports": list(run.roles.report),
        "num_memes": {"chose": len(run.rows("select")), "reports": len(run.rows("report"))},
        "rows": rows,
        "best_constant": {name: {"paper": best_constant(name), "ours": ours[name]} for name in names},
        "expected": {name: run.chosen.expected[name][CHOSEN]["expected"] for name in names},
    }


def _row(run: Run, row: Row, names: Sequence[str], priors: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    cells = {}
    for name in names:
        paper = row.scores[COLUMNS.index(name)]
        table = _table(run, row.model, name)
        cells[name] = {"paper": paper} | (_nothing() if table is None else _cell(run, table, priors[name]))
    return {"title": row.title, "model": row.model, "label_tasks": cells}


def _table(run: Run, model: str, name: str) -> PredictionTable | None:
    """The prediction table of a candidate or of a pool's best ensemble."""
    if model in run.chosen.pools:
        choice = run.chosen.pools[model].get(name)
        tables = [of[name] for of in run.tables.values() if name in of]
        return None if choice is None else combine(tables, choice)
    return run.tables.get(model, {}).get(name)


def _cell(run: Run, table: PredictionTable, prior: NDArray[np.float64]) -> dict[str, Any]:
    judged = evaluate_table(table, run.roles.select, prior, seed=run.recipe.seed)
    apart = table.of_splits(run.roles.report).labelled()
    reports = scores(table.label_task, apart.labels, apart.predicted, apart.probabilities)["weighted_f1"]
    return {
        "ours": judged["weighted_f1"],
        "interval": judged["interval"],
        "best_constant": judged["baselines"]["best_constant"],
        "told_from_constant": judged["told_from_constant"],
        "reports": reports,
    }


def _nothing() -> dict[str, Any]:
    return dict.fromkeys(("ours", "interval", "best_constant", "told_from_constant", "reports"))
