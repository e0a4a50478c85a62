"""Whether an exported model says what its model says: the same memes put to both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.model.ensembles import EnsembleClassifier
from memeblend.predictions import Predictions
from memeblend.training.preprocessing import Memes, Preprocessor

TOLERANCE = 1e-4
"""Largest difference of a probability that an export in full precision may have."""
_BATCHES = (1, 3)  # then all that are left at once


def random_memes(preprocessor: Preprocessor, num_memes: int, seed: int) -> Memes:
    """Memes that mean nothing: texts of random tokens, from none to the longest, and images of random colours.

    Args:
        preprocessor: whose tokens and image size they have.
        num_memes: how many.
        seed: of the numbers they are drawn with.
    """
    random = np.random.default_rng(seed)
    backend = preprocessor.tokenizer.backend_tokenizer
    vocabulary = backend.get_vocab_size()
    lengths = np.linspace(0, preprocessor.max_length, num_memes).astype(int)
    texts = [backend.decode(random.integers(0, vocabulary, length).tolist()) for length in lengths]
    size = preprocessor.transform.size
    colours = random.integers(0, 256, (num_memes, 1, 1, 3))
    noise = random.integers(-60, 61, (num_memes, size, size, 3))
    images = np.clip(colours + noise, 0, 255).astype(np.uint8)
    names = [f"random-{position}" for position in range(num_memes)]
    return Memes(texts, images, preprocessor, names, [None] * num_memes)


def compare(model: EnsembleClassifier, exported: EnsembleClassifier, memes: Memes) -> dict[str, Any]:
    """What both say of memes that the export's preprocessor made ready, in batches of one, of three and of the rest.

    Returns:
        {"num_memes", "largest_difference" of a member's probability, "agreement": share of memes and label tasks with
        the same class, "members": {NAME: {"largest_difference", "agreement"}}}.
    """
    members: dict[str, list[tuple[float, NDArray[np.bool_]]]] = {}
    same: list[NDArray[np.bool_]] = []
    for part in _parts(memes):
        said, exported_said = model.predict_prepared(part), exported.predict_prepared(part)
        for name, difference, agreed in _of_members(said, exported_said):
            members.setdefault(name, []).append((difference, agreed))
        same += [table.predicted == exported_said.tables[name].predicted for name, table in said.tables.items()]
    found = {
        name: {
            "largest_difference": max(difference for difference, _ in pairs),
            "agreement": float(np.concatenate([agreed for _, agreed in pairs]).mean()),
        }
        for name, pairs in sorted(members.items())
    }
    return {
        "num_memes": len(memes),
        "largest_difference": max(one["largest_difference"] for one in found.values()),
        "agreement": float(np.concatenate(same).mean()),
        "members": found,
    }


def _parts(memes: Memes) -> Iterator[Memes]:
    start = 0
    for size in (*_BATCHES, len(memes)):
        rows = np.arange(start, min(start + size, len(memes)))
        if len(rows):
            yield memes.take(rows)
        start += size


def _of_members(said: Predictions, other: Predictions) -> Iterator[tuple[str, float, NDArray[np.bool_]]]:
    """Each member's largest difference and which of its classes agree, label task by label task."""
    for name, tables in said.members.items():
        for one, two in zip(tables, other.members[name], strict=True):
            difference = float(np.abs(one.probabilities - two.probabilities).max())
            yield one.candidate, difference, one.predicted == two.predicted
