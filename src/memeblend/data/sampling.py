"""Stratified parts of a table of memes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def shares(counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Divide `total` over strata in proportion to their sizes, by largest remainder.

    Each stratum gets at least one while `total` allows (the largest strata first), and never more than it has.

    Args:
        counts: size of each stratum [num_strata], all above 0.
        total: how many to take, at most the sum of `counts`.
    """
    by_size = np.argsort(-counts, kind="stable")
    taken = np.zeros_like(counts)
    taken[by_size[: min(total, len(counts))]] = 1
    wanted = counts * total / counts.sum()
    for _ in range(total - int(taken.sum())):
        lacking = np.where(taken < counts, wanted - taken, -np.inf)
        taken[int(np.argmax(lacking))] += 1
    return taken


def stratified_rows(
    splits: NDArray[np.str_], classes: NDArray[np.int64], num_memes: int, seed: int
) -> NDArray[np.int64]:
    """Row numbers, ascending, of a part that keeps the proportions of splits and of classes within them.

    Args:
        splits: split name per meme [num_rows].
        classes: class index per meme [num_rows]; missing labels are a stratum of their own.
        num_memes: size of the part, at most num_rows.
        seed: which memes are drawn.

    Raises:
        ValueError: fewer memes than there are splits.
    """
    names, counts = np.unique(splits, return_counts=True)
    if num_memes < len(names):
        raise ValueError(f"a part of {num_memes} memes can't hold one of each of the {len(names)} splits")
    random = np.random.default_rng(seed)
    rows: list[NDArray[np.int64]] = []
    for name, share in zip(names, shares(counts, num_memes), strict=True):
        inside = np.flatnonzero(splits == name)
        kinds, sizes = np.unique(classes[inside], return_counts=True)
        for kind, size in zip(kinds, shares(sizes, int(share)), strict=True):
            rows.append(random.permutation(inside[classes[inside] == kind])[:size])
    return np.sort(np.concatenate(rows))
