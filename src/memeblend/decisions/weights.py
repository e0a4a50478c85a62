"""Decisions other than for the most probable class: weights that fit a metric, costs, presence.

F1 rewards rare classes more than the most probable class does, so the best decision multiplies the probabilities by
one weight a class before the largest decides (for two classes: a threshold other than one half). The metric changes
only at finitely many *break points* of the weights, so every line search here is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from memeblend.evaluation.metrics import Metric, score_of_counts
from memeblend.labels import present_classes, present_probabilities

_SAME_SCORE = 1e-12
_SAME_POINT = 1e-9
"""Break points closer than this (in logarithms) are one: between them rounding would decide."""
_MARGIN = float(np.log(2))
"""A weight keeps this distance (in logarithms) from the nearest break point where there is room for it."""


def weighted_decisions(probabilities: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """The class with the largest probability times weight [num_memes] (the lowest index among equals).

    Args:
        probabilities: [num_memes, num_classes].
        weights: positive [num_classes].
    """
    decided: NDArray[np.int64] = (probabilities * weights).argmax(axis=1).astype(np.int64)
    return decided


def expected_costs(probabilities: NDArray[np.float64], costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each decision costs on average, sum_k p_k C[k, c]; the least is Bayes' decision.

    Args:
        probabilities: [num_memes, num_classes]; they should be calibrated.
        costs: [num_classes, num_classes], true class by decided class.

    Returns:
        [num_memes, num_classes].
    """
    expected: NDArray[np.float64] = probabilities @ costs
    return expected


def within_presence(scores: NDArray[np.float64], present: NDArray[np.bool_], worst: float) -> NDArray[np.float64]:
    """Scores of the levels that leave only level 0 to absent memes and only the others to present ones.

    Args:
        scores: [num_memes, num_levels].
        present: [num_memes].
        worst: the score that is never decided for.
    """
    levels = np.arange(scores.shape[1])
    allowed: NDArray[np.bool_] = (levels > 0) == present[:, None]
    bounded: NDArray[np.float64] = np.where(allowed, scores, worst)
    return bounded


def fit_present_threshold(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    metric: Metric,
    meme_weights: NDArray[np.float64] | None = None,
) -> float:
    """Above which summed probability of the levels > 0 a meme is best called present.

    Args:
        probabilities: of the levels [num_memes, num_levels].
        labels: true levels [num_memes], none missing.
        metric: score of absent against present to make best.
        meme_weights: how much each meme counts [num_memes], equally where left out.

    Returns:
        Between 0 and 1; exact, the best there is on these memes.
    """
    absent, present = fit_weights(
        present_probabilities(probabilities), present_classes(labels), metric, meme_weights
    ).tolist()
    return float(absent / (absent + present))


