"""Labels that people give on the page, kept in a folder that `fit` reads: `memes.csv` and `images/`.

Every label is on disk before it is answered. The table is read anew and replaced as a whole each time, so nothing is
ever half-written, and what somebody changed in it meanwhile stays.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from memeblend.data.images import ImageLimits, load_image
from memeblend.data.tables import read_table
from memeblend.errors import DataError, OutputError, Problem
from memeblend.files import replacing, write_text
from memeblend.labels import LabelTask

TABLE, IMAGES = "memes.csv", "images"
_OWN_COLUMNS = ("id", "image", "text")
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tiff"}
_DIGEST_MARK = "~"
_SHOWN_DIGITS = 8

Row = dict[str, str]
"""A row of the table: id, image, text, and a class for each label task, "" where none was given."""


class ReviewFolder:
    """A folder of reviewed memes.

    Args:
        folder: made when it is not there.
        label_tasks: what is labelled; one column each.

    Raises:
        OutputError: the folder can't be made or read.
        DataError: its table has other columns, or its rows are not such as are written here.
    """

    def __init__(self, folder: str | Path, label_tasks: Sequence[LabelTask]) -> None:
        self.folder = Path(folder)
        self.label_tasks = {task.name: task for task in label_tasks}
        self.columns = (*_OWN_COLUMNS, *self.label_tasks)
        self._lock = threading.Lock()
        try:
            (self.folder / IMAGES).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"Could not make '{self.folder}': {error.strerror or error}.") from error
        self._read()

    def rows(self) -> list[Row]:
        """All rows, the first labelled first.

        Raises:
            DataError: somebody made something else of the table.
            OutputError: the table can't be read.
        """
        with self._lock:
            return list(self._read().values())

    def save(
        self, meme_id: str, text: str, image: bytes | None, labels: Mapping[str, str], limits: ImageLimits
    ) -> Row | None:
        """Keep a meme's labels, in place of those that it had; no labels take it out again.

        Args:
            meme_id: what the meme is called.
            text: its ocr_text.
            image: the image file, None without one.
            labels: a class by label task.
            limits: what an image may be.

        Returns:
            The row that is kept; None where there are no labels.

        Raises:
            ImageError: the image can't be decoded.
            DataError: unknown label tasks or classes (all are listed), or an altered table.
            OutputError: it could not be written.
        """
        problems = self.problems_of(labels)
        if problems:
            raise DataError("The labels can't be kept.", problems=problems)
        text = text.replace("\0", "")  # no table can hold it
        content = hashlib.sha256(text.encode("utf-8", "replace") + b"\0" + (image or b"")).hexdigest()
        name = re.sub(r"[\s\x00-\x1f\x7f]+", " ", meme_id).strip() or "meme"
        key = f"{name}{_DIGEST_MARK}{content[:_SHOWN_DIGITS]}"
        suffix = "" if image is None else _suffix(image, limits)
        with self._lock:
            rows = self._read()
            if not labels:
                rows.pop(key, None)
                self._write(rows)
                return None
            row = {"id": key, "image": "", "text": text, **{task: labels.get(task, "") for task in self.label_tasks}}
            if image is not None:
                row["image"] = f"{IMAGES}/{content[:32]}{suffix}"
                with replacing(self.folder / row["image"]) as temporary:
                    temporary.write_bytes(image)
            rows[key] = row
            self._write(rows)
            return row

    def problems_of(self, labels: Mapping[str, str]) -> list[Problem]:
        """Label tasks that there are not, and classes that they do not have."""
        problems = []
        for name, given in labels.items():
            if name not in self.label_tasks:
                known = ", ".join(self.label_tasks)
                problems.append(Problem(f"labels.{name[:100]}", f"is no label task; they are {known}"))
            elif given not in self.label_tasks[name].classes:
                known = ", ".join(self.label_tasks[name].classes)
                problems.append(Problem(f"labels.{name}", f"is '{given[:100]}', expected one of {known}"))
        return problems

    def _read(self) -> dict[str, Row]:
        path = self.folder / TABLE
        if not path.exists():
            return {}
        table = read_table(path, notify=lambda _: None)
        if tuple(table.columns) != self.columns or table.problems:
            raise DataError(
                f"'{path}' is not a table of memes reviewed with this model: it has the columns "
                f"{', '.join(table.columns)[:300]}, expected {', '.join(self.columns)}.",
                problems=table.problems,
                fix="Name another folder for the reviewed memes, or a new one.",
            )
        cells = zip(*(table.columns[name] for name in self.columns), strict=True)
        rows = (dict(zip(self.columns, (cell or "" for cell in row), strict=True)) for row in cells)
        return {row["id"]: row for row in rows}

    def _write(self, rows: Mapping[str, Row]) -> None:
        if not rows:
            (self.folder / TABLE).unlink(missing_ok=True)  # a table without rows is none that can be read
            return
        stream = io.StringIO(newline="")
        # Everything is quoted: a lone carriage return in a text would else end a row.
        table = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n")
        table.writerow(self.columns)
        table.writerows([row[column] for column in self.columns] for row in rows.values())
        write_text(self.folder / TABLE, stream.getvalue())


def called(row: Row) -> str:
    """What the page calls the meme of a row."""
    return row["id"].rpartition(_DIGEST_MARK)[0]


def _suffix(image: bytes, limits: ImageLimits) -> str:
    """The suffix of an image file's format.

    Raises:
        ImageError: it can't be decoded.
    """
    load_image(image, limits)
    with Image.open(io.BytesIO(image), formats=tuple(_SUFFIXES)) as opened:
        return _SUFFIXES[opened.format or ""]
