"""Tables of memes as files: .csv, .tsv, .jsonl and .parquet, every cell a string or None.

Cells stay text so that ids keep their leading zeros. Nothing is repaired in silence: a row with too few or too
many cells, or a JSON line that can't be parsed, is a problem of that row.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memeblend.data.rows import Notify
from memeblend.errors import DataError, Problem

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
MAX_CELL = 16 * 2**20
"""Most bytes of a cell of delimited text."""


@dataclass
class TextTable:
    """A table of text cells.

    Attributes:
        path: the file.
        columns: column name -> cells [num_rows], None where a cell is empty or missing.
        numbers: the row's number in the file: as a spreadsheet counts (header is row 1), the line of a .jsonl
            file, counted from 1 in parquet.
        unit: "row" or "line".
        problems: rows that could not be parsed; they are not among the cells.
        skipped: columns that hold no plain values (lists, objects, binary data).
        schema: of a parquet file.
    """

    path: Path
    columns: dict[str, list[str | None]]
    numbers: list[int]
    unit: str = "row"
    problems: list[Problem] = field(default_factory=list)
    skipped: tuple[str, ...] = ()
    schema: pa.Schema | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def where(self) -> list[str]:
        """The place of each row, for messages."""
        return [f"{self.path.name} {self.unit} {number}" for number in self.numbers]

    def column(self, name: str) -> list[str | None]:
        """Cells of a column, all None if there is no such column."""
        return self.columns.get(name, [None] * len(self))


def read_table(path: Path, notify: Notify) -> TextTable:
    """Read a table of text cells, whatever its format.

    Raises:
        DataError: the file is missing, empty, not UTF-8, holds NUL bytes, or has no rows.
    """
    readers: dict[str, Callable[[Path, Notify], TextTable]] = {
        ".csv": _read_delimited,
        ".tsv": _read_delimited,
        ".jsonl": _read_jsonl,
        ".parquet": _read_parquet,
    }
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise DataError(f"'{path}' is no table that can be read.", fix=f"Tables are {', '.join(TABLE_SUFFIXES)} files.")
    table = readers[suffix](path, notify)
    if not table.numbers and not table.problems:
        raise DataError(f"'{path}' has a header but no rows.", fix="Give it one row per meme.")
    return table


def read_headless(path: Path, columns: Sequence[str]) -> TextTable:
    """Read tab-separated cells that have no header.

    Raises:
        DataError: the file is missing, empty, not UTF-8, or holds NUL bytes.
    """
    cells: list[list[str]] = []
    table = TextTable(path, {}, [], "line")
    for number, record in _records(path, _text(path), "\t"):
        if len(record) == len(columns):
            cells.append(record)
            table.numbers.append(number)
        else:
            found = f"has {len(record)} cells, expected {len(columns)} separated by tabs: {', '.join(columns)}"
            table.problems.append(Problem(f"{path.name} line {number}", found))
    table.columns = {name: [row[i] or None for row in cells] for i, name in enumerate(columns)}
    return table


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        DataError: the file is missing, empty, not UTF-8, holds NUL bytes, or is not valid JSON.
    """
    try:
        return json.loads(_text(path), parse_constant=lambda name: None)
    except ValueError as error:  # JSONDecodeError, or a number of thousands of digits
        line = f" line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError(
            f"'{path}'{line} is not valid JSON: {getattr(error, 'msg', error)}.",
            fix="It may have been cut short: get it again.",
        ) from error
    except RecursionError as error:
        raise DataError(f"'{path}' is nested too deeply.") from error


def read_json_lines(path: Path) -> tuple[list[dict[str, Any]], list[int], list[Problem]]:
    """Objects of a .jsonl file, the line number of each, and the lines that hold none.

    Raises:
        DataError: the file is missing, empty, not UTF-8 or holds NUL bytes.
    """
    objects: list[dict[str, Any]] = []
    numbers: list[int] = []
    problems: list[Problem] = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, parse_constant=lambda name: None)
        except ValueError as error:
            problems.append(Problem(f"{path.name} line {number}", f"is not valid JSON: {error}"))
            continue
        except RecursionError:
            problems.append(Problem(f"{path.name} line {number}", "is nested too deeply"))
            continue
        if not isinstance(value, dict):
            problems.append(Problem(f"{path.name} line {number}", "is not a JSON object ({...})"))
            continue
        objects.append(value)
        numbers.append(number)
    return objects, numbers, problems


def scalar_text(value: Any) -> str | None:
    """A JSON or parquet value as a text cell: whole floats as whole numbers, since pandas writes 1 as 1.0."""
    if value is None or value != value or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"There is no file '{path}'.", fix="Check the path.") from error
    except OSError as error:
        raise DataError(f"'{path}' can't be read: {error.strerror or error}.") from error
    if not data.removeprefix(codecs.BOM_UTF8).strip():
        raise DataError(f"'{path}' is empty.", fix="Give it a header and one row per meme.")
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise DataError(
            f"'{path}' line {line} holds NUL bytes, so it is not a UTF-8 text table.",
            fix="Save it as UTF-8 (a spreadsheet's 'Unicode text' is UTF-16).",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"'{path}' line {line} is not UTF-8 (byte 0x{data[error.start]:02x}).", fix="Save the file as UTF-8."
        ) from error


