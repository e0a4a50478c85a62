"""The grid: every perturbation at every severity, and the generator that each meme gets in each.

A meme's generator follows from the seed, the perturbation and its meme_id alone. So what happens to a meme depends
neither on the other memes nor on their order, and the severities of a perturbation share their draws: of letters and
words a higher one changes those that a lower one does, and more.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from memeblend.errors import MemeblendError, Problem
from memeblend.redteam import letters, pictures, wording
from memeblend.redteam.pictures import Pixels

Input = Literal["text", "image"]
SEVERITIES = (1, 2, 3)
NAMES = "names"
"""The fairness probe, which is no cell but a part of its own."""


@dataclass(frozen=True)
class Perturbation:
    """A way to change memes.

    Attributes:
        name: as options, budgets and reports call it.
        summary: what it does, in a few words.
        unit: what its strengths are, with {} for the number.
        strengths: the strength of each severity.
        change_text: changes a text; None where images are changed.
        change_image: changes pixels [H, W, 3]; None where texts are changed.
    """

    name: str
    summary: str
    unit: str
    strengths: tuple[float, float, float]
    change_text: Callable[[str, float, np.random.Generator], str] | None = None
    change_image: Callable[[Pixels, float, np.random.Generator], Pixels] | None = None

    @property
    def changes(self) -> Input:
        """What it changes."""
        return "text" if self.change_text is not None else "image"


_LETTERS, _WORDS = "{:.0%} of the places", "{:.0%} of the words"
PERTURBATIONS: tuple[Perturbation, ...] = (
    Perturbation(
        "ocr_noise", "letters misread, blanks lost", _LETTERS, (0.05, 0.15, 0.30), change_text=letters.ocr_noise
    ),
    Perturbation("misspelling", "one slip a word", _WORDS, (0.15, 0.40, 1.00), change_text=letters.misspelling),
    Perturbation("leetspeak", "letters as digits", _LETTERS, (0.20, 0.50, 1.00), change_text=letters.leetspeak),
    Perturbation(
        "homoglyphs", "letters of other scripts", _LETTERS, (0.10, 0.30, 1.00), change_text=letters.homoglyphs
    ),
    Perturbation("hinglish", "spellings of romanised Hindi", _WORDS, (0.25, 0.50, 1.00), change_text=wording.hinglish),
    Perturbation(
        "word_order", "words moved", "by less than {:.3g} places", (1.5, 4.0, 1e6), change_text=wording.word_order
    ),
    Perturbation("emoji", "emoji put in, for words too", _WORDS, (0.10, 0.30, 0.60), change_text=wording.emoji),
    Perturbation("jpeg", "JPEG compression", "quality {:.0f}", (25, 15, 7), change_image=pictures.jpeg),
    Perturbation("blur", "Gaussian blur", "sigma {:.0f} of 224 pixels", (1, 3, 6), change_image=pictures.blur),
    Perturbation("noise", "Gaussian noise", "sigma {:.2f}", (0.08, 0.18, 0.38), change_image=pictures.noise),
    Perturbation("crop", "sides cut off", "{:.0%} of each side", (0.10, 0.20, 0.40), change_image=pictures.crop),
    Perturbation("border", "a frame of one colour", "{:.0%} wide", (0.05, 0.12, 0.25), change_image=pictures.border),
    Perturbation(
        "recaption", "a bar with a neutral caption", "{:.0%} high", (0.08, 0.15, 0.25), change_image=pictures.recaption
    ),
    Perturbation(
        "colour", "hue, saturation, brightness", "strength {:.1f}", (0.3, 0.6, 1.0), change_image=pictures.colour
    ),
)


@dataclass(frozen=True)
class Cell:
    """A perturbation at a severity.

    Attributes:
        perturbation: the perturbation.
        severity: 1 to 3.
    """

    perturbation: Perturbation
    severity: int

    @property
    def name(self) -> str:
        """As "leetspeak@2"."""
        return f"{self.perturbation.name}@{self.severity}"

    @property
    def strength(self) -> float:
        """The strength of its severity."""
        return self.perturbation.strengths[self.severity - 1]

    @property
    def strength_words(self) -> str:
        """The strength with its unit."""
        if self.perturbation.name == "word_order" and self.severity == max(SEVERITIES):
            return "anywhere"
        return self.perturbation.unit.format(self.strength)

    def change_text(self, text: str, meme_id: str, seed: int) -> str:
        """A meme's text, changed; as it is where this cell changes images."""
        change = self.perturbation.change_text
        return text if change is None else change(text, self.strength, generator(seed, self.perturbation.name, meme_id))

    def change_image(self, pixels: Pixels, meme_id: str, seed: int) -> Pixels:
        """A meme's pixels, changed; as they are where this cell changes texts."""
        change = self.perturbation.change_image
        if change is None:
            return pixels
        return change(pixels, self.strength, generator(seed, self.perturbation.name, meme_id))


@dataclass(frozen=True)
class Settings:
    """What to try.

    Attributes:
        severities: which severities, of 1 to 3.
        only: names of perturbations, `NAMES` for the fairness probe among them; () tries all.
        seed: of all draws.
        num_examples: most memes shown as the worst.

    Raises:
        MemeblendError: severities or perturbations that there are not; all of them listed, with near names.
    """

    severities: tuple[int, ...] = SEVERITIES
    only: tuple[str, ...] = ()
    seed: int = 0
    num_examples: int = 12
    cells: tuple[Cell, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        problems = [
            Problem(f"severity {severity}", f"expected one of {', '.join(map(str, SEVERITIES))}")
            for severity in self.severities
            if severity not in SEVERITIES
        ]
        there = (*perturbation_names(), NAMES)
        problems += [
            Problem(f"perturbation '{name}'", near_words(name, there)) for name in self.only if name not in there
        ]
        if not self.severities:
            problems.append(Problem("severities", "there are none, expected at least one"))
        if self.seed < 0:
            problems.append(Problem("seed", f"{self.seed} is negative"))
        if problems:
            raise MemeblendError(
                "This red team can't be:", problems=problems, fix=f"Perturbations are {', '.join(there)}."
            )
        tried = [one for one in PERTURBATIONS if not self.only or one.name in self.only]
        cells = tuple(Cell(one, severity) for one in tried for severity in sorted(set(self.severities)))
        object.__setattr__(self, "cells", cells)

    @property
    def probes_names(self) -> bool:
        """Whether names are swapped."""
        return not self.only or NAMES in self.only


def perturbation_names() -> tuple[str, ...]:
    """Names of all perturbations."""
    return tuple(one.name for one in PERTURBATIONS)


def near_words(name: str, there: Sequence[str]) -> str:
    """That there is no such name, and which one may be meant."""
    near = difflib.get_close_matches(name, there, n=1, cutoff=0.5)
    return f"there is none of that name, did you mean {near[0]}?" if near else "there is none of that name"


def generator(seed: int, what: str, meme_id: str) -> np.random.Generator:
    """The generator of a meme for one purpose."""
    hashed = hashlib.sha256(f"{what}\0{meme_id}".encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, *np.frombuffer(hashed[:16], dtype=np.uint32).tolist()])
