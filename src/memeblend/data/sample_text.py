"""The words of the embedded sample: a small English and Hinglish grammar with a mood.

A meme's words are two lines. The upper one names the topic and says how it went; the lower one reacts, then
addresses someone (here the insults are, all of them silly, the worst of them about people who do not exist)
and ends on an encouragement or on nothing in particular. Every slot is always filled, so that the length of
the words, which a picture shows, says nothing of their meaning.
"""

from __future__ import annotations

import random

from memeblend.data.sample_facts import MemeFacts

_TOPICS = {
    "exam": (
        "maths exam",
        "physics paper",
        "viva",
        "homework",
        "surprise test",
        "exam result",
        "padhai",
        "tuition class",
    ),
    "salary": ("salary", "month end", "house rent", "bank balance", "paisa", "tax refund", "bonus", "monthly budget"),
    "lunch": ("lunch", "samosa", "biryani", "canteen food", "tiffin", "dinner", "chai break", "khana"),
    "cricket": (
        "cricket match",
        "last over",
        "batting",
        "gully cricket",
        "world cup final",
        "super over",
        "innings",
        "toss",
    ),
}
_OPENINGS = {
    False: (
        "when the {topic} is {mood}",
        "my {topic} today: {mood}",
        "that {topic} was {mood}",
        "so the {topic} turned out {mood}",
        "another {mood} {topic}",
        "nobody told me this {topic} is {mood}",
        "me after one {mood} {topic}",
        "every {topic} i get is {mood}",
    ),
    True: (
        "jab {topic} ho {mood}",
        "aaj ka {topic} tha {mood}",
        "apna {topic} hai {mood}",
        "phir se {mood} {topic}",
        "ye {topic} nikla {mood}",
        "mera {topic} matlab {mood}",
        "dekho bhai {topic} kitna {mood}",
        "itna {mood} {topic} kisne socha tha",
    ),
}
# (good?, strong?) -> words for how it went; Hinglish memes use either list, as people do.
_MOODS_ENGLISH = {
    (True, False): ("nice", "good", "pleasant", "fine", "sweet", "cool", "decent", "cosy", "neat", "easy"),
    (True, True): (
        "amazing",
        "legendary",
        "perfect",
        "epic",
        "glorious",
        "fantastic",
        "magical",
        "brilliant",
        "heavenly",
        "superb",
    ),
    (False, False): ("boring", "dull", "meh", "slow", "stale", "lame", "sad", "tiring", "gloomy", "dry"),
    (False, True): (
        "horrible",
        "disastrous",
        "tragic",
        "nightmarish",
        "dreadful",
        "terrible",
        "cursed",
        "awful",
        "doomed",
        "hellish",
    ),
}
_MOODS_HINGLISH = {
    (True, False): ("accha", "badhiya", "theek mast", "sahi", "pyaara", "aaram ka"),
    (True, True): ("zabardast", "jhakaas", "kamaal", "dhamakedaar", "lajawab", "shandaar"),
    (False, False): ("bekaar", "thanda", "feeka", "pakau", "sust", "udaas"),
    (False, True): ("barbaad", "tabahi", "bhayanak", "ghatiya", "khatarnak bura", "satyanash"),
}
_REACTIONS_ENGLISH = {
    (True, False): ("i like it", "i smile a bit", "feeling glad", "that helps", "no complaints", "quite happy"),
    (True, True): (
        "i am dancing",
        "best day ever",
        "pure joy",
        "crying happy tears",
        "i won at life",
        "i love everything",
    ),
    (False, False): ("i sigh", "not again", "feeling low", "i am yawning", "could be better", "a bit upset"),
    (False, True): (
        "i am ruined",
        "worst day ever",
        "pure pain",
        "my soul left me",
        "i quit life",
        "i hate everything",
    ),
}
_REACTIONS_HINGLISH = {
    (True, False): ("dil khush", "maza aaya", "chalo sukoon mila", "thodi muskaan"),
    (True, True): ("nacho sab", "mauj hi mauj", "jannat mil gayi", "khushi se pagal"),
    (False, False): ("mood kharab", "neend aa gayi", "thodi tension", "mann nahi hai"),
    (False, True): ("rona aa gaya", "dil toot gaya", "sab khatam", "ab jeena mushkil"),
}
# Grade of the insult -> ways to address someone.
_ADDRESSES_ENGLISH = (
    ("my friend", "everyone", "dear diary", "folks", "mom", "neighbour", "team", "boss"),
    ("silly goose", "sleepy potato", "goofball", "slowpoke", "noodle head", "cheeky monkey"),
    ("you clown", "you blockhead", "you nincompoop", "you rotten cabbage", "you numbskull", "you fraud"),
    ("down with all zorblings", "no gloopians allowed", "ban every zorbling", "gloopians are vermin"),
)
_ADDRESSES_HINGLISH = (
    ("yaar", "bhai log", "dosto", "mummy", "padosi ji", "arre bhaiya", "sir ji", "behna"),
    ("buddhu", "aalsi aloo", "pagle", "nautanki", "jhalle", "natkhat bandar"),
    ("gadhe", "ullu ke dost", "nikamme", "dhakkan", "sade hue tamatar", "jhoothe"),
    ("zorbling log bhagao", "gloopian hatao", "zorbling sab gande", "gloopian ko mat aane do"),
)
# Encouraging? -> ways to end.
_ENDINGS_ENGLISH = {
    True: ("never give up", "keep going", "you can do it", "believe in yourself", "dream big", "rise and shine"),
    False: ("just saying", "that is all", "as usual", "end of story", "since monday", "according to me"),
}
_ENDINGS_HINGLISH = {
    True: ("haar mat maano", "lage raho", "tum kar sakte ho", "himmat rakho", "aage badho", "sapne dekho"),
    False: ("bas itna hi", "aur kya", "roz ka hai", "kya bolu", "somvaar se", "mere hisaab se"),
}


def compose(facts: MemeFacts, rng: random.Random) -> tuple[str, str]:
    """The upper and the lower line of a meme.

    Args:
        facts: what the meme is drawn from.
        rng: chooses among the words that say the same.
    """
    mood = (facts.words_good, facts.words_strong)
    moods, reactions = _MOODS_ENGLISH[mood], _REACTIONS_ENGLISH[mood]
    addresses, endings = _ADDRESSES_ENGLISH[facts.insult], _ENDINGS_ENGLISH[facts.encouraging]
    if facts.hinglish:
        moods, reactions = moods + _MOODS_HINGLISH[mood], _REACTIONS_HINGLISH[mood]
        addresses, endings = _ADDRESSES_HINGLISH[facts.insult], _ENDINGS_HINGLISH[facts.encouraging]
    opening = rng.choice(_OPENINGS[facts.hinglish])
    upper = opening.format(topic=rng.choice(_TOPICS[facts.topic]), mood=rng.choice(moods))
    return upper, f"{rng.choice(reactions)} {rng.choice(addresses)}, {rng.choice(endings)}"
