"""The words of the embedded sample: a small English and Hinglish grammar with a mood.

A meme's words are two lines. The upper one names the topic and says how it went; the lower one reacts, then
addresses someone (here the insults are, all of them silly, the worst of them about people who do not exist)
and ends on an encouragement or on nothing in particular. Every slot is always filled, so that the length of
the words, which a picture shows, says little of their meaning.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from memeblend.data.sample_facts import MemeFacts

_TOPICS = {
    "exam": ("maths exam", "viva", "homework", "exam result", "padhai"),
    "salary": ("salary", "house rent", "bank balance", "tax refund", "paisa"),
    "lunch": ("lunch", "samosa", "biryani", "canteen food", "khana"),
    "cricket": ("cricket match", "last over", "batting", "gully cricket", "innings"),
}


@dataclass(frozen=True)
class _Grammar:
    """What fills the slots of a language.

    Attributes:
        openings: upper lines with `{topic}` and `{mood}`.
        moods: (good?, strong?) -> how it went.
        reactions: (good?, strong?) -> what that does to the writer.
        addresses: for each grade of insult, ways to address someone.
        endings: encouraging? -> last words.
    """

    openings: tuple[str, ...]
    moods: dict[tuple[bool, bool], tuple[str, ...]]
    reactions: dict[tuple[bool, bool], tuple[str, ...]]
    addresses: tuple[tuple[str, ...], ...]
    endings: dict[bool, tuple[str, ...]]


_ENGLISH = _Grammar(
    openings=(
        "when the {topic} is {mood}",
        "my {topic} today: {mood}",
        "that {topic} was {mood}",
        "another {mood} {topic}",
        "so the {topic} turned out {mood}",
        "me after one {mood} {topic}",
    ),
    moods={
        (True, False): ("nice", "pleasant", "decent", "soothing", "sweet", "cosy"),
        (True, True): ("amazing", "superb", "perfect", "epic", "glorious", "magical"),
        (False, False): ("boring", "tiring", "meh", "sluggish", "gloomy", "annoying"),
        (False, True): ("horrible", "dreadful", "tragic", "doomed", "cursed", "awful"),
    },
    reactions={
        (True, False): ("i like it", "feeling glad", "no complaints", "quite happy"),
        (True, True): ("i am dancing", "best day ever", "pure joy", "i won at life"),
        (False, False): ("oh well", "not again", "i am yawning", "a bit upset"),
        (False, True): ("i am ruined", "worst day ever", "pure pain", "i want a refund"),
    },
    addresses=(
        ("my friend", "everyone", "dear diary", "good people", "neighbour"),
        ("silly goose", "lazy potato", "goofball", "noodle head"),
        ("you clown", "blockhead", "you cabbage", "you dimwit"),
        ("ban all zorbs", "no gloops", "zorbs out", "boo gloops"),
    ),
    endings={
        True: ("never give up", "keep going", "you can do it", "dream big"),
        False: ("just saying", "that is all", "as usual", "since monday"),
    },
)
_HINGLISH = _Grammar(
    openings=(
        "jab {topic} ho {mood}",
        "aaj ka {topic} tha {mood}",
        "apna {topic} hai {mood}",
        "phir se {mood} {topic}",
        "ye {topic} nikla {mood}",
        "dekho bhai {topic} kitna {mood}",
    ),
    moods={
        (True, False): ("accha", "badhiya", "theek-thaak", "mast", "nice", "decent"),
        (True, True): ("zabardast", "jhakaas", "kamaal", "shandaar", "epic", "superb"),
        (False, False): ("bekaar", "thanda", "feeka sa", "pakau", "boring", "sluggish"),
        (False, True): ("barbaad", "bhayanak", "ghatiya", "zehreela", "tragic", "cursed"),
    },
    reactions={
        (True, False): ("dil khush", "maza aaya", "sukoon mila", "thodi muskaan"),
        (True, True): ("nacho sab", "mauj hi mauj", "jannat mil gayi", "khushi se pagal"),
        (False, False): ("mood kharab", "neend aa gayi", "thodi tension", "mann nahi hai"),
        (False, True): ("rona aa gaya", "dil toot gaya", "sab khatam", "bura haal hai"),
    },
    addresses=(
        ("bhai log", "mere dosto", "padosi ji", "mummy ji", "arre yaar"),
        ("buddhu", "aalsi aloo", "pagle insaan", "nautanki"),
        ("oye gadhe", "nikamme", "dhakkan", "sade tamatar"),
        ("zorb hatao", "gloop bhagao", "zorb gande", "gloop bure"),
    ),
    endings={
        True: ("haar na maano", "lage raho", "himmat rakho", "aage badho"),
        False: ("bas itna hi", "aur kya kahein", "roz ka haal", "somvaar se"),
    },
)


def compose(facts: MemeFacts, rng: random.Random) -> tuple[str, str]:
    """The upper and the lower line of a meme.

    Args:
        facts: what the meme is drawn from.
        rng: chooses among the words that say the same.
    """
    grammar = _HINGLISH if facts.hinglish else _ENGLISH
    mood = (facts.words_good, facts.words_strong)
    topic = rng.choice(_TOPICS[facts.topic])
    upper = rng.choice(grammar.openings).format(topic=topic, mood=rng.choice(grammar.moods[mood]))
    lower = (grammar.reactions[mood], grammar.addresses[facts.insult], grammar.endings[facts.encouraging])
    return upper, ", ".join(rng.choice(phrases) for phrases in lower)