def _read_delimited(path: Path, notify: Notify) -> TextTable:
    text = _text(path)
    expected = "\t" if path.suffix.lower() == ".tsv" else ","
    delimiter = find_delimiter(text, expected)
    if delimiter != expected:
        notify(f"{path.name}: cells are separated by {_DELIMITERS[delimiter]}, not {_DELIMITERS[expected]}")
    records = list(_records(path, text, delimiter))
    header = [name.strip() for name in records[0][1]]
    check_header(path, header)
    cells: list[list[str]] = []
    numbers: list[int] = []
    problems: list[Problem] = []
    for number, record in records[1:]:
        if len(record) == len(header):
            cells.append(record)
            numbers.append(number)
        else:
            problems.append(Problem(f"{path.name} row {number}", wrong_width(record, header, delimiter)))
    columns = {name: [row[i] or None for row in cells] for i, name in enumerate(header)}
    return TextTable(path, columns, numbers, problems=problems)


def wrong_width(record: Sequence[str], header: Sequence[str], delimiter: str) -> str:
    """What is wrong with a record that has not as many cells as the header."""
    return (
        f"has {len(record)} cells, expected {len(header)} as in the header "
        f"(separated by {_DELIMITERS[delimiter]}; a text that holds them needs quotes)"
    )


def find_delimiter(text: str, expected: str) -> str:
    """The delimiter that cuts the header into most cells; the expected one if others do no better."""

    def width(delimiter: str) -> int:
        return len(next(csv.reader(io.StringIO(text.lstrip("\r\n"), newline=""), delimiter=delimiter), []))

    return max(_DELIMITERS, key=lambda delimiter: (width(delimiter), delimiter == expected))


def _records(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Records with their row numbers; blank rows count but are left out.

    Raises:
        DataError: a quote that is never closed, or a cell of more than 16 MiB.
    """
    limit = csv.field_size_limit(MAX_CELL)
    try:
        lines = io.StringIO(text, newline="").readlines()
        reader = csv.reader(lines, delimiter=delimiter)
        number, last, start = 0, 0, 0
        for number, record in enumerate(reader, start=1):
            if record:
                yield number, record
            last, start = start, reader.line_num
        if ends_in_quotes("".join(lines[last:]), delimiter):
            raise DataError(
                f"'{path}' row {number} (line {last + 1}) opens a quote that is never closed.",
                fix='Close it, or double every quotation mark inside a quoted text ("").',
            )
    except csv.Error as error:
        raise DataError(f"'{path}' row {number + 1} can't be read: {error}.") from error
    finally:
        csv.field_size_limit(limit)


def ends_in_quotes(record: str, delimiter: str) -> bool:
    """Whether a record, as it stands in the file, opens a quote that it does not close."""
    try:
        list(csv.reader(io.StringIO(record, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "unexpected end" in str(error)
    return False


def check_header(path: Path, header: Sequence[str]) -> None:
    """Refuse a header that names a column twice.

    Raises:
        DataError: it does.
    """
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    if twice:
        raise DataError(f"'{path}' names a column twice: {', '.join(twice)}.", fix="Rename one of them.")


def _read_jsonl(path: Path, notify: Notify) -> TextTable:
    objects, numbers, problems = read_json_lines(path)
    names = list(dict.fromkeys(name for row in objects for name in row))
    skipped = tuple(name for name in names if any(isinstance(row.get(name), dict | list) for row in objects))
    columns = {name: [scalar_text(row.get(name)) for row in objects] for name in names if name not in skipped}
    return TextTable(path, columns, numbers, "line", problems, skipped)


def _read_parquet(path: Path, notify: Notify) -> TextTable:
    if not path.is_file():
        raise DataError(f"There is no file '{path}'.", fix="Check the path.")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"'{path}' is not a parquet file that can be read: {error}") from error
    check_header(path, table.column_names)
    plain = [name for name in table.column_names if is_plain(table.schema.field(name).type)]
    columns = {name: [scalar_text(value) for value in table.column(name).to_pylist()] for name in plain}
    skipped = tuple(name for name in table.column_names if name not in plain)
    numbers = list(range(1, table.num_rows + 1))
    return TextTable(path, columns, numbers, skipped=skipped, schema=table.schema)


def is_plain(kind: pa.DataType) -> bool:
    """Whether a parquet column of this type holds values that are read as text cells."""
    if pa.types.is_dictionary(kind):
        return is_plain(kind.value_type)
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
