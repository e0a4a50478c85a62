"""Reading and checking a TSV of regions by the places of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memeblend.errors import DataError, Problem
from memeblend.files import digest
from memeblend.regions import checked
from memeblend.regions.boxes import BOX_SIZE, MemeRegions
from memeblend.regions.lines import MappedLines
from memeblend.regions.tsv import Layout, Row, find_layout, parse_row, parse_tags, split_row

_BESIDE = (("feature", "label"), ("features", "labels"), ("features", "predictions"))
_VOCABULARY = "objects_vocab.txt"


@dataclass(frozen=True)
class _Index:
    """What one pass over a file finds.

    Attributes:
        layout: its columns.
        meme_ids: ids in the file's order.
        places: where each row begins, in bytes, and how many it has.
        appended: whether features end in the six box numbers.
        feature_size: numbers of a feature without them.
    """

    layout: Layout
    meme_ids: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    appended: bool
    feature_size: int

    @classmethod
    def from_json(cls, data: dict[str, object]) -> _Index:
        """The inverse of `asdict` through JSON."""
        layout, ids, places = data["layout"], data["meme_ids"], data["places"]
        assert isinstance(layout, dict)
        assert isinstance(ids, list)
        assert isinstance(places, list)
        pairs = tuple((int(begin), int(length)) for begin, length in places)
        return cls(Layout(**layout), tuple(ids), pairs, bool(data["appended"]), int(str(data["feature_size"])))


class TsvRegions:
    """An open TSV of regions. A file that was not indexed yet is read and checked as a whole.

    Tags that Oscar keeps apart are taken from the file beside (`X.feature.tsv` and `X.label.tsv`, `features.tsv` and
    `labels.tsv` or `predictions.tsv`), names of LXMERT's class numbers from `objects_vocab.txt` beside.

    Args:
        path: the file.
        progress: told of bytes checked and of all.

    Raises:
        DataError: it can't be used; all its problems are listed with their rows.
    """

    def __init__(self, path: Path, progress: Callable[[int, int], None] | None = None) -> None:
        try:
            labels = _labels_beside(path)
            key = digest(checked.stamp(path), checked.stamp(labels) if labels else "")
            self._lines = MappedLines(path)
            self._labels = _Labels(labels) if labels else None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is empty"
            raise DataError(f"The region file '{path}' can't be read: {reason}.") from error
        known = checked.recall(key)
        if known is None:
            index = _Builder(path, self._lines).build(progress, self._labels)
            checked.keep(key, asdict(index))
        else:
            index = _Index.from_json(known)
        self.path = path
        self.meme_ids = index.meme_ids
        self.feature_size = index.feature_size
        self._index = index
        self._vocabulary = _vocabulary_beside(path) if index.layout.tag_ids else []

    @property
    def description(self) -> str:
        """What was recognised."""
        size = self.feature_size
        width = f"{size + BOX_SIZE}, the last six the box" if self._index.appended else f"{size}, boxes apart"
        if self._index.layout.tag_ids:
            tags = f"tags named by {_VOCABULARY}" if self._vocabulary else f"no tags, as there is no {_VOCABULARY}"
        elif self._index.layout.tags >= 0:
            tags = "with tags"
        else:
            tags = f"tags from {self._labels.path.name}" if self._labels else "no tags"
        return f"TSV ({self._index.layout.name}), features of {width}, {tags}"

    def read(self, position: int) -> MemeRegions:
        """Regions of the meme at a position in `meme_ids`.

        Raises:
            DataError: the row, or its labels beside, can't be read.
        """
        line = self._lines.line(self._index.places[position])
        row, meme_id, faults = parse_row(split_row(line), self._index.layout)
        if row is None:
            raise DataError(
                f"The region file '{self.path}' was changed while it was read.",
                problems=[Problem(f"meme '{meme_id}'", fault, meme_id) for fault in faults],
            )
        features = row.features[:, :-BOX_SIZE] if self._index.appended else row.features
        regions = MemeRegions(
            row.boxes, features.reshape(len(row.boxes), self.feature_size), self._names(row.tags), row.scores
        )
        return self._labels.give(regions, row.meme_id) if self._labels and self._index.layout.tags < 0 else regions

    def _names(self, tags: list[str]) -> list[str]:
        if not self._index.layout.tag_ids:
            return tags
        size = len(self._vocabulary)
        return [self._vocabulary[int(tag)] if 0 <= int(tag) < size else "" for tag in tags]


class _Builder:
    """One pass over a file."""

    def __init__(self, path: Path, lines: MappedLines) -> None:
        self.path = path
        self.lines = lines
        self.problems: list[Problem] = []
        self.ids: dict[str, int] = {}
        self.places: list[tuple[int, int]] = []
        self.widths: list[tuple[int, str, int, bool]] = []  # row, id, width, ends in its box

    def build(self, progress: Callable[[int, int], None] | None, labels: _Labels | None) -> _Index:
        layout: Layout | None = None
        for number, place in enumerate(self.lines.places(), start=1):
            fields = split_row(self.lines.line(place))
            if fields == [b""]:
                continue
            if layout is None:
                layout, is_header = self._layout(fields)
                if is_header:
                    continue
            row, meme_id, faults = parse_row(fields, layout)
            self.problems += [Problem(self._where(number), fault, meme_id) for fault in faults]
            self._note(number, meme_id, row)
            self.places.append(place)
            if progress is not None:
                progress(sum(place), len(self.lines))
        if layout is None or not self.places:
            raise DataError(f"The region file '{self.path}' holds no meme.")
        size, appended = self._width()
        self.problems += labels.problems() if labels else []
        if self.problems:
            raise DataError(
                f"The region file '{self.path}' ({layout.name}) can't be used.",
                problems=self.problems,
                fix="Make these rows again, or take them out.",
            )
        return _Index(layout, tuple(self.ids), tuple(self.places), appended, size)

    def _where(self, number: int) -> str:
        return f"{self.path.name} row {number}"

    def _layout(self, fields: list[bytes]) -> tuple[Layout, bool]:
        try:
            return find_layout(fields)
        except ValueError as error:
            raise DataError(f"The region file '{self.path}' has a layout that is not known: {error}.") from error

    def _note(self, number: int, meme_id: str, row: Row | None) -> None:
        if meme_id in self.ids:
            what = f"the id '{meme_id}' was used already by row {self.ids[meme_id]}"
            self.problems.append(Problem(self._where(number), what, meme_id))
        self.ids.setdefault(meme_id, number)
        if row is not None and row.ends_in_box is not None:
            self.widths.append((number, meme_id, row.features.shape[1], row.ends_in_box))

    def _width(self) -> tuple[int, bool]:
        """Width of a feature without its box, and whether the file appends the box; both as most rows have it."""
        if not self.widths:
            if not self.problems:
                self.problems.append(Problem(self.path.name, "no row has a region, so the feature width is unknown"))
            return 0, False
        (width, appended), _ = Counter((size, ends) for _, _, size, ends in self.widths).most_common(1)[0]
        for number, meme_id, size, ends in self.widths:
            if size != width:
                what = f"has features of {size} numbers, other rows of {width}"
                self.problems.append(Problem(self._where(number), what, meme_id))
            elif ends != appended:
                what = "features don't end in the box" if appended else "features end in the box"
                self.problems.append(Problem(self._where(number), f"{what}, other than in most rows", meme_id))
        return width - BOX_SIZE if appended else width, appended


class _Labels:
    """Tags that are kept in a file beside: id, then a JSON list of objects."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = MappedLines(path)
        self._places = {self._lines.first_field(place): place for place in self._lines.places() if place[1]}

    def give(self, regions: MemeRegions, meme_id: str) -> MemeRegions:
        """The regions with their tags, and scores where there are as many.

        Oscar's labels may come from another detector than its features, with another number of objects. The text
        is what counts then: labels in their order, cut or filled up with "".
        """
        place = self._places.get(meme_id.encode())
        if place is None:
            return regions
        tags, scores = self._parsed(place, len(regions))
        filled = (tags + [""] * len(regions))[: len(regions)]
        if scores is None or len(scores) != len(regions):
            scores = regions.scores
        return MemeRegions(regions.boxes, regions.features, filled, scores)

    def problems(self) -> list[Problem]:
        """Every row that can't be read."""
        found = []
        for number, (field, place) in enumerate(self._places.items(), start=1):
            try:
                self._parsed(place, 1)
            except (ValueError, IndexError) as error:
                meme_id = field.decode("utf-8", "replace")
                what = f"labels of '{meme_id}' can't be read: {error}"
                found.append(Problem(f"{self.path.name} row {number}", what, meme_id))
        return found

    def _parsed(self, place: tuple[int, int], num_boxes: int) -> tuple[list[str], NDArray[np.float32] | None]:
        return parse_tags(split_row(self._lines.line(place))[1].decode("utf-8"), num_boxes)


def _labels_beside(path: Path) -> Path | None:
    stem, dot, last = path.stem.rpartition(".")
    for own, other in _BESIDE:
        beside = path.with_name(f"{stem}{dot}{other}{path.suffix}")
        if last == own and beside.is_file() and beside.stat().st_size:
            return beside
    return None


def _vocabulary_beside(path: Path) -> list[str]:
    """Names of LXMERT's classes: the first of each line's synonyms; none without the file."""
    try:
        text = path.with_name(_VOCABULARY).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [line.split(",")[0].strip() for line in text.splitlines()]
