"""Label strings of data sets, mapped to the class names of label tasks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from memeblend.data.rows import RawMemes, ReadRequest
from memeblend.errors import DataError
from memeblend.labels import MEMOTION_LABEL_TASKS, LabelTask

HATEFUL = LabelTask("hateful", "binary", ("not_hateful", "hateful"))
"""Hateful Memes (Kiela et al. 2020)."""

HARM = LabelTask("harm", "ordinal", ("not_harmful", "somewhat_harmful", "very_harmful"), intensity=True)
HARM_TARGET = LabelTask("harm_target", "nominal", ("individual", "organization", "community", "society"))
"""HarMeme (Pramanick et al. 2021): how harmful a meme is, and whom a harmful one targets."""

MISOGYNOUS = LabelTask("misogynous", "binary", ("not_misogynous", "misogynous"))
MISOGYNY_TYPES = tuple(
    LabelTask(name, "binary", (f"no_{name}", name)) for name in ("shaming", "stereotype", "objectification", "violence")
)
"""MAMI (Fersini et al. 2022): whether a meme is misogynous, and in which ways."""

HATE_TYPE = LabelTask("hate_type", "nominal", ("not_hate", "racist", "sexist", "homophobe", "religion", "other_hate"))
"""MMHS150K (Gomez et al. 2020): what most of three annotators saw."""

HATEFUL_OR_MISOGYNOUS = LabelTask("hateful_or_misogynous", "binary", ("neither", "hateful_or_misogynous"))
"""The label task of `pretrainuni`: hateful for Hateful Memes, misogynous for MAMI."""

KNOWN_LABEL_TASKS = (*MEMOTION_LABEL_TASKS, HATEFUL, HARM, HARM_TARGET)

_MISSING_WORDS = {"", "nan", "<na>"}
_WHOLE_FLOAT = re.compile(r"(-?\d+)\.0+")


def label_key(value: str) -> str:
    """A label string as tables of label words spell it: lower case, underscores, `1.0` as `1`."""
    return whole_number(re.sub(r"[\s_\-]+", "_", value.strip().casefold()))


def whole_number(value: str) -> str:
    """`1.0` as `1`, since pandas writes whole numbers so where the column has gaps; others as they are."""
    found = _WHOLE_FLOAT.fullmatch(value)
    return found.group(1) if found else value


def present_label(value: str | None) -> str | None:
    """A label cell without surrounding blanks; None where it holds no label (empty, or pandas' nan)."""
    if value is None or value.strip().casefold() in _MISSING_WORDS:
        return None
    return value.strip()


def class_words(task: LabelTask) -> dict[str, str]:
    """Label word -> class name for a label task whose classes are named in the data as they are here."""
    return {label_key(name): name for name in task.classes}


def add_labels(
    raw: RawMemes, task: LabelTask, values: Sequence[str | None], column: str, words: Mapping[str, str]
) -> None:
    """Give a label task to the memes, and note every label string that is not one of its words.

    Args:
        raw: changed in place.
        task: the label task.
        values: the label string of each meme, None where missing.
        column: the column they came from.
        words: label word (as `label_key` spells it) -> class name. An exact class name counts before it, so
            classes that differ only in spelling stay apart.
    """
    names: list[str | None] = []
    for row, value in enumerate(values):
        label = present_label(value)
        if label is None or label in task.classes:
            names.append(label)
            continue
        names.append(words.get(label_key(label)))
        if names[-1] is None:
            raw.report_label(row, f"unknown label '{label}', expected one of {', '.join(words)}", column)
    raw.labels[task.name] = names
    raw.label_columns[task.name] = column
    raw.label_tasks = (*raw.label_tasks, task)


def keep_declared(raw: RawMemes, request: ReadRequest) -> None:
    """Reduce the label tasks that a reader found to those the user declared, in the declared form.

    Args:
        raw: changed in place; label problems of columns that no label task uses go too.
        request: `label_tasks` () keeps all that have a label, None keeps none.

    Raises:
        DataError: a required label task is not there, or has no label at all.
    """
    declared = request.label_tasks
    if declared == ():
        leave_out_empty(raw, request)
        return
    found, columns = raw.labels, raw.label_columns
    raw.labels, raw.label_columns, raw.label_tasks = {}, {}, ()
    check_there(declared or (), found, request)
    for task in declared or ():
        if task.name in found:
            add_labels(raw, task, found[task.name], columns[task.name], class_words(task))
    used = {"", *raw.label_columns.values()}
    raw.problems = [problem for problem in raw.problems if problem.label_column in used]
    refuse_empty(raw, request)


def check_there(declared: Iterable[LabelTask], available: Iterable[str], request: ReadRequest) -> None:
    """Refuse required label tasks that are not among the available names.

    Raises:
        DataError: names all that are missing and those there are.
    """
    names = list(available)
    absent = [task.name for task in declared if task.name not in names]
    if absent and request.require_label_tasks:
        raise DataError(
            f"The data has no labels for: {', '.join(absent)}.",
            fix=f"There are labels or columns for: {', '.join(names) or 'nothing'}.",
        )


def refuse_empty(raw: RawMemes, request: ReadRequest) -> None:
    """Refuse required label tasks without a single label; leave them out if they are not required.

    Raises:
        DataError: names the empty columns.
    """
    empty = _without_labels(raw)
    if empty and request.require_label_tasks:
        columns = ", ".join(raw.label_columns[task.name] for task in empty)
        raise DataError(f"No row has a label in column {columns}.", fix="Fill it, or leave the label task out.")
    raw.label_tasks = tuple(task for task in raw.label_tasks if task not in empty)


def leave_out_empty(raw: RawMemes, request: ReadRequest) -> None:
    """Leave out label tasks without a single label, and say so."""
    empty = _without_labels(raw)
    for task in empty:
        request.notify(f"no row has a label for {task.name}, so it is left out")
    raw.label_tasks = tuple(task for task in raw.label_tasks if task not in empty)


def _without_labels(raw: RawMemes) -> list[LabelTask]:
    """Label tasks whose column is empty; one full of unknown labels is not."""
    faulty = {problem.label_column for problem in raw.problems}
    return [
        task
        for task in raw.label_tasks
        if not any(raw.labels[task.name]) and raw.label_columns[task.name] not in faulty
    ]
