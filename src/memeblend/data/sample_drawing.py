"""The pictures of the embedded sample: a scene, a large face with a mood, a thing beside it, two lines of words.

Everything is drawn with Pillow, its built-in font included, in units of a 256-pixel square; shapes are drawn
at twice that size and halved, which smooths their edges.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from memeblend.data.sample_facts import MemeFacts

Colour = tuple[int, int, int]
Point = tuple[float, float]

SIZE = 256
"""Width and height of a sample image, in pixels."""

_OVERSAMPLING = 2
_INK: Colour = (38, 30, 44)
_WHITE: Colour = (255, 255, 255)
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


@dataclass(frozen=True)
class _Pen:
    """Draws in local units: (0, 0) is `centre`, 1 is `unit` pixels of the oversampled picture."""

    canvas: ImageDraw.ImageDraw
    centre: Point
    unit: float
    mirrored: bool = False

    def at(self, x: float, y: float, unit: float, mirrored: bool = False) -> _Pen:
        """A pen around (x, y) whose unit is `unit` of this pen's."""
        return _Pen(self.canvas, self._point((x, y)), self.unit * unit, self.mirrored != mirrored)

    def _point(self, point: Point) -> Point:
        x = -point[0] if self.mirrored else point[0]
        return self.centre[0] + x * self.unit, self.centre[1] + point[1] * self.unit

    def _box(self, x: float, y: float, half_width: float, half_height: float) -> tuple[float, float, float, float]:
        x, y = self._point((x, y))
        half_width, half_height = half_width * self.unit, half_height * self.unit
        return x - half_width, y - half_height, x + half_width, y + half_height

    def _width(self, width: float) -> int:
        return max(1, round(width * self.unit))

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Colour, edge: float = 0.06) -> None:
        """A filled oval around (x, y) with an ink edge (0 for none)."""
        outline = _INK if edge else None
        self.canvas.ellipse(self._box(x, y, rx, ry), fill, outline, self._width(edge) if edge else 0)

    def box(self, x: float, y: float, rx: float, ry: float, fill: Colour, edge: float = 0.06) -> None:
        """A filled rectangle around (x, y) with an ink edge (0 for none)."""
        outline = _INK if edge else None
        self.canvas.rectangle(self._box(x, y, rx, ry), fill, outline, self._width(edge) if edge else 0)

    def shape(self, points: Sequence[Point], fill: Colour, edge: float = 0.06) -> None:
        """A filled polygon with an ink edge (0 for none)."""
        corners = [self._point(point) for point in points]
        self.canvas.polygon(corners, fill)
        if edge:
            self.canvas.line([*corners, *corners[:2]], _INK, self._width(edge), joint="curve")

    def line(self, points: Sequence[Point], width: float, colour: Colour = _INK) -> None:
        """An open line."""
        self.canvas.line([self._point(point) for point in points], colour, self._width(width), joint="curve")

    def arch(self, x: float, y: float, rx: float, ry: float, upwards: bool, width: float) -> None:
        """Half an oval's edge: the upper half if `upwards`, else the lower."""
        start = 195 if upwards else 15
        self.canvas.arc(self._box(x, y, rx, ry), start, start + 150, _INK, self._width(width))

    def bowl(self, x: float, y: float, rx: float, ry: float, upwards: bool, fill: Colour) -> None:
        """Half an oval, filled: the upper half if `upwards`, else the lower."""
        start = 180 if upwards else 0
        self.canvas.chord(self._box(x, y, rx, ry), start, start + 180, fill, _INK, self._width(0.06))


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
    picture = _sky(facts.sunny, pixels, rng)
    pen = _Pen(ImageDraw.Draw(picture), (0.0, 0.0), _OVERSAMPLING)
    _scene(pen, facts.sunny, rng)
    side = rng.choice((-1, 1))
    mirrored = side < 0
    _face(pen.at(128 - side * rng.uniform(16, 30), rng.uniform(122, 134), rng.uniform(60, 70)), facts, rng)
    thing = pen.at(128 + side * rng.uniform(76, 88), rng.uniform(162, 178), rng.uniform(34, 42), mirrored)
    _THINGS[facts.thing](thing, rng)
    picture = picture.reduce(_OVERSAMPLING)
    canvas = ImageDraw.Draw(picture)
    _write(canvas, lines[0], upper=True)
    _write(canvas, lines[1], upper=False)
    return picture


def _tint(colour: Colour, rng: random.Random, spread: int = 18) -> Colour:
    red, green, blue = (min(255, max(0, value + rng.randint(-spread, spread))) for value in colour)
    return red, green, blue


