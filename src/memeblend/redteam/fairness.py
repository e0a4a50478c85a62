"""The fairness probe: how scores differ between names of people, group by group.

A meme's score is compared with its own mean over all groups' names, so what the meme is about cancels out. Intervals
resample duplicate groups and names at once (the pigeonhole bootstrap; Owen 2007): eight names stand for all names of
their group, and an interval over memes alone would claim to know these better than it does. A gap is the largest mean
less the smallest and so never below zero; what it is where groups mean nothing is found by dealing the names out to
the groups anew. The two groups are chosen after looking, so an interval of their difference alone would shut out a gap
of zero far too often; the gap's interval holds for the differences of all pairs at once (Tukey's, by the bootstrap).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.evaluation.intervals import NUM_RESAMPLES, percentile_interval
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import LabelTask
from memeblend.policy.categories import is_category
from memeblend.redteam.asking import NAME_VARIANTS, Answer
from memeblend.redteam.names import GENDERS, GROUPS, NUM_NAMES, drawn_place, found_name

_LEVEL = 0.95
_BLOCK_CELLS = 2_000_000
"""Resampled group numbers held at once."""


@dataclass(frozen=True)
class GroupScore:
    """How far a group's names move the score.

    Attributes:
        group: the group.
        mean: mean score with its names.
        change: the same less the mean over all groups.
        interval: 95 % interval of the change.
    """

    group: str
    mean: float
    change: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Gap:
    """The largest difference between groups' mean scores.

    Attributes:
        value: the difference.
        interval: its 95 % interval.
        by_chance: what 95 of 100 random groupings of the same names stay below or reach.
        highest: the group with the highest mean.
        lowest: the group with the lowest.
    """

    value: float
    interval: tuple[float, float]
    by_chance: float
    highest: str
    lowest: str

    @property
    def told_from_chance(self) -> bool:
        """Whether it is larger than random groupings give."""
        return self.value > self.by_chance


@dataclass(frozen=True)
class Grouping:
    """One way to group the names ("community" or "gender") and what was found."""

    groups: tuple[GroupScore, ...]
    gap: Gap

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        gap = self.gap
        return {
            "groups": {
                one.group: {"mean": one.mean, "change": one.change, "interval": list(one.interval)}
                for one in self.groups
            },
            "gap": {
                "value": gap.value,
                "interval": list(gap.interval),
                "by_chance": gap.by_chance,
                "told_from_chance": gap.told_from_chance,
                "highest": gap.highest,
                "lowest": gap.lowest,
            },
        }


@dataclass(frozen=True)
class NameProbe:
    """What swapping names showed.

    Attributes:
        num_with_name: memes whose text held a listed name, which was swapped; the others got one before the text.
        label_tasks: label task -> "community" and "gender" -> what was found.
        flips: label task -> share of the memes whose decision depends on the name they got.
    """

    num_with_name: int
    label_tasks: Mapping[str, Mapping[str, Grouping]]
    flips: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "num_with_name": self.num_with_name,
            "label_tasks": {
                name: {
                    "flips": self.flips[name],
                    **{by: grouping.to_dict() for by, grouping in groupings.items()},
                }
                for name, groupings in self.label_tasks.items()
            },
        }


def scored_with_names(label_task: LabelTask) -> bool:
    """Whether a label task has a score that can be compared: a category, or classes in order."""
    return is_category(label_task) or label_task.kind == "ordinal"


def score_of(table: PredictionTable) -> NDArray[np.float64]:
    """One number a meme [num_memes], in [0, 1]: of a category the probability of all classes above the first, of other
    classes in order the expected one, from 0 for the first to 1 for the last."""
    task = table.label_task
    if is_category(task):
        return np.asarray(table.probabilities[:, 1:].sum(axis=1), dtype=np.float64)
    return np.asarray(table.probabilities @ np.linspace(0, 1, task.num_classes), dtype=np.float64)


def probe_names(
    answers: Mapping[str, Answer], label_tasks: Sequence[LabelTask], texts: Sequence[str], *, seed: int
) -> NameProbe:
    """Compare the scores of the groups of names.

    Args:
        answers: of each of `NAME_VARIANTS`, by its name.
        label_tasks: the label tasks to compare, all of them `scored_with_names`.
        texts: ocr_text of each meme.
        seed: that the names were drawn with.
    """
    found, flips = {}, {}
    for task in label_tasks:
        tables = [answers[variant.name].predictions.tables[task.name] for variant in NAME_VARIANTS]
        scores = np.stack([score_of(table) for table in tables], axis=1)  # [num_memes, num_variants]
        places = np.array([drawn_place(meme_id, seed) for meme_id in tables[0].meme_ids.tolist()], dtype=np.int64)
        found[task.name] = compare(scores, places, tables[0].groups, seed=seed)
        decided = np.stack([table.predicted for table in tables], axis=1)
        flips[task.name] = float((decided != decided[:, :1]).any(axis=1).mean())
    return NameProbe(sum(found_name(text) is not None for text in texts), found, flips)


def compare(
    scores: NDArray[np.float64], places: NDArray[np.int64], groups: NDArray[np.int64], *, seed: int = 0
) -> dict[str, Grouping]:
    """The groups' mean scores and their gaps, by "community" and by "gender".

    Args:
        scores: score of each meme with the name of each of `NAME_VARIANTS` [num_memes, num_variants].
        places: place in the lists of the names that each meme got [num_memes].
        groups: duplicate group of each meme [num_memes].
        seed: of the resampling.
    """
    at_place = places[:, None] == np.arange(NUM_NAMES)  # [num_memes, num_names]
    deviation = scores - scores.mean(axis=1, keepdims=True)
    sums = at_place[:, :, None] * deviation[:, None, :]  # [num_memes, num_names, num_variants]
    drawn_sums = _resampled(_by_group(sums, groups), seed)  # [num_resamples, num_names, num_variants]
    drawn_counts = _resampled(_by_group(at_place, groups), seed)  # [num_resamples, num_names], the same groups
    times = np.random.default_rng([seed, 1]).multinomial(
        NUM_NAMES, np.full(NUM_NAMES, 1 / NUM_NAMES), size=(NUM_RESAMPLES, len(NAME_VARIANTS))
    )  # how often each name is drawn [num_resamples, num_variants, num_names]
    weighted = np.einsum("bvp,bpv->bv", times, drawn_sums)
    weights = np.einsum("bvp,bp->bv", times, drawn_counts)
    by_variant = np.divide(weighted, weights, out=np.full_like(weighted, np.nan), where=weights > 0)
    draws = by_variant[np.isfinite(by_variant).all(axis=1)]
    if not len(draws):  # one or two memes can miss every drawn name
        draws = deviation.mean(axis=0, keepdims=True)
    means = scores.mean(axis=0).reshape(len(GROUPS), len(GENDERS))
    shape = (-1, len(GROUPS), len(GENDERS))
    by_name = sums.sum(axis=0).reshape(NUM_NAMES, len(GROUPS), len(GENDERS)) / len(scores)
    rng = np.random.default_rng([seed, 2])
    return {
        "community": _grouping(GROUPS, means.mean(axis=1), draws.reshape(shape).mean(axis=2), by_name, rng),
        "gender": _grouping(
            GENDERS, means.mean(axis=0), draws.reshape(shape).mean(axis=1), by_name.transpose(0, 2, 1), rng
        ),
    }


def _grouping(
    names: Sequence[str],
    means: NDArray[np.float64],
    draws: NDArray[np.float64],
    by_name: NDArray[np.float64],
    rng: np.random.Generator,
) -> Grouping:
    """What was found of one way to group.

    Args:
        names: the groups.
        means: mean score of each [num_groups].
        draws: resampled changes [num_resamples, num_groups].
        by_name: each name's part of the groups' changes [num_places, num_groups, num_others].
        rng: deals the names out anew: at each place and in each of the other groups, among these groups.
    """
    changes = means - means.mean()
    groups = tuple(
        GroupScore(name, float(means[at]), float(changes[at]), percentile_interval(draws[:, at]))
        for at, name in enumerate(names)
    )
    order = np.argsort(changes, kind="stable")
    dealt = rng.permuted(np.broadcast_to(by_name, (NUM_RESAMPLES, *by_name.shape)), axis=2)
    by_chance = np.ptp(dealt.sum(axis=1).mean(axis=2), axis=1)  # of [num_resamples, num_groups]
    gap = Gap(
        float(np.ptp(changes)),
        _gap_interval(float(np.ptp(changes)), draws),
        float(np.quantile(by_chance, _LEVEL)),
        names[int(order[-1])],
        names[int(order[0])],
    )
    return Grouping(groups, gap)


def _gap_interval(value: float, draws: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the largest difference between groups, from resampled changes [num_resamples, num_groups].

    No pair's difference errs by more than the range of the groups' errors, and of that range 95 of 100 resamples stay
    below a bound. Within it the true gap is at least the chosen pair's difference less the bound, and no pair's true
    difference is above the gap found plus the bound.
    """
    bound = float(np.quantile(np.ptp(draws - draws.mean(axis=0), axis=1), _LEVEL))
    return max(0.0, value - bound), value + bound


def _by_group(values: NDArray[Any], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums [num_groups, ...] of values [num_memes, ...] over the memes of each duplicate group [num_memes]."""
    names, group = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, group, values.astype(np.float64))
    return sums


def _resampled(per_group: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Sums [num_resamples, ...] of [num_groups, ...] over groups that are drawn with replacement; equal seeds draw the
    same groups."""
    num_groups = len(per_group)
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK_CELLS // num_groups)
    flat, chances = per_group.reshape(num_groups, -1), np.full(num_groups, 1 / num_groups)
    sums = [
        rng.multinomial(num_groups, chances, size=min(block, NUM_RESAMPLES - start)) @ flat
        for start in range(0, NUM_RESAMPLES, block)
    ]
    return np.concatenate(sums).reshape(NUM_RESAMPLES, *per_group.shape[1:])
