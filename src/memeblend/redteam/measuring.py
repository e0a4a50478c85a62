"""What a cell did to the decisions: scores, flips, evasions, each with an interval that knows of duplicate groups.

Scores have bootstrap intervals, as everywhere. Shares have Wilson's: they are often 0, where resamples are all alike
and would claim to be sure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.evaluation.intervals import Difference, percentile_interval, resampled_scores
from memeblend.evaluation.metrics import Metric, confusion_counts, score_of_counts
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import MISSING
from memeblend.policy.categories import given_out, is_category, scores
from memeblend.policy.policy import CategoryPolicy
from memeblend.policy.shares import share_of

SCORES: tuple[Metric, ...] = ("weighted_f1", "macro_f1")


@dataclass(frozen=True)
class Rate:
    """A share of memes.

    Attributes:
        num: memes that it counts.
        out_of: memes that could have counted.
        interval: 95 % interval of the share, [0, 1] where no meme could have counted.
    """

    num: int
    out_of: int
    interval: tuple[float, float]

    @property
    def value(self) -> float | None:
        """The share; None where no meme could have counted."""
        return self.num / self.out_of if self.out_of else None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {"value": self.value, "interval": list(self.interval), "num": self.num, "out_of": self.out_of}


@dataclass(frozen=True)
class Scored:
    """A score of changed memes beside that of the memes as they are.

    Attributes:
        value: the score.
        interval: its 95 % bootstrap interval.
        change: what the perturbation adds to it; paired.
    """

    value: float
    interval: tuple[float, float]
    change: Difference

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {"value": self.value, "interval": list(self.interval), "change": self.change.to_dict()}


@dataclass(frozen=True)
class Outcome:
    """What a cell did to the decisions on one label task.

    Attributes:
        scores: by the score's name; empty where no meme has a label.
        flips: memes that are decided otherwise than before.
        evasions: of the memes that were decided to be of a class above the first, those that no longer are; None
            where the label task is no category.
        verdicts: under a policy that decides on the category, memes whose verdict changes; else None.
        releases: of the memes that the policy did not pass, those that it does now.
    """

    scores: Mapping[str, Scored]
    flips: Rate
    evasions: Rate | None
    verdicts: Rate | None = None
    releases: Rate | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "scores": {name: score.to_dict() for name, score in self.scores.items()},
            "flips": self.flips.to_dict(),
            **{
                name: None if found is None else found.to_dict()
                for name, found in (
                    ("evasions", self.evasions),
                    ("verdicts", self.verdicts),
                    ("releases", self.releases),
                )
            },
        }


def outcomes(
    clean: PredictionTable, changed: Sequence[PredictionTable], policy: CategoryPolicy | None = None, *, seed: int = 0
) -> list[Outcome]:
    """What each of several cells did.

    Args:
        clean: decisions on the memes as they are, with labels and duplicate groups.
        changed: decisions on the same memes, in the same order, as each cell changed them.
        policy: what is done about the category; None where nothing is said.
        seed: of the bootstrap.
    """
    if not changed:
        return []
    before, after = clean.predicted, np.stack([table.predicted for table in changed], axis=1)  # [n], [n, num_cells]
    everything = np.ones(len(before), dtype=bool)
    flips = [rate(said != before, everything, clean.groups) for said in after.T]
    evasions: Sequence[Rate | None] = [None] * len(changed)
    if is_category(clean.label_task):
        evasions = [rate(said == 0, before > 0, clean.groups) for said in after.T]
    found = [Outcome(*one) for one in zip(_scores(clean, after, seed), flips, evasions, strict=True)]
    if policy is None:
        return found
    verdict = policy.verdicts(scores(given_out(clean)))
    verdicts = [policy.verdicts(scores(given_out(table))) for table in changed]
    return [
        replace(
            one,
            verdicts=rate(said != verdict, everything, clean.groups),
            releases=rate(said == 0, verdict > 0, clean.groups),
        )
        for one, said in zip(found, verdicts, strict=True)
    ]


def _scores(clean: PredictionTable, after: NDArray[np.int64], seed: int) -> list[dict[str, Scored]]:
    """Scores of every cell; nothing where no meme has a label."""
    found: list[dict[str, Scored]] = [{} for _ in range(after.shape[1])]
    if (clean.labels == MISSING).all():
        return found
    num_classes = clean.label_task.num_classes
    said = [clean.predicted, *after.T]
    for metric in SCORES:
        draws = resampled_scores(clean.labels, said, clean.groups, num_classes, metric=metric, seed=seed)
        values = [float(score_of_counts(confusion_counts(clean.labels, one, num_classes), metric)) for one in said]
        for cell, of_cell in enumerate(found, start=1):
            of_cell[metric] = Scored(
                values[cell],
                percentile_interval(draws[:, cell]),
                Difference.of(values[cell], values[0], draws[:, [cell, 0]]),
            )
    return found


def rate(counts: NDArray[np.bool_], could: NDArray[np.bool_], groups: NDArray[np.int64]) -> Rate:
    """A share of memes with its interval.

    Args:
        counts: whether a meme counts [num_memes].
        could: whether it could [num_memes].
        groups: duplicate group of each meme [num_memes].
    """
    found = share_of((counts & could)[could], groups[could])
    low, high = found["interval"] or (0.0, 1.0)
    return Rate(found["num"], found["num_memes"], (low, high))
