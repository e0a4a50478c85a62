"""Perturbations of a text letter by letter: OCR noise, misspelling, leetspeak, homoglyphs.

Each takes a text, a share of what it could change, and a generator, and gives a text. Draws are made for every place
that could change, changed or not, so that with the same generator a larger share changes what a smaller one does, and
more.

The libraries of the field (nlpaug, TextAttack, AugLy) rest since years and bring heavy dependencies for what is a
table and a seeded draw.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

_OCR = {
    "rn": ("m",),
    "m": ("rn",),
    "cl": ("d",),
    "d": ("cl",),
    "vv": ("w",),
    "w": ("vv",),
    "li": ("h",),
    "ri": ("n",),
    "nn": ("m",),
    "h": ("b", "li"),
    "b": ("h", "6"),
    "e": ("c",),
    "c": ("e",),
    "u": ("v", "ii"),
    "g": ("9", "q"),
    "f": ("t",),
    "t": ("f",),
    "0": ("O", "o"),
    "o": ("0",),
    "O": ("0", "Q"),
    "1": ("l", "I"),
    "l": ("1", "I"),
    "i": ("1", "l"),
    "I": ("l", "1", "|"),
    "5": ("S",),
    "S": ("5",),
    "8": ("B",),
    "B": ("8",),
    "6": ("G", "b"),
    "G": ("6",),
    "2": ("Z",),
    "Z": ("2",),
    "D": ("O",),
    ",": (".",),
    "!": ("1", "l"),
    " ": ("",),
}
"""What is read for what. The kinds (similar shapes, letters split and merged, blanks lost) are those of Nguyen et al.,
"Deep statistical analysis of OCR errors for effective post-OCR processing" (JCDL 2019)."""

_LEET = {
    "a": ("4", "@"),
    "b": ("8",),
    "e": ("3",),
    "g": ("9",),
    "i": ("1", "!"),
    "l": ("1",),
    "o": ("0",),
    "s": ("5", "$"),
    "t": ("7",),
    "z": ("2",),
}

_HOMOGLYPHS = dict(
    zip(
        "abceghijlnopqsuvwxyzABCEFGHIJKMNOPSTUVXYZ",
        "аЬсеցһіјӏոорԛѕսνԝхуᴢАВСЕϜԌНІЈКМΝОРЅТՍѴХΥΖ",
        strict=True,
    )
)
"""Latin letters by one of another script that looks alike: pairs of confusables.txt of Unicode Technical Standard 39
(Cyrillic where there is one, else Greek, Armenian, or a small capital)."""

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_LEAST_LETTERS = 4
"""Shorter words are left alone: a slip in "at" is another word rather than a misspelling."""


def _neighbours() -> dict[str, str]:
    """The keys around each letter on a QWERTY keyboard, whose rows are shifted by half a key."""
    found = {}
    for row, keys in enumerate(_ROWS):
        for column, key in enumerate(keys):
            places = [(row, column - 1), (row, column + 1), (row - 1, column), (row - 1, column + 1)]
            places += [(row + 1, column - 1), (row + 1, column)]
            found[key] = "".join(_ROWS[r][c] for r, c in places if 0 <= r < 3 and 0 <= c < len(_ROWS[r]))
    return found


_KEYS = _neighbours()


def replaced(
    text: str, places: re.Pattern[str], share: float, rng: np.random.Generator, change: Callable[[str, float], str]
) -> str:
    """A text with a share of its places changed.

    Args:
        text: the text.
        places: what can be changed.
        share: probability of each place to be changed.
        rng: decides; two draws a place.
        change: gives what stands there instead, from what stood there and a number in [0, 1).
    """
    found = list(places.finditer(text))
    pieces, end = [], 0
    for match, (whether, how) in zip(found, rng.random((len(found), 2)).tolist(), strict=True):
        if whether < share:
            pieces += [text[end : match.start()], change(match.group(), how)]
            end = match.end()
    return "".join([*pieces, text[end:]])


def any_of(words: Mapping[str, object]) -> str:
    """A pattern of these strings, longest first."""
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


_OCR_PLACES = re.compile(any_of(_OCR))
_LEET_PLACES = re.compile(any_of(_LEET), re.IGNORECASE)
_HOMOGLYPH_PLACES = re.compile(any_of(_HOMOGLYPHS))
_LATIN_WORDS = re.compile(rf"[A-Za-z]{{{_LEAST_LETTERS},}}")


def ocr_noise(text: str, share: float, rng: np.random.Generator) -> str:
    """Letters misread as OCR misreads them ("rn" and "m", "0" and "O", "l" and "1"), blanks lost."""
    return replaced(text, _OCR_PLACES, share, rng, lambda found, how: pick(_OCR[found], how))


def leetspeak(text: str, share: float, rng: np.random.Generator) -> str:
    """Letters written as digits and signs: "h4t3"."""
    return replaced(text, _LEET_PLACES, share, rng, lambda found, how: pick(_LEET[found.lower()], how))


def homoglyphs(text: str, share: float, rng: np.random.Generator) -> str:
    """Latin letters written with those of other scripts that look alike."""
    return replaced(text, _HOMOGLYPH_PLACES, share, rng, lambda found, how: _HOMOGLYPHS[found])


def misspelling(text: str, share: float, rng: np.random.Generator) -> str:
    """One slip in each chosen Latin word of four letters or more: neighbours swapped, a letter dropped, doubled, or
    that of a key beside it; the first letter stays (Belinkov & Bisk, "Synthetic and natural noise both break neural
    machine translation", ICLR 2018)."""
    return replaced(text, _LATIN_WORDS, share, rng, _slip)


def _slip(word: str, how: float) -> str:
    kind, rest = divmod(how * 4, 1)
    place, rest = divmod(rest * (len(word) - 2), 1)
    at = 1 + int(place)  # neither the first letter nor the last, so that there is a next one
    letter = word[at]
    match int(kind):
        case 0:
            return word[:at] + word[at + 1] + letter + word[at + 2 :]
        case 1:
            return word[:at] + word[at + 1 :]
        case 2:
            return word[:at] + letter + word[at:]
        case _:
            key = pick(_KEYS[letter.lower()], rest)
            return word[:at] + (key.upper() if letter.isupper() else key) + word[at + 1 :]


def pick(options: tuple[str, ...] | str, how: float) -> str:
    """One of the options, chosen by a number in [0, 1)."""
    return options[int(how * len(options))]
