"""What a choice of members can be expected to score, when the memes that chose are not asked to judge.

The best of many subsets looks better on the memes that chose it than it is (the winner's curse). Nested
cross-validation corrects this: the whole procedure, from search to rule, chooses anew on all folds but one, its
ensemble decides about the memes of that fold, and these decisions alone are scored (Varma and Simon, 2006; Cawley
and Talbot, 2010). What comes out is the score to expect of the *procedure*, which chooses other members in some
folds; how often it does is told beside it.

The estimate is of a choice that sees (num_folds - 1) / num_folds of the memes, so it is slightly low. Its error has
no unbiased estimate (Bengio and Grandvalet, 2004): the folds share the memes that chose. Resampling the memes alone
would leave out that other memes would have chosen other members. How much the decisions change between repeats tells
of that, so the resamples of all repeats are taken together, not averaged; see `HonestScore`. It is still a stand-in:
where nothing tells the candidates apart and choices are most unstable, the standard error is 5 to 10 % below the
error made with four repeats of five folds, and about a quarter below it with a single repeat (measured with eight
voters of no skill on 300 memes).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memeblend.ensemble.selection import EnsembleChoice
from memeblend.ensemble.voting import comparable
from memeblend.errors import PredictionError
from memeblend.evaluation.intervals import (
    FEW_GROUPS,
    NUM_RESAMPLES,
    Difference,
    percentile_interval,
    resampled_scores,
)
from memeblend.evaluation.metrics import LOWER_IS_BETTER, METRICS, Objective, objective_scores
from memeblend.evaluation.tables import PredictionTable

Choose = Callable[[Sequence[PredictionTable]], EnsembleChoice]
"""Chooses members, given the candidates' tables of the memes it may see."""
Combine = Callable[[Sequence[PredictionTable], EnsembleChoice], PredictionTable]
"""The chosen members' joint table, given their tables (and no others) of any memes."""


class Procedure(NamedTuple):
    """A way to get an ensemble: how members are chosen, and how they then decide."""

    choose: Choose
    combine: Combine


@dataclass(frozen=True)
class HonestScore:
    """What a procedure's choice scored where it chose, and what to expect of it.

    Attributes:
        objective: the score.
        members: names of the members chosen on all memes, sorted.
        selected_on: score of these members on the memes that chose them.
        expected: score over out-of-fold decisions, pooled over the folds and averaged over the repeats. None where
            it can't be had (see `note`), and with it the next three. Rankings suffer from pooling: roc_auc and
            average_precision compare probabilities of different folds' ensembles.
        standard_error: standard deviation of the resamples of all repeats: duplicate groups drawn with replacement,
            each repeat's pooled decisions scored on them. It holds what the draw of the memes and that of the folds
            change in one repeat.
        interval: 95 % percentile interval of the same resamples.
        optimism: by how much `selected_on` looks better than `expected`.
        chosen_share: candidate name -> share of the resampled choices (one for each fold of each repeat) that it was
            a member of; empty where there were none.
        same_members: share of these choices that were exactly `members`; None where there were none.
        num_sets: number of different member sets among them.
        mean_size: mean number of members in them; None where there were none.
        num_memes: number of labelled memes.
        num_groups: number of duplicate groups they form.
        num_folds: folds that were really used.
        num_repeats: how often these were drawn anew.
        note: what the reader has to know about this estimate, in one or more sentences; "" if nothing.
    """

    objective: Objective
    members: tuple[str, ...]
    selected_on: float
    expected: float | None
    standard_error: float | None
    interval: tuple[float, float] | None
    optimism: float | None
    chosen_share: Mapping[str, float]
    same_members: float | None
    num_sets: int
    mean_size: float | None
    num_memes: int
    num_groups: int
    num_folds: int
    num_repeats: int
    note: str

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self) | {
            "members": list(self.members),
            "interval": None if self.interval is None else list(self.interval),
        }


