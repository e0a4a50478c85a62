"""Texts drawn onto blank templates the way memes carry them: capitals, white with a black outline, top and bottom."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from memeblend.errors import DataError, MissingExtraError

_LARGEST, _SMALLEST = 1 / 8, 1 / 30  # of the image's height: size of the letters
_MARGIN = 0.03
_BOX_HEIGHT = 0.34  # of the image's height, that one box may take
_FEWEST_PIXELS = 5
_OUTLINE = 1 / 14  # of the size of the letters
_LINE = 1.1  # from line to line, in the same
_MEASURED = 64  # the size at which characters are measured, in pixels


def font_path(name: str) -> Path:
    """File of a font.

    Args:
        name: "dejavu", "anton", or a .ttf or .otf file.

    Raises:
        MissingExtraError: "anton" is not installed.
        DataError: no such font, or not a font.
    """
    if name == "dejavu":
        return Path(str(resources.files("matplotlib") / "mpl-data" / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"))
    if name == "anton":
        if find_spec("fontpkg_anton") is None:
            raise MissingExtraError(
                "The font 'anton' is not installed.", fix='Install it with: pip install "memeblend[render]"'
            )
        return Path(str(resources.files("fontpkg_anton") / "files" / "Anton-Regular.ttf"))
    path = Path(name).expanduser()
    if not path.is_file():
        raise DataError(f"There is no font '{name}'.", fix="Give dejavu, anton, or a .ttf or .otf file.")
    try:
        ImageFont.truetype(str(path), 12)
    except OSError as error:
        raise DataError(f"'{path}' is not a font that can be read: {error}.") from error
    return path


def top_and_bottom(text: str, random: np.random.Generator) -> list[str]:
    """Cut a text into what stands at the top and at the bottom; one of both may be "".

    Short texts mostly stay whole; longer ones are cut near the middle, at a blank.
    """
    words = text.split()
    if len(words) < 2 or random.random() < 1 / len(words):
        return ["", text] if random.random() < 0.5 else [text, ""]
    cut = int(np.clip(round(random.normal(len(words) / 2, len(words) / 8)), 1, len(words) - 1))
    return [" ".join(words[:cut]), " ".join(words[cut:])]


class CaptionDrawer:
    """Draws texts onto images in one font.

    Args:
        font: as `font_path` takes it.
    """

    def __init__(self, font: str) -> None:
        self._path = str(font_path(font))

    def shows(self, text: str) -> bool:
        """Whether anything of a text would be drawn: the font may lack every character of it."""
        return any(_has(self._path, letter) for letter in text.upper() if not letter.isspace())

    def draw(self, image: Image.Image, boxes: Sequence[str]) -> Image.Image:
        """A copy of an image with texts on it.

        Args:
            image: RGB.
            boxes: texts from top to bottom; the first is at the upper edge, the last at the lower edge (one alone at
                the upper), others are spread in between. "" draws nothing. Characters that the font lacks are left
                out; a text that does not fit at the smallest size is cut.
        """
        height = min(_BOX_HEIGHT, 1 / max(1, len(boxes))) * image.height
        drawn = image.copy()
        for place, text in enumerate(boxes):
            shown = self._drawable(text)
            if shown:
                self._draw_box(drawn, shown, place / max(1, len(boxes) - 1), height)
        return drawn

    def _draw_box(self, image: Image.Image, text: str, place: float, most: float) -> None:
        """Draw one text; `place` is 0 at the upper edge and 1 at the lower one, `most` its greatest height."""
        width, height = image.size
        margin = _MARGIN * min(image.size)
        size, lines = self._fitted(text, width - 2 * margin, most, height)
        step = size * _LINE
        top = margin + place * (height - 2 * margin - step * len(lines))
        outline = max(1, round(size * _OUTLINE))
        letters = Image.new("L", (width, round(step * len(lines) + step / 2) + 2 * outline))
        brush = ImageDraw.Draw(letters)
        for number, line in enumerate(lines):
            brush.text((width / 2, outline + number * step), line, 255, _font(self._path, size), anchor="ma")
        corner = (0, round(top) - outline)
        # Many times faster than FreeType's own outline, and at these sizes no different.
        image.paste("black", corner, letters.filter(ImageFilter.MaxFilter(2 * outline + 1)))
        image.paste("white", corner, letters)

    def _fitted(self, text: str, width: float, most: float, height: int) -> tuple[int, list[str]]:
        """The largest size at which a text fits, and its lines."""
        size = max(_FEWEST_PIXELS, round(height * _LARGEST))
        least = max(_FEWEST_PIXELS, round(height * _SMALLEST))
        while True:
            num_fitting = max(1, int(most / (size * _LINE)))
            lines = self._wrapped(text, width / size, num_fitting + 1)
            if len(lines) <= num_fitting or size <= least:
                return size, lines[:num_fitting]
            size = max(least, int(size * 0.85))

    def _wrapped(self, text: str, width: float, most: int) -> list[str]:
        """The first lines, about `most`, no wider than `width` in units of the size; a longer word is cut."""
        lines: list[str] = []
        room = 0.0
        blank = _width(self._path, " ")
        for word in text.split():
            length = self._length(word)
            if lines and blank + length <= room:
                lines[-1] += f" {word}"
                room -= blank + length
                continue
            if len(lines) >= most:
                break
            lines.append("")
            room = width
            for letter in word:
                needed = _width(self._path, letter)
                if needed > room and lines[-1]:
                    if len(lines) >= most:
                        break
                    lines.append("")
                    room = width
                lines[-1] += letter
                room -= needed
        return lines

    def _length(self, word: str) -> float:
        return sum(_width(self._path, letter) for letter in word)

    def _drawable(self, text: str) -> str:
        kept = "".join(letter for letter in text.upper() if letter.isspace() or _has(self._path, letter))
        return " ".join(kept.split())


@lru_cache(maxsize=256)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=65536)
def _width(path: str, letter: str) -> float:
    """Width of a character in units of the letters' size."""
    return _font(path, _MEASURED).getlength(letter) / _MEASURED


@lru_cache(maxsize=65536)
def _has(path: str, letter: str) -> bool:
    """Whether the font has a picture of this character of its own, and one with something in it."""
    if not letter.isprintable():
        return False
    font = _font(path, _MEASURED)
    picture = bytes(font.getmask(letter))
    return any(picture) and picture != bytes(font.getmask("\U0010ffff"))
