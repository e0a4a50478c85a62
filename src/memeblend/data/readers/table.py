"""A plain table: a .csv, .tsv, .jsonl or .parquet file, or the one named `memes` of a folder.

A parquet file written by `Manifest.write` says what its columns, label tasks and root are; for every other
table that is inferred or given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from memeblend.data import storage
from memeblend.data.inference import ROLES, TableColumns, find_columns, infer_label_tasks
from memeblend.data.label_values import add_labels, check_there, class_words, keep_declared, label_key, refuse_empty
from memeblend.data.paths import below, image_folder
from memeblend.data.rows import NO_SPLIT, RawMemes, ReadRequest, namespaced, split_name
from memeblend.data.tables import TABLE_SUFFIXES, TextTable, read_table
from memeblend.errors import DataError
from memeblend.labels import LabelTask

_STEM = "memes"

NamedBy = Literal["column", "image", "number"]


def recognises(folder: Path) -> bool:
    """Whether a folder holds a table named `memes`."""
    return bool(_tables(folder))


def read(path: Path, request: ReadRequest) -> RawMemes:
    """Read a table, or the one table named `memes` of a folder.

    Raises:
        DataError: the table can't be read, the folder has none or two, or columns or labels don't fit.
    """
    file = _one_table(path) if path.is_dir() else path
    table = read_table(file, request.notify)
    stored = storage.described(table.schema, file) if table.schema is not None else None
    if stored is not None:
        return _read_stored(table, *stored, request)
    columns = find_columns(table, request)
    raw = _read_roles(table, columns, request)
    _read_labels(raw, table, columns, request)
    for name in table.skipped:
        request.notify(f"column '{name}' holds lists, objects or binary data and is not read")
    return raw


def _tables(folder: Path) -> list[Path]:
    return [path for suffix in TABLE_SUFFIXES if (path := folder / f"{_STEM}{suffix}").is_file()]


def _one_table(folder: Path) -> Path:
    tables = _tables(folder)
    if len(tables) != 1:
        names = " and ".join(path.name for path in tables) or "none"
        raise DataError(
            f"'{folder}' should hold one table, {' or '.join(_STEM + suffix for suffix in TABLE_SUFFIXES)}; "
            f"found {names}.",
            fix="Name the table that is meant.",
        )
    return tables[0]


def _read_stored(table: TextTable, label_tasks: tuple[LabelTask, ...], root: Path, request: ReadRequest) -> RawMemes:
    """The rows of a manifest that was written as parquet."""
    absent = [name for name in (*ROLES, *(task.name for task in label_tasks)) if name not in table.columns]
    if absent:
        raise DataError(f"'{table.path}' is a manifest without its column(s) {', '.join(absent)}.")
    roles = {role: column for role, column in request.columns.items() if role in ROLES}
    unknown = [column for column in roles.values() if column not in table.columns]
    if unknown:
        raise DataError(
            f"'{table.path}' has no column {', '.join(unknown)}.", fix=f"Its columns are {', '.join(table.columns)}."
        )
    raw = stored_rows(replace(table, columns=table.columns | {role: table.column(roles[role]) for role in roles}), root)
    for task in label_tasks:
        add_labels(raw, task, table.columns[task.name], task.name, class_words(task))
    if request.label_tasks != ():
        keep_declared(raw, request)
    return raw


def stored_rows(table: TextTable, root: Path) -> RawMemes:
    """Some rows of a manifest that was written as parquet, without labels."""
    return RawMemes(
        root,
        ids=[value or "" for value in table.columns["meme_id"]],
        images=list(table.columns["image"]),
        texts=[value or "" for value in table.columns["ocr_text"]],
        splits=[value or "" for value in table.columns["split"]],
        sources=[value or "" for value in table.columns["source"]],
        where=table.where(),
    )


@dataclass(frozen=True)
class TableFacts:
    """What can only be said of a table as a whole, not of some of its rows.

    Attributes:
        dataset: name of the data set where rows name none.
        image_folder: folder, seen from the table's own, in which its images are looked for; "" is its own.
        has_splits: whether any row names a split.
        named_by: what ids are: those of their column, the images' names, or the rows' numbers.
    """

    dataset: str
    image_folder: str
    has_splits: bool
    named_by: NamedBy


def dataset_name(path: Path) -> str:
    """Name of the data set that a table holds: its folder's where the table is just called `memes`."""
    return path.parent.absolute().name if path.stem == _STEM else path.stem


