"""What is to be scored, known before anything is: the rows cut into pieces, their ids checked, a fingerprint."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from memeblend.data.inference import ROLES, find_columns
from memeblend.data.loose import IMAGE_SUFFIXES
from memeblend.data.paths import image_folder
from memeblend.data.readers.table import NamedBy, TableFacts, build_rows, dataset_name, recognises, stored_rows
from memeblend.data.rows import Notify, RawMemes, ReadRequest, namespaced, split_name
from memeblend.data.storage import described
from memeblend.data.tables import TABLE_SUFFIXES, TextTable
from memeblend.errors import DataError, Problem
from memeblend.files import digest, file_digest
from memeblend.scale.ids import SeenIds, id_digest
from memeblend.scale.tables import Place, open_table

_STEM = "memes"
_SHOWN_REPEATED = 100


@dataclass(frozen=True)
class Piece:
    """Rows that are scored together.

    Attributes:
        number: of the piece, from 0.
        path: the table, or the folder of images.
        place: where the rows begin in the table.
        first: number of the first row that can be parsed, from 1.
        size: rows, those included that can't be parsed.
        names: the images of the piece, where the input is a folder of images.
    """

    number: int
    path: Path
    place: Place
    first: int
    size: int
    names: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; `from_dict` is the inverse."""
        return {**vars(self), "path": str(self.path), "place": list(self.place), "names": list(self.names)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Piece:
        """The inverse of `to_dict`."""
        path, place, names = Path(data["path"]), Place(*data["place"]), tuple(data["names"])
        return cls(data["number"], path, place, data["first"], data["size"], names)


@dataclass(frozen=True)
class Layout:
    """How rows become memes.

    Attributes:
        roles: manifest column -> column of the table.
        root: folder that image names start from; None for the table's own.
        facts: of the table; None where ids and names are those of a manifest or of a folder of images.
    """

    roles: Mapping[str, str]
    root: Path | None = None
    facts: TableFacts | None = None

    def memes(self, piece: Piece) -> RawMemes:
        """The memes of a piece, with the problems that reading them gave."""
        return self.of_table(_read(piece), piece.first)

    def of_table(self, table: TextTable, first: int) -> RawMemes:
        """The memes of some rows, the first of which has this number."""
        if self.facts is not None:
            raw = build_rows(table, self.roles, self.facts, first)
        else:
            chosen = {name: table.column(self.roles.get(name, name)) for name in ROLES}
            raw = stored_rows(replace(table, columns=chosen), self.root or table.path.parent)
            raw.report_unparsed(table.problems)
            for row in (row for row, meme_id in enumerate(raw.ids) if not meme_id):
                raw.report(row, "has no id", "meme_id")
        for column in {*self.roles.values()} & {*table.skipped}:
            for row, value in enumerate(table.columns[column]):
                if value is None:
                    raw.report(row, "holds a list or an object, expected a plain value", column)
        return raw


@dataclass(frozen=True)
class Plan:
    """What is to be scored.

    Attributes:
        pieces: all pieces, in order.
        layout: how their rows become memes.
        num_rows: rows of all pieces.
        fingerprint: digest of the tables' bytes and of how they are cut and read; images count by their names (those
            of a folder also by size and time).
    """

    pieces: tuple[Piece, ...]
    layout: Layout
    num_rows: int
    fingerprint: str


@dataclass
class _Survey:
    """What a first reading finds."""

    pieces: list[Piece] = field(default_factory=list)
    num_rows: int = 0
    has_splits: bool = False
    all_images: bool = True


def make_plan(source: Path, size: int, columns: Mapping[str, str], scratch: Path, notify: Notify) -> Plan:
    """Read everything once.

    Args:
        source: a table, a folder with one named `memes`, a folder of .parquet files, or a folder of images.
        size: rows of a piece.
        columns: manifest column -> column of the table, where given; the rest follows from the first piece.
        scratch: an existing folder for temporary files.
        notify: takes a line for everything inferred.

    Raises:
        DataError: there is nothing to score, a table can't be read, or ids come twice (the first hundred are listed).
    """
    if not source.exists():
        raise DataError(f"There is no file or folder '{source}'.", fix="Check the path.")
    files = _tables(source)
    if not files:
        return _plan_of_images(source, size)
    layout = _layout(files, size, columns, notify)
    survey, repeated = _surveyed(files, size, layout, scratch)
    if layout.facts is not None:
        named_by = layout.facts.named_by
        if named_by == "image" and (repeated or not survey.all_images):
            named_by, repeated = "number", set()
        if "meme_id" not in layout.roles:
            what = "the image's name is the id" if named_by == "image" else "rows are numbered from 1"
            notify(f"no column of ids: {what}")
        facts = TableFacts(layout.facts.dataset, layout.facts.image_folder, survey.has_splits, named_by)
        layout = Layout(layout.roles, facts=facts)
    if not survey.num_rows:
        raise DataError(f"'{source}' has no rows.", fix="Give it one row per meme.")
    if repeated:
        _refuse_repeated(source, survey.pieces, layout, repeated)
    read_as = [dict(layout.roles), str(layout.facts), size]
    fingerprint = digest([(file.name, file_digest(file)) for file in files], read_as)
    return Plan(tuple(survey.pieces), layout, survey.num_rows, fingerprint)


def _tables(source: Path) -> list[Path]:
    """The tables that are meant; none for a folder of images."""
    if source.is_file():
        return [source]
    if recognises(source):
        found = [path for suffix in TABLE_SUFFIXES if (path := source / f"{_STEM}{suffix}").is_file()]
        if len(found) > 1:
            raise DataError(f"'{source}' holds two tables named {_STEM}.", fix="Name the one that is meant.")
        return found
    return sorted(path for path in source.glob("*.parquet") if path.is_file())


def _plan_of_images(folder: Path, size: int) -> Plan:
    root = folder.resolve()
    with os.scandir(folder) as entries:
        found = sorted(
            (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
            for entry in entries
            if Path(entry.name).suffix.lower() in IMAGE_SUFFIXES
            and entry.is_file()
            and Path(entry.path).resolve().is_relative_to(root)
        )
    if not found:
        raise DataError(f"The folder '{folder}' holds neither images nor a table of memes.")
    pieces = tuple(
        Piece(number, folder, Place(0, 0), start + 1, len(part), tuple(name for name, _, _ in part))
        for number, start in enumerate(range(0, len(found), size))
        if (part := found[start : start + size])
    )
    return Plan(pieces, Layout({}, root), len(found), digest(found, size))


def _read(piece: Piece) -> TextTable:
    if not piece.names:
        return open_table(piece.path).read(piece.place, piece.size)[0]
    columns: dict[str, list[str | None]] = {role: list(piece.names) for role in ("meme_id", "image")}
    columns |= {role: ["input"] * piece.size for role in ("split", "source")}
    return TextTable(piece.path, columns, list(range(piece.first, piece.first + piece.size)), "image")


def _layout(files: list[Path], size: int, columns: Mapping[str, str], notify: Notify) -> Layout:
    """What the first piece says of all rows."""
    tables = [open_table(file) for file in files]
    schema = tables[0].schema
    stored = None if schema is None else described(schema, files[0])
    if stored is not None:
        named = {role: columns.get(role, role) for role in ROLES}
        absent = [column for column in (*ROLES, *named.values()) if schema is None or column not in schema.names]
        if absent:
            raise DataError(f"'{files[0]}' is a manifest without its column(s) {', '.join(dict.fromkeys(absent))}.")
        return Layout(named, root=stored[1])
    sample, _ = tables[0].read(tables[0].begin, size)
    for name in sample.skipped:
        del sample.columns[name]
    request = ReadRequest(columns=dict(columns), label_tasks=None, notify=notify)
    roles = find_columns(sample, request).roles
    if len(files) > 1 and "meme_id" not in roles:
        raise DataError(f"The tables of '{files[0].parent}' have no column of ids.", fix="Say which one is meme_id.")
    folder = image_folder(files[0].parent, sample.column(roles["image"])) if "image" in roles else ""
    if folder:
        notify(f"images were found in '{folder}/'")
    dataset = dataset_name(files[0]) if len(files) == 1 else files[0].parent.absolute().name
    named_by: NamedBy = "column" if "meme_id" in roles else "image" if "image" in roles else "number"
    return Layout(roles, facts=TableFacts(dataset, folder, "split" in roles, named_by))


def _surveyed(files: list[Path], size: int, layout: Layout, scratch: Path) -> tuple[_Survey, set[bytes]]:
    """The pieces of all files, and digests of the ids that come twice."""
    survey = _Survey()
    num_parsed = 0
    with SeenIds(scratch) as seen:
        for file in files:
            for table, place in _parts(file, size):
                if layout.root is None and "split" in layout.roles and not survey.has_splits:
                    splits = table.column(layout.roles["split"])
                    survey.has_splits = any(split_name(split or "") for split in splits)
                if "image" in layout.roles:
                    survey.all_images &= all(table.column(layout.roles["image"]))
                count = len(table) + len(table.problems)
                survey.pieces.append(Piece(len(survey.pieces), file, place, num_parsed + 1, count))
                seen.add(_ids(layout.of_table(table, num_parsed + 1)))
                num_parsed += len(table)
                survey.num_rows += count
        return survey, seen.repeated()


def _ids(raw: RawMemes) -> list[str]:
    """The ids of those that have one."""
    rows = zip(raw.ids, raw.sources, raw.splits, strict=True)
    return [meme_id for meme_id, source, split in rows if meme_id not in ("", namespaced(source, split, ""))]


def _parts(file: Path, size: int) -> Iterator[tuple[TextTable, Place]]:
    opened = open_table(file)
    place = opened.begin
    while True:
        table, after = opened.read(place, size)
        if not len(table) and not table.problems:
            return
        yield table, place
        place = after


def _refuse_repeated(source: Path, pieces: list[Piece], layout: Layout, repeated: set[bytes]) -> None:
    first: dict[str, str] = {}
    problems: list[Problem] = []
    for raw in (layout.memes(piece) for piece in pieces):
        for meme_id, where in zip(raw.ids, raw.where, strict=True):
            if id_digest(meme_id) not in repeated:
                continue
            if meme_id in first:
                problems.append(Problem(where, f"the id '{meme_id}' was used already by {first[meme_id]}", meme_id))
            first.setdefault(meme_id, where)
        if len(problems) >= _SHOWN_REPEATED:
            break
    raise DataError(
        f"{len(repeated):,} id(s) of '{source}' come more than once:",
        problems=problems,
        fix="Each meme needs an id of its own; without a column of ids, rows are numbered.",
    )
