"""What the memes of the embedded sample are made of, and how their labels follow from it.

A sample meme is drawn from a handful of plain facts: the mood of its words, the mood of its face, the topic
of the words, the thing that stands beside the face, and so on. Each label is a pure function of the facts
(`labels_of`), so which label task needs which modality is known exactly:

| label task   | needs           | rule |
|--------------|-----------------|------|
| sentiment    | both            | both moods bad: negative; both good: positive; else neutral |
| sarcastic    | both            | the moods disagree; the more of the two that are strong, the more twisted |
| humorous     | both            | the thing is out of place; absurd things are funnier, most so with strong words |
| offensive    | text            | the grade of the insult |
| motivational | both            | encouraging words beside a smiling face |

The moods of words and face are dealt independently and evenly. So neither alone says anything about whether
the two agree: whoever reads only one of them can do no better on sarcasm than the class shares allow.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

BELONGING_THINGS = {"exam": "book", "salary": "coin", "lunch": "pizza", "cricket": "bat"}
"""Topic of the words -> the one everyday thing that belongs to it."""
ABSURD_THINGS = ("dinosaur", "octopus", "flamingo")
"""Things that belong to no topic."""

_STRONG_SHARE = 0.45
_PAIRING_SHARES = {"belongs": 0.32, "elsewhere": 0.32, "absurd": 0.36}
_INSULT_SHARES = {0: 0.42, 1: 0.28, 2: 0.18, 3: 0.12}
_ENCOURAGING_SHARE = 0.6


@dataclass(frozen=True)
class MemeFacts:
    """The facts that one sample meme is drawn from.

    Attributes:
        words_good: whether the words' mood is good (else bad).
        words_strong: whether it is strong (else mild).
        face_good: whether the face smiles (else it frowns).
        face_strong: whether it does so strongly.
        topic: what the words are about, a key of `BELONGING_THINGS`.
        thing: what stands beside the face.
        insult: grade of the insult in the words, 0 (none) to 3.
        encouraging: whether the words end on an encouragement.
        hinglish: whether the words are Hinglish (else English).
    """

    words_good: bool
    words_strong: bool
    face_good: bool
    face_strong: bool
    topic: str
    thing: str
    insult: int
    encouraging: bool
    hinglish: bool


def labels_of(facts: MemeFacts) -> dict[str, str]:
    """The class name of every Memotion label task, before label noise.

    Args:
        facts: what the meme is drawn from.

    Returns:
        Label task name -> class name.
    """
    return {
        "sentiment": _sentiment(facts),
        "humorous": _humour(facts),
        "sarcastic": _sarcasm(facts),
        "offensive": ("not_offensive", "slight", "very_offensive", "hateful_offensive")[facts.insult],
        "motivational": "motivational" if facts.encouraging and facts.face_good else "not_motivational",
    }


def _sentiment(facts: MemeFacts) -> str:
    if facts.words_good != facts.face_good:
        return "neutral"
    return "positive" if facts.words_good else "negative"


def _sarcasm(facts: MemeFacts) -> str:
    if facts.words_good == facts.face_good:
        return "not_sarcastic"
    return ("general", "twisted_meaning", "very_twisted")[facts.words_strong + facts.face_strong]


def _humour(facts: MemeFacts) -> str:
    if facts.thing in ABSURD_THINGS:
        return "hilarious" if facts.words_strong else "very_funny"
    return "not_funny" if facts.thing == BELONGING_THINGS[facts.topic] else "funny"


def deal_facts(num_memes: int, rng: random.Random) -> list[MemeFacts]:
    """Facts of `num_memes` memes with every share kept as exactly as whole memes allow.

    The moods (with their strengths), the pairing of topic and thing, the insult, the encouragement and the
    language are dealt independently of one another.

    Args:
        num_memes: how many.
        rng: the only source of chance.
    """
    strengths = {False: 1 - _STRONG_SHARE, True: _STRONG_SHARE}
    moods = {
        (words_good, words_strong, face_good, face_strong): strengths[words_strong] * strengths[face_strong]
        for words_good, words_strong, face_good, face_strong in itertools.product((False, True), repeat=4)
    }
    pairings = {
        (topic, pairing): share
        for topic, (pairing, share) in itertools.product(BELONGING_THINGS, _PAIRING_SHARES.items())
    }
    hands = zip(
        _deal(moods, num_memes, rng),
        _deal(pairings, num_memes, rng),
        _deal(_INSULT_SHARES, num_memes, rng),
        _deal({True: _ENCOURAGING_SHARE, False: 1 - _ENCOURAGING_SHARE}, num_memes, rng),
        _deal({True: 0.5, False: 0.5}, num_memes, rng),
        strict=True,
    )
    return [
        MemeFacts(
            *mood,
            topic=topic,
            thing=_thing(topic, pairing, rng),
            insult=insult,
            encouraging=encouraging,
            hinglish=hinglish,
        )
        for mood, (topic, pairing), insult, encouraging, hinglish in hands
    ]


def _thing(topic: str, pairing: str, rng: random.Random) -> str:
    if pairing == "absurd":
        return rng.choice(ABSURD_THINGS)
    if pairing == "belongs":
        return BELONGING_THINGS[topic]
    return rng.choice([thing for owner, thing in BELONGING_THINGS.items() if owner != topic])


def _deal(shares: Mapping[T, float], num_cards: int, rng: random.Random) -> list[T]:
    """`num_cards` values in random order, each as often as its share says (largest remainders rounded up)."""
    total = sum(shares.values())
    exact = {value: num_cards * share / total for value, share in shares.items()}
    # A chance order among equal remainders, lest the values listed first win in every small split.
    by_remainder = sorted(exact, key=lambda value: (int(exact[value]) - exact[value], rng.random()))
    num_left = num_cards - sum(int(count) for count in exact.values())
    cards = [value for value, count in exact.items() for _ in range(int(count))] + by_remainder[:num_left]
    rng.shuffle(cards)
    return cards