def build_rows(table: TextTable, roles: Mapping[str, str], facts: TableFacts, first: int = 1) -> RawMemes:
    """The memes of some rows of a table, without labels.

    Args:
        table: the rows.
        roles: manifest column -> column of the table.
        facts: of the whole table.
        first: number of the first of these rows in the whole table.
    """
    cells = {role: table.column(column) for role, column in roles.items()}
    nothing: list[str | None] = [None] * len(table)
    raw = RawMemes(table.path.parent, where=table.where())
    raw.report_unparsed(table.problems)
    images = _stripped(cells.get("image", nothing))
    raw.images = below(facts.image_folder, images)
    raw.texts = [text or "" for text in cells.get("ocr_text", nothing)]
    splits = [split_name(split or "") for split in cells.get("split", nothing)]
    raw.splits = splits if facts.has_splits else [NO_SPLIT] * len(table)
    raw.sources = [(source or "").strip() or facts.dataset for source in cells.get("source", nothing)]
    numbers = [str(number) for number in range(first, first + len(table))]
    given: dict[NamedBy, Sequence[str | None]] = {
        "column": _stripped(cells.get("meme_id", nothing)),
        "image": images,
        "number": numbers,
    }
    names = [name or "" for name in given[facts.named_by]]
    own = "source" in roles
    raw.ids = [
        name if own and name.startswith(f"{source}/") and name.count("/") > 1 else namespaced(source, split, name)
        for source, split, name in zip(raw.sources, raw.splits, names, strict=True)
    ]
    for row, (name, split) in enumerate(zip(names, raw.splits, strict=True)):
        if not name:
            raw.report(row, "has no id", roles.get("meme_id", ""))
        if not split:
            raw.report(row, "names no split, though other rows do", roles["split"])
    return raw


def _read_roles(table: TextTable, columns: TableColumns, request: ReadRequest) -> RawMemes:
    roles = columns.roles
    nothing: list[str | None] = [None] * len(table)
    images = _stripped(table.column(roles["image"]) if "image" in roles else nothing)
    folder = image_folder(table.path.parent, images)
    if folder:
        request.notify(f"images were found in '{folder}/'")
    splits = table.column(roles["split"]) if "split" in roles else nothing
    has_splits = any(split_name(split or "") for split in splits)
    named_by = _named_by("meme_id" in roles, images, request)
    return build_rows(table, roles, TableFacts(dataset_name(table.path), folder, has_splits, named_by))


def _stripped(cells: Sequence[str | None]) -> list[str | None]:
    return [cell.strip() if cell else None for cell in cells]


def _named_by(has_ids: bool, images: Sequence[str | None], request: ReadRequest) -> NamedBy:
    """The column of ids, else the image if no two rows share one, else the row's number."""
    if has_ids:
        return "column"
    if all(images) and max(Counter(images).values(), default=0) <= 1:
        request.notify("no column of ids: the image's name is the id")
        return "image"
    request.notify("no column of ids: rows are numbered from 1")
    return "number"


def _read_labels(raw: RawMemes, table: TextTable, columns: TableColumns, request: ReadRequest) -> None:
    if request.label_tasks is None:
        return
    if request.label_tasks == ():
        for task, column in infer_label_tasks(table, columns, request):
            add_labels(raw, task, table.columns[column], column, class_words(task))
        return
    there = {label_key(column): column for column in columns.others}
    mapped = {
        task.name: columns.labels.get(task.name) or there.get(label_key(task.name)) for task in request.label_tasks
    }
    found = [name for name, column in mapped.items() if column is not None]
    check_there(request.label_tasks, [*found, *columns.others], request)
    for task in request.label_tasks:
        chosen = mapped[task.name]
        if chosen is not None:
            add_labels(raw, task, table.columns[chosen], chosen, class_words(task))
    refuse_empty(raw, request)
