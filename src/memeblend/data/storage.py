"""Manifests on disk: parquet with label tasks and root, or a plain text table."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from memeblend.errors import DataError
from memeblend.files import replacing
from memeblend.labels import LabelTask

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")
_METADATA_KEY = b"memeblend.manifest"


def write(path: Path, table: pd.DataFrame, label_tasks: Sequence[LabelTask], root: Path) -> None:
    """Write a manifest's rows in the format of the file's suffix.

    Raises:
        ValueError: an unknown suffix.
        OutputError: the file could not be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"a manifest is written as {', '.join(SUFFIXES)}, not '{path.suffix}'")
    with replacing(path) as temporary:
        if suffix == ".parquet":
            pq.write_table(_described(table, label_tasks, _root_beside(path, root)), temporary)
            return
        rows = table.assign(image=_images_beside(path, table["image"].tolist(), root))
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            if suffix == ".jsonl":
                for row in rows.to_dict("records"):
                    stream.write(json.dumps(_without_nan(row), ensure_ascii=False) + "\n")
            else:
                # All cells are quoted, since csv would leave a lone carriage return in a text bare.
                delimiter = "," if suffix == ".csv" else "\t"
                writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
                writer.writerow(rows.columns)
                writer.writerows(_without_nan(row).values() for row in rows.to_dict("records"))


def described(schema: pa.Schema, path: Path) -> tuple[tuple[LabelTask, ...], Path] | None:
    """Label tasks and root that a parquet manifest carries; None for a parquet file that we did not write.

    Raises:
        DataError: the description can't be read.
    """
    text = (schema.metadata or {}).get(_METADATA_KEY)
    if text is None:
        return None
    try:
        data = json.loads(text)
        label_tasks = tuple(LabelTask.from_dict(task) for task in data["label_tasks"])
        return label_tasks, path.parent / data["root"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"'{path}' is a manifest with a description that can't be read: {error}.") from error


def _described(table: pd.DataFrame, label_tasks: Sequence[LabelTask], root: str) -> pa.Table:
    description = {"label_tasks": [task.to_dict() for task in label_tasks], "root": root}
    columns = {name: pa.array(table[name].tolist(), pa.string()) for name in table.columns}
    return pa.table(columns, metadata={_METADATA_KEY: json.dumps(description).encode()})


def _root_beside(path: Path, root: Path) -> str:
    """The root as the file names it: relative if the file lies in it, so that both can move together."""
    folder, target = path.absolute().parent, root.absolute()
    return os.path.relpath(target, folder) if folder.is_relative_to(target) else str(target)


def _images_beside(path: Path, images: list[str | None], root: Path) -> pd.Series[Any]:
    folder, target = path.absolute().parent, root.absolute()
    if folder == target:
        return pd.Series(images, dtype=object)
    prefix = target.relative_to(folder) if target.is_relative_to(folder) else target
    below = [None if image is None else (prefix / image).as_posix() for image in images]
    return pd.Series(below, dtype=object)


def _without_nan(row: dict[Any, Any]) -> dict[Any, Any]:
    return {name: None if pd.isna(value) else value for name, value in row.items()}