@dataclass(frozen=True, eq=False)
class HonestScores:
    """Several procedures judged on the same folds.

    Attributes:
        by_procedure: procedure name -> what to expect of it.
        draws: procedure name -> its scores on the resamples of all repeats [num_repeats * num_resamples]; the same
            memes for every procedure, NaN where a score is not defined. Without those that have no expected score.
    """

    by_procedure: Mapping[str, HonestScore]
    draws: Mapping[str, NDArray[np.float64]] = field(repr=False)

    def difference(self, first: str, second: str) -> Difference | None:
        """Expected score of one procedure minus that of another, on the same folds and resamples.

        None where one of them has no expected score. Where lower is better, so is a negative difference.

        Raises:
            KeyError: a name that is no procedure's.
        """
        one, other = self.by_procedure[first].expected, self.by_procedure[second].expected
        if one is None or other is None:
            return None
        draws = np.stack([self.draws[first], self.draws[second]], axis=1)
        return Difference.of(one, other, draws[np.isfinite(draws).all(axis=1)])


def expected_score(
    tables: Sequence[PredictionTable],
    choose: Choose,
    combine: Combine,
    *,
    objective: Objective = "weighted_f1",
    num_folds: int = 5,
    num_repeats: int = 4,
    seed: int = 0,
) -> HonestScore:
    """The score to expect of one way to choose an ensemble; see `expected_scores_by_method`.

    Raises:
        PredictionError: no labelled meme, tables that don't fit together, or whatever `choose` refuses on all memes.
        ValueError: fewer than two folds or no repeat.
    """
    found = expected_scores_by_method(
        tables,
        {"": Procedure(choose, combine)},
        objective=objective,
        num_folds=num_folds,
        num_repeats=num_repeats,
        seed=seed,
    )
    return found.by_procedure[""]


def expected_scores_by_method(
    tables: Sequence[PredictionTable],
    procedures: Mapping[str, Procedure],
    *,
    objective: Objective = "weighted_f1",
    num_folds: int = 5,
    num_repeats: int = 4,
    seed: int = 0,
) -> HonestScores:
    """The scores to expect of several ways to choose an ensemble, on the same folds and resamples.

    Folds keep duplicate groups whole and hold the classes in proportion as far as that allows. With fewer groups
    than folds each group is a fold of its own and there is one repeat, since all would be alike; with a single
    group, or where a procedure refuses the memes of some folds (an objective that needs two classes, for one), there
    is no expected score. All this is said in the result's note.

    Args:
        tables: the candidates' tables for one label task, restricted to the splits the choice may see. Memes
            without a label are left out.
        procedures: name -> how members are chosen and how they decide.
        objective: the score.
        num_folds: number of folds.
        num_repeats: how often folds are drawn anew.
        seed: seed of the folds and of the bootstrap.

    Raises:
        PredictionError: no labelled meme, tables that don't fit together, or whatever a procedure refuses on all memes.
        ValueError: fewer than two folds or no repeat.
    """
    if num_folds < 2 or num_repeats < 1:
        raise ValueError(f"{num_folds} folds and {num_repeats} repeats, expected at least 2 and 1")
    known = [table.labelled() for table in comparable(tables)]
    first = known[0]
    if not len(first):
        raise PredictionError(
            f"No meme has a label for label task '{first.label_task.name}', so no choice can be made or judged there."
        )
    folds = grouped_folds(first.labels, first.groups, num_folds, num_repeats, seed)
    # First on all memes: what is refused there is the caller's to know, what is refused in a fold only is noted.
    whole = {name: _decided(procedure, known, known) for name, procedure in procedures.items()}
    resampled = _resample(known, procedures, folds)
    usable = {name: one for name, one in resampled.items() if len(folds) and not one.refusal}
    draws = _draws(first, usable, objective, seed) if usable else {}
    note = _note(first, num_folds, folds)
    scores = {
        name: _judged(known, *whole[name], one, objective, folds, draws.get(name), note)
        for name, one in resampled.items()
    }
    return HonestScores(scores, draws)


