"""The pen that the sample's pictures are drawn with, and the things it can draw beside a face."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

INK: Colour = (38, 30, 44)
WHITE: Colour = (255, 255, 255)


@dataclass(frozen=True)
class Pen:
    """Draws in local units: (0, 0) is `centre`, 1 is `unit` pixels of the oversampled picture."""

    canvas: ImageDraw.ImageDraw
    centre: Point
    unit: float

    def at(self, x: float, y: float, unit: float) -> Pen:
        """A pen around (x, y) whose unit is `unit` of this pen's."""
        return Pen(self.canvas, self._point((x, y)), self.unit * unit)

    def _point(self, point: Point) -> Point:
        return self.centre[0] + point[0] * self.unit, self.centre[1] + point[1] * self.unit

    def _box(self, x: float, y: float, half_width: float, half_height: float) -> tuple[float, float, float, float]:
        x, y = self._point((x, y))
        half_width, half_height = half_width * self.unit, half_height * self.unit
        return x - half_width, y - half_height, x + half_width, y + half_height

    def _width(self, width: float) -> int:
        return max(1, round(width * self.unit))

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Colour, edge: float = 0.06) -> None:
        """A filled oval around (x, y) with an ink edge (0 for none)."""
        outline = INK if edge else None
        self.canvas.ellipse(self._box(x, y, rx, ry), fill, outline, self._width(edge) if edge else 0)

    def ring(self, x: float, y: float, radius: float, width: float) -> None:
        """An ink circle, not filled."""
        self.canvas.ellipse(self._box(x, y, radius, radius), None, INK, self._width(width))

    def box(self, x: float, y: float, rx: float, ry: float, fill: Colour, edge: float = 0.06) -> None:
        """A filled rectangle around (x, y) with an ink edge (0 for none)."""
        outline = INK if edge else None
        self.canvas.rectangle(self._box(x, y, rx, ry), fill, outline, self._width(edge) if edge else 0)

    def shape(self, points: Sequence[Point], fill: Colour, edge: float = 0.06) -> None:
        """A filled polygon with an ink edge (0 for none)."""
        corners = [self._point(point) for point in points]
        self.canvas.polygon(corners, fill)
        if edge:
            self.canvas.line([*corners, *corners[:2]], INK, self._width(edge), joint="curve")

    def line(self, points: Sequence[Point], width: float, colour: Colour = INK) -> None:
        """An open line."""
        self.canvas.line([self._point(point) for point in points], colour, self._width(width), joint="curve")

    def arch(self, x: float, y: float, rx: float, ry: float, upwards: bool, width: float) -> None:
        """Half an oval's edge: the upper half if `upwards`, else the lower."""
        start = 195 if upwards else 15
        self.canvas.arc(self._box(x, y, rx, ry), start, start + 150, INK, self._width(width))

    def bowl(self, x: float, y: float, rx: float, ry: float, upwards: bool, fill: Colour) -> None:
        """Half an oval, filled: the upper half if `upwards`, else the lower."""
        start = 180 if upwards else 0
        self.canvas.chord(self._box(x, y, rx, ry), start, start + 180, fill, INK, self._width(0.06))


def tint(colour: Colour, rng: random.Random, spread: int = 18) -> Colour:
    """A colour near `colour`, no channel further off than `spread`."""
    red, green, blue = (min(255, max(0, value + rng.randint(-spread, spread))) for value in colour)
    return red, green, blue


def _book(pen: Pen, rng: random.Random) -> None:
    cover = tint((150, 90, 50), rng)
    pen.shape([(-0.95, -0.5), (0, -0.3), (0, 0.8), (-0.95, 0.6)], cover)
    pen.shape([(0.95, -0.5), (0, -0.3), (0, 0.8), (0.95, 0.6)], cover)
    for side in (-1, 1):
        pen.shape([(side * 0.85, -0.6), (0, -0.4), (0, 0.66), (side * 0.85, 0.46)], (250, 248, 235), 0.04)
        for row in (-0.25, 0.0, 0.25):
            pen.line([(side * 0.7, row - 0.1), (side * 0.15, row)], 0.05, (130, 130, 140))


