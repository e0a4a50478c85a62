"""The manifest: a validated table of memes, which is all that later stages know of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memeblend.data import storage
from memeblend.data.paths import check_images
from memeblend.data.readers import read_rows
from memeblend.data.rejecting import drop_bad_rows, write_rejected
from memeblend.data.rows import Notify, RawMemes, ReadRequest, log_line
from memeblend.data.sampling import stratified_rows
from memeblend.errors import DataError, ImageError, Problem
from memeblend.files import digest, file_digest
from memeblend.labels import MISSING, LabelTask

COLUMNS = ("meme_id", "image", "ocr_text", "split", "source")
"""Columns of every manifest, before one column per label task."""

_FIRST_SPLITS = ("train", "validation", "test")
_HASHING_THREADS = 8


@dataclass(frozen=True, eq=False)
class Manifest:
    """A validated table of memes. Treat it as read-only: every change makes a new one.

    Attributes:
        table: columns `meme_id` (unique), `image` (POSIX path relative to `root`, absolute where that was
            allowed, None without images), `ocr_text` ("" if none), `split`, `source`, then one column of class
            names per label task, None where missing. All columns hold plain Python strings.
        label_tasks: the label tasks to train, never derived ones; empty for unlabelled data.
        root: folder that image paths are relative to.

    Raises:
        DataError: a column is missing, an id comes twice, or a label is not a class of its label task.
    """

    table: pd.DataFrame
    label_tasks: tuple[LabelTask, ...]
    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_tasks", tuple(self.label_tasks))
        object.__setattr__(self, "root", Path(self.root))
        names = [task.name for task in self.label_tasks]
        expected = [*COLUMNS, *names]
        absent = [name for name in expected if name not in self.table.columns]
        if absent:
            raise DataError(
                f"A manifest needs the columns {', '.join(expected)}; {', '.join(absent)} missing, "
                f"found {', '.join(map(str, self.table.columns))}."
            )
        if len(set(expected)) != len(expected):
            raise DataError(f"A label task is named twice or like a column of the manifest: {', '.join(names)}.")
        object.__setattr__(self, "table", _plain(self.table[expected]))
        problems = self._problems()
        if problems:
            raise DataError("The manifest is not valid.", problems=problems)

    def _problems(self) -> list[Problem]:
        problems = [
            Problem(f"row {row}, column {column}", "is empty, expected a value")
            for column in ("meme_id", "ocr_text", "split", "source")
            for row, value in enumerate(self._column(column))
            if value is None or (column != "ocr_text" and not value)
        ]
        ids = self._column("meme_id")
        problems += [
            Problem(f"row {row}", f"meme_id '{ids[row]}' comes a second time", ids[row] or "")
            for row in np.flatnonzero(self.table["meme_id"].duplicated())
        ]
        images = self._column("image")
        if any(images):
            problems += [
                Problem(f"row {row}, column image", "names no image, though other rows do", ids[row] or "")
                for row, image in enumerate(images)
                if not image
            ]
        for task in self.label_tasks:
            allowed = {None, *task.classes}
            problems += [
                Problem(
                    f"row {row}, column {task.name}",
                    f"'{value}' is not one of {', '.join(task.classes)}",
                    ids[row] or "",
                )
                for row, value in enumerate(self._column(task.name))
                if value not in allowed
            ]
        return problems

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        reader: str | None = None,
        columns: Mapping[str, str] | None = None,
        label_tasks: Sequence[LabelTask] | None = (),
        require_label_tasks: bool = True,
        skip_bad: bool = False,
        rejected_to: str | Path | None = None,
        listed_to: str | Path | None = None,
        allow_outside: bool = False,
        notify: Notify = log_line,
    ) -> Manifest:
        """Read a table of memes or a data-set folder.

        Args:
            path: a .csv, .tsv, .jsonl or .parquet file, or a folder in a layout that a reader knows.
            reader: one of `data.sets.READER_NAMES`; None finds out.
            columns: for tables, `{"image": "img_file", ...}`: which column is which. Keys are `meme_id`, `image`,
                `ocr_text`, `split`, `source` and names of label tasks; what is not given is inferred.
            label_tasks: the label tasks to read; () takes those of the data set or infers them from the
                columns, None reads no labels at all.
            require_label_tasks: whether a declared label task that the data lacks is an error (otherwise it is
                left out, as for unlabelled or partly labelled data that a model is to judge).
            skip_bad: drop bad rows, which are then listed with reasons in `rejected_to`.
            rejected_to: CSV file for the dropped rows (meme_id, where, reason, image).
            listed_to: CSV file in the same form for what the reader left out or could not decide though no row
                is at fault: captions of a template without a picture, annotators who disagree; written if there is
                any.
            allow_outside: let image paths leave the data root.
            notify: takes a line of text for everything inferred, skipped or dropped.

        Raises:
            DataError: the data can't be used; it lists every bad row at once.
            ValueError: `skip_bad` without `rejected_to`.
        """
        if skip_bad and rejected_to is None:
            raise ValueError("skip_bad needs rejected_to, the file that lists the dropped rows")
        declared = None if label_tasks is None else tuple(label_tasks)
        request = ReadRequest(dict(columns or {}), declared, require_label_tasks, notify)
        raw = read_rows(Path(path), reader, request)
        check_images(raw, allow_outside=allow_outside)
        _check_ids(raw)
        if raw.listed and listed_to is not None:
            write_rejected(Path(listed_to), [(listed, "") for listed in raw.listed])
        keep = drop_bad_rows(raw, Path(path), Path(rejected_to) if skip_bad and rejected_to else None, notify)
        whole = {
            "meme_id": raw.ids,
            "image": raw.images,
            "ocr_text": raw.texts,
            "split": raw.splits,
            "source": raw.sources,
            **{task.name: raw.labels[task.name] for task in raw.label_tasks},
        }
        table = pd.DataFrame(whole, dtype=object).iloc[keep]
        return cls(table, raw.label_tasks, raw.root)

    def write(self, path: str | Path) -> None:
        """Write the manifest as .parquet, .csv, .tsv or .jsonl, by the file's suffix.

        Parquet keeps label tasks and root; the text formats hold the rows alone, with image paths relative to
        the file's own folder where the images lie below it, absolute otherwise.

        Raises:
            ValueError: another suffix.
            OutputError: the file could not be written.
        """
        storage.write(Path(path), self.table, self.label_tasks, self.root)

    @property
    def meme_ids(self) -> NDArray[np.str_]:
        """The meme_ids [num_memes]."""
        return np.array(self._column("meme_id"), dtype=np.str_)

    @property
    def texts(self) -> list[str]:
        """The ocr_texts, "" where a meme has none."""
        return self._column("ocr_text")

    @property
    def splits(self) -> NDArray[np.str_]:
        """The split name of each meme [num_memes]."""
        return np.array(self._column("split"), dtype=np.str_)

    @property
    def split_names(self) -> tuple[str, ...]:
        """Split names that occur: train, validation and test first, then the others as they come."""
        present = list(dict.fromkeys(self._column("split")))
        return tuple(sorted(present, key=lambda name: _rank(name, present)))

    @property
    def has_images(self) -> bool:
        """Whether the memes have images."""
        return bool(self.table["image"].notna().any())

    @property
    def has_texts(self) -> bool:
        """Whether any meme has a text that is not blank."""
        return any(text.strip() for text in self._column("ocr_text"))

    @property
    def fingerprint(self) -> str:
        """Digest of the rows, label tasks and image bytes.

        The same memes give the same fingerprint wherever they lie and in whatever format the table was. So
        image paths stay out, and data-set names (often a folder's name) count only as to which memes share one.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        sources = pd.factorize(self.table["source"])[0].tolist()
        names = [task.name for task in self.label_tasks]
        local_ids = [
            meme_id.removeprefix(f"{source}/")
            for meme_id, source in zip(self._column("meme_id"), self._column("source"), strict=True)
        ]
        rows = hashlib.sha256()
        columns = [self._column(name) for name in ("ocr_text", "split", *names)]
        for row in zip(local_ids, sources, self.image_digests(), *columns, strict=True):
            rows.update(digest(*row).encode())
        return digest([task.to_dict() for task in self.label_tasks], rows.hexdigest())

    def label_task(self, name: str) -> LabelTask:
        """The label task of that name.

        Raises:
            DataError: there is none; names those there are.
        """
        for task in self.label_tasks:
            if task.name == name:
                return task
        there = ", ".join(task.name for task in self.label_tasks) or "none"
        raise DataError(f"There is no label task '{name}' here.", fix=f"Label tasks of this data: {there}.")

    def labels(self, label_task: str) -> NDArray[np.int64]:
        """Class index per meme [num_memes], `labels.MISSING` (-1) where it has no label.

        Raises:
            DataError: no such label task.
        """
        index = {name: position for position, name in enumerate(self.label_task(label_task).classes)}
        return np.array([index.get(name, MISSING) for name in self._column(label_task)], dtype=np.int64)

    def image_path(self, row: int) -> Path | None:
        """Path of a meme's image, None where it has none."""
        image: str | None = self._column("image")[row]
        return None if image is None else self.root / image

    def image_digests(self) -> list[str]:
        """SHA-256 of each image's bytes, "" where a meme has none; computed once.

        Raises:
            ImageError: files that can't be read, all at once.
        """
        return list(self._image_digests)

    @cached_property
    def _image_digests(self) -> list[str]:
        paths = [None if image is None else self.root / image for image in self._column("image")]
        ids = self._column("meme_id")
        distinct = list({path for path in paths if path is not None})
        with ThreadPoolExecutor(_HASHING_THREADS) as pool:
            found = dict(zip(distinct, pool.map(_digest_or_error, distinct), strict=True))
        problems = [
            Problem(str(path), f"can't be read: {error.strerror or error}", ids[row])
            for row, path in enumerate(paths)
            if path is not None and isinstance(error := found[path], OSError)
        ]
        if problems:
            raise ImageError("Some images can't be read.", problems=problems)
        return ["" if path is None else str(found[path]) for path in paths]

    def take(self, rows: NDArray[Any] | Sequence[int]) -> Manifest:
        """The memes of these rows, in this order.

        Args:
            rows: row numbers, or a mask [num_memes].

        Raises:
            ValueError: a mask of another length.
            IndexError: a row that is not there.
        """
        chosen = np.asarray(rows)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise ValueError(f"a mask of shape {chosen.shape} can't choose among {len(self)} memes")
            chosen = np.flatnonzero(chosen)
        chosen = chosen.astype(np.int64)
        return self._same_images(Manifest(self.table.iloc[chosen], self.label_tasks, self.root), chosen)

    def with_splits(self, splits: Sequence[str] | NDArray[np.str_]) -> Manifest:
        """The same memes under other split names (their meme_ids stay).

        Raises:
            ValueError: not one name per meme.
        """
        names = [str(name) for name in splits]
        if len(names) != len(self):
            raise ValueError(f"{len(names)} split names for {len(self)} memes")
        return self._same_images(Manifest(self.table.assign(split=names), self.label_tasks, self.root))

    def with_label_tasks(self, names: Iterable[str]) -> Manifest:
        """The same memes with these label tasks only.

        Raises:
            DataError: a name that is not there; names those that are.
        """
        tasks = tuple(self.label_task(name) for name in names)
        return self._same_images(Manifest(self.table, tasks, self.root))

    def limit(self, num_memes: int, seed: int) -> Manifest:
        """A stratified part of at most `num_memes` memes, in their order here.

        Splits keep their proportions, and so do the classes of the first label task within each split; every
        split keeps at least one meme.

        Raises:
            ValueError: fewer memes than there are splits.
        """
        if num_memes >= len(self):
            return self
        classes = self.labels(self.label_tasks[0].name) if self.label_tasks else np.zeros(len(self), np.int64)
        return self.take(stratified_rows(self.splits, classes, num_memes, seed))

    def reject(self, problems: Sequence[Problem], rejected_to: str | Path, notify: Notify = log_line) -> Manifest:
        """The manifest without the memes of these problems, which join those listed in `rejected_to`.

        Args:
            problems: each with its meme_id, as `data.cache.unreadable_images` gives them.
            rejected_to: the CSV file of dropped rows; what it lists already stays.
            notify: takes one line that counts the dropped memes.

        Raises:
            DataError: nothing would be left.
        """
        if not problems:
            return self
        bad = {problem.meme_id for problem in problems}
        images = dict(zip(self._column("meme_id"), self._column("image"), strict=True))
        write_rejected(Path(rejected_to), [(p, images.get(p.meme_id) or "") for p in problems], append=True)
        notify(f"dropped {len(bad)} of {len(self)} memes; the reasons are in {rejected_to}")
        keep = ~self.table["meme_id"].isin(bad).to_numpy()
        if not keep.any():
            raise DataError("No meme is left after dropping the bad ones.", problems=problems)
        return self.take(keep)

    def _column(self, name: str) -> list[Any]:
        return self.table[name].tolist()

    def _same_images(self, other: Manifest, rows: NDArray[np.int64] | None = None) -> Manifest:
        """Hand image digests on, so that no file is hashed twice."""
        known = self.__dict__.get("_image_digests")
        if known is not None:
            other.__dict__["_image_digests"] = known if rows is None else [known[row] for row in rows]
        return other


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of Python strings and None, whatever string type they came in."""
    columns = {
        name: [None if pd.isna(value) else _encodable(str(value)) for value in table[name].tolist()]
        for name in table.columns
    }
    return pd.DataFrame(columns, dtype=object, columns=list(table.columns))


def _encodable(text: str) -> str:
    """The text, with halves of cut emoji (lone surrogates, which no file can hold) made U+FFFD."""
    return text if text.isprintable() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _rank(name: str, present: list[str]) -> tuple[int, int]:
    if name in _FIRST_SPLITS:
        return 0, _FIRST_SPLITS.index(name)
    return 1, present.index(name)


def _check_ids(raw: RawMemes) -> None:
    first: dict[str, int] = {}
    for row, meme_id in enumerate(raw.ids):
        if meme_id in first:
            raw.report(row, f"the id '{meme_id}' was used already by {raw.where[first[meme_id]]}")
        first.setdefault(meme_id, row)


def _digest_or_error(path: Path) -> str | OSError:
    try:
        return file_digest(path)
    except OSError as error:
        return error
