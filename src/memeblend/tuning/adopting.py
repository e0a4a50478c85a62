"""What becomes of the trials: the best two as a recipe's copies, all of them as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memeblend.files import replacing
from memeblend.recipe import Recipe
from memeblend.recipe.searched import Searched, own_fields, put
from memeblend.tuning.trials import Trial, ranked

_OWN = ("stage", "trial", "state", "value", "metric", "num_epochs", "seconds", "error", "candidate")
"""Columns of the table that are no fields."""


def tuned(recipe: Recipe, searched: Searched, trials: Sequence[Trial]) -> tuple[Recipe, list[Trial]]:
    """The recipe with the best and second-best distinct trials of a stage as the copies "0" and "1" of its candidate.

    A pre-training stage trains one of each kind, so it gets the best trial's values, and the second is told of only.
    Fields of the whole recipe or stage have one value: the best trial's; the second is the best one that shares it.
    They are searched no more in later stages.

    Args:
        recipe: the recipe.
        searched: the stage.
        trials: its trials.

    Returns:
        The recipe, and the best and second-best trial; one where no other had a value.
    """
    best, *others = ranked(trials)
    wide = _wide(searched, best)
    own = own_fields(searched, best.values)
    second = [
        trial
        for trial in others
        if _wide(searched, trial) == wide and own_fields(searched, trial.values) not in ({}, own)
    ]
    adopted = [best, *second[:1]]
    data = recipe.model_dump(mode="json")
    put(data, searched, best.values if searched.stage else wide)
    if not searched.stage:
        spec = data["candidates"][searched.position]
        spec["variants"] = [_completed(data, own_fields(searched, trial.values)) for trial in adopted] if own else []
        if len(spec["variants"]) > 1:
            spec["copies"] = max(recipe.copies_of(recipe.candidates[searched.position]), len(adopted))
    data["search"]["space"] = {key: space for key, space in data["search"]["space"].items() if key not in wide}
    return Recipe.model_validate(data), adopted


def _wide(searched: Searched, trial: Trial) -> dict[str, Any]:
    return {key: value for key, value in trial.values.items() if not key.startswith(searched.own)}


def called(stage: str, place: int) -> str:
    """What the best or the second-best trial of a stage became: a copy of its candidate, or its values.

    Args:
        stage: its name.
        place: 0 for the best, 1 for the second.
    """
    if not stage.startswith("pretraining."):
        return f"{stage}-{place}"
    return f"second best of {stage}" if place else stage


def _completed(data: Mapping[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A copy's fields, its losses whole: a loss that is only named in part would be the recipe's no more."""
    if "losses" in own:
        own["losses"] = {task: {**data["losses"].get(task, {}), **loss} for task, loss in own["losses"].items()}
    return own


def write_table(path: Path, trials: Mapping[str, Sequence[Trial]], adopted: Mapping[str, Sequence[Trial]]) -> None:
    """Write all trials of a search as a parquet file; of other stages, those that the file has stay.

    Columns: stage, trial, state, value, metric (what the value is), num_epochs, seconds, error, candidate (what it
    became, or ""), and one for each field, with numbers as numbers and all else as JSON.

    Raises:
        OutputError: it could not be written.
    """
    import pandas as pd

    rows = [row for row in _earlier(path) if row["stage"] not in trials]
    for stage, of_stage in trials.items():
        places = {trial.number: called(stage, place) for place, trial in enumerate(adopted[stage])}
        for trial in of_stage:
            row = {
                "stage": stage,
                "trial": trial.number,
                "state": trial.state,
                "value": trial.value,
                "metric": trial.metric,
                "num_epochs": trial.num_epochs,
                "seconds": trial.seconds,
                "error": trial.error,
                "candidate": places.get(trial.number, ""),
            }
            rows.append(row | {key: _cell(value) for key, value in trial.values.items()})
    frame = pd.DataFrame(rows)
    frame["value"] = frame["value"].astype("float64")
    for column in frame.columns[len(_OWN) :]:
        cells = frame[column].dropna()
        if any(isinstance(cell, str) for cell in cells):
            frame[column] = frame[column].map(
                lambda cell: cell if isinstance(cell, str) or cell != cell else repr(cell)
            )
    with replacing(path) as temporary:
        frame.to_parquet(temporary, index=False)


def _earlier(path: Path) -> list[dict[str, Any]]:
    """The rows of a table that is there, each with its own fields; none where it can't be read."""
    import pandas as pd

    try:
        rows = pd.read_parquet(path).to_dict("records") if path.is_file() else []
    except (OSError, ValueError):
        return []
    own = [{name: row.get(name, "") for name in _OWN} for row in rows]
    return [
        first | {str(key): value for key, value in row.items() if key not in _OWN and not pd.isna(value)}
        for first, row in zip(own, rows, strict=True)
    ]


def _cell(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else json.dumps(value)
