"""What is done to a text before it is cut into tokens: a named choice, saved with the model.

- `none`: nothing.
- `tweet`: what BERTweet's normaliser does (Nguyen et al. 2020), which the paper's code uses: the text is cut into
  words, signs, emoticons, links, users and hashtags, set apart by one blank each; `@name` becomes `@USER`, a link
  `HTTPURL`, a single emoji its name (`:face_with_tears_of_joy:`); contractions are split (`do n't`, `it 's`), `cannot`
  is `can not`, `a.m.` and `p.m.` stay whole, of a sign in a row three are kept. Two things differ: emoji go by their
  Unicode names, where BERTweet has those of the package `emoji`, and capitals are split alike, since memes shout.
- `mami`: what the paper's code does with MAMI: text that was decoded wrongly is mended, `@` and `#` are dropped, all
  but letters, digits and `. , ? ! '` become blanks, lower case. Letters of every script count, so Hindi survives.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Literal, get_args

Cleaning = Literal["none", "tweet", "mami"]
CLEANINGS: tuple[str, ...] = get_args(Cleaning)
"""The choices, in the order of the recipe's help."""


def clean_texts(texts: Sequence[str], how: Cleaning) -> list[str]:
    """Texts as an encoder is to read them.

    Args:
        texts: ocr_texts.
        how: the choice.

    Raises:
        ValueError: no such choice.
    """
    choices: dict[str, Callable[[str], str]] = {"none": str, "tweet": clean_tweet, "mami": clean_mami}
    if how not in choices:
        raise ValueError(f"there is no text cleaning '{how}'; choices are {', '.join(CLEANINGS)}")
    return [choices[how](text) for text in texts]


_EMOTICON = r"""
    (?: [<>]? [:;=8] [\-o*']? [)\](\[dDpP/:}{@|\\]      # :-)
      | [)\](\[dDpP/:}{@|\\] [\-o*']? [:;=8] [<>]?      # (-:
      | <3 )"""
_MARKS = "\u0300-\u036f\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962-\u0963"  # accents, the vowel signs of Hindi
_LETTER = rf"(?: [^\W\d_] | [{_MARKS}] )"
_DOMAINS = "com|net|org|edu|gov|info|io|co|me|tv|in|uk|us|de|fr"
_TOKEN = re.compile(
    rf"""
    (?: https?:// | www\. ) \S+                         # a link
  | [\w.+-]{{1,64}} @ [\w-]+ (?: \. [\w-]+ )+            # an address
  | (?: [a-z0-9-]{{1,63}} \. ){{1,8}} (?: {_DOMAINS} ) \b (?!@) (?: / \S* )?  # a site's name
  | {_EMOTICON}
  | <[^<>\s]+>                                          # a mark-up tag
  | -+> | <-+                                           # an arrow
  | @ \w+                                               # a user
  | \# [\w{_MARKS}]+ [\w{_MARKS}'-]* [\w{_MARKS}]       # a hashtag
  | {_LETTER} (?: {_LETTER} | ['_-] )+ {_LETTER}         # a word, with apostrophes and hyphens in it
  | [+-]? \d+ [,/.:-] \d+ [+-]?                         # a fraction, a date, a time
  | [\w{_MARKS}]+
  | \. (?: \s* \. )+                                   # dots in a row
  | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LONG_RUN = re.compile(r"([^a-zA-Z0-9])\1{3,}")
_PLAIN = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "…": "...", "\ufe0e": None, "\ufe0f": None})
"""Curly marks made plain, and without the signs that ask for a coloured emoji."""
_CONTRACTION = re.compile(r"(?<=\w)(n't|'m|'re|'s|'ll|'d|'ve)(?!\w)", re.IGNORECASE)
_CANNOT = re.compile(r"\b(can)(not)\b", re.IGNORECASE)
_DAYTIME = re.compile(r"\b([ap]) \. (m)(?: (\.))?(?!\w)", re.IGNORECASE)
_FIRST_EMOJI = "\u2100"  # signs before it, as the degree sign, are no emoji
_UNSPLIT = re.compile(r"\b(ca|ai) (n't)\b", re.IGNORECASE)


def clean_tweet(text: str) -> str:
    """A text in the form `tweet`."""
    plain = _LONG_RUN.sub(r"\1\1\1", html.unescape(text).translate(_PLAIN))
    tokens = [_normal(token) for token in _TOKEN.findall(plain)]
    split = _CONTRACTION.sub(r" \1", _CANNOT.sub(r"\1 \2", " ".join(tokens)))
    split = _UNSPLIT.sub(r"\1\2", split)
    return " ".join(_DAYTIME.sub(lambda found: f"{found[1]}.{found[2]}{found[3] or ''}", split).split())


def _normal(token: str) -> str:
    if token.startswith("@"):
        return "@USER"
    if token.casefold().startswith(("http://", "https://", "www.")):
        return "HTTPURL"
    if len(token) == 1 and token >= _FIRST_EMOJI and unicodedata.category(token) == "So":
        name = unicodedata.name(token, "")
        return f":{re.sub(r'[^a-z0-9]+', '_', name.casefold())}:" if name else token
    return token


_DROPPED = str.maketrans("", "", "@#")


def clean_mami(text: str) -> str:
    """A text in the form `mami`."""
    mended = unicodedata.normalize("NFC", html.unescape(_mended(text)).translate(_PLAIN)).translate(_DROPPED)
    kept = [letter if letter in ".,?!'" or _is_letter(letter) else " " for letter in mended]
    return " ".join("".join(kept).lower().split())


def _is_letter(letter: str) -> bool:
    return letter.isalnum() or unicodedata.category(letter).startswith("M")


def _mended(text: str) -> str:
    """UTF-8 that was read as Windows-1252 (`donâ€™t`) made right; anything else stays."""
    try:
        return text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return text
