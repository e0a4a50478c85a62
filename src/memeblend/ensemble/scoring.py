"""The score of any ensemble of the candidates offered, from sums of what its members give.

Every voting rule adds up whole numbers ("ballots"), one for each member, meme and class; the class with the largest
sum is the decision, the first among equals. A point is worth more than all probabilities together, so that these
break ties and do nothing else. Probabilities are added beside them as floats, member by member in the order of
names, which is how `voting.blend` adds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memeblend.ensemble.offered import Offered
from memeblend.ensemble.voting import (
    PROBABILITY_STEPS,
    UNITS,
    Voting,
    decide_by_units,
    exchanged,
    first_largest,
    points,
    probability_steps,
)
from memeblend.errors import PredictionError
from memeblend.evaluation.metrics import (
    COUNT_METRICS,
    LOWER_IS_BETTER,
    Objective,
    objective_scores,
    score_of_counts,
    why_undefined,
)

MAX_TIMES = 63
"""Members of one ensemble, those named twice counted twice, up to which a point outweighs all probabilities."""
_POINT = 64 * PROBABILITY_STEPS
_DECIMALS = 12
"""Scores closer than this are the same score reached by another order of additions."""
_SAME = 1e-9
"""Far below any standard error, and far above what rounding does to one."""
_NUM_BLOCKS = 100
"""Blocks of the delete-a-group jackknife."""


class Sums(NamedTuple):
    """What the members of some ensembles give together.

    Attributes:
        ballots: [num_ensembles, num_classes, num_memes].
        probabilities: weighted sums, of the same shape; of shape [num_ensembles, 0, num_memes] where the objective
            needs none.
        units: summed weights [num_ensembles].
    """

    ballots: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    units: NDArray[np.int64]

    def plus(self, other: Sums) -> Sums:
        """The sums of ensembles that have the members of both."""
        return Sums(self.ballots + other.ballots, self.probabilities + other.probabilities, self.units + other.units)

    def joined(self, other: Sums) -> Sums:
        """These ensembles, and then the others."""
        return Sums(*(np.concatenate([mine, theirs]) for mine, theirs in zip(self, other, strict=True)))

    def nothing(self) -> Sums:
        """The sums of one ensemble without members."""
        return Sums(*(np.zeros((1, *part.shape[1:]), dtype=part.dtype) for part in self))

    def take(self, rows: NDArray[np.int64] | slice) -> Sums:
        """The sums of some of the ensembles."""
        return Sums(self.ballots[rows], self.probabilities[rows], self.units[rows])


class Outcome(NamedTuple):
    """What some ensembles decide.

    Attributes:
        decisions: class indices [num_ensembles, num_memes].
        probabilities: [num_ensembles, num_memes, num_classes], None where the objective needs none.
    """

    decisions: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None


class Scorer:
    """Scores ensembles of the candidates offered for one label task.

    Scores here are *gains*: the objective, or its negative where lower is better, rounded to twelve decimals so that
    the order of additions makes no difference.

    Args:
        offered: the candidates.
        objective: the score.
        voting: how members vote.

    Attributes:
        offered: the candidates.
        objective: the score.
        voting: how members vote.
        own: gain of each candidate alone [num_candidates].
        units: weight of each candidate [num_candidates], 1 unless the voting is "weighted".
        each: what each candidate gives alone, as "ensembles" of one.
        all_gains: of all non-empty subsets, once `exhaustive.subset_gains` has found them.

    Raises:
        PredictionError: the objective is not defined for this label task or these memes.
    """

    def __init__(self, offered: Offered, objective: Objective, voting: Voting) -> None:
        reason = why_undefined(offered.label_task, offered.labels, objective)
        if reason:
            raise PredictionError(
                f"No ensemble can be chosen for label task '{offered.label_task.name}': {reason}.",
                fix="Choose another objective; weighted_f1, macro_f1, accuracy and log_loss are always defined.",
            )
        self.offered, self.objective, self.voting = offered, objective, voting
        self.all_gains: NDArray[np.float64] | None = None
        self.needs_probabilities = objective not in COUNT_METRICS
        alone = objective_scores(
            offered.labels, offered.classes, offered.probabilities, objective, offered.label_task.num_classes
        )
        self.own = self._gains(alone)
        self.units = np.ones(offered.num_candidates, dtype=np.int64)
        if voting == "weighted":
            self.units = np.maximum(1, np.rint(_goodness(alone, objective, offered) * UNITS)).astype(np.int64)
        self.each = self._each()

    def _each(self) -> Sums:
        offered, per_candidate = self.offered, self.units[:, None, None]
        ballots = probability_steps(offered.probabilities) * per_candidate
        if self.voting in ("majority", "rank"):
            ballots += points(self.voting, offered.classes, offered.probabilities) * _POINT
        probabilities = offered.probabilities * per_candidate if self.needs_probabilities else ballots[:, :, :0] * 1.0
        return Sums(
            np.ascontiguousarray(ballots.transpose(0, 2, 1)),
            np.ascontiguousarray(probabilities.transpose(0, 2, 1)),
            self.units,
        )

    def _gains(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        rounded: NDArray[np.float64] = np.round(scores, _DECIMALS)
        return -rounded if self.objective in LOWER_IS_BETTER else rounded

    def gains_of_counts(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Gains [...] from confusion counts [..., num_classes, num_classes], for objectives that follow from them."""
        assert self.objective in COUNT_METRICS
        return self._gains(score_of_counts(counts, self.objective))

    def gains(self, sums: Sums) -> NDArray[np.float64]:
        """Gains of some ensembles [num_ensembles], of at most `MAX_TIMES` members each."""
        return self._judged(self._decided(sums))

    def _decided(self, sums: Sums) -> Outcome:
        decisions = first_largest(sums.ballots)
        if not self.needs_probabilities:
            return Outcome(decisions, None)
        mean = sums.probabilities / sums.units[:, None, None]
        return Outcome(decisions, exchanged(mean, decisions).transpose(0, 2, 1))

    def outcome(self, times: NDArray[np.int64]) -> Outcome:
        """What one ensemble decides, by how often each candidate is a member [num_candidates]; any number of times."""
        members = np.flatnonzero(times)
        if times.sum() <= MAX_TIMES:
            each, taken = self.each.take(members), times[members]
            ballots, probabilities = (part * taken[:, None, None] for part in each[:2])
            return self._decided(
                Sums(
                    ballots.sum(axis=0, keepdims=True),
                    probabilities.sum(axis=0, keepdims=True),
                    (each.units * taken).sum(keepdims=True),
                )
            )
        units = (self.units * times)[members]
        probabilities = self.offered.probabilities[members]
        decisions = decide_by_units(self.offered.classes[members], probabilities, self.voting, units)
        if not self.needs_probabilities:
            return Outcome(decisions[None], None)
        mean = (probabilities * units[:, None, None]).sum(axis=0) / units.sum()
        return Outcome(decisions[None], exchanged(mean.T, decisions).T[None])

    def gain(self, times: NDArray[np.int64]) -> float:
        """Gain of one ensemble, by how often each candidate is a member [num_candidates]."""
        return float(self._judged(self.outcome(times))[0])

    def _judged(self, outcome: Outcome, kept: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Gains of some outcomes, of some memes alone where `kept` are given."""
        labels = self.offered.labels
        decisions, probabilities = outcome
        if kept is not None:
            labels, decisions = labels[kept], decisions[:, kept]
            probabilities = None if probabilities is None else probabilities[:, kept]
        num_classes = self.offered.label_task.num_classes
        return self._gains(objective_scores(labels, decisions, probabilities, self.objective, num_classes))

    def gains_without_blocks(self, outcome: Outcome, blocks: NDArray[np.int64], num_blocks: int) -> NDArray[np.float64]:
        """Gains of one ensemble with one block of memes left out at a time.

        Args:
            outcome: of the one ensemble.
            blocks: block of each meme [num_memes].
            num_blocks: number of blocks.

        Returns:
            [num_blocks]; NaN where the objective is not defined without a block.
        """
        if outcome.probabilities is None:
            num_classes = self.offered.label_task.num_classes
            cells = (blocks * num_classes + self.offered.labels) * num_classes + outcome.decisions[0]
            counts = np.bincount(cells, minlength=num_blocks * num_classes**2)
            by_block = counts.reshape(num_blocks, num_classes, num_classes)
            left = (by_block.sum(axis=0) - by_block).astype(np.float64)
            return np.where(left.any(axis=(1, 2)), self.gains_of_counts(left), np.nan)
        kept = [np.flatnonzero(blocks != block) for block in range(num_blocks)]
        return np.array([float(self._judged(outcome, rows)[0]) if len(rows) else np.nan for rows in kept])


def one_standard_error_below(gain: float, scorers: Sequence[Scorer], times: NDArray[np.int64]) -> float:
    """The least mean gain that is within one standard error of an ensemble's; exactly one is within it.

    Args:
        gain: the ensemble's mean gain.
        scorers: of each label task.
        times: how often each candidate is a member [num_candidates].
    """
    return gain - standard_error(scorers, times) - _SAME


def standard_error(scorers: Sequence[Scorer], times: NDArray[np.int64]) -> float:
    """Standard error of one ensemble's mean gain over some label tasks.

    The delete-a-group jackknife (Kott 2001): duplicate groups are dealt into at most a hundred blocks, and the gain is
    taken with each block left out in turn. Nothing is drawn, and memes of one group stay together. 0 where all memes
    are one group.

    Args:
        scorers: of each label task.
        times: how often each candidate is a member [num_candidates].
    """
    names, block = np.unique(np.concatenate([scorer.offered.groups for scorer in scorers]), return_inverse=True)
    num_blocks = min(len(names), _NUM_BLOCKS)
    if num_blocks < 2:
        return 0.0
    ends = np.cumsum([scorer.offered.num_memes for scorer in scorers])[:-1]
    gains = np.mean(
        [
            scorer.gains_without_blocks(scorer.outcome(times), part, num_blocks)
            for scorer, part in zip(scorers, np.split(block % num_blocks, ends), strict=True)
        ],
        axis=0,
    )
    defined = gains[np.isfinite(gains)]
    if len(defined) < 2:
        return 0.0
    num = len(defined)
    return float(np.sqrt((num - 1) / num * ((defined - defined.mean()) ** 2).sum()))


def _goodness(scores: NDArray[np.float64], objective: Objective, offered: Offered) -> NDArray[np.float64]:
    """Scores as weights: between 0 and 1, higher is better.

    The mean absolute error becomes its share of the largest one possible, taken from 1, and the log loss the geometric
    mean of the true class's probability. A kappa below 0 is worth nothing.
    """
    if objective == "mean_absolute_error":
        return 1 - scores / (offered.label_task.num_classes - 1)
    if objective == "log_loss":
        return np.exp(-scores)
    return np.maximum(scores, 0)