def grouped_folds(
    labels: NDArray[np.int64], groups: NDArray[np.int64], num_folds: int, num_repeats: int, seed: int
) -> NDArray[np.int64]:
    """Folds that keep duplicate groups whole and the classes in proportion, drawn anew for each repeat.

    Groups are dealt out in random order, the largest first, each to the fold that so far holds least of what is in
    it: memes, and memes of each class, as shares of what there is of them. That is the step that lessens the misfit
    of a chi-square test most, so rare classes weigh as much as frequent ones.

    Args:
        labels: class indices [num_memes], none missing.
        groups: duplicate group of each meme [num_memes].
        num_folds: number of folds wanted; there are never more than groups.
        num_repeats: number of repeats wanted; one is enough where every group is a fold of its own.
        seed: of the random order.

    Returns:
        Fold of each meme [num_repeats, num_memes]; no fold is empty. No repeat at all where there is a single group.
    """
    names, group = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return np.empty((0, len(labels)), dtype=np.int64)
    if len(names) <= num_folds:
        return group[None].astype(np.int64)
    classes, label = np.unique(labels, return_inverse=True)
    cells = np.bincount(group * len(classes) + label, minlength=len(names) * len(classes))
    by_class = cells.reshape(len(names), len(classes))
    contents = np.concatenate([by_class.sum(axis=1, keepdims=True), by_class], axis=1).astype(np.float64)
    scaled = contents / np.sqrt(contents.sum(axis=0))
    folds = []
    for repeat in range(num_repeats):
        shuffled = np.random.default_rng([seed, repeat]).permutation(len(names))
        order = shuffled[np.argsort(-contents[shuffled, 0], kind="stable")]
        held = np.zeros((num_folds, contents.shape[1]))
        fold = np.empty(len(names), dtype=np.int64)
        for number in order.tolist():
            fold[number] = least = int((held @ scaled[number]).argmin())
            held[least] += scaled[number]
        folds.append(fold[group])
    return np.stack(folds)


@dataclass
class _Resampled:
    """What one procedure did in all folds.

    Attributes:
        decisions: out-of-fold class indices [num_repeats, num_memes].
        probabilities: out-of-fold [num_repeats, num_memes, num_classes].
        chosen: members chosen in each fold of each repeat, sorted.
        refusal: why it could not choose in a fold; "" where it could in all.
    """

    decisions: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    chosen: list[tuple[str, ...]] = field(default_factory=list)
    refusal: str = ""


def _decided(
    procedure: Procedure, seen: Sequence[PredictionTable], judged: Sequence[PredictionTable]
) -> tuple[tuple[str, ...], PredictionTable]:
    """The members that a procedure chooses where it may look, sorted, and what they decide about other memes."""
    choice = procedure.choose(seen)
    members = [table for table in judged if table.candidate in choice.members]
    return tuple(sorted(table.candidate for table in members)), procedure.combine(members, choice)


def _resample(
    tables: Sequence[PredictionTable], procedures: Mapping[str, Procedure], folds: NDArray[np.int64]
) -> dict[str, _Resampled]:
    """Choose on all folds but one and decide about that one, for every fold, repeat and procedure."""
    shape = (*folds.shape, tables[0].label_task.num_classes)
    found = {name: _Resampled(np.zeros_like(folds), np.zeros(shape)) for name in procedures}
    for repeat, fold in enumerate(folds):
        for held_out in range(int(fold.max()) + 1):
            is_judged = fold == held_out
            seen, judged = ([table.take(rows) for table in tables] for rows in (~is_judged, is_judged))
            for name, one in found.items():
                try:
                    members, decided = _decided(procedures[name], seen, judged)
                except PredictionError as error:
                    one.refusal = error.message
                    continue
                one.chosen.append(members)
                one.decisions[repeat, is_judged] = decided.predicted
                one.probabilities[repeat, is_judged] = decided.probabilities
    return found


