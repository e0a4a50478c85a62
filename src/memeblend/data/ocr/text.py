"""Lines of text and their order."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from memeblend.data.ocr.settings import OcrSettings

_SAME_ROW = 0.5
# What stands around a site's name in a watermark: "made with", "via", "www.", "get it on", "© 2012".
_FILLER = re.compile(
    r"(?<!\w)(https?:?/*|www[.\s]?|m\.|made|created|with|using|on|in|at|by|via|from|more|get|it|download|posted|share"
    r"|meme|memes|funny|app|the|visit|follow|us|©|\(c\)|(19|20)\d\d)(?!\w)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class OcrLine:
    """A line as an engine found it.

    Attributes:
        text: its words.
        confidence: how sure the engine is of them, from 0 to 1; engines do not mean the same by it.
        box: left, top, right, bottom in pixels of the image.
    """

    text: str
    confidence: float
    box: tuple[float, float, float, float]

    @property
    def height(self) -> float:
        """Height of its box."""
        return self.box[3] - self.box[1]

    def to_list(self) -> list[Any]:
        """As plain JSON types; `from_list` is the inverse."""
        return [self.text, self.confidence, list(self.box)]

    @classmethod
    def from_list(cls, data: Sequence[Any]) -> OcrLine:
        """The inverse of `to_list`.

        Raises:
            ValueError: it is nothing that `to_list` made.
        """
        try:
            text, confidence, (left, top, right, bottom) = data
            return cls(str(text), float(confidence), (float(left), float(top), float(right), float(bottom)))
        except TypeError as error:
            raise ValueError(f"no line of text: {error}") from error


@dataclass(frozen=True)
class OcrText:
    """What was read in an image.

    Attributes:
        text: the lines in reading order, joined by blanks; "" where nothing was read.
        lines: the lines that were kept.
    """

    text: str
    lines: tuple[OcrLine, ...]

    @property
    def confidence(self) -> float:
        """Mean confidence of the lines, each weighted by its characters; 0 where nothing was read."""
        characters = sum(len(line.text) for line in self.lines)
        if not characters:
            return 0.0
        return sum(line.confidence * len(line.text) for line in self.lines) / characters

    @classmethod
    def compose(cls, found: Sequence[OcrLine], settings: OcrSettings) -> OcrText:
        """The text of what an engine found: cleaned, chosen by the settings, in reading order."""
        lines = [replace(line, text=_clean(line.text)) for line in found if line.confidence >= settings.min_confidence]
        kept = [
            line
            for line in lines
            if line.text and not (settings.drop_watermarks and is_watermark(line.text, settings.watermarks))
        ]
        ordered = in_reading_order(kept)
        return cls(" ".join(line.text for line in ordered), tuple(ordered))


def in_reading_order(lines: Sequence[OcrLine]) -> list[OcrLine]:
    """Lines from top to bottom, those of one row from left to right.

    A line joins the row whose first line it overlaps in height by at least half of the lower of the two. Columns of
    panels are read row by row, since nothing tells them from words with wide gaps.
    """
    rows: list[list[OcrLine]] = []
    for line in sorted(lines, key=lambda line: (line.box[1] + line.box[3], line.box[0])):
        row = next((row for row in reversed(rows) if _overlap(row[0], line) >= _SAME_ROW), None)
        if row is None:
            rows.append([line])
        else:
            row.append(line)
    return [line for row in rows for line in sorted(row, key=lambda line: line.box[0])]


def _overlap(one: OcrLine, other: OcrLine) -> float:
    """Shared height of two lines as a share of the lower one's height."""
    shared = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    return shared / max(min(one.height, other.height), 1e-9)


def is_watermark(text: str, names: tuple[str, ...]) -> bool:
    """Whether a line holds nothing but site names and the words that usually stand beside them."""
    rest, num_names = _pattern(names).subn(" ", text)
    return num_names > 0 and not any(character.isalnum() for character in _FILLER.sub(" ", rest))


@lru_cache(maxsize=16)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the names as whole words, longest first; engines see blanks around dots and take them for commas."""
    loose = [r"\s?[.,·]?\s?".join(map(re.escape, name.split("."))) for name in sorted(names, key=len, reverse=True)]
    return re.compile(rf"(?<!\w)(?:{'|'.join(loose)})(?!\w)" if loose else r"(?!)", re.IGNORECASE)


def _clean(text: str) -> str:
    """Composed characters, no control characters, single blanks."""
    text = unicodedata.normalize("NFC", text)
    return " ".join("".join(" " if unicodedata.category(one) in ("Cc", "Cs") else one for one in text).split())
