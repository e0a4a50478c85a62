"""Shares of memes with intervals that know of duplicates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Z = 1.959963984540054
"""Standard normal quantile of a 95 % interval."""


def effective_number(groups: NDArray[np.int64]) -> float:
    """How many independent memes some are worth, their duplicate groups [num_memes] given.

    Kish's (1965) n / design effect with memes of one group taken to be fully alike: n**2 / sum of squared group sizes.
    The number of memes where every group is one meme.
    """
    sizes = np.unique(groups, return_counts=True)[1]
    return float(len(groups) ** 2 / (sizes**2).sum()) if len(groups) else 0.0


def wilson(share: float, number: float) -> tuple[float, float]:
    """95 % interval of a share among so many independent memes (Wilson 1927), good for few memes and near 0 and 1."""
    centre = (share + Z**2 / (2 * number)) / (1 + Z**2 / number)
    half = Z / (1 + Z**2 / number) * np.sqrt(share * (1 - share) / number + Z**2 / (4 * number**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def share_of(hits: NDArray[np.bool_], groups: NDArray[np.int64]) -> dict[str, Any]:
    """The share of hits [num_memes], as plain JSON types.

    Returns:
        "num" hits of "num_memes", their "share" and its 95 % "interval"; both None where there are no memes.
    """
    number, num_hits = len(hits), int(hits.sum())
    if not number:
        return {"num": 0, "num_memes": 0, "share": None, "interval": None}
    share = num_hits / number
    interval = wilson(share, effective_number(groups))
    return {"num": num_hits, "num_memes": number, "share": share, "interval": list(interval)}
