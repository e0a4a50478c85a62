"""What an ensemble costs, and which ones give the most for it.

Costs are as measured, candidate by candidate, and simply add up. That two members may share an encoder, whose pass
then need not be made twice, is not modelled: the sum is what serving them one after the other takes, and an upper
bound for anything cleverer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memeblend.errors import PredictionError, Problem


@dataclass(frozen=True)
class CandidateCost:
    """What one candidate costs, as measured.

    Attributes:
        milliseconds: time to predict one meme.
        bytes: size on disk.

    Raises:
        ValueError: a cost that is negative or not finite.
    """

    milliseconds: float
    bytes: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.milliseconds) and self.milliseconds >= 0 and self.bytes >= 0):
            raise ValueError(
                f"a cost of {self.milliseconds} milliseconds and {self.bytes} bytes, expected finite numbers of at "
                "least 0"
            )


def ensemble_cost(members: Iterable[str], costs: Mapping[str, CandidateCost]) -> CandidateCost:
    """The sum of the members' costs; a member named twice is paid once, since its prediction is made once.

    Args:
        members: names of the members.
        costs: cost of each candidate by its name.

    Raises:
        PredictionError: members whose cost is not known; all are listed.
    """
    names = sorted(set(members))
    problems = [Problem(f"member '{name}'", "has no measured cost") for name in names if name not in costs]
    if problems:
        raise PredictionError(
            "What this ensemble costs is not known:",
            problems=problems,
            fix="Measure these candidates, or choose among the others.",
        )
    return CandidateCost(
        math.fsum(costs[name].milliseconds for name in names), sum(costs[name].bytes for name in names)
    )


def pareto_front(scores: ArrayLike, milliseconds: ArrayLike) -> NDArray[np.bool_]:
    """Which points no other point beats: higher scores and fewer milliseconds are better.

    A point is beaten by one that is at least as good in both and better in one. Points that are equal in both
    don't beat each other, so either all or none of them are on the front. Exact comparisons, no tolerance.

    Args:
        scores: [num_points].
        milliseconds: [num_points].

    Returns:
        Mask [num_points]; at least one point of any that are given is on the front.

    Raises:
        ValueError: not one score for each time, or a value that is NaN.
    """
    score, time = np.asarray(scores, dtype=np.float64), np.asarray(milliseconds, dtype=np.float64)
    if score.ndim != 1 or score.shape != time.shape:
        raise ValueError(f"scores has shape {score.shape} and milliseconds {time.shape}, expected one of each a point")
    if np.isnan(score).any() or np.isnan(time).any():
        raise ValueError("a score or a time is NaN, so points can't be compared")
    distinct, group = np.unique(time, return_inverse=True)
    best_at = np.full(len(distinct), -np.inf)
    np.maximum.at(best_at, group, score)
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(best_at)[:-1]])
    # A first point may itself score -inf: nothing is faster, so nothing beats it.
    improves = (best_at > best_before) | (np.arange(len(distinct)) == 0)
    front: NDArray[np.bool_] = improves[group] & (score == best_at[group])
    return front


@dataclass(frozen=True)
class CostPoint:
    """One ensemble or single candidate in the picture of score against cost.

    Attributes:
        members: names of its members, sorted.
        score: its score, as given.
        milliseconds: time to predict one meme with all of its members; None where a member's cost is not known.
        on_front: whether no subset that was given (listed here or not) beats it, see `pareto_front`; never where
            its cost is not known.
        chosen: whether it is the chosen ensemble.
    """

    members: tuple[str, ...]
    score: float
    milliseconds: float | None
    on_front: bool
    chosen: bool

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "members": list(self.members),
            "score": self.score,
            "milliseconds": self.milliseconds,
            "on_front": self.on_front,
            "chosen": self.chosen,
        }


def cost_points(
    names: Sequence[str],
    included: NDArray[np.bool_],
    scores: ArrayLike,
    costs: Mapping[str, CandidateCost],
    *,
    chosen: Iterable[str] = (),
) -> tuple[CostPoint, ...]:
    """The points worth drawing, among any number of subsets whose score is known.

    These are the single candidates, the chosen ensemble, the best subset of each size (of equal ones the cheapest,
    those of unknown cost last, then the first given), and the front itself (of points equal in both, the smallest,
    then the first given).

    Args:
        names: the candidates' names.
        included: members of each subset [num_subsets, num_candidates]; see `all_subsets`.
        scores: [num_subsets], of whatever the picture is to show, higher being better. Scores that the choice saw
            flatter the best of each size; those of another split don't.
        costs: cost of each candidate by its name; candidates measured elsewhere may be missing.
        chosen: members of the chosen ensemble, () where there is none.

    Returns:
        The points, fewest milliseconds first and those of unknown cost last; equals by size, then by members.

    Raises:
        ValueError: arrays that don't fit, a score that is not finite, an empty subset, or a chosen ensemble that is not
            among the subsets.
    """
    score = np.asarray(scores, dtype=np.float64)
    if included.shape != (len(score), len(names)):
        raise ValueError(f"included has shape {included.shape}, expected {(len(score), len(names))}")
    if not np.isfinite(score).all():
        raise ValueError("a score is not finite")
    sizes = included.sum(axis=1)
    if (sizes == 0).any():
        raise ValueError("a subset has no member")
    time = _subset_milliseconds(names, included, costs)
    front = np.zeros(len(score), dtype=np.bool_)
    known = np.flatnonzero(np.isfinite(time))
    front[known] = pareto_front(score[known], time[known])

    picked = set(np.flatnonzero(sizes == 1).tolist()) | set(_best_of_each_size(sizes, score, time))
    picked |= set(_first_of_equals(np.flatnonzero(front), sizes, score, time))
    chosen_row = _row_of(chosen, names, included)
    if chosen_row is not None:
        picked.add(chosen_row)
    points = [
        CostPoint(
            members=tuple(sorted(name for name, is_in in zip(names, included[row], strict=True) if is_in)),
            score=float(score[row]),
            milliseconds=float(time[row]) if math.isfinite(time[row]) else None,
            on_front=bool(front[row]),
            chosen=row == chosen_row,
        )
        for row in picked
    ]
    return tuple(sorted(points, key=_drawing_order))


def all_subsets(num_candidates: int) -> NDArray[np.bool_]:
    """Members of every non-empty subset [2**num_candidates - 1, num_candidates]: row i holds the bits of i + 1, which
    is the order of `exhaustive.subset_gains`."""
    subsets = np.arange(1, 2**num_candidates)[:, None]
    return (subsets >> np.arange(num_candidates) & 1).astype(np.bool_)


def _drawing_order(point: CostPoint) -> tuple[float, int, tuple[str, ...]]:
    return (math.inf if point.milliseconds is None else point.milliseconds, len(point.members), point.members)


def _subset_milliseconds(
    names: Sequence[str], included: NDArray[np.bool_], costs: Mapping[str, CandidateCost]
) -> NDArray[np.float64]:
    """Milliseconds of each subset [num_subsets]; infinite where a member's cost is not known.

    Members are added one after the other, so that equal sets of members take bit-equal times.
    """
    total = np.zeros(len(included))
    for name, is_in in zip(names, included.T, strict=True):
        total[is_in] += costs[name].milliseconds if name in costs else math.inf
    return total


def _best_of_each_size(sizes: NDArray[np.int64], score: NDArray[np.float64], time: NDArray[np.float64]) -> list[int]:
    order = np.lexsort((time, -score, sizes))
    return [int(order[start]) for start in np.unique(sizes[order], return_index=True)[1]]


def _first_of_equals(
    rows: NDArray[np.int64], sizes: NDArray[np.int64], score: NDArray[np.float64], time: NDArray[np.float64]
) -> list[int]:
    """Of rows equal in score and time, the smallest subset's."""
    order = rows[np.lexsort((sizes[rows], -score[rows], time[rows]))]
    points = np.stack([time[order], score[order]], axis=1)
    is_new = np.concatenate([[True], (points[1:] != points[:-1]).any(axis=1)])[: len(order)]
    return [int(row) for row in order[is_new]]


def _row_of(chosen: Iterable[str], names: Sequence[str], included: NDArray[np.bool_]) -> int | None:
    """Row of the chosen ensemble among the subsets, None where none was chosen."""
    wanted = set(chosen)
    if not wanted:
        return None
    found = np.flatnonzero((included == [name in wanted for name in names]).all(axis=1))
    if not wanted <= set(names) or not len(found):
        raise ValueError(f"the chosen ensemble ({', '.join(sorted(wanted))}) is not among the subsets given")
    return int(found[0])
