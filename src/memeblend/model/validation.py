"""What a model says of the memes that chose its members: the validation that policies are fitted on.

A model folder keeps it as a prediction table for each label task, with labels and duplicate groups but without texts
and images. The memes were seen when members and decision rules were chosen, so figures from them flatter a little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from memeblend.ensemble.combining import combine
from memeblend.evaluation.tables import PredictionTable
from memeblend.files import file_name
from memeblend.labels import LabelTask

if TYPE_CHECKING:
    from memeblend.run import Run

FOLDER = "validation"


def served_validation(run: Run) -> dict[str, PredictionTable]:
    """For each label task what the run's model says of the memes of the role `select`.

    Probabilities and decisions are exactly those that `predict` gives: of the served ensemble, without candidates
    from outside, after its decision rule.
    """
    chosen = run.chosen
    found = {}
    for name, choice in chosen.served.items():
        members = [run.tables[member][name].of_splits(run.roles.select) for member in choice.members]
        found[name] = chosen.served_rules[name].apply(combine(members, choice))
    return found


def write_validation(folder: Path, tables: Mapping[str, PredictionTable]) -> None:
    """Write the tables into a model folder.

    Raises:
        OutputError: a file could not be written.
    """
    for name, table in tables.items():
        table.write(_path(folder, name))


def read_validation(folder: Path, label_tasks: Sequence[LabelTask]) -> dict[str, PredictionTable]:
    """Read the tables of a model folder.

    Raises:
        PredictionError: a table is missing or can't be used.
    """
    return {task.name: PredictionTable.read(_path(folder, task.name), task) for task in label_tasks}


def _path(folder: Path, name: str) -> Path:
    return folder / FOLDER / f"{file_name(name)}.parquet"
