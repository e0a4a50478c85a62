"""Perturbations of a text word by word: Hinglish spellings, word order, emoji.

As in `memeblend.redteam.letters`, the same generator changes more with a larger share.
"""

from __future__ import annotations

import re

import numpy as np

from memeblend.redteam.letters import any_of, pick, replaced

_SPELLINGS = {
    "aa": "a",
    "ee": "i",
    "oo": "u",
    "ai": "ei",
    "au": "o",
    "kh": "k",
    "gh": "g",
    "jh": "j",
    "th": "t",
    "dh": "d",
    "bh": "b",
    "ph": "f",
    "f": "ph",
    "sh": "s",
    "v": "w",
    "w": "v",
    "z": "j",
    "q": "k",
    "ks": "x",
    "x": "ks",
    "kk": "k",
    "cc": "c",
    "tt": "t",
    "pp": "p",
    "ll": "l",
    "nn": "n",
    "ck": "k",
}
_LAST = {"a": "aa", "i": "ee", "u": "oo", "y": "i", "n": "", "e": "ey"}
"""How Hindi words in Latin letters are also written: vowel length, aspiration, v/w, z/j, f/ph, doubled consonants,
final vowels and a final nasal. Gupta et al., "Query expansion for mixed-script information retrieval" (SIGIR 2014), on
why no spelling is standard."""
_IN_WORD = re.compile(any_of(_SPELLINGS))
_WORDS = re.compile(r"[A-Za-z]{2,}")
_ENGLISH = frozenset(
    re.findall(
        r"\w+",
        """a about after all am an and any are as at be because been before but by can could did do does don down each
        even every few for from get go had has have he her here him his how i if in into is it its just know like made
        make man many me more most my never new no not now of off on one only or other our out over own people same say
        see she should so some still such take than that the their them then there these they thing think this those
        time to too under up us very want was way we well were what when where which while who why will with would year
        yes you your""",
    )
)
"""English words that Hinglish texts keep as they are."""

EMOJI = ("😂", "🤣", "😭", "🔥", "💀", "😍", "🙏", "👍", "😎", "🤔", "😡", "🎉", "❤️", "😅", "🙄", "💯")
_EMOJI_OF = {
    "love": "❤️", "heart": "❤️", "pyaar": "❤️", "pyar": "❤️", "fire": "🔥", "hot": "🔥", "aag": "🔥", "dead": "💀",
    "die": "💀", "kill": "🔪", "knife": "🔪", "gun": "🔫", "bomb": "💣", "money": "💰", "paisa": "💰", "cat": "🐱",
    "dog": "🐶", "kutta": "🐶", "pig": "🐷", "monkey": "🐵", "donkey": "🫏", "gadha": "🫏", "snake": "🐍",
    "rat": "🐀", "shit": "💩", "god": "🙏", "please": "🙏", "laugh": "😂", "lol": "😂", "cry": "😭", "sad": "😢",
    "happy": "😊", "angry": "😡", "crazy": "🤪", "clown": "🤡", "beer": "🍺", "pizza": "🍕", "tea": "☕",
    "chai": "☕", "party": "🎉", "king": "👑", "queen": "👸", "baby": "👶", "man": "👨", "woman": "👩",
    "house": "🏠", "car": "🚗", "sleep": "😴", "sick": "🤒", "sun": "☀️", "eyes": "👀", "look": "👀",
}  # fmt: skip
_TOKENS = re.compile(r"\S+")


def hinglish(text: str, share: float, rng: np.random.Generator) -> str:
    """Latin words spelled as romanised Hindi also is: "nahin" and "nahi", "pyaar" and "pyar". Frequent English words
    stay; other English words can't be told from Hindi and are respelled too."""
    return replaced(text, _WORDS, share, rng, _respelled)


def _respelled(word: str, how: float) -> str:
    lowered = word.lower()
    if lowered in _ENGLISH:
        return word
    options = [(match.start(), match.end(), _SPELLINGS[match.group()]) for match in _IN_WORD.finditer(lowered)]
    ends_in_vowel_or_nasal = lowered[-1] != "n" or lowered[-2] in "aeio"
    if lowered[-1] in _LAST and ends_in_vowel_or_nasal and not (options and options[-1][1] == len(word)):
        options.append((len(word) - 1, len(word), _LAST[lowered[-1]]))
    if not options:
        return word
    start, end, new = options[int(how * len(options))]
    return word[:start] + (new.upper() if word.isupper() else new) + word[end:]


def word_order(text: str, reach: float, rng: np.random.Generator) -> str:
    """Words moved by less than `reach` places; the white space between them stays where it is.

    Each word is sorted by its place plus a draw from [0, reach).
    """
    words = _TOKENS.findall(text)
    places = np.arange(len(words)) + rng.random(len(words)) * reach
    order = iter(np.argsort(places, kind="stable").tolist())
    return _TOKENS.sub(lambda _: words[next(order)], text)


def emoji(text: str, share: float, rng: np.random.Generator) -> str:
    """Words replaced by their emoji where there is one ("love", "pyaar"), else followed by an emoji."""

    def change(word: str, how: float) -> str:
        own = _EMOJI_OF.get(word.lower().strip(".,!?"))
        return own if own is not None else f"{word} {pick(EMOJI, how)}"

    return replaced(text, _TOKENS, share, rng, change)
