"""The memes an ensemble is most confidently wrong about."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from memeblend.evaluation.tables import PredictionTable

NUM_WRONG = 12
_MAX_TEXT = 400
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
_DIRECTION_OVERRIDES = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

Rows = Mapping[str, tuple[PredictionTable, Sequence[PredictionTable]]]


def wrong_memes(tables: Rows, texts: Mapping[str, str]) -> list[dict[str, Any]]:
    """Twelve memes with the highest probability on a wrong class, one of each duplicate group.

    Label tasks take turns, each with its own most confident mistake, since a label task with a rare class would
    otherwise fill the whole list.

    Args:
        tables: for each label task the ensemble's labelled rows of the report splits, and its members' tables.
        texts: ocr_text by meme_id.

    Returns:
        For each meme "meme_id", "split", "ocr_text" (shortened) and "mistakes": a list, most confident first, of
        "label_task", "true", "predicted", "probability" (of the predicted class), "true_probability" and "votes"
        (member -> class).
    """
    ranked = [[(name, int(row)) for row in _most_confident(ensemble)] for name, (ensemble, _members) in tables.items()]
    turns = [pick for turn in zip_longest(*ranked) for pick in turn if pick is not None]
    chosen: dict[int, tuple[str, str]] = {}
    for name, row in turns:
        ensemble = tables[name][0]
        chosen.setdefault(int(ensemble.groups[row]), (str(ensemble.meme_ids[row]), str(ensemble.splits[row])))
        if len(chosen) == NUM_WRONG:
            break
    return [
        {
            "meme_id": meme_id,
            "split": split,
            "ocr_text": shortened(texts.get(meme_id, "")),
            "mistakes": _mistakes(meme_id, tables),
        }
        for meme_id, split in chosen.values()
    ]


def _most_confident(ensemble: PredictionTable) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Rows of the wrong predictions, the most probable first; as many as could be needed of one label task."""
    wrong = np.flatnonzero(ensemble.predicted != ensemble.labels)
    confidence = ensemble.probabilities[wrong, ensemble.predicted[wrong]]
    ordered = wrong[np.lexsort((ensemble.meme_ids[wrong], -confidence))]
    _, first_of_group = np.unique(ensemble.groups[ordered], return_index=True)
    return ordered[np.sort(first_of_group)[:NUM_WRONG]]


def _mistakes(meme_id: str, tables: Rows) -> list[dict[str, Any]]:
    found = []
    for name, (ensemble, members) in tables.items():
        for row in np.flatnonzero(ensemble.meme_ids == meme_id):
            true, said = int(ensemble.labels[row]), int(ensemble.predicted[row])
            if true == said:
                continue
            classes = ensemble.label_task.classes
            found.append(
                {
                    "label_task": name,
                    "true": classes[true],
                    "predicted": classes[said],
                    "probability": float(ensemble.probabilities[row, said]),
                    "true_probability": float(ensemble.probabilities[row, true]),
                    "votes": {
                        member.candidate: classes[int(member.predicted[member.meme_ids == meme_id][0])]
                        for member in members
                    },
                }
            )
    return sorted(found, key=lambda mistake: -mistake["probability"])


def shortened(text: str) -> str:
    """Text that is safe to print: no control characters, broken code points or direction overrides (joiners stay,
    emoji and Indic scripts need them), blanks collapsed, not too long."""
    kept = "".join(
        " " if unicodedata.category(character) in _UNPRINTABLE or character in _DIRECTION_OVERRIDES else character
        for character in text
    )
    collapsed = " ".join(kept.split())
    return collapsed if len(collapsed) <= _MAX_TEXT else collapsed[: _MAX_TEXT - 1].rstrip() + "…"
