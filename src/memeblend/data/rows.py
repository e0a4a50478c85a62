"""What a reader hands over: the rows of a data set as they stand, each with its place in its file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from memeblend.errors import Problem
from memeblend.labels import LabelTask

Notify = Callable[[str], None]
"""Takes one readable line about a decision that a user should know of."""

NO_SPLIT = "all"
"""Split name of every meme of a data set that names no split."""

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}

log_line: Notify = logging.getLogger("memeblend").info


def split_name(name: str) -> str:
    """The split name used for a file stem or column value: `val` and `dev` mean validation, others stay."""
    return _SPLIT_NAMES.get(name.strip().casefold(), name.strip())


def namespaced(dataset: str, split: str, identifier: str) -> str:
    """The meme_id of a meme: bare ids collide between data sets and splits."""
    return f"{dataset}/{split}/{identifier}"


@dataclass(frozen=True)
class ReadRequest:
    """How a data set is to be read.

    Attributes:
        columns: manifest column or label task -> column of the file, where given; the rest is inferred.
        label_tasks: declared label tasks; () infers them, None reads no labels.
        require_label_tasks: whether a declared label task without a column is an error.
        notify: takes what was inferred.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    label_tasks: tuple[LabelTask, ...] | None = ()
    require_label_tasks: bool = True
    notify: Notify = log_line


@dataclass(frozen=True)
class RowProblem:
    """A problem and the row it belongs to; a row that could not even be parsed has none.

    `label_column` names the column if it is about a label, which does not matter to whom reads no labels.
    """

    row: int | None
    problem: Problem
    label_column: str = ""


@dataclass
class RawMemes:
    """The memes of a data set in file order; every list has one entry per meme.

    Attributes:
        root: folder that image paths are relative to.
        ids: meme_ids, already namespaced.
        images: image paths as the data set writes them, relative to `root`; None where none is named.
        texts: ocr_texts.
        splits: split names.
        sources: data set names.
        where: place of each meme in its file.
        labels: label task name -> class names, None where missing.
        label_columns: label task name -> the column or key it came from.
        label_tasks: the label tasks, in order.
        problems: what is wrong already.
        listed: what is no fault of a meme but should be known: memes left out, labels that can't be decided.
    """

    root: Path
    ids: list[str] = field(default_factory=list)
    images: list[str | None] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    labels: dict[str, list[str | None]] = field(default_factory=dict)
    label_columns: dict[str, str] = field(default_factory=dict)
    label_tasks: tuple[LabelTask, ...] = ()
    problems: list[RowProblem] = field(default_factory=list)
    listed: list[Problem] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def report(self, row: int, what: str, column: str = "") -> None:
        """Note a problem of one row."""
        where = f"{self.where[row]}, column {column}" if column else self.where[row]
        self.problems.append(RowProblem(row, Problem(where, what, self.ids[row])))

    def report_label(self, row: int, what: str, column: str) -> None:
        """Note a label that can't be used."""
        problem = Problem(f"{self.where[row]}, column {column}", what, self.ids[row])
        self.problems.append(RowProblem(row, problem, column))

    def report_unparsed(self, problems: Sequence[Problem]) -> None:
        """Note rows that could not be parsed at all."""
        self.problems.extend(RowProblem(None, problem) for problem in problems)
