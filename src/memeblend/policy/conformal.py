"""Sets of classes that hold the true one with a stated coverage (split conformal prediction; Vovk et al. 2005).

A class is in the set when its probability is at least a bound: the sets of least mean size for a marginal coverage
(Sadinle, Lei & Wasserman 2019, LAC). Adaptive sets (Romano, Sesia & Candès 2020) are larger and need random tie breaks,
so the same meme would get other sets. Where no class reaches the bound the most probable one is the set, which only
adds coverage.

The guarantee is over new memes of the same kind as the validation, on average over all of them, not for each class.
Near-duplicates are not exchangeable with others, so each duplicate group weighs as one (hierarchical conformal
prediction; Lee, Barber & Willett 2023): the coverage is of a meme from a new group.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NUM_FOLDS = 10
_ROUNDING = 1e-12


def least_number(coverage: float) -> int:
    """How many duplicate groups a coverage needs at least."""
    return int(np.ceil(coverage / (1 - coverage) - _ROUNDING))


def least_probability(of_true: NDArray[np.float64], groups: NDArray[np.int64], coverage: float) -> float | None:
    """The bound that a class has to reach.

    With every group one meme, the ceil((num_memes + 1) * coverage)-th largest probability of a true class.

    Args:
        of_true: probability of each meme's true class [num_memes].
        groups: duplicate groups [num_memes].
        coverage: above 0, below 1.

    Returns:
        None where there are fewer groups than `least_number`.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(-of_true, kind="stable")
    covered = np.cumsum(1 / sizes[group[order]]) / (len(sizes) + 1)
    reached = np.flatnonzero(covered >= coverage - _ROUNDING)
    return float(of_true[order[reached[0]]]) if len(reached) else None


def members(probabilities: NDArray[np.float64], least: float) -> NDArray[np.bool_]:
    """Which classes are in each meme's set [num_memes, num_classes].

    Args:
        probabilities: [num_memes, num_classes].
        least: see `least_probability`.
    """
    within: NDArray[np.bool_] = probabilities >= least
    empty = ~within.any(axis=1)
    within[empty, probabilities[empty].argmax(axis=1)] = True
    return within


def cross_fitted(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], groups: NDArray[np.int64], coverage: float
) -> NDArray[np.bool_]:
    """Sets [num_memes, num_classes] of memes from bounds that their own duplicate group had no part in.

    Args:
        probabilities: [num_memes, num_classes].
        labels: true class indices [num_memes], none missing.
        groups: duplicate groups [num_memes].
        coverage: above 0, below 1.
    """
    of_true = probabilities[np.arange(len(labels)), labels]
    _, group = np.unique(groups, return_inverse=True)
    fold = np.random.default_rng(0).permutation(group.max() + 1)[group] % _NUM_FOLDS
    found = np.ones(probabilities.shape, dtype=np.bool_)
    for held_out in np.unique(fold):
        rows = fold == held_out
        least = least_probability(of_true[~rows], groups[~rows], coverage) if not rows.all() else None
        if least is not None:
            found[rows] = members(probabilities[rows], least)
    return found
