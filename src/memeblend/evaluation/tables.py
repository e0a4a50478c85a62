"""Prediction tables: what one candidate says of every meme, for one label task.

Ensembles and reports read nothing else, so a model trained elsewhere joins by writing one. On disk a
prediction table is a parquet file with these columns:

    meme_id                string, unique
    split                  string
    candidate              string, the same in every row
    label_task             string, the same in every row
    manifest_fingerprint   string, the same in every row
    probability_<class>    one float column per class, in class order; each row sums to 1
    label                  string, the true class, null where missing     (optional: no labels known)
    group                  integer, the duplicate group                   (optional: every meme alone)
    decision               string, the class decided on                   (optional: the most probable one)

The schema's metadata holds the label task (kind, classes in order) as JSON under the key `memeblend`. A file
without it is read by telling `PredictionTable.read` the label task.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memeblend.errors import PredictionError, Problem
from memeblend.files import replacing
from memeblend.labels import MISSING, LabelTask, present_classes, present_probabilities, present_task

PROBABILITY_PREFIX = "probability_"
_METADATA_KEY = b"memeblend"
_CONSTANT_COLUMNS = ("candidate", "label_task", "manifest_fingerprint")
_REQUIRED_COLUMNS = ("meme_id", "split", *_CONSTANT_COLUMNS)
_SUM_TOLERANCE = 1e-3
"""Rows further from a sum of 1 are refused; half-precision softmax outputs stay within it."""
_EXACT_SUM = 1e-9
"""Rows further from a sum of 1 are rescaled; rows within it keep their bits."""
_FIX = "Write the table anew with `PredictionTable.write`, or correct these rows."


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """What one candidate says of every meme for one label task, over any number of splits.

    Attributes:
        candidate: name of the candidate ("fusion-0").
        label_task: the label task; its class order is the order of `probabilities`.
        meme_ids: [num_memes] str, unique.
        splits: [num_memes] str, the split of each meme.
        groups: [num_memes] int64, the duplicate group of each meme (memes of one group are not independent).
        labels: [num_memes] int64, true class indices, -1 where missing.
        probabilities: [num_memes, num_classes] float64; rows are rescaled to sum to exactly 1 where they are
            off by rounding.
        manifest_fingerprint: fingerprint of the manifest that was predicted.
        decisions: [num_memes] int64, class indices that overrule the most probable class, or None. Majority
            votes and derived label tasks decide otherwise than by the largest probability.

    Raises:
        PredictionError: shapes that do not fit, duplicate ids, class indices out of range, or probabilities
            that are not finite, negative or do not sum to 1; all of them listed.
    """

    candidate: str
    label_task: LabelTask
    meme_ids: NDArray[np.str_]
    splits: NDArray[np.str_]
    groups: NDArray[np.int64]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    manifest_fingerprint: str
    decisions: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        def keep(name: str, value: ArrayLike, dtype: Any) -> None:
            object.__setattr__(self, name, np.asarray(value, dtype=dtype))

        keep("meme_ids", self.meme_ids, np.str_)
        keep("splits", self.splits, np.str_)
        keep("groups", self.groups, np.int64)
        keep("labels", self.labels, np.int64)
        keep("probabilities", self.probabilities, np.float64)
        if self.decisions is not None:
            keep("decisions", self.decisions, np.int64)
        where = f"candidate '{self.candidate}', label task '{self.label_task.name}'"
        problems = list(_shape_problems(self, where)) or list(_row_problems(self, where))
        if problems:
            raise PredictionError("This prediction table can't be used:", problems=problems, fix=_FIX)
        sums = self.probabilities.sum(axis=1, keepdims=True)
        off = np.abs(sums - 1) > _EXACT_SUM
        keep("probabilities", np.where(off, self.probabilities / sums, self.probabilities), np.float64)

    def __len__(self) -> int:
        return len(self.meme_ids)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Predicted class indices [num_memes]: `decisions` where there are any, else the most probable class
        (the lowest index among equals)."""
        if self.decisions is not None:
            return self.decisions
        best: NDArray[np.int64] = self.probabilities.argmax(axis=1).astype(np.int64)
        return best

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits of this table, in order of appearance."""
        return tuple(dict.fromkeys(self.splits.tolist()))

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> PredictionTable:
        """The table of these rows alone.

        Args:
            rows: a mask [num_memes] or distinct row numbers.
        """
        part = copy(self)  # rows of a table that was checked need no second check
        names = ("meme_ids", "splits", "groups", "labels", "probabilities")
        for name in names if self.decisions is None else (*names, "decisions"):
            object.__setattr__(part, name, getattr(self, name)[rows])
        return part

    def of_splits(self, names: Iterable[str]) -> PredictionTable:
        """The rows of these splits.

        Raises:
            PredictionError: a split that has no row in this table.
        """
        wanted = tuple(names)
        unknown = [name for name in wanted if name not in self.split_names]
        if unknown:
            raise PredictionError(
                f"Candidate '{self.candidate}' has no predictions of split(s) {', '.join(unknown)} for label task "
                f"'{self.label_task.name}'; it has those of {', '.join(self.split_names) or 'no split'}."
            )
        return self.take(np.isin(self.splits, wanted))

    def labelled(self) -> PredictionTable:
        """The rows whose label is known."""
        return self.take(self.labels != MISSING)

    def derived(self) -> PredictionTable:
        """The table of the derived binary label task `<name>_present` (Task B).

        A meme is called present iff the predicted *level* is above 0 (paper section 4), which can differ from
        thresholding the summed probability of the levels above 0; `decisions` holds the former,
        `probabilities` the latter.

        Raises:
            ValueError: the label task has no intensity levels.
        """
        return replace(
            self,
            label_task=present_task(self.label_task),
            labels=present_classes(self.labels),
            probabilities=present_probabilities(self.probabilities),
            decisions=present_classes(self.predicted),
        )

    def aligned_to(self, reference: PredictionTable) -> PredictionTable:
        """The same predictions in the row order of `reference`.

        Raises:
            PredictionError: the two tables hold different memes; the ids are listed.
        """
        if np.array_equal(self.meme_ids, reference.meme_ids):
            return self
        mine, theirs = set(self.meme_ids.tolist()), set(reference.meme_ids.tolist())
        pairs = [(theirs - mine, self, reference), (mine - theirs, reference, self)]
        problems = [
            Problem(f"meme '{meme_id}'", f"'{has.candidate}' predicts it, '{lacks.candidate}' does not", meme_id)
            for ids, lacks, has in pairs
            for meme_id in sorted(ids)
        ]
        if problems:
            raise PredictionError(
                f"'{self.candidate}' and '{reference.candidate}' do not predict the same memes for label task "
                f"'{self.label_task.name}':",
                problems=problems,
                fix="Predict the same splits with both.",
            )
        row_of = {meme_id: row for row, meme_id in enumerate(self.meme_ids.tolist())}
        return self.take(np.array([row_of[meme_id] for meme_id in reference.meme_ids.tolist()], dtype=np.int64))

    def with_truth_of(self, reference: PredictionTable) -> PredictionTable:
        """The same predictions with the labels, groups and splits of `reference`, in its row order.

        For tables written by others, which may lack labels and duplicate groups.

        Raises:
            PredictionError: the two tables hold different memes.
        """
        aligned = self.aligned_to(reference)
        return replace(aligned, labels=reference.labels, groups=reference.groups, splits=reference.splits)

    def write(self, path: str | Path) -> None:
        """Write as parquet, atomically.

        Raises:
            OutputError: the file could not be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        classes = np.array([*self.label_task.classes, None], dtype=object)  # -1 picks None: missing
        columns: dict[str, Any] = {"meme_id": pa.array(self.meme_ids.tolist(), pa.string())}
        columns["split"] = pa.array(self.splits.tolist(), pa.string())
        for name, value in zip(
            _CONSTANT_COLUMNS, (self.candidate, self.label_task.name, self.manifest_fingerprint), strict=True
        ):
            columns[name] = pa.array([value] * len(self), pa.string())
        for index, name in enumerate(self.label_task.classes):
            columns[PROBABILITY_PREFIX + name] = pa.array(self.probabilities[:, index], pa.float64())
        columns["label"] = pa.array(classes[self.labels].tolist(), pa.string())
        columns["group"] = pa.array(self.groups, pa.int64())
        if self.decisions is not None:
            columns["decision"] = pa.array(classes[self.decisions].tolist(), pa.string())
        metadata = {_METADATA_KEY: json.dumps({"label_task": self.label_task.to_dict()}).encode()}
        with replacing(path) as temporary:
            pq.write_table(pa.table(columns).replace_schema_metadata(metadata), temporary)

    @classmethod
    def read(cls, path: str | Path, label_task: LabelTask | None = None) -> PredictionTable:
        """Read a parquet file.

        Args:
            path: the file.
            label_task: the label task expected; needed for files whose metadata do not hold one.

        Raises:
            PredictionError: the file is missing, cut short or not parquet, or its content can't be used; all
                problems are listed at once.
        """
        arrow, stored = _read_parquet(Path(path))
        task = label_task or stored
        if task is None:
            raise PredictionError(
                f"'{path}' does not say what its label task is (no 'memeblend' metadata).",
                fix="Pass the label task to `PredictionTable.read`, or write the file with `PredictionTable.write`.",
            )
        problems = list(_column_problems(arrow, task, stored, str(path)))
        values = None if problems else _values(arrow, task, str(path), problems)
        if values is not None and not problems:
            try:
                return cls(label_task=task, **values)
            except PredictionError as error:
                problems = list(error.problems)
        raise PredictionError(f"The prediction table '{path}' can't be used:", problems=problems, fix=_FIX)


