"""Rows of the field's TSV files of detector regions.

Numbers are base64 of little-endian float32; boxes are x1, y1, x2, y2 in pixels. These layouts are known, with a header
or without:

| columns | where from |
|---|---|
| id, w, h, num_boxes, boxes, features | bottom-up attention (Anderson et al. 2018) |
| the same, then tags, then scores | bottom-up attention with what was detected; scores may be left out |
| id, h, w, objects_id, objects_conf, attrs_id, attrs_conf, num_boxes, boxes, features | LXMERT (Tan & Bansal 2019) |
| id, num_boxes, features | Oscar, VinVL: features end in the six box numbers, so 2054 wide |
| id, JSON with num_boxes and features | the same, for captioning |

With a header the columns may come in any order. Tags are a JSON list (of names, or of objects with "class" and
perhaps "conf") or names between `|`, `;`, `,` or blanks; scores are base64, a JSON list, or numbers between commas.
Whether features end in the box numbers is seen from the numbers themselves.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.regions.boxes import BOX_SIZE, box_faults, box_numbers

_SLACK_PIXELS = 1.0
_SLACK_SHARE = 0.01
_SEPARATORS = ("|", ";", ",", None)


@dataclass(frozen=True)
class Layout:
    """Which column holds what, -1 where none does.

    Attributes:
        name: the layout in words.
        num_columns: columns of every row.
        in_json: the second column is a JSON object of num_boxes and features.
        tag_ids: the tags are class numbers (base64 of int64) into a vocabulary.
    """

    name: str
    num_columns: int
    meme_id: int = 0
    num_boxes: int = -1
    features: int = -1
    boxes: int = -1
    width: int = -1
    height: int = -1
    tags: int = -1
    scores: int = -1
    in_json: bool = False
    tag_ids: bool = False


_BOTTOM_UP: dict[str, Any] = {"width": 1, "height": 2, "num_boxes": 3, "boxes": 4, "features": 5}
_PLAIN = {
    layout.num_columns: layout
    for layout in (
        Layout("Oscar, id and JSON", 2, num_boxes=1, features=2, in_json=True),
        Layout("Oscar, id, num_boxes, features", 3, num_boxes=1, features=2),
        Layout("bottom-up attention", 6, **_BOTTOM_UP),
        Layout("bottom-up attention with tags", 7, **_BOTTOM_UP, tags=6),
        Layout("bottom-up attention with tags and scores", 8, **_BOTTOM_UP, tags=6, scores=7),
        Layout("LXMERT", 10, height=1, width=2, tags=3, scores=4, num_boxes=7, boxes=8, features=9, tag_ids=True),
    )
}
_NAMES = {
    "meme_id": ("id", "meme_id", "image_id", "img_id", "img_key", "image"),
    "num_boxes": ("num_boxes", "num_regions"),
    "features": ("features", "feature"),
    "boxes": ("boxes", "bboxes", "bbox"),
    "width": ("w", "width", "image_w", "img_w", "image_width"),
    "height": ("h", "height", "image_h", "img_h", "image_height"),
    "tags": ("tags", "object_tags", "objects", "labels", "classes"),
    "scores": ("scores", "score", "conf", "confs", "objects_conf"),
}
_TAG_IDS = "objects_id"


@dataclass(frozen=True, eq=False)
class Row:
    """A row as it stands in the file.

    Attributes:
        meme_id: its id.
        boxes: six numbers a region, float32 [n, 6].
        features: as stored, float32 [n, D], with the box numbers where the file appends them.
        tags: names [n], or class numbers as text where the layout has those.
        scores: float32 [n].
        ends_in_box: whether the last six numbers of every feature are its box; None where there is no region.
    """

    meme_id: str
    boxes: NDArray[np.float32]
    features: NDArray[np.float32]
    tags: list[str]
    scores: NDArray[np.float32]
    ends_in_box: bool | None


def find_layout(first: Sequence[bytes]) -> tuple[Layout, bool]:
    """The layout of a file, and whether its first row is a header.

    Raises:
        ValueError: no layout that is known; says what was found and what is expected.
    """
    names = [field.decode("utf-8", "replace").strip().lower().lstrip("\ufeff#") for field in first]
    if any(name in _NAMES["features"] for name in names):
        return _named_layout(names), True
    if len(first) not in _PLAIN:
        known = "; ".join(f"{count} ({layout.name})" for count, layout in _PLAIN.items())
        raise ValueError(f"its first row has {len(first)} column(s), expected a header or one of: {known}")
    return _PLAIN[len(first)], False


def _named_layout(names: list[str]) -> Layout:
    found: dict[str, int] = {}
    for part, known in _NAMES.items():
        places = [place for place, name in enumerate(names) if name in known]
        if len(places) > 1:
            raise ValueError(f"its header names {part} more than once: {', '.join(names[place] for place in places)}")
        if places:
            found[part] = places[0]
    needed = ["meme_id", "num_boxes", *(["width", "height"] if "boxes" in found else [])]
    absent = [part for part in needed if part not in found]
    if absent:
        raise ValueError(f"its header ({', '.join(names)}) names no {', no '.join(absent)}")
    layout = Layout(f"columns {', '.join(names)}", len(names))
    if "tags" not in found and _TAG_IDS in names:
        layout = replace(layout, tags=names.index(_TAG_IDS), tag_ids=True)
    columns: dict[str, Any] = dict(found)
    return replace(layout, **columns)


def split_row(line: bytes) -> list[bytes]:
    """The fields of a line; a field that a CSV writer put in quotes is taken out of them."""
    fields = line.rstrip(b"\r").split(b"\t")
    return [
        field[1:-1].replace(b'""', b'"') if len(field) > 1 and field[:1] == field[-1:] == b'"' else field
        for field in fields
    ]


def parse_row(fields: Sequence[bytes], layout: Layout) -> tuple[Row | None, str, list[str]]:
    """A row from its fields.

    Returns:
        The row, or None if it can't be used; its id as far as it is known; everything that is wrong with it.
    """
    if len(fields) != layout.num_columns:
        meme_id = fields[0].decode("utf-8", "replace")
        return None, meme_id, [f"has {len(fields)} column(s), expected {layout.num_columns}; is the row cut short?"]
    parser = _RowParser(fields, layout)
    row = parser.row()
    return (None if parser.faults else row), parser.meme_id, parser.faults


class _RowParser:
    """Reads one row and notes everything that is wrong with it."""

    def __init__(self, fields: Sequence[bytes], layout: Layout) -> None:
        self.faults: list[str] = []
        self.layout = layout
        try:
            self.meme_id = fields[layout.meme_id].decode("utf-8")
        except UnicodeDecodeError:
            self.meme_id = fields[layout.meme_id].decode("utf-8", "replace")
            self.faults.append("its id is not UTF-8")
        if not self.meme_id:
            self.faults.append("its id is empty")
        self.fields = self._from_json(fields) if layout.in_json else fields

    def _from_json(self, fields: Sequence[bytes]) -> Sequence[bytes]:
        try:
            data = json.loads(fields[1])
            return [fields[0], str(int(data["num_boxes"])).encode(), str(data["features"]).encode()]
        except (ValueError, KeyError, TypeError):
            self.faults.append("its second column is no JSON object with num_boxes and features")
            return [fields[0], b"0", b""]

    def row(self) -> Row | None:
        num_boxes = self._whole("num_boxes", self.layout.num_boxes, 0)
        if num_boxes is None:
            return None
        values = self._numbers("features", self.fields[self.layout.features])
        if values is None:
            return None
        if (num_boxes == 0 and values.size) or (num_boxes and (values.size == 0 or values.size % num_boxes)):
            self.faults.append(f"features hold {values.size} numbers, which don't divide among {num_boxes} boxes")
            return None
        features = values.reshape(num_boxes, -1) if num_boxes else np.zeros((0, 0), np.float32)
        if not np.isfinite(features).all():
            self.faults.append("features hold NaN or infinity")
        corners, slack = self._corners(num_boxes, features)
        tags, scores = self._tags(num_boxes), self._scores(num_boxes)
        if corners is None or tags is None or scores is None:
            return None
        self._report_boxes(corners, slack)
        boxes = box_numbers(np.clip(corners, 0, 1))
        ends = _ends_in_box(features, boxes, slack) if num_boxes else None
        if ends is False and self.layout.boxes < 0:
            self.faults.append("features don't end in x1, y1, x2, y2, w, h, and there is no column of boxes")
        if not np.isfinite(scores).all():
            self.faults.append("scores hold NaN or infinity")
        names, scores_of_tags = tags
        return Row(self.meme_id, boxes, features, names, scores if scores_of_tags is None else scores_of_tags, ends)

    def _whole(self, name: str, column: int, least: int) -> int | None:
        text = self.fields[column].decode("utf-8", "replace").strip()
        try:
            number = float(text)
            if number != int(number) or number < least:
                raise ValueError
        except (ValueError, OverflowError):
            self.faults.append(f"{name} is {text[:40]!r}, expected a whole number of at least {least}")
            return None
        return int(number)

    def _bytes(self, name: str, field: bytes) -> bytes | None:
        text = field.strip()
        if text[:2] in (b"b'", b'b"'):  # what Python 3 writes of bytes that were not decoded
            text = text[2:-1]
        try:
            return binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error:
            self.faults.append(f"{name} are broken base64; is the row cut short?")
            return None

    def _numbers(self, name: str, field: bytes, dtype: str = "<f4") -> NDArray[Any] | None:
        data = self._bytes(name, field)
        if data is None:
            return None
        if len(data) % np.dtype(dtype).itemsize:
            self.faults.append(f"{name} have {len(data)} bytes, no whole number of {np.dtype(dtype).name}")
            return None
        return np.frombuffer(data, dtype)

    def _corners(
        self, num_boxes: int, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64] | None, NDArray[np.float64]]:
        """x1, y1, x2, y2 as shares of the image [n, 4], and how far off they may be [4]."""
        slack = np.full(4, _SLACK_SHARE)
        if self.layout.boxes < 0:
            if num_boxes and features.shape[1] <= BOX_SIZE:
                self.faults.append(f"features of {features.shape[1]} numbers leave no room for the six of a box")
                return None, slack
            return features[:, -BOX_SIZE:-2].astype(np.float64).reshape(num_boxes, 4), slack
        width = self._whole("w", self.layout.width, 1)
        height = self._whole("h", self.layout.height, 1)
        values = self._numbers("boxes", self.fields[self.layout.boxes])
        if width is None or height is None or values is None:
            return None, slack
        if values.size != 4 * num_boxes:
            self.faults.append(f"boxes hold {values.size} numbers, expected 4 for each of {num_boxes} boxes")
            return None, slack
        scale = np.array([width, height, width, height], dtype=np.float64)
        return values.reshape(num_boxes, 4) / scale, _SLACK_PIXELS / scale + 1e-6

    def _report_boxes(self, corners: NDArray[np.float64], slack: NDArray[np.float64]) -> None:
        for bad, what in box_faults(corners, slack):
            if bad.any():
                which = ", ".join(map(str, np.flatnonzero(bad)[:5]))
                self.faults.append(f"{what} (box {which}{', ...' if bad.sum() > 5 else ''})")

    def _tags(self, num_boxes: int) -> tuple[list[str], NDArray[np.float32] | None] | None:
        """Tags, and the scores that came with them where there is no column of scores."""
        if self.layout.tags < 0:
            return [""] * num_boxes, None
        field = self.fields[self.layout.tags]
        scores: NDArray[np.float32] | None = None
        if self.layout.tag_ids:
            ids = self._numbers("tags", field, "<i8")
            if ids is None:
                return None
            names = [str(number) for number in ids.tolist()]
        else:
            try:
                names, scores = parse_tags(field.decode("utf-8"), num_boxes)
            except ValueError as error:
                self.faults.append(f"tags can't be read: {error}")
                return None
        if len(names) != num_boxes:
            self.faults.append(f"has {len(names)} tag(s) for {num_boxes} boxes")
            return None
        return names, scores if self.layout.scores < 0 else None

    def _scores(self, num_boxes: int) -> NDArray[np.float32] | None:
        if self.layout.scores < 0:
            return np.ones(num_boxes, np.float32)
        field = self.fields[self.layout.scores].strip()
        try:
            if field[:1] == b"[":
                values = np.array(json.loads(field), dtype=np.float32)
            elif b"," in field or b"." in field:
                values = np.array([float(part) for part in field.split(b",")], dtype=np.float32)
            else:
                decoded = self._numbers("scores", field)
                if decoded is None:
                    return None
                values = decoded
        except (ValueError, TypeError):
            self.faults.append("scores can't be read")
            return None
        if values.shape != (num_boxes,):
            self.faults.append(f"has {values.size} score(s) for {num_boxes} boxes")
            return None
        return values


def parse_tags(text: str, num_boxes: int) -> tuple[list[str], NDArray[np.float32] | None]:
    """Names, and scores where the text gives them for all; as many as the text holds.

    Raises:
        ValueError: JSON that is broken or holds something else.
    """
    text = text.strip()
    if text[:1] not in ("[", "{"):
        parts = [] if not text else [text]
        for separator in _SEPARATORS:
            pieces = [piece.strip() for piece in text.split(separator)]
            if text and len(pieces) == num_boxes:
                return pieces, None
        return parts, None
    data = json.loads(text)
    entries = data.get("objects") if isinstance(data, dict) else data
    if not isinstance(entries, list):
        raise ValueError("no list of objects")
    if all(isinstance(entry, str) for entry in entries):
        return list(entries), None
    if not all(isinstance(entry, dict) and isinstance(entry.get("class"), str) for entry in entries):
        raise ValueError('expected names, or objects with "class"')
    names = [entry["class"] for entry in entries]
    scores = [entry.get("conf") for entry in entries]
    if not all(isinstance(score, int | float) and np.isfinite(score) for score in scores):
        return names, None
    return names, np.array(scores, dtype=np.float32)


def _ends_in_box(features: NDArray[np.float32], boxes: NDArray[np.float32], slack: NDArray[np.float64]) -> bool:
    if features.shape[1] <= BOX_SIZE:
        return False
    allowed = 2 * np.maximum(slack[[0, 1, 2, 3, 0, 1]], _SLACK_SHARE)
    return bool((np.abs(features[:, -BOX_SIZE:] - boxes) <= allowed).all())
