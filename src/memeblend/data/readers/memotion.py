"""Label words of the Memotion challenges (Sharma et al. 2020; Mishra et al. 2023), and what their readers share.

Memotion 1 calls the levels of sarcasm general, twisted_meaning and very_twisted; Memotion 3 calls them little,
very and extremely sarcastic. Both are three levels above none, and both tables are read everywhere. Numeric
labels are refused: the releases number their classes in different orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memeblend.data.label_values import add_labels, label_key
from memeblend.data.rows import RawMemes
from memeblend.data.tables import TextTable
from memeblend.labels import HUMOROUS, MOTIVATIONAL, OFFENSIVE, SARCASTIC, SENTIMENT, LabelTask

_WORDS: tuple[tuple[LabelTask, tuple[str, ...], dict[str, str]], ...] = (
    (
        SENTIMENT,
        ("overall_sentiment", "overall", "sentiment"),
        {
            "very_negative": "negative",
            "negative": "negative",
            "neutral": "neutral",
            "positive": "positive",
            "very_positive": "positive",
        },
    ),
    (
        HUMOROUS,
        ("humour", "humor", "humorous"),
        {"not_funny": "not_funny", "funny": "funny", "very_funny": "very_funny", "hilarious": "hilarious"},
    ),
    (
        SARCASTIC,
        ("sarcasm", "sarcastic"),
        {
            "not_sarcastic": "not_sarcastic",
            "general": "general",
            "twisted_meaning": "twisted_meaning",
            "very_twisted": "very_twisted",
            "little_sarcastic": "general",
            "very_sarcastic": "twisted_meaning",
            "extremely_sarcastic": "very_twisted",
        },
    ),
    (
        OFFENSIVE,
        ("offensive", "offense"),
        {
            "not_offensive": "not_offensive",
            "slight": "slight",
            "slight_offensive": "slight",
            "very_offensive": "very_offensive",
            "hateful_offensive": "hateful_offensive",
        },
    ),
    (
        MOTIVATIONAL,
        ("motivational", "motivation"),
        {"not_motivational": "not_motivational", "motivational": "motivational"},
    ),
)


def find_column(columns: Mapping[str, object], names: Sequence[str]) -> str | None:
    """The column that goes by one of these names (first name first), however it is spelled."""
    spelled = {label_key(column): column for column in reversed(list(columns))}
    return next((spelled[name] for name in names if name in spelled), None)


def add_memotion_labels(raw: RawMemes, tables: Sequence[TextTable]) -> None:
    """Give the memes of these tables, in order, the label tasks that any of the tables has a column for."""
    for task, names, words in _WORDS:
        found = [(table, find_column(table.columns, names)) for table in tables]
        there = [column for _, column in found if column is not None]
        if there:
            values = [cell for table, column in found for cell in table.column(column or "")]
            add_labels(raw, task, values, there[0], words)
