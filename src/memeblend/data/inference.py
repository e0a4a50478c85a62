"""What the columns of a plain table mean, by their names and values. Every guess is told to the user."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from memeblend.data.label_values import KNOWN_LABEL_TASKS, class_words, label_key, present_label, whole_number
from memeblend.data.rows import ReadRequest
from memeblend.data.tables import TextTable
from memeblend.errors import DataError
from memeblend.labels import PRESENT_SUFFIX, LabelTask

ROLES = ("meme_id", "image", "ocr_text", "split", "source")

_USUAL_NAMES: dict[str, tuple[str, ...]] = {
    "meme_id": ("meme_id", "id", "image_id", "img_id", "uid"),
    "image": (
        *("image", "img", "image_path", "img_path", "image_name", "img_name", "image_file", "img_file"),
        *("file_name", "filename", "file_path", "filepath", "path", "file", "picture"),
    ),
    "ocr_text": (
        *("ocr_text", "text_corrected", "text", "ocr", "text_ocr", "img_text", "text_transcription"),
        *("transcription", "caption", "captions"),
    ),
    "split": ("split", "set", "partition", "subset"),
}
_NEVER_LABELS = {
    *("url", "urls", "image_url", "img_url", "link", "href", "source", "author", "user", "username", "date"),
    *("time", "timestamp", "created_at", "width", "height", "index", "unnamed:_0", "md5", "sha1", "sha256"),
    *("hash", "phash", "ocr_confidence", "raw_text", "translation_status", ""),
}

_MAX_CLASSES = 20
_MAX_LABEL_CHARACTERS = 60
_MAX_LABEL_WORDS = 5
_NEGATIVE_WORDS = {"0", "false", "f", "no", "n", "none", "absent", "negative"}
_NEGATIVE_PREFIX = re.compile(r"(non|not|no_)")
_FRACTION = re.compile(r"-?\d*\.\d+(e-?\d+)?")


@dataclass(frozen=True)
class TableColumns:
    """Columns of a table by what they hold.

    Attributes:
        roles: manifest column -> column of the table.
        labels: label task -> column of the table, as the user mapped them.
        others: columns that may hold labels.
    """

    roles: dict[str, str]
    labels: dict[str, str]
    others: tuple[str, ...]


def find_columns(table: TextTable, request: ReadRequest) -> TableColumns:
    """Which column of a table is which.

    Raises:
        DataError: a mapped column is not there, or the table has neither images nor texts.
    """
    given = request.columns
    absent = [column for column in given.values() if column not in table.columns]
    if absent:
        raise DataError(
            f"'{table.path}' has no column {', '.join(absent)}.", fix=f"Its columns are {_listed(table.columns)}."
        )
    spelled = {label_key(column): column for column in reversed(list(table.columns))}
    roles = {role: given[role] for role in ROLES if role in given}
    for role, names in _USUAL_NAMES.items():
        if role not in roles:
            found = [spelled[name] for name in names if name in spelled and spelled[name] not in given.values()]
            if found:
                roles[role] = found[0]
    if "image" not in roles and "ocr_text" not in roles:
        raise DataError(
            f"'{table.path}' has neither a column of images nor one of texts; "
            f"its columns are {_listed(table.columns)}.",
            fix="Say which is which (image, ocr_text) with a column mapping.",
        )
    if "source" not in roles and _names_sources(table, roles):
        roles["source"] = "source"
    labels = {name: column for name, column in given.items() if name not in ROLES}
    usual = {name for names in _USUAL_NAMES.values() for name in names}
    others = tuple(
        column
        for column in table.columns
        if column not in roles.values()
        and column not in labels.values()
        and label_key(column) not in usual | _NEVER_LABELS
    )
    told = ", ".join(f"{role} from '{column}'" for role, column in roles.items())
    request.notify(f"{table.path.name}: {told}")
    return TableColumns(roles, labels, others)


def infer_label_tasks(table: TextTable, columns: TableColumns, request: ReadRequest) -> list[tuple[LabelTask, str]]:
    """Label tasks that a table's columns hold, each with its column.

    Raises:
        DataError: a column that the user mapped to a label task can't be one.
    """
    found: list[tuple[LabelTask, str]] = []
    for name, column in [*columns.labels.items(), *((other, other) for other in columns.others)]:
        values = [label for cell in table.columns[column] if (label := present_label(cell)) is not None]
        reason = _why_not_labels(name, values)
        if not reason:
            found.append((_label_task(name, values), column))
        elif name in columns.labels:
            raise DataError(f"Column '{column}' of '{table.path}' can't be label task '{name}': it {reason}.")
        else:
            request.notify(f"column '{column}' {reason}, not a label task")
    derived = {task.name + PRESENT_SUFFIX for task, _ in found if task.intensity}
    kept = [(task, column) for task, column in found if task.name not in derived]
    for task, column in kept:
        request.notify(f"label task '{task.name}' from '{column}' ({task.kind}): {', '.join(task.classes)}")
    return kept


def _names_sources(table: TextTable, roles: dict[str, str]) -> bool:
    """Whether column `source` holds the data-set names that begin the ids, as in a manifest's own table."""
    if "source" not in table.columns or "meme_id" not in roles:
        return False
    pairs = zip(table.columns[roles["meme_id"]], table.columns["source"], strict=True)
    return all(meme_id and source and meme_id.startswith(f"{source}/") for meme_id, source in pairs)


def _why_not_labels(name: str, values: Sequence[str]) -> str:
    """Why a column's values can't be labels; "" if they can."""
    classes = set(values)
    if not classes:
        return "is empty"
    if len(classes) == 1:
        return f"has one value only ('{values[0]}')"
    if _known(name, values) is not None:
        return ""
    if any(len(v) > _MAX_LABEL_CHARACTERS or len(v.split()) > _MAX_LABEL_WORDS for v in classes):
        return "holds free text"
    if len(classes) > _MAX_CLASSES:
        return f"has {len(classes)} different values (at most {_MAX_CLASSES} classes)"
    if any(_FRACTION.fullmatch(whole_number(v)) for v in classes):
        return "holds measurements"
    if len(classes) == len(values) > 2:
        return "has another value in every row"
    return ""


def _known(name: str, values: Sequence[str]) -> LabelTask | None:
    """The well-known label task of that name, if its words are the values."""
    for task in KNOWN_LABEL_TASKS:
        if label_key(name) == task.name and {label_key(value) for value in values} <= set(class_words(task)):
            return LabelTask(name, task.kind, task.classes, task.intensity)
    return None


def _label_task(name: str, values: Sequence[str]) -> LabelTask:
    known = _known(name, values)
    if known is not None:
        return known
    classes = sorted({whole_number(value) for value in values})
    if len(classes) == 2:
        return LabelTask(name, "binary", tuple(sorted(classes, key=lambda value: (not _is_negative(value), value))))
    if all(re.fullmatch(r"\d+", value) for value in classes):
        ordered = sorted(classes, key=int)
        first = int(ordered[0])
        if first in (0, 1) and ordered == [str(first + i) for i in range(len(ordered))]:
            return LabelTask(name, "ordinal", tuple(ordered))
    return LabelTask(name, "nominal", tuple(classes))


def _is_negative(value: str) -> bool:
    key = label_key(value)
    return key in _NEGATIVE_WORDS or bool(_NEGATIVE_PREFIX.match(key))


def _listed(columns: dict[str, list[str | None]]) -> str:
    return ", ".join(f"'{name}'" for name in columns if name)
