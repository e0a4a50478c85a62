"""Tables of any size, some rows at a time: each format can be entered at a place that was reached before.

The rows of a table are never in memory together, so what is said of them as `data.tables` says it of whole tables is
said of a part: a row with too few cells, or a line that is no JSON, is a problem of that row.
"""

from __future__ import annotations

import codecs
import csv
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from memeblend.data.tables import (
    MAX_CELL,
    TextTable,
    check_header,
    ends_in_quotes,
    find_delimiter,
    is_plain,
    scalar_text,
    wrong_width,
)
from memeblend.errors import DataError, Problem

_MAX_LINE = 4 * MAX_CELL
_BATCH_ROWS = 1024


class Place(NamedTuple):
    """Where rows begin in a file.

    Attributes:
        offset: bytes before them; in parquet rows.
        number: number of the last row or line before them, as messages count.
    """

    offset: int
    number: int


class TableFile(ABC):
    """A table on disk.

    Args:
        path: the file.

    Attributes:
        path: the file.
        schema: of a parquet file.
    """

    schema: pa.Schema | None = None

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    @abstractmethod
    def begin(self) -> Place:
        """Where the first row is."""

    @abstractmethod
    def read(self, place: Place, size: int) -> tuple[TextTable, Place]:
        """The next rows.

        Args:
            place: `begin`, or what was returned before.
            size: most rows; rows that can't be parsed count.

        Returns:
            The rows, none of them at the end of the file, and where the next ones are.

        Raises:
            DataError: the file is not of its format, or not UTF-8.
        """


def open_table(path: Path) -> TableFile:
    """A table by its suffix.

    Raises:
        DataError: it is missing, empty, or of no format that is read.
    """
    try:
        is_empty = path.stat().st_size == 0
    except OSError as error:
        raise DataError(f"'{path}' can't be read: {error.strerror or error}.") from error
    if is_empty:
        raise DataError(f"'{path}' is empty.", fix="Give it one row per meme.")
    match path.suffix.lower():
        case ".csv":
            return _Delimited(path, ",")
        case ".tsv":
            return _Delimited(path, "\t")
        case ".jsonl":
            return _JsonLines(path)
        case ".parquet":
            return _Parquet(path)
    raise DataError(f"'{path}' is no table that can be read.", fix="Tables are .csv, .tsv, .jsonl, .parquet files.")


class _Lines:
    """Lines of UTF-8 text from some place on, and how many bytes they had.

    Attributes:
        offset: bytes before the next line.
        size: bytes of the file.
        number: lines read.
        record: the text of the lines since it was last cleared.
    """

    def __init__(self, path: Path, stream: BinaryIO, offset: int) -> None:
        self.path, self.stream, self.offset, self.number, self.record = path, stream, offset, 0, ""
        self.size = stream.seek(0, os.SEEK_END)
        stream.seek(offset)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        data = self.stream.readline(_MAX_LINE + 1)
        if not data:
            raise StopIteration
        where = f"'{self.path}' at byte {self.offset:,}"
        if len(data) > _MAX_LINE:
            raise DataError(f"{where} has a line of more than {_MAX_LINE:,} bytes.", fix="Is it a table of memes?")
        if b"\0" in data:
            raise DataError(f"{where} holds NUL bytes, so it is no UTF-8 text table.", fix="Save it as UTF-8.")
        try:
            text = (data.removeprefix(codecs.BOM_UTF8) if self.offset == 0 else data).decode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{where} is not UTF-8 (byte 0x{data[error.start]:02x}).", fix="Save it as UTF-8."
            ) from error
        self.offset += len(data)
        self.number += 1
        self.record += text
        return text


class _Delimited(TableFile):
    def __init__(self, path: Path, expected: str) -> None:
        super().__init__(path)
        with path.open("rb") as stream:
            lines = _Lines(path, stream, 0)
            first = next((line for line in lines if line.strip()), "")
            if not first:
                raise DataError(f"'{path}' is empty.", fix="Give it a header and one row per meme.")
            num_blank = lines.number - 1
            self.delimiter = find_delimiter(first, expected)
            # The header is read like any record: one of its names may stand in quotes and hold a line break.
            begins = lines.offset - len(first.encode()) if num_blank else 0
            record, self._offset = next(_records(_Lines(path, stream, begins), self.delimiter))
        self._number = num_blank + 1
        self.header = [name.strip() for name in record]
        check_header(path, self.header)

    @property
    def begin(self) -> Place:
        return Place(self._offset, self._number)

    def read(self, place: Place, size: int) -> tuple[TextTable, Place]:
        table = TextTable(self.path, {}, [])
        cells: list[list[str]] = []
        offset, number = place
        with self.path.open("rb") as stream:
            for record, after in _records(_Lines(self.path, stream, place.offset), self.delimiter):
                offset, number = after, number + 1
                if len(record) == len(self.header):
                    cells.append(record)
                    table.numbers.append(number)
                elif record:
                    what = wrong_width(record, self.header, self.delimiter)
                    table.problems.append(Problem(f"{self.path.name} row {number}", what))
                if len(cells) + len(table.problems) == size:
                    break
        table.columns = {name: [row[i] or None for row in cells] for i, name in enumerate(self.header)}
        return table, Place(offset, number)


