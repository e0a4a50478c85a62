"""The pictures of the embedded sample: a scene, a large face with a mood, a thing beside it, two lines of words.

Everything is drawn with Pillow, its built-in font included, in units of a 256-pixel square; shapes are drawn
at twice that size and halved, which smooths their edges.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from memeblend.data.sample_facts import MemeFacts
from memeblend.data.sample_shapes import INK, THINGS, WHITE, Colour, Pen, tint

SIZE = 256
"""Width and height of a sample image, in pixels."""

_OVERSAMPLING = 2
_FONT_SIZE = 16
_ROW_HEIGHT = 19
_BLANK = 5
_RIM = 2
_SKINS: tuple[Colour, ...] = (
    (255, 205, 70),
    (255, 170, 90),
    (245, 150, 160),
    (150, 205, 110),
    (140, 195, 240),
    (200, 165, 235),
    (235, 190, 150),
    (240, 230, 200),
)


def draw(facts: MemeFacts, lines: tuple[str, str], rng: random.Random) -> Image.Image:
    """One meme.

    Args:
        facts: what it shows.
        lines: the words at the upper and at the lower edge.
        rng: chooses whatever the facts leave open: colours, places, sizes.

    Returns:
        An RGB image of `SIZE` x `SIZE` pixels.
    """
    pixels = SIZE * _OVERSAMPLING
    # The weather follows nothing: where it leaned towards the face's mood, a small model read only the weather.
    sunny = rng.random() < 0.5
    picture = _sky(sunny, pixels, rng)
    pen = Pen(ImageDraw.Draw(picture), (0.0, 0.0), _OVERSAMPLING)
    _scene(pen, sunny, rng)
    _face(pen.at(rng.uniform(90, 102), rng.uniform(118, 126), rng.uniform(66, 72)), facts, rng)
    THINGS[facts.thing](pen.at(rng.uniform(202, 209), rng.uniform(156, 168), rng.uniform(43, 48)), rng)
    picture = picture.reduce(_OVERSAMPLING)
    _write(picture, lines[0], upper=True)
    _write(picture, lines[1], upper=False)
    return picture


def _sky(sunny: bool, pixels: int, rng: random.Random) -> Image.Image:
    tops, bottoms = (
        (((90, 170, 240), (120, 200, 250), (250, 190, 120)), ((225, 240, 250), (255, 240, 200), (255, 220, 200)))
        if sunny
        else (((80, 90, 110), (100, 110, 120), (70, 80, 120)), ((150, 160, 170), (140, 150, 175), (170, 170, 170)))
    )
    column = (1, 256)
    top, bottom = (Image.new("RGB", column, tint(rng.choice(colours), rng)) for colours in (tops, bottoms))
    gradient = Image.linear_gradient("L").crop((0, 0, *column))
    return Image.composite(bottom, top, gradient).resize((pixels, pixels), Image.Resampling.NEAREST)


def _scene(pen: Pen, sunny: bool, rng: random.Random) -> None:
    horizon = rng.uniform(140, 200)
    if sunny:
        _sun(pen, rng)
    for _ in range(rng.randint(0, 2) if sunny else rng.randint(2, 4)):
        _cloud(pen, (245, 248, 252) if sunny else tint((120, 125, 140), rng), rng)
    rng.choice((_hills, _city, _beach, _mountains))(pen, horizon, sunny, rng)
    if not sunny:
        for _ in range(rng.randint(30, 50)):
            x, y = rng.uniform(0, SIZE), rng.uniform(0, SIZE)
            pen.line([(x, y), (x - 4, y + 14)], 1.5, (190, 205, 225))


def _sun(pen: Pen, rng: random.Random) -> None:
    sun = pen.at(rng.choice((34, 222)) + rng.uniform(-10, 10), rng.uniform(48, 66), rng.uniform(17, 24))
    for ray in range(10):
        angle = math.tau * ray / 10
        x, y = math.cos(angle), math.sin(angle)
        sun.line([(1.25 * x, 1.25 * y), (1.75 * x, 1.75 * y)], 0.16, (255, 190, 40))
    sun.oval(0, 0, 1, 1, (255, 215, 60), edge=0)


def _cloud(pen: Pen, colour: Colour, rng: random.Random) -> None:
    cloud = pen.at(rng.uniform(10, 246), rng.uniform(35, 80), rng.uniform(14, 24))
    for x, y, radius in ((-1, 0.1, 0.7), (0, -0.2, 1.0), (1, 0.1, 0.75)):
        cloud.oval(x, y, radius * 1.2, radius * 0.8, colour, edge=0)


def _shade(colour: Colour, sunny: bool, rng: random.Random) -> Colour:
    red, green, blue = tint(colour, rng)
    return (red, green, blue) if sunny else (red * 3 // 5, green * 3 // 5, blue * 2 // 3)


def _hills(pen: Pen, horizon: float, sunny: bool, rng: random.Random) -> None:
    for step in range(3):
        colour = _shade((110 - 20 * step, 190 - 20 * step, 90 - 10 * step), sunny, rng)
        pen.oval(rng.uniform(0, SIZE), horizon + 22 * step + 90, rng.uniform(150, 240), 90, colour, edge=0)


def _city(pen: Pen, horizon: float, sunny: bool, rng: random.Random) -> None:
    pen.box(128, horizon + 128, 128, 128, _shade((150, 150, 160), sunny, rng), edge=0)
    left = 0.0
    while left < SIZE:
        half, height = rng.uniform(14, 26), rng.uniform(20, 90)
        pen.box(left + half, horizon - height / 2, half, height / 2, _shade((170, 130, 130), sunny, rng), edge=0)
        for row in range(int(height // 18)):
            window = (250, 235, 150) if rng.random() < 0.6 else (90, 100, 120)
            pen.box(left + half, horizon - 10 - 18 * row, half * 0.5, 4, window, edge=0)
        left += 2 * half


def _beach(pen: Pen, horizon: float, sunny: bool, rng: random.Random) -> None:
    pen.box(128, horizon + 128, 128, 128, _shade((70, 150, 210), sunny, rng), edge=0)
    pen.oval(rng.uniform(40, 216), horizon + 120, 220, 85, _shade((240, 215, 150), sunny, rng), edge=0)


def _mountains(pen: Pen, horizon: float, sunny: bool, rng: random.Random) -> None:
    for _ in range(3):
        x, height, half = rng.uniform(0, SIZE), rng.uniform(50, 100), rng.uniform(50, 90)
        colour = _shade((140, 130, 170), sunny, rng)
        pen.shape([(x - half, horizon), (x, horizon - height), (x + half, horizon)], colour, edge=0)
        snow = [(x - half / 4, horizon - height * 0.75), (x, horizon - height), (x + half / 4, horizon - height * 0.75)]
        pen.shape(snow, (240, 245, 250), edge=0)
    pen.box(128, horizon + 128, 128, 128, _shade((150, 170, 100), sunny, rng), edge=0)


def _face(pen: Pen, facts: MemeFacts, rng: random.Random) -> None:
    skin = tint(rng.choice(_SKINS), rng, 10)
    _ears(pen, skin, rng)
    pen.oval(0, 0, 1, 1, skin, edge=0.05)
    if rng.random() < 0.4:
        for x in (-0.62, 0.62):
            pen.oval(x, 0.18, 0.16, 0.1, (240, 130, 130), edge=0)
    _eyes(pen, facts, rng)
    if facts.face_good:
        _smile(pen, facts.face_strong)
    else:
        _frown(pen, facts.face_strong)


def _ears(pen: Pen, skin: Colour, rng: random.Random) -> None:
    kind = rng.choice(("none", "bear", "cat", "hair", "cap"))
    if kind == "bear":
        for x in (-0.72, 0.72):
            pen.oval(x, -0.72, 0.3, 0.3, skin, edge=0.05)
    elif kind == "cat":
        for x in (-1, 1):
            pen.shape([(x * 0.9, -0.4), (x * 0.85, -1.15), (x * 0.25, -0.95)], skin, edge=0.05)
    elif kind == "hair":
        colour = tint(rng.choice(((60, 40, 30), (130, 70, 30), (30, 30, 40))), rng)
        for x in (-0.6, -0.3, 0, 0.3, 0.6):
            pen.oval(x, -0.86 + abs(x) * 0.3, 0.32, 0.26, colour, edge=0)
    elif kind == "cap":
        colour = tint(rng.choice(((200, 60, 60), (60, 90, 190), (60, 150, 90))), rng)
        pen.bowl(0, -0.55, 0.85, 0.65, True, colour)
        pen.box(0.35, -0.62, 0.75, 0.08, colour)


def _eyes(pen: Pen, facts: MemeFacts, rng: random.Random) -> None:
    size, gaze = rng.uniform(0.13, 0.19), rng.uniform(-0.05, 0.05)
    dots = rng.random() < 0.3
    glasses = rng.random() < 0.2
    for side in (-1, 1):
        x = side * 0.36
        if not dots:
            pen.oval(x, -0.2, size, size * 1.1, WHITE, edge=0.04)
        pen.oval(x + gaze, -0.18, 0.08, 0.09, INK, edge=0)
        if glasses:
            pen.ring(x, -0.2, 0.27, 0.05)
        inner, outer = (-0.5, -0.5) if facts.face_good else (-0.58, -0.4)
        pen.line([(side * 0.2, inner), (side * 0.52, outer)], 0.07)
        if facts.face_strong and not facts.face_good:
            pen.oval(x, 0.24, 0.09, 0.18, (90, 170, 250), edge=0.03)


def _smile(pen: Pen, strong: bool) -> None:
    if strong:
        pen.bowl(0, 0.12, 0.68, 0.68, False, (150, 40, 50))
        pen.box(0, 0.24, 0.44, 0.07, WHITE, edge=0)
        pen.oval(0, 0.6, 0.26, 0.1, (240, 120, 130), edge=0)
    else:
        pen.arch(0, 0.1, 0.66, 0.6, False, 0.16)


def _frown(pen: Pen, strong: bool) -> None:
    if strong:
        pen.bowl(0, 0.78, 0.64, 0.56, True, (90, 30, 50))
        pen.oval(0, 0.66, 0.3, 0.07, (200, 90, 110), edge=0)
    else:
        pen.arch(0, 0.86, 0.66, 0.6, True, 0.16)


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_FONT_SIZE)


@functools.lru_cache(maxsize=2048)
def _word(word: str) -> tuple[Image.Image, int]:
    """A word in white with an ink rim on nothing (RGBA), and its width without the rim."""
    width = round(_font().getlength(word))
    picture = Image.new("RGBA", (width + 2 * _RIM, _ROW_HEIGHT + 2 * _RIM), (*INK, 0))
    ImageDraw.Draw(picture).text((_RIM, _RIM), word, WHITE, _font(), stroke_width=_RIM, stroke_fill=INK)
    return picture, width


def _write(picture: Image.Image, line: str, upper: bool) -> None:
    """Words at the upper or lower edge, wrapped into as many centred rows as they need."""
    rows: list[list[tuple[Image.Image, int]]] = [[]]
    for word, width in map(_word, line.split()):
        if rows[-1] and _row_width(rows[-1]) + _BLANK + width > SIZE - 12:
            rows.append([])
        rows[-1].append((word, width))
    y = 2 if upper else SIZE - 4 - _ROW_HEIGHT * len(rows)
    for row in rows:
        x = (SIZE - _row_width(row)) // 2
        for word, width in row:
            picture.paste(word, (x - _RIM, y - _RIM), word)
            x += width + _BLANK
        y += _ROW_HEIGHT


def _row_width(row: Sequence[tuple[Image.Image, int]]) -> int:
    return sum(width for _, width in row) + _BLANK * (len(row) - 1)
