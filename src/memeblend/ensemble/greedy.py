"""Greedy selection with replacement (Caruana, Niculescu-Mizil, Crew & Ksikes 2004).

An ensemble starts as the best of the prefixes of the candidates sorted by their own gain, and then takes, one at a
time, whichever candidate makes it best; a candidate taken twice counts twice. The whole is done in several "bags",
each a random half of the candidates, whose members are then added up, since a choice among fewer candidates chases
less noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memeblend.ensemble.scoring import MAX_TIMES, Scorer, Sums, one_standard_error_below

_PATIENCE = 4
"""Members taken without a better ensemble after which a bag is done. Above 1, since two even votes tie often."""


@dataclass(frozen=True, eq=False)
class GreedyChoice:
    """What greedy selection found.

    Attributes:
        times: how often each candidate is a member [num_candidates].
        num_tried: number of ensembles scored.
    """

    times: NDArray[np.int64]
    num_tried: int


def greedy(
    scorers: Sequence[Scorer],
    affordable: NDArray[np.bool_],
    costs: NDArray[np.float64],
    budget: float,
    *,
    num_bags: int,
    seed: int,
    smallest: bool,
) -> GreedyChoice:
    """Choose members greedily, for the best mean gain over some label tasks.

    Args:
        scorers: of each label task, with the same candidates.
        affordable: the candidates that may be members [num_candidates], at least one.
        costs: of each candidate [num_candidates].
        budget: most that the different members may cost together.
        num_bags: random halves of the candidates to choose from; with 1 all of them are offered once.
        seed: seed of these halves.
        smallest: whether each bag keeps the shortest of its ensembles within one standard error of the best one,
            instead of the best.
    """
    random = np.random.default_rng(seed)
    possible = np.flatnonzero(affordable)
    own = np.mean([scorer.own for scorer in scorers], axis=0)
    total = np.zeros(len(own), dtype=np.int64)
    num_tried = 0
    for _ in range(num_bags):
        inside = possible
        if num_bags > 1:
            inside = np.sort(random.choice(possible, -(-len(possible) // 2), replace=False))
        bag = _Bag(scorers, inside[np.argsort(-own[inside], kind="stable")], costs, budget)
        bag.grow()
        total += bag.kept(smallest=smallest)
        num_tried += bag.num_tried
    total = _within(total, costs, budget)
    return GreedyChoice(total // np.gcd.reduce(total), num_tried)


def _within(times: NDArray[np.int64], costs: NDArray[np.float64], budget: float) -> NDArray[np.int64]:
    """Members whose joint cost is in the budget: those taken most often first, then by name, as far as they fit."""
    kept = np.zeros_like(times)
    spent = 0.0
    for member in np.argsort(-times, kind="stable"):
        if times[member] and spent + costs[member] <= budget:
            kept[member] = times[member]
            spent += float(costs[member])
    return kept


class _Bag:
    """One bag: the ensembles that it has been through, each the one before and one more member.

    Args:
        scorers: of each label task.
        ranked: candidates of the bag, best first.
        costs: of each candidate [num_candidates].
        budget: most that the different members may cost together.
    """

    def __init__(
        self, scorers: Sequence[Scorer], ranked: NDArray[np.int64], costs: NDArray[np.float64], budget: float
    ) -> None:
        self.scorers, self.ranked, self.costs, self.budget = scorers, ranked, costs, budget
        self.sums: list[Sums] = [scorer.each.nothing() for scorer in scorers]
        self.path: list[int] = []
        self.gains: list[float] = []
        self.num_tried = 0

    def grow(self) -> None:
        """Take the sorted start, and then members until none has helped for a while."""
        for candidate in self.ranked:
            if self._fitting()[self.ranked == candidate][0] and len(self.path) < MAX_TIMES:
                self._take(int(candidate), self._tried(np.array([candidate]))[0])
        self._cut(int(np.argmax(self.gains)) + 1)
        while len(self.path) < MAX_TIMES and len(self.path) - int(np.argmax(self.gains)) <= _PATIENCE:
            fitting = self.ranked[self._fitting()]
            gains = self._tried(fitting)
            best = int(np.argmax(gains))
            self._take(int(fitting[best]), gains[best])

    def kept(self, *, smallest: bool) -> NDArray[np.int64]:
        """How often each candidate is a member [num_candidates] of the ensemble that the bag keeps."""
        gains = np.array(self.gains)
        length = int(np.argmax(gains)) + 1
        if smallest:
            least = one_standard_error_below(gains[length - 1], self.scorers, self._times(length))
            length = int(np.argmax(gains >= least)) + 1
        return self._times(length)

    def _times(self, length: int) -> NDArray[np.int64]:
        return np.bincount(self.path[:length], minlength=len(self.costs)).astype(np.int64)

    def _fitting(self) -> NDArray[np.bool_]:
        """Which of the bag's candidates can still be paid for; members can be taken again at no cost."""
        members = np.unique(np.array(self.path, dtype=np.int64))
        left = self.budget - self.costs[members].sum()
        fits: NDArray[np.bool_] = np.isin(self.ranked, members) | (self.costs[self.ranked] <= left)
        return fits

    def _tried(self, candidates: NDArray[np.int64]) -> NDArray[np.float64]:
        """Mean gains of the ensemble with each of these candidates added [num_candidates]."""
        self.num_tried += len(candidates)
        found = [
            scorer.gains(sums.plus(scorer.each.take(candidates)))
            for scorer, sums in zip(self.scorers, self.sums, strict=True)
        ]
        mean: NDArray[np.float64] = np.mean(found, axis=0)
        return mean

    def _take(self, candidate: int, gain: float) -> None:
        self._add(candidate)
        self.path.append(candidate)
        self.gains.append(float(gain))

    def _add(self, candidate: int) -> None:
        one = np.array([candidate])
        self.sums = [sums.plus(scorer.each.take(one)) for scorer, sums in zip(self.scorers, self.sums, strict=True)]

    def _cut(self, length: int) -> None:
        """Go back to the ensemble of so many members."""
        self.path, self.gains = self.path[:length], self.gains[:length]
        self.sums = [scorer.each.nothing() for scorer in self.scorers]
        for candidate in self.path:
            self._add(candidate)