def _shape_problems(table: PredictionTable, where: str) -> Iterator[Problem]:
    num_memes = table.meme_ids.shape[0] if table.meme_ids.ndim else 0
    for field in fields(table):
        value = getattr(table, field.name)
        if not isinstance(value, np.ndarray):
            continue
        expected = (num_memes, table.label_task.num_classes) if field.name == "probabilities" else (num_memes,)
        if value.shape != expected:
            yield Problem(where, f"{field.name} has shape {value.shape}, expected {expected}")


def _row_problems(table: PredictionTable, where: str) -> Iterator[Problem]:
    """Everything wrong with single rows, check by check."""
    ids = table.meme_ids
    first_row: dict[str, int] = {}

    def at(row: Any, what: str) -> Problem:
        return Problem(f"{where}, row {row + 1} (meme '{ids[row]}')", what, str(ids[row]))

    def rows(mask: NDArray[np.bool_]) -> list[int]:
        return np.flatnonzero(mask).tolist()

    for row, meme_id in enumerate(ids.tolist()):
        if first_row.setdefault(meme_id, row) != row:
            yield at(row, f"duplicate meme id, first seen in row {first_row[meme_id] + 1}")
    for name, values in (("meme_id", ids), ("split", table.splits)):
        for row in rows(values == ""):
            yield at(row, f"empty {name}")
    num_classes = table.label_task.num_classes
    for row in rows((table.labels < MISSING) | (table.labels >= num_classes)):
        yield at(row, f"label index {table.labels[row]}, expected -1 (missing) to {num_classes - 1}")
    if table.decisions is not None:
        for row in rows((table.decisions < 0) | (table.decisions >= num_classes)):
            yield at(row, f"decision index {table.decisions[row]}, expected 0 to {num_classes - 1}")
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(table.probabilities).all(axis=1))
    for row in rows(~finite):
        yield at(row, "a probability is missing, NaN or infinite")
    negative: NDArray[np.bool_] = finite & (table.probabilities < 0).any(axis=1)
    for row in rows(negative):
        yield at(row, f"a probability is negative ({table.probabilities[row].min():.6g})")
    sums = np.where(finite[:, None], table.probabilities, 1 / num_classes).sum(axis=1)
    for row in rows(~negative & (np.abs(sums - 1) > _SUM_TOLERANCE)):
        yield at(row, f"the probabilities sum to {sums[row]:.6g}, expected 1")


