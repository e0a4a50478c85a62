"""Who voted what, and whose vote the ensemble's decision hangs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from memeblend.decisions import DecisionRule
from memeblend.decisions.rule import ESTIMATED
from memeblend.ensemble.combining import combine
from memeblend.ensemble.selection import EnsembleChoice
from memeblend.evaluation.tables import PredictionTable


@dataclass(frozen=True)
class Vote:
    """A member's part in a decision.

    Attributes:
        member: its name.
        class_index: the class that it votes for.
        probabilities: its probabilities [num_classes].
        weight: how much its vote counts; 1 where all are equal.
        without: what the ensemble would decide without it; None where it is the only member.
        if_sure: what the ensemble would decide if this member were sure of a class, for each class.
        decided: what the ensemble decides.
    """

    member: str
    class_index: int
    probabilities: tuple[float, ...]
    weight: float
    without: int | None
    if_sure: tuple[int, ...]
    decided: int

    @property
    def pivotal(self) -> bool:
        """Whether the decision would be another one without this member."""
        return self.without is not None and self.without != self.decided

    @property
    def could_change(self) -> bool:
        """Whether this member, saying something else, could change the decision."""
        return any(decided != self.decided for decided in self.if_sure)


def decide_alone(
    tables: Sequence[PredictionTable], choice: EnsembleChoice, rule: DecisionRule
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The ensemble's probabilities [num_memes, num_classes] and decisions [num_memes], as if each meme came alone.

    A rule may estimate the class shares to expect from the memes of a table; variants of one meme say nothing of
    those.

    Args:
        tables: the members' tables.
        choice: the ensemble.
        rule: what follows the vote.
    """
    combined = combine(tables, choice)
    if rule.serving_prior != ESTIMATED:
        table = rule.apply(combined)
        return table.probabilities, table.predicted
    alone = [rule.apply(combined.take(np.array([row]))) for row in range(len(combined))]
    return np.concatenate([one.probabilities for one in alone]), np.concatenate([one.predicted for one in alone])


def votes(tables: Sequence[PredictionTable], choice: EnsembleChoice, rule: DecisionRule) -> tuple[Vote, ...]:
    """Every member's vote on one meme, in the order of the choice.

    Args:
        tables: the members' tables of one meme.
        choice: the ensemble.
        rule: what follows the vote.
    """
    by_name = {table.candidate: table for table in tables}
    weights = choice.weights or (1.0,) * len(choice.members)
    decided = int(decide_alone(tables, choice, rule)[1][0])
    return tuple(
        Vote(
            name,
            int(by_name[name].predicted[0]),
            tuple(by_name[name].probabilities[0].tolist()),
            float(weight),
            _without(by_name, name, choice, rule),
            _if_sure(by_name, name, choice, rule),
            decided,
        )
        for name, weight in zip(choice.members, weights, strict=True)
    )


def _without(by_name: dict[str, PredictionTable], name: str, choice: EnsembleChoice, rule: DecisionRule) -> int | None:
    kept = [place for place, member in enumerate(choice.members) if member != name]
    if not kept:
        return None
    smaller = replace(
        choice,
        members=tuple(choice.members[place] for place in kept),
        weights=tuple(choice.weights[place] for place in kept) if choice.weights else (),
    )
    return int(decide_alone([by_name[member] for member in smaller.members], smaller, rule)[1][0])


def _if_sure(
    by_name: dict[str, PredictionTable], name: str, choice: EnsembleChoice, rule: DecisionRule
) -> tuple[int, ...]:
    decisions = []
    for sure in np.eye(by_name[name].label_task.num_classes):
        said = by_name | {name: replace(by_name[name], probabilities=sure[None], decisions=None)}
        decisions.append(int(decide_alone(list(said.values()), choice, rule)[1][0]))
    return tuple(decisions)