def _records(lines: _Lines, delimiter: str) -> Iterator[tuple[list[str], int]]:
    """Records, and the bytes before the next one.

    Raises:
        DataError: a quote that is never closed, or a cell that is too large.
    """
    limit = csv.field_size_limit(MAX_CELL)
    begins = lines.offset
    try:
        reader = csv.reader(lines, delimiter=delimiter)
        while True:
            begins, lines.record = lines.offset, ""
            record = next(reader, None)
            if record is None:
                return
            if lines.offset == lines.size and ends_in_quotes(lines.record, delimiter):
                raise DataError(
                    f"'{lines.path}' at byte {begins:,} opens a quote that is never closed.",
                    fix='Close it, or double every quotation mark inside a quoted text ("").',
                )
            yield record, lines.offset
    except csv.Error as error:
        raise DataError(f"'{lines.path}' at byte {begins:,} can't be read: {error}.") from error
    finally:
        csv.field_size_limit(limit)


class _JsonLines(TableFile):
    @property
    def begin(self) -> Place:
        return Place(0, 0)

    def read(self, place: Place, size: int) -> tuple[TextTable, Place]:
        table = TextTable(self.path, {}, [], "line")
        rows: list[dict[str, Any]] = []
        offset, number = place
        with self.path.open("rb") as stream:
            lines = _Lines(self.path, stream, place.offset)
            for line in lines:
                lines.record = ""
                offset, number = lines.offset, number + 1
                if not line.strip():
                    continue
                row = _json_row(line)
                if isinstance(row, str):
                    table.problems.append(Problem(f"{self.path.name} line {number}", row))
                else:
                    rows.append(row)
                    table.numbers.append(number)
                if len(rows) + len(table.problems) == size:
                    break
        names = list(dict.fromkeys(name for row in rows for name in row))
        table.columns = {name: [_plain_text(row.get(name)) for row in rows] for name in names}
        table.skipped = tuple(name for name in names if any(isinstance(row.get(name), dict | list) for row in rows))
        return table, Place(offset, number)


def _json_row(line: str) -> dict[str, Any] | str:
    """The object of a line, or what is wrong with it."""
    try:
        value = json.loads(line, parse_constant=lambda name: None)
    except ValueError as error:
        return f"is not valid JSON: {error}"
    except RecursionError:
        return "is nested too deeply"
    return value if isinstance(value, dict) else "is not a JSON object ({...})"


def _plain_text(value: Any) -> str | None:
    return None if isinstance(value, dict | list) else scalar_text(value)


class _Parquet(TableFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with self._opened() as file:
            self.schema = file.schema_arrow
            metadata = file.metadata
            self._groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        check_header(path, self.schema.names)
        self._columns = [name for name in self.schema.names if is_plain(self.schema.field(name).type)]

    def _opened(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"'{self.path}' is not a parquet file that can be read: {error}") from error

    @property
    def begin(self) -> Place:
        return Place(0, 0)

    def read(self, place: Place, size: int) -> tuple[TextTable, Place]:
        groups, skipped = self._groups_from(place.offset)
        columns: dict[str, list[str | None]] = {name: [] for name in self._columns}
        num_rows = 0
        with self._opened() as file:
            try:
                for batch in file.iter_batches(_BATCH_ROWS, row_groups=groups, columns=self._columns):
                    part = batch.slice(skipped, size - num_rows)
                    skipped = max(0, skipped - batch.num_rows)
                    num_rows += part.num_rows
                    for name in self._columns:
                        columns[name] += [scalar_text(value) for value in part.column(name).to_pylist()]
                    if num_rows == size:
                        break
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"'{self.path}' can't be read from row {place.offset + 1:,} on: {error}") from error
        numbers = list(range(place.offset + 1, place.offset + num_rows + 1))
        end = place.offset + num_rows
        return TextTable(self.path, columns, numbers, schema=self.schema), Place(end, end)

    def _groups_from(self, row: int) -> tuple[Sequence[int], int]:
        """The row groups from a row's own on, and the rows before it in that one."""
        for group, num_rows in enumerate(self._groups):
            if row < num_rows:
                return range(group, len(self._groups)), row
            row -= num_rows
        return (), 0
