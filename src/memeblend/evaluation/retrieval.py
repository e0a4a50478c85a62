"""Recall of retrieval in both directions, with ties and duplicates counted right."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
from numpy.typing import NDArray

RECALL_AT = (1, 5, 10)
"""How many of the best are looked at."""


def recall_at(similarity: NDArray[np.floating], relevant: NDArray[np.bool_], k: int) -> float:
    """Mean chance that one of the right items is among the `k` most similar ones.

    Ties are broken by lot, and the chance of that is computed, not drawn: a model that finds everything equally
    similar gets what chance gives. A query with several right items is answered by any of them.

    Args:
        similarity: [num_queries, num_items], higher is more similar; items are distinct, so that a duplicate takes no
            second place.
        relevant: which items are right for each query [num_queries, num_items]; at least one each.
        k: how many are looked at, at least 1.

    Raises:
        ValueError: no query, shapes that differ, a query without a right item, similarities that are no numbers, or
            `k` below 1.
    """
    if similarity.shape != relevant.shape or similarity.ndim != 2 or not len(similarity):
        raise ValueError(f"similarity is {similarity.shape} and relevant {relevant.shape}, expected one shape of two")
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    if not relevant.any(axis=1).all():
        raise ValueError("a query has no right item")
    if not np.isfinite(similarity).all():
        raise ValueError("similarities must be finite")
    best = np.where(relevant, similarity, -np.inf).max(axis=1, keepdims=True)  # of the right ones, [num_queries, 1]
    places = k - (similarity > best).sum(axis=1)  # left for those tied with the best right item
    tied = similarity == best
    right = (tied & relevant).sum(axis=1)
    wrong = tied.sum(axis=1) - right
    counts = np.stack([places, right, wrong], axis=1).tolist()
    return float(np.mean([_chance(*of_query) for of_query in counts]))


def _chance(places: int, right: int, wrong: int) -> float:
    """Chance that at least one of the right ones is among the first `places` of a shuffled right + wrong."""
    if places <= 0:
        return 0.0
    return 1 - comb(wrong, places) / comb(right + wrong, min(places, right + wrong))


def retrieval_scores(
    text_embeds: NDArray[np.floating],
    image_embeds: NDArray[np.floating],
    pairs: NDArray[np.int64],
    at: Sequence[int] = RECALL_AT,
) -> dict[str, float]:
    """Recall of the image from the text and of the text from the image.

    Args:
        text_embeds: of distinct texts [num_texts, d], normalised.
        image_embeds: of distinct images [num_images, d], normalised.
        pairs: which text goes with which image [num_pairs, 2]; each text and image at least once. All images that a
            text goes with are right for it, and the other way round.
        at: the values of k.

    Returns:
        "image_recall@k" (texts ask for images) and "text_recall@k" (images ask for texts).
    """
    similarity = text_embeds.astype(np.float64) @ image_embeds.astype(np.float64).T
    # Equal embeddings must tie, however the product rounded them.
    similarity = np.round(similarity, 9)
    relevant = np.zeros(similarity.shape, dtype=bool)
    relevant[pairs[:, 0], pairs[:, 1]] = True
    found = {f"image_recall@{k}": recall_at(similarity, relevant, k) for k in at}
    return found | {f"text_recall@{k}": recall_at(similarity.T, relevant.T, k) for k in at}