def _coin(pen: Pen, rng: random.Random) -> None:
    gold = tint((240, 190, 50), rng, 12)
    for lift in (0.3, 0.15, 0.0):
        pen.oval(0, lift, 0.85, 0.85, gold)
    pen.oval(0, 0, 0.65, 0.65, (255, 215, 90), 0.03)
    for row in (-0.35, -0.12):
        pen.line([(-0.32, row), (0.35, row)], 0.1, (130, 90, 20))
    pen.line([(-0.28, 0.1), (0.2, 0.45)], 0.1, (130, 90, 20))
    pen.line([(-0.28, 0.1), (0.1, 0.05), (0.2, -0.15), (0.05, -0.35)], 0.1, (130, 90, 20))


def _pizza(pen: Pen, rng: random.Random) -> None:
    pen.shape([(-0.95, -0.6), (0.95, -0.6), (0, 0.95)], tint((250, 205, 90), rng, 12))
    pen.line([(-1, -0.65), (1, -0.65)], 0.3, (190, 115, 50))
    for x, y in ((-0.4, -0.2), (0.35, -0.25), (0, 0.3)):
        pen.oval(x, y, 0.2, 0.2, (205, 50, 45), 0.03)


def _bat(pen: Pen, rng: random.Random) -> None:
    wood = tint((215, 165, 100), rng, 12)
    pen.shape([(-0.75, 0.65), (-0.35, 0.95), (0.5, -0.15), (0.15, -0.45)], wood)
    pen.line([(0.3, -0.3), (0.8, -0.95)], 0.2, (90, 60, 45))
    pen.oval(0.55, 0.6, 0.3, 0.3, (200, 40, 40))
    pen.line([(0.4, 0.45), (0.7, 0.75)], 0.05, WHITE)


def _flamingo(pen: Pen, rng: random.Random) -> None:
    plumage = tint((250, 90, 170), rng, 12)
    pen.line([(0.25, 0.5), (0.2, 0.75), (0.3, 1.05)], 0.1, (235, 130, 110))
    pen.oval(0.3, 0.15, 0.75, 0.5, plumage)
    pen.line([(-0.3, 0.2), (-0.6, -0.1), (-0.35, -0.45), (-0.45, -0.8)], 0.24, plumage)
    pen.oval(-0.5, -0.8, 0.3, 0.24, plumage)
    pen.shape([(-0.72, -0.9), (-1.05, -0.6), (-0.85, -0.45), (-0.7, -0.7)], (250, 230, 200), 0.04)
    pen.oval(-0.5, -0.85, 0.07, 0.08, INK, 0)
    pen.arch(0.4, 0.1, 0.4, 0.25, False, 0.06)


def _dinosaur(pen: Pen, rng: random.Random) -> None:
    hide = tint((80, 170, 80), rng)
    pen.shape([(0.3, 0.1), (1.15, 0.75), (0.2, 0.7)], hide)
    for x in (-0.25, 0.25):
        pen.box(x, 0.75, 0.14, 0.25, hide)
    pen.oval(0, 0.25, 0.55, 0.55, hide)
    pen.oval(-0.4, -0.55, 0.55, 0.38, hide)
    for x, y in ((0.05, -0.85), (0.3, -0.4), (0.55, -0.1)):
        pen.shape([(x - 0.12, y + 0.12), (x + 0.14, y - 0.15), (x + 0.16, y + 0.16)], (240, 150, 60), 0.03)
    pen.oval(-0.45, -0.65, 0.09, 0.1, WHITE, 0.04)
    for x in (-0.8, -0.62, -0.44):
        pen.shape([(x, -0.42), (x + 0.12, -0.42), (x + 0.06, -0.25)], WHITE, 0.02)


def _octopus(pen: Pen, rng: random.Random) -> None:
    skin = tint((170, 80, 190), rng)
    for x in (-0.75, -0.45, -0.15, 0.15, 0.45, 0.75):
        pen.line([(x * 0.6, 0.1), (x, 0.55), (x * 1.25, 0.9)], 0.22, skin)
    pen.oval(0, -0.2, 0.7, 0.7, skin)
    for x in (-0.27, 0.27):
        pen.oval(x, -0.2, 0.18, 0.2, WHITE, 0.04)
        pen.oval(x, -0.15, 0.08, 0.09, INK, 0)


THINGS: dict[str, Callable[[Pen, random.Random], None]] = {
    "book": _book,
    "coin": _coin,
    "pizza": _pizza,
    "bat": _bat,
    "dinosaur": _dinosaur,
    "octopus": _octopus,
    "flamingo": _flamingo,
}
"""Name of a thing -> draws it around (0, 0), about one unit in every direction."""