def fit_weights(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    metric: Metric,
    meme_weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """One weight a class, so that deciding for the largest probability times weight makes a metric best.

    Exact for two classes. For more, coordinate ascent: each step scales one class (of four also two at once) by
    the best factor there is (all break points are tried), until none helps; it starts from equal weights, from the
    inverse class shares and, for three classes, from each class scaled down, and the best end is taken.
    Deterministic. A class that no label has is left out of the search and gets weight 1: the metric would always
    forbid it, and nothing says that it never comes.

    Args:
        probabilities: [num_memes, num_classes].
        labels: true class indices [num_memes], none missing.
        metric: the score to make best.
        meme_weights: how much each meme counts [num_memes], equally where left out.

    Returns:
        Positive weights [num_classes] whose geometric mean is 1; all 1 where nothing is better than the most
        probable class.
    """
    num_classes = probabilities.shape[1]
    counted = np.ones(len(labels)) if meme_weights is None else meme_weights
    found = np.bincount(labels, weights=counted, minlength=num_classes).astype(np.float64)
    seen = np.flatnonzero(found > 0)
    open_memes = probabilities[:, seen].sum(axis=1) > 0  # the others are decided whatever the weights are
    scores = probabilities[open_memes][:, seen]
    seen_labels = np.searchsorted(seen, labels[open_memes])
    best = np.ones(num_classes)
    best_score = _score(labels, weighted_decisions(probabilities, best), counted, num_classes, metric)
    for start in _starts(found[seen]):
        weights = np.ones(num_classes)
        weights[seen] = _ascended(scores, seen_labels, counted[open_memes], start, metric)
        weights[seen] /= np.exp(np.log(weights[seen]).mean())
        score = _score(labels, weighted_decisions(probabilities, weights), counted, num_classes, metric)
        if score > best_score + _SAME_SCORE:
            best, best_score = weights, score
    return best


def _starts(found: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Weights to start from, given how often each class was found."""
    num_classes = len(found)
    yield np.ones(num_classes)
    if num_classes > 2:
        yield found.mean() / found
    if num_classes == 3:  # no set of two is left to search along, so more starts lead out of local optima
        for index in range(num_classes):
            yield np.where(np.arange(num_classes) == index, 0.25, 1.0)


def _ascended(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    counted: NDArray[np.float64],
    weights: NDArray[np.float64],
    metric: Metric,
) -> NDArray[np.float64]:
    """Weights from which no factor along any direction leads further up."""
    directions = _directions(len(weights))
    num_settled = 0
    while num_settled < len(directions):
        inside = directions.pop(0)
        directions.append(inside)
        factor = _best_factor(probabilities * weights, labels, counted, inside, metric)
        weights = np.where(inside, weights * factor, weights)
        num_settled = num_settled + 1 if factor == 1 else 1
    return weights


def _directions(num_classes: int) -> list[NDArray[np.bool_]]:
    """Which classes are scaled together: each alone, of four each two, and never also the rest of such a set, since
    scaling one side up is scaling the other down."""
    sides: list[set[int]] = []
    for size in (1, 2) if num_classes == 4 else (1,):
        for chosen in combinations(range(num_classes), size):
            rest = set(range(num_classes)) - set(chosen)
            if rest and rest not in sides:
                sides.append(set(chosen))
    return [np.isin(np.arange(num_classes), list(side)) for side in sides]


def _best_factor(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    counted: NDArray[np.float64],
    inside: NDArray[np.bool_],
    metric: Metric,
) -> float:
    """The factor for the classes `inside` that makes the metric best; 1 where none is better.

    As the factor rises, memes go over one by one from their best class outside to their best class inside, each at
    its break point. Among equally good factors the one nearest to 1.

    Args:
        scores: positive multiples of probabilities [num_memes, num_classes].
        labels: true class indices [num_memes].
        counted: how much each meme counts [num_memes].
        inside: mask [num_classes].
        metric: the score.
    """
    num_memes, num_classes = scores.shape
    rows = np.arange(num_memes)
    outer, inner = np.where(inside, -1, scores).argmax(axis=1), np.where(inside, scores, -1).argmax(axis=1)
    with np.errstate(divide="ignore"):  # a probability of 0 never goes over, or always has
        break_points = np.log(scores[rows, outer]) - np.log(scores[rows, inner])
    order = np.argsort(break_points, kind="stable")
    moves = np.zeros((num_classes, num_classes, num_memes + 1))  # memes last: short sums over long rows are fast
    moves[..., 0] = _counts(labels, outer, counted, num_classes)
    moves[labels[order], outer[order], rows + 1] = -counted[order]
    moves[labels[order], inner[order], rows + 1] = counted[order]
    reached = score_of_counts(np.moveaxis(np.maximum(moves.cumsum(axis=-1), 0), -1, 0), metric)
    edges = np.concatenate([[-np.inf], break_points[order], [np.inf]])
    with np.errstate(invalid="ignore"):  # infinity less infinity: no room between two that never go over
        room = np.diff(edges)
    possible: NDArray[np.bool_] = room > _SAME_POINT
    margin = np.minimum(room / 2, _MARGIN)[possible]
    points = np.clip(0, edges[:-1][possible] + margin, edges[1:][possible] - margin)
    now = _score(labels, scores.argmax(axis=1), counted, num_classes, metric)
    best = float(reached[possible].max())
    if best <= now + _SAME_SCORE:
        return 1.0
    equally_good = points[reached[possible] >= best - _SAME_SCORE]
    return float(np.exp(equally_good[np.abs(equally_good).argmin()]))


def _score(
    labels: NDArray[np.int64],
    decided: NDArray[np.int64],
    counted: NDArray[np.float64],
    num_classes: int,
    metric: Metric,
) -> float:
    """Score of decisions whose memes count differently."""
    return float(score_of_counts(_counts(labels, decided, counted, num_classes), metric))


def _counts(
    labels: NDArray[np.int64], decided: NDArray[np.int64], counted: NDArray[np.float64], num_classes: int
) -> NDArray[np.float64]:
    """Sums of `counted` [num_classes, num_classes] by (true class, decided class)."""
    cells = np.bincount(labels * num_classes + decided, weights=counted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes).astype(np.float64)