def _draws(
    table: PredictionTable, resampled: Mapping[str, _Resampled], objective: Objective, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Scores of each procedure's pooled decisions on resamples of the duplicate groups, all repeats together."""
    decisions = np.concatenate([one.decisions for one in resampled.values()])
    num_classes = table.label_task.num_classes
    if objective in METRICS:
        every = resampled_scores(table.labels, list(decisions), table.groups, num_classes, metric=objective, seed=seed)
    else:
        probabilities = np.concatenate([one.probabilities for one in resampled.values()])
        every = np.stack(
            [
                objective_scores(table.labels[rows], decisions[:, rows], probabilities[:, rows], objective, num_classes)
                for rows in _resampled_rows(table.groups, seed)
            ]
        )
    by_procedure = np.split(every, len(resampled), axis=1)
    return {name: scores.T.ravel() for name, scores in zip(resampled, by_procedure, strict=True)}


def _resampled_rows(groups: NDArray[np.int64], seed: int) -> Iterator[NDArray[np.int64]]:
    """Rows of resamples in which whole groups are drawn with replacement: those that `resampled_scores` draws."""
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    rows_of = np.split(np.argsort(group, kind="stable"), np.cumsum(sizes)[:-1])
    random = np.random.default_rng(seed)
    for _ in range(NUM_RESAMPLES):
        yield np.concatenate([rows_of[drawn] for drawn in random.integers(0, len(sizes), len(sizes))])


def _judged(
    tables: Sequence[PredictionTable],
    members: tuple[str, ...],
    whole: PredictionTable,
    resampled: _Resampled,
    objective: Objective,
    folds: NDArray[np.int64],
    draws: NDArray[np.float64] | None,
    note: str,
) -> HonestScore:
    """One procedure's choice on all memes beside what its resamples say of it."""
    num_classes = whole.label_task.num_classes

    def score(decisions: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
        return float(objective_scores(whole.labels, decisions, probabilities, objective, num_classes).mean())

    selected_on = score(whole.predicted[None], whole.probabilities[None])
    expected = None if draws is None else score(resampled.decisions, resampled.probabilities)
    optimism = None if expected is None else selected_on - expected
    if optimism is not None and objective in LOWER_IS_BETTER:
        optimism = -optimism
    defined = None if draws is None else draws[np.isfinite(draws)]
    chosen = resampled.chosen
    times = Counter(name for one in chosen for name in one)
    if resampled.refusal:
        note = f"{note} No expected score, since a choice was refused in some folds: {resampled.refusal}".strip()
    return HonestScore(
        objective=objective,
        members=members,
        selected_on=selected_on,
        expected=expected,
        standard_error=None if defined is None else float(defined.std(ddof=1)),
        interval=None if defined is None else percentile_interval(defined),
        optimism=optimism,
        chosen_share={table.candidate: times[table.candidate] / len(chosen) for table in tables} if chosen else {},
        same_members=chosen.count(members) / len(chosen) if chosen else None,
        num_sets=len(set(chosen)),
        mean_size=sum(map(len, chosen)) / len(chosen) if chosen else None,
        num_memes=len(whole),
        num_groups=int(np.unique(whole.groups).size),
        num_folds=int(folds.max()) + 1 if len(folds) else 0,
        num_repeats=len(folds),
        note=note,
    )


def _note(table: PredictionTable, num_folds: int, folds: NDArray[np.int64]) -> str:
    """What a reader has to know about an estimate from these memes."""
    num_groups = int(np.unique(table.groups).size)
    found = []
    if not len(folds):
        found.append(
            f"The {len(table)} meme(s) form a single duplicate group, which can't both choose and judge: "
            "no expected score."
        )
    elif num_groups < num_folds:
        found.append(f"{num_groups} duplicate groups are too few for {num_folds} folds: each was a fold of its own.")
    if len(folds) and num_groups < FEW_GROUPS:
        found.append(f"Only {num_groups} independent groups of memes: the interval is rough.")
    occurring = np.unique(table.labels)
    if len(occurring) == 1:
        found.append(
            f"Only the class {table.label_task.classes[occurring[0]]} occurs here: nothing can be said of telling "
            "classes apart."
        )
    return " ".join(found)
