"""Candidates from outside: anyone's probabilities for a run's memes, checked and taken in as prediction tables.

A file has a column `meme_id` and either `probability_<class>` for one label task, or `<label task>_p_<class>` for
any number of them (as `memeblend predict --out` writes). A column `split`, if there is one, must agree with the run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memeblend.data.rows import Notify
from memeblend.data.tables import TextTable, read_table
from memeblend.errors import DataError, PredictionError, Problem
from memeblend.evaluation.tables import PROBABILITY_PREFIX, PredictionTable
from memeblend.labels import LabelTask

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_FIX = "Predict the run's select and report memes (RUN/manifest.parquet lists them) with classes named as there."


def read_outside(
    path: Path,
    name: str,
    reference: Mapping[str, PredictionTable],
    all_ids: Sequence[str],
    *,
    label_task: str = "",
    notify: Notify,
) -> dict[str, PredictionTable]:
    """Someone's probabilities as prediction tables of a candidate.

    Args:
        path: a .csv, .tsv, .jsonl or .parquet table.
        name: what the candidate will be called.
        reference: a table of each label task over the memes that choose and report; labels, duplicate groups and
            splits are taken from it.
        all_ids: ids of all memes of the run; rows for memes that only trained are left aside.
        label_task: the label task of `probability_<class>` columns; may be empty where the run has one alone.
        notify: told how many rows were left aside.

    Returns:
        A table for each label task that the file has columns of.

    Raises:
        DataError: the file can't be read, or the name is none.
        PredictionError: ids missing, unknown or given twice, other classes, values that are no probabilities, sums
            other than one, or splits that differ from the run's; all of them at once.
    """
    if not _NAME.fullmatch(name):
        raise DataError(f"'{name}' can't name a candidate.", fix="Use letters, digits, - and _ with --name.")
    table = read_table(path, notify)
    columns = _columns(table, {task: found.label_task for task, found in reference.items()}, label_task)
    first = next(iter(reference.values()))
    problems = list(table.problems)
    rows = _rows(table, first, all_ids, problems, notify)
    made = {}
    for task, of_classes in columns.items():
        values = _numbers(table, of_classes, rows, problems)
        if rows is not None and values is not None:
            try:
                made[task] = PredictionTable(
                    candidate=name,
                    label_task=reference[task].label_task,
                    meme_ids=first.meme_ids,
                    splits=reference[task].splits,
                    groups=reference[task].groups,
                    labels=reference[task].labels,
                    probabilities=values,
                    manifest_fingerprint=first.manifest_fingerprint,
                )
            except PredictionError as error:
                problems += error.problems
    if problems:
        raise PredictionError(f"'{path}' can't join this run:", problems=problems, fix=_FIX)
    return made


def _columns(table: TextTable, tasks: Mapping[str, LabelTask], named: str) -> dict[str, list[str]]:
    """The file's probability columns of each label task, in class order.

    Raises:
        PredictionError: there are none, or those of a label task are not exactly its classes.
    """
    if named and named not in tasks:
        raise PredictionError(f"There is no label task '{named}' here.", fix=f"Label tasks: {', '.join(tasks)}.")
    prefixes = {task: f"{task}_p_" for task in tasks}
    plain = [column for column in table.columns if column.startswith(PROBABILITY_PREFIX)]
    if plain:
        if not named and len(tasks) > 1:
            raise PredictionError(
                f"'{table.path}' has columns {PROBABILITY_PREFIX}CLASS, but the run has several label tasks.",
                fix=f"Say which with --label-task: {', '.join(tasks)}.",
            )
        prefixes = {named or next(iter(tasks)): PROBABILITY_PREFIX}
    found, problems = {}, []
    for task, prefix in prefixes.items():
        given = [column.removeprefix(prefix) for column in table.columns if column.startswith(prefix)]
        if not given:
            continue
        if set(given) != set(tasks[task].classes):
            expected, there = ", ".join(tasks[task].classes), ", ".join(given)
            problems.append(Problem(f"label task '{task}'", f"classes {there}; expected {expected}"))
        found[task] = [prefix + name for name in tasks[task].classes]
    if not found:
        raise PredictionError(
            f"'{table.path}' has no column of probabilities; its columns are {', '.join(table.columns)}.",
            fix=f"Name them {PROBABILITY_PREFIX}CLASS, or LABELTASK_p_CLASS as `predict --out` does.",
        )
    if problems:
        raise PredictionError(f"'{table.path}' can't join this run:", problems=problems, fix=_FIX)
    return found


def _rows(
    table: TextTable, reference: PredictionTable, all_ids: Sequence[str], problems: list[Problem], notify: Notify
) -> NDArray[np.int64] | None:
    """The file's row of each meme of the reference; None where problems were found."""
    if "meme_id" not in table.columns:
        problems.append(Problem(table.path.name, f"no column meme_id among {', '.join(table.columns)}"))
        return None
    found: list[Problem] = []
    ids, where = table.column("meme_id"), table.where()
    row_of = {meme_id: row for row, meme_id in enumerate(ids) if meme_id is not None}
    found += [Problem(place, "has no meme_id") for place, meme_id in zip(where, ids, strict=True) if meme_id is None]
    found += [
        Problem(f"meme '{meme_id}'", f"is in {count} rows, expected one", meme_id)
        for meme_id, count in Counter(ids).items()
        if meme_id is not None and count > 1
    ]
    known, judged = set(all_ids), set(reference.meme_ids.tolist())
    found += [Problem(f"meme '{one}'", "is not a meme of this run", one) for one in row_of if one not in known]
    found += [Problem(f"meme '{one}'", "has no row", one) for one in reference.meme_ids.tolist() if one not in row_of]
    if "split" in table.columns and not found:
        splits = table.column("split")
        for meme_id, ours in zip(reference.meme_ids.tolist(), reference.splits.tolist(), strict=True):
            theirs = splits[row_of[meme_id]]
            if theirs != ours:
                what = f"split '{theirs}', but '{ours}' in this run: a model trained on it could not be judged by it"
                found.append(Problem(f"meme '{meme_id}'", what, meme_id))
    problems += found
    if found:
        return None
    num_aside = len(row_of.keys() & known - judged)
    if num_aside:
        notify(f"{num_aside} row(s) of memes that neither choose nor report are left aside")
    return np.array([row_of[meme_id] for meme_id in reference.meme_ids.tolist()], dtype=np.int64)


def _numbers(
    table: TextTable, columns: Sequence[str], rows: NDArray[np.int64] | None, problems: list[Problem]
) -> NDArray[np.float64] | None:
    """The cells of some columns as numbers [num_rows, num_columns]; None where there are none."""
    where, values, num_before = table.where(), [], len(problems)
    for column in columns:
        numbers = []
        for place, cell in zip(where, table.column(column), strict=True):
            try:
                numbers.append(float(cell if cell is not None else "nothing"))
            except ValueError:
                problems.append(Problem(place, f"{column} is {cell or 'empty'}, expected a probability"))
                numbers.append(0.0)
        values.append(numbers)
    if len(problems) > num_before or rows is None:
        return None
    return np.array(values, dtype=np.float64).T[rows]