def _read_parquet(path: Path) -> tuple[Any, LabelTask | None]:
    """The arrow table of a file and the label task in its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise PredictionError(f"There is no prediction table at '{path}'.")
    try:
        arrow = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise PredictionError(
            f"'{path}' can't be read as parquet; it is cut short, damaged or another kind of file ({error}).",
            fix="Write it anew.",
        ) from error
    raw = (arrow.schema.metadata or {}).get(_METADATA_KEY)
    if raw is None:
        return arrow, None
    try:
        return arrow, LabelTask.from_dict(json.loads(raw)["label_task"])
    except (ValueError, KeyError, TypeError) as error:
        raise PredictionError(
            f"The metadata of '{path}' do not describe a label task ({type(error).__name__}: {error}).",
            fix=_FIX,
        ) from error


def _column_problems(arrow: Any, task: LabelTask, stored: LabelTask | None, where: str) -> Iterator[Problem]:
    """Missing and doubled columns, classes other than the label task's, and wrong constants."""
    names = list(arrow.column_names)
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem(where, f"column '{name}' occurs more than once")
    for name in _REQUIRED_COLUMNS:
        if name not in names:
            yield Problem(where, f"column '{name}' is missing")
    found = tuple(name.removeprefix(PROBABILITY_PREFIX) for name in names if name.startswith(PROBABILITY_PREFIX))
    if found != task.classes:
        yield Problem(
            where,
            f"has probability columns for the classes {', '.join(found) or '(none)'}; label task '{task.name}' "
            f"has {', '.join(task.classes)}, in this order",
        )
    elif stored is not None and stored != task:
        yield Problem(where, f"is of label task {stored.to_dict()}, expected {task.to_dict()}")
    if arrow.num_rows == 0:
        yield Problem(where, "holds no rows")