def _sky(sunny: bool, pixels: int, rng: random.Random) -> Image.Image:
    tops, bottoms = (
        (((90, 170, 240), (120, 200, 250), (250, 190, 120)), ((225, 240, 250), (255, 240, 200), (255, 220, 200)))
        if sunny
        else (((80, 90, 110), (100, 110, 120), (70, 80, 120)), ((150, 160, 170), (140, 150, 175), (170, 170, 170)))
    )
    top, bottom = (Image.new("RGB", (pixels, pixels), _tint(rng.choice(colours), rng)) for colours in (tops, bottoms))
    return Image.composite(bottom, top, Image.linear_gradient("L").resize((pixels, pixels)))


def _scene(pen: _Pen, sunny: bool, rng: random.Random) -> None:
    horizon = rng.uniform(140, 200)
    if sunny:
        _sun(pen, rng)
    for _ in range(rng.randint(0, 2) if sunny else rng.randint(2, 4)):
        _cloud(pen, (245, 248, 252) if sunny else _tint((120, 125, 140), rng), rng)
    rng.choice((_hills, _city, _beach, _mountains))(pen, horizon, sunny, rng)
    if not sunny:
        for _ in range(rng.randint(30, 50)):
            x, y = rng.uniform(0, SIZE), rng.uniform(0, SIZE)
            pen.line([(x, y), (x - 4, y + 14)], 1.5, (190, 205, 225))


def _sun(pen: _Pen, rng: random.Random) -> None:
    sun = pen.at(rng.choice((34, 222)) + rng.uniform(-10, 10), rng.uniform(48, 66), rng.uniform(17, 24))
    for ray in range(10):
        angle = math.tau * ray / 10
        x, y = math.cos(angle), math.sin(angle)
        sun.line([(1.25 * x, 1.25 * y), (1.75 * x, 1.75 * y)], 0.16, (255, 190, 40))
    sun.oval(0, 0, 1, 1, (255, 215, 60), edge=0)


def _cloud(pen: _Pen, colour: Colour, rng: random.Random) -> None:
    cloud = pen.at(rng.uniform(10, 246), rng.uniform(35, 80), rng.uniform(14, 24))
    for x, y, radius in ((-1, 0.1, 0.7), (0, -0.2, 1.0), (1, 0.1, 0.75)):
        cloud.oval(x, y, radius * 1.2, radius * 0.8, colour, edge=0)