def _values(arrow: Any, task: LabelTask, where: str, problems: list[Problem]) -> dict[str, Any] | None:
    """The constructor's arguments from an arrow table; what can't be converted is added to `problems`."""
    import pyarrow as pa

    def column(name: str, kind: Any) -> list[Any]:
        try:
            values: list[Any] = arrow[name].cast(kind).to_pylist()
        except pa.ArrowException:
            problems.append(Problem(f"{where}, column {name}", f"holds {arrow[name].type}, expected {kind}"))
            return []
        return values

    def class_indices(name: str) -> NDArray[np.int64]:
        index_of: dict[str | None, int] = {value: index for index, value in enumerate(task.classes)}
        index_of[None] = MISSING
        values = column(name, pa.string())
        problems.extend(
            Problem(f"{where}, row {row + 1}, column {name}", f"'{value}' is no class of '{task.name}'")
            for row, value in enumerate(values)
            if value not in index_of
        )
        return np.array([index_of.get(value, MISSING) for value in values], dtype=np.int64)

    values: dict[str, Any] = {}
    for name in ("meme_id", "split"):
        values[name + "s"] = ["" if value is None else value for value in column(name, pa.string())]
    for name in _CONSTANT_COLUMNS:
        distinct = list(dict.fromkeys(column(name, pa.string())))
        if len(distinct) != 1 or not distinct[0]:
            shown = ", ".join(str(value) for value in distinct[:5])
            problems.append(Problem(f"{where}, column {name}", f"holds {shown or 'nothing'}, expected one value"))
        values[name] = distinct[0] if distinct else ""
    if values.pop("label_task") not in (task.name, ""):
        problems.append(Problem(f"{where}, column label_task", f"is not the label task '{task.name}'"))
    probabilities = [column(PROBABILITY_PREFIX + name, pa.float64()) for name in task.classes]
    if not problems:
        values["probabilities"] = np.array(probabilities, dtype=np.float64).T
    has = set(arrow.column_names)
    unknown = np.full(arrow.num_rows, MISSING, dtype=np.int64)
    values["labels"] = class_indices("label") if "label" in has else unknown
    values["decisions"] = class_indices("decision") if "decision" in has else None
    values["groups"] = column("group", pa.int64()) if "group" in has else list(range(arrow.num_rows))
    if None in values["groups"]:
        problems.append(Problem(f"{where}, column group", "holds missing values, expected whole numbers"))
    return None if problems else values