def _shade(colour: Colour, sunny: bool, rng: random.Random) -> Colour:
    red, green, blue = _tint(colour, rng)
    return (red, green, blue) if sunny else (red * 3 // 5, green * 3 // 5, blue * 2 // 3)


def _hills(pen: _Pen, horizon: float, sunny: bool, rng: random.Random) -> None:
    for step in range(3):
        colour = _shade((110 - 20 * step, 190 - 20 * step, 90 - 10 * step), sunny, rng)
        pen.oval(rng.uniform(0, SIZE), horizon + 22 * step + 90, rng.uniform(150, 240), 90, colour, edge=0)


def _city(pen: _Pen, horizon: float, sunny: bool, rng: random.Random) -> None:
    pen.box(128, horizon + 128, 128, 128, _shade((150, 150, 160), sunny, rng), edge=0)
    left = 0.0
    while left < SIZE:
        half, height = rng.uniform(14, 26), rng.uniform(20, 90)
        pen.box(left + half, horizon - height / 2, half, height / 2, _shade((170, 130, 130), sunny, rng), edge=0)
        for row in range(int(height // 18)):
            window = (250, 235, 150) if rng.random() < 0.6 else (90, 100, 120)
            pen.box(left + half, horizon - 10 - 18 * row, half * 0.5, 4, window, edge=0)
        left += 2 * half


def _beach(pen: _Pen, horizon: float, sunny: bool, rng: random.Random) -> None:
    pen.box(128, horizon + 128, 128, 128, _shade((70, 150, 210), sunny, rng), edge=0)
    pen.oval(rng.uniform(40, 216), horizon + 120, 220, 85, _shade((240, 215, 150), sunny, rng), edge=0)


def _mountains(pen: _Pen, horizon: float, sunny: bool, rng: random.Random) -> None:
    for _ in range(3):
        x, height, half = rng.uniform(0, SIZE), rng.uniform(50, 100), rng.uniform(50, 90)
        colour = _shade((140, 130, 170), sunny, rng)
        pen.shape([(x - half, horizon), (x, horizon - height), (x + half, horizon)], colour, edge=0)
        snow = [(x - half / 4, horizon - height * 0.75), (x, horizon - height), (x + half / 4, horizon - height * 0.75)]
        pen.shape(snow, (240, 245, 250), edge=0)
    pen.box(128, horizon + 128, 128, 128, _shade((150, 170, 100), sunny, rng), edge=0)


def _face(pen: _Pen, facts: MemeFacts, rng: random.Random) -> None:
    skin = _tint(rng.choice(_SKINS), rng, 10)
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


def _ears(pen: _Pen, skin: Colour, rng: random.Random) -> None:
    kind = rng.choice(("none", "bear", "cat", "hair", "cap"))
    if kind == "bear":
        for x in (-0.72, 0.72):
            pen.oval(x, -0.72, 0.3, 0.3, skin, edge=0.05)
    elif kind == "cat":
        for x in (-1, 1):
            pen.shape([(x * 0.9, -0.4), (x * 0.85, -1.15), (x * 0.25, -0.95)], skin, edge=0.05)
    elif kind == "hair":
        colour = _tint(rng.choice(((60, 40, 30), (130, 70, 30), (30, 30, 40))), rng)
        for x in (-0.6, -0.3, 0, 0.3, 0.6):
            pen.oval(x, -0.86 + abs(x) * 0.3, 0.32, 0.26, colour, edge=0)
    elif kind == "cap":
        colour = _tint(rng.choice(((200, 60, 60), (60, 90, 190), (60, 150, 90))), rng)
        pen.bowl(0, -0.55, 0.85, 0.65, True, colour)
        pen.box(0.35, -0.62, 0.75, 0.08, colour)


def _eyes(pen: _Pen, facts: MemeFacts, rng: random.Random) -> None:
    size, gaze = rng.uniform(0.13, 0.19), rng.uniform(-0.05, 0.05)
    dots = rng.random() < 0.3
    glasses = rng.random() < 0.2
    for side in (-1, 1):
        x = side * 0.36
        if not dots:
            pen.oval(x, -0.2, size, size * 1.1, _WHITE, edge=0.04)
        pen.oval(x + gaze, -0.18, 0.08, 0.09, _INK, edge=0)
        if glasses:
            pen.canvas.ellipse(pen._box(x, -0.2, 0.27, 0.27), None, _INK, pen._width(0.05))
        inner, outer = (-0.5, -0.5) if facts.face_good else (-0.58, -0.4)
        pen.line([(side * 0.2, inner), (side * 0.52, outer)], 0.07)
        if facts.face_strong and not facts.face_good:
            pen.oval(x, 0.24, 0.09, 0.18, (90, 170, 250), edge=0.03)


def _smile(pen: _Pen, strong: bool) -> None:
    if strong:
        pen.bowl(0, 0.16, 0.6, 0.58, False, (150, 40, 50))
        pen.box(0, 0.24, 0.44, 0.07, _WHITE, edge=0)
        pen.oval(0, 0.6, 0.26, 0.1, (240, 120, 130), edge=0)
    else:
        pen.arch(0, 0.14, 0.56, 0.46, False, 0.13)


def _frown(pen: _Pen, strong: bool) -> None:
    if strong:
        pen.bowl(0, 0.74, 0.56, 0.46, True, (90, 30, 50))
        pen.oval(0, 0.66, 0.3, 0.07, (200, 90, 110), edge=0)
    else:
        pen.arch(0, 0.72, 0.56, 0.46, True, 0.13)


def _book(pen: _Pen, rng: random.Random) -> None:
    cover = _tint((60, 80, 190), rng)
    pen.shape([(-0.95, -0.5), (0, -0.3), (0, 0.8), (-0.95, 0.6)], cover)
    pen.shape([(0.95, -0.5), (0, -0.3), (0, 0.8), (0.95, 0.6)], cover)
    for side in (-1, 1):
        pen.shape([(side * 0.85, -0.6), (0, -0.4), (0, 0.66), (side * 0.85, 0.46)], (250, 248, 235), 0.04)
        for row in (-0.25, 0.0, 0.25):
            pen.line([(side * 0.7, row - 0.1), (side * 0.15, row)], 0.05, (130, 130, 140))


def _coin(pen: _Pen, rng: random.Random) -> None:
    gold = _tint((240, 190, 50), rng, 12)
    for lift in (0.3, 0.15, 0.0):
        pen.oval(0, lift, 0.85, 0.85, gold)
    pen.oval(0, 0, 0.65, 0.65, (255, 215, 90), 0.03)
    for row in (-0.35, -0.12):
        pen.line([(-0.32, row), (0.35, row)], 0.1, (130, 90, 20))
    pen.line([(-0.28, 0.1), (0.2, 0.45)], 0.1, (130, 90, 20))
    pen.line([(-0.28, 0.1), (0.1, 0.05), (0.2, -0.15), (0.05, -0.35)], 0.1, (130, 90, 20))


def _pizza(pen: _Pen, rng: random.Random) -> None:
    pen.shape([(-0.95, -0.6), (0.95, -0.6), (0, 0.95)], _tint((250, 205, 90), rng, 12))
    pen.line([(-1, -0.65), (1, -0.65)], 0.3, (190, 115, 50))
    for x, y in ((-0.4, -0.2), (0.35, -0.25), (0, 0.3)):
        pen.oval(x, y, 0.2, 0.2, (205, 50, 45), 0.03)


def _bat(pen: _Pen, rng: random.Random) -> None:
    wood = _tint((215, 165, 100), rng, 12)
    pen.shape([(-0.75, 0.65), (-0.35, 0.95), (0.5, -0.15), (0.15, -0.45)], wood)
    pen.line([(0.3, -0.3), (0.8, -0.95)], 0.2, (90, 60, 45))
    pen.oval(0.55, 0.6, 0.3, 0.3, (200, 40, 40))
    pen.line([(0.4, 0.45), (0.7, 0.75)], 0.05, _WHITE)


def _duck(pen: _Pen, rng: random.Random) -> None:
    down = _tint((255, 225, 60), rng, 12)
    pen.oval(0.1, 0.4, 0.85, 0.5, down)
    pen.shape([(0.7, 0.2), (1.1, -0.15), (0.95, 0.45)], down)
    pen.oval(-0.4, -0.35, 0.45, 0.45, down)
    pen.shape([(-0.75, -0.4), (-1.2, -0.2), (-0.75, -0.1)], (250, 140, 40))
    pen.oval(-0.5, -0.45, 0.09, 0.09, _INK, 0)
    pen.arch(0.25, 0.35, 0.35, 0.25, False, 0.06)


def _dinosaur(pen: _Pen, rng: random.Random) -> None:
    hide = _tint((80, 170, 80), rng)
    pen.shape([(0.3, 0.1), (1.15, 0.75), (0.2, 0.7)], hide)
    for x in (-0.25, 0.25):
        pen.box(x, 0.75, 0.14, 0.25, hide)
    pen.oval(0, 0.25, 0.55, 0.55, hide)
    pen.oval(-0.4, -0.55, 0.55, 0.38, hide)
    for x, y in ((0.05, -0.85), (0.3, -0.4), (0.55, -0.1)):
        pen.shape([(x - 0.12, y + 0.12), (x + 0.14, y - 0.15), (x + 0.16, y + 0.16)], (240, 150, 60), 0.03)
    pen.oval(-0.45, -0.65, 0.09, 0.1, _WHITE, 0.04)
    for x in (-0.8, -0.62, -0.44):
        pen.shape([(x, -0.42), (x + 0.12, -0.42), (x + 0.06, -0.25)], _WHITE, 0.02)


def _octopus(pen: _Pen, rng: random.Random) -> None:
    skin = _tint((170, 80, 190), rng)
    for x in (-0.75, -0.45, -0.15, 0.15, 0.45, 0.75):
        pen.line([(x * 0.6, 0.1), (x, 0.55), (x * 1.25, 0.9)], 0.22, skin)
    pen.oval(0, -0.2, 0.7, 0.7, skin)
    for x in (-0.27, 0.27):
        pen.oval(x, -0.2, 0.18, 0.2, _WHITE, 0.04)
        pen.oval(x, -0.15, 0.08, 0.09, _INK, 0)


def _robot(pen: _Pen, rng: random.Random) -> None:
    metal = _tint((175, 185, 200), rng, 12)
    pen.line([(0, -0.6), (0, -1.05)], 0.08)
    pen.oval(0, -1.05, 0.13, 0.13, (230, 60, 60), 0.03)
    for x in (-0.75, 0.75):
        pen.line([(x * 0.7, 0.3), (x * 1.2, 0.6)], 0.16, metal)
    pen.box(0, 0.5, 0.5, 0.42, metal)
    pen.box(0, -0.3, 0.62, 0.4, metal)
    for x in (-0.27, 0.27):
        pen.oval(x, -0.35, 0.15, 0.15, (80, 230, 230), 0.04)
    pen.line([(-0.3, -0.07), (0.3, -0.07)], 0.08)


_THINGS: dict[str, Callable[[_Pen, random.Random], None]] = {
    "book": _book,
    "coin": _coin,
    "pizza": _pizza,
    "bat": _bat,
    "duck": _duck,
    "dinosaur": _dinosaur,
    "octopus": _octopus,
    "robot": _robot,
}


@functools.lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _write(canvas: ImageDraw.ImageDraw, line: str, upper: bool) -> None:
    """Words at the upper or lower edge: white with an ink rim, wrapped into as many rows as they need."""
    font = _font(16)
    rows = [""]
    for word in line.split():
        longer = f"{rows[-1]} {word}".strip()
        if rows[-1] and canvas.textlength(longer, font) > SIZE - 16:
            rows.append(word)
        else:
            rows[-1] = longer
    place: Point = (SIZE / 2, 4) if upper else (SIZE / 2, SIZE - 5)
    canvas.multiline_text(
        place,
        "\n".join(rows),
        _WHITE,
        font,
        anchor="ma" if upper else "md",
        spacing=2,
        align="center",
        stroke_width=2,
        stroke_fill=_INK,
    )
