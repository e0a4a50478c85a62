"""Votes of prediction tables, counted with arrays.

How an ensemble decides:

    majority   one vote a member, for the class it decides on (the paper)
    soft       the highest mean probability
    weighted   the same, each member's probabilities weighted; a search takes the member's own score for its weight
    rank       Borda's count (1784; Ho, Hull & Srihari 1994): a member gives each class as many points as it finds
               classes less probable. It looks at the order of a member's classes alone, so an over-confident member
               counts no more than the others. With two classes it is the majority of the most probable classes.

A tie goes to the tied class with the highest summed probability, then to the lowest class index. Points and
probabilities are added as whole numbers, so the outcome depends neither on the order of the members nor on the
machine's way of adding floats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from memeblend.errors import PredictionError, Problem
from memeblend.evaluation.tables import PredictionTable

Voting = Literal["majority", "soft", "weighted", "rank"]
VOTINGS: tuple[Voting, ...] = get_args(Voting)
UNITS = 1000
"""Weights count in thousandths."""
PROBABILITY_STEPS = 2**36
"""Probabilities are rounded to steps of 2**-36 (1.5e-11) before they are added."""
_MAX_UNITS = 2**26
"""Summed weights in units up to which all sums stay below 2**63."""


def weight_units(weights: Sequence[float] | None, num_members: int) -> NDArray[np.int64]:
    """The members' weights as whole thousandths [num_members]; all 1 where there are none.

    Raises:
        PredictionError: not one weight a member, or a weight that is not finite or below 0.001; or more than 67,000
            in sum.
    """
    if weights is None or len(weights) == 0:
        return np.ones(num_members, dtype=np.int64)
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (num_members,):
        raise PredictionError(f"There are {len(given)} weights for {num_members} members, expected one for each.")
    problems = [
        Problem(f"weight {place}", f"is {weight:g}, expected a number of at least {1 / UNITS:g}")
        for place, weight in enumerate(given, start=1)
        if not (np.isfinite(weight) and weight * UNITS >= 0.5)
    ]
    if problems:
        raise PredictionError("These weights can't be used:", problems=problems)
    if given.sum() * UNITS > _MAX_UNITS:
        raise PredictionError(
            f"The weights sum to {given.sum():g}, expected at most {_MAX_UNITS / UNITS:.0f}.",
            fix="Divide all of them by the same number.",
        )
    return np.rint(given * UNITS).astype(np.int64)


def points(voting: Voting, classes: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """What each member gives to each class, before ties are broken by probability.

    Args:
        voting: the rule; "soft" and "weighted" give no points, they decide by probability alone.
        classes: class indices each member decides on [num_members, num_memes].
        probabilities: [num_members, num_memes, num_classes].

    Returns:
        [num_members, num_memes, num_classes].

    Raises:
        ValueError: an unknown rule, or shapes that do not fit.
    """
    if classes.shape != probabilities.shape[:2]:
        raise ValueError(f"classes has shape {classes.shape}, expected {probabilities.shape[:2]}")
    num_classes = probabilities.shape[2]
    if voting == "majority":
        return np.asarray(classes[:, :, None] == np.arange(num_classes), dtype=np.int64)
    if voting == "rank":
        less = [probabilities > probabilities[:, :, index, None] for index in range(num_classes)]
        return np.asarray(np.sum(less, axis=0), dtype=np.int64)
    if voting in ("soft", "weighted"):
        return np.zeros(probabilities.shape, dtype=np.int64)
    raise ValueError(f"unknown voting '{voting}', expected one of {', '.join(VOTINGS)}")


def probability_steps(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Probabilities as whole numbers of steps, of the same shape."""
    return np.rint(probabilities * PROBABILITY_STEPS).astype(np.int64)


def decide(
    classes: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    voting: Voting = "majority",
    weights: Sequence[float] | None = None,
) -> NDArray[np.int64]:
    """The classes some members decide on together.

    Args:
        classes: class indices each member decides on [num_members, num_memes].
        probabilities: [num_members, num_memes, num_classes].
        voting: the rule.
        weights: of each member, counted in thousandths; all equal where there are none. A member of weight 2 counts
            like two members, in the points and in the probabilities.

    Returns:
        Class indices [num_memes].

    Raises:
        ValueError: no member, an unknown rule, or shapes that do not fit.
        PredictionError: weights that can't be used.
    """
    if not len(probabilities):
        raise ValueError("no member, expected at least one")
    return decide_by_units(classes, probabilities, voting, weight_units(weights, len(probabilities)))


def decide_by_units(
    classes: NDArray[np.int64], probabilities: NDArray[np.float64], voting: Voting, units: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Like `decide`, with weights as whole numbers [num_members]."""
    per_member = units[:, None, None]
    given = (points(voting, classes, probabilities) * per_member).sum(axis=0)
    summed = (probability_steps(probabilities) * per_member).sum(axis=0)
    tied = given == given.max(axis=1, keepdims=True)
    decided: NDArray[np.int64] = np.where(tied, summed, -1).argmax(axis=1).astype(np.int64)
    return decided


def stack(tables: Sequence[PredictionTable]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The members' classes [num_members, num_memes] and probabilities [num_members, num_memes, num_classes]."""
    return np.stack([table.predicted for table in tables]), np.stack([table.probabilities for table in tables])


def comparable(tables: Sequence[PredictionTable]) -> list[PredictionTable]:
    """The tables by name, with their rows in one order, after checking that they can vote together.

    Raises:
        PredictionError: no table, a candidate twice, or tables that differ in label task, manifest
            fingerprint, memes, splits, labels or groups; every difference is listed.
    """
    if not tables:
        raise PredictionError("There are no prediction tables to vote with.")
    ordered = sorted(tables, key=lambda table: table.candidate)
    first = tables[0]
    problems = [
        Problem(f"candidate '{table.candidate}'", "is given more than once")
        for table, following in pairwise(ordered)
        if table.candidate == following.candidate
    ]
    aligned = []
    for table in ordered:
        found, same_rows = _differences(table, first)
        problems += found
        if same_rows is not None:
            aligned.append(same_rows)
    if problems:
        raise PredictionError(
            f"These prediction tables can't vote together (compared with '{first.candidate}'):",
            problems=problems,
            fix="Predict the same memes of the same manifest with every candidate; tables without labels take them "
            "from another with `with_truth_of`.",
        )
    return aligned


def _differences(table: PredictionTable, first: PredictionTable) -> tuple[list[Problem], PredictionTable | None]:
    """How a table differs from the first, and the table in the first one's row order where it can be."""
    where = f"candidate '{table.candidate}'"
    problems = []
    if table.label_task != first.label_task:
        theirs, ours = table.label_task.to_dict(), first.label_task.to_dict()
        problems.append(Problem(where, f"label task {theirs}, expected {ours}"))
    if table.manifest_fingerprint != first.manifest_fingerprint:
        problems.append(
            Problem(
                where,
                f"manifest fingerprint '{table.manifest_fingerprint}', expected '{first.manifest_fingerprint}'",
            )
        )
    try:
        aligned = table.aligned_to(first)
    except PredictionError as error:
        return problems + list(error.problems), None
    for name in ("splits", "labels", "groups"):
        num_different = int((getattr(aligned, name) != getattr(first, name)).sum())
        if num_different:
            problems.append(Problem(where, f"{name} differ for {num_different} of {len(first)} memes"))
    return problems, aligned


def blend(
    tables: Sequence[PredictionTable],
    name: str = "ensemble",
    *,
    voting: Voting = "majority",
    weights: Sequence[float] | None = None,
) -> PredictionTable:
    """The ensemble of some members as a prediction table of its own.

    Its decisions follow the voting rule. Its probabilities are the weighted mean of the members', whatever the rule;
    where the vote overrules that mean, the values of the voted class and of the mean's most probable class are
    exchanged, so that the class it names always carries the highest probability.

    Args:
        tables: the members' tables for one label task, over the same memes (in any order).
        name: candidate name of the result.
        voting: the rule.
        weights: of the members, in the order of `tables`; all equal where there are none.

    Raises:
        PredictionError: the tables differ in label task, manifest fingerprint, memes, splits, labels or groups;
            weights that can't be used, or none with voting "weighted".
    """
    members = comparable(tables)
    units = weight_units(weights, len(tables))
    if voting == "weighted" and (weights is None or len(weights) == 0):
        raise PredictionError(
            "Voting 'weighted' needs the members' weights, and none are given.",
            fix="Take those of the ensemble's choice, or vote 'soft'.",
        )
    unit_of = {table.candidate: unit for table, unit in zip(tables, units.tolist(), strict=True)}
    ordered = np.array([unit_of[table.candidate] for table in members], dtype=np.int64)
    classes, probabilities = stack(members)
    decisions = decide_by_units(classes, probabilities, voting, ordered)
    mean = (probabilities * ordered[:, None, None]).sum(axis=0) / ordered.sum()
    return replace(tables[0], candidate=name, probabilities=exchanged(mean.T, decisions).T, decisions=decisions)


def exchanged(mean: NDArray[np.float64], decisions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities in which the decided class has the highest.

    Args:
        mean: probabilities [..., num_classes, num_memes].
        decisions: class indices [..., num_memes].

    Returns:
        `mean` with the values of the decided and of the most probable class exchanged where they differ.
    """
    top = first_largest(mean)
    *ensembles, memes = np.nonzero(top != decisions)
    decided, most_probable = ((*ensembles, which[(*ensembles, memes)], memes) for which in (decisions, top))
    result = mean.copy()
    result[decided], result[most_probable] = mean[most_probable], mean[decided]
    return result


def first_largest(values: NDArray[Any]) -> NDArray[np.int64]:
    """Index of the largest value over the classes, the first among equals.

    Much faster than `argmax` where that axis is short and the last one long.

    Args:
        values: [..., num_classes, num_memes].

    Returns:
        [..., num_memes].
    """
    best = values[..., 0, :].copy()
    where = np.zeros(best.shape, dtype=np.int64)
    for index in range(1, values.shape[-2]):
        larger = values[..., index, :] > best
        where = np.where(larger, index, where)
        np.maximum(best, values[..., index, :], out=best)
    return where
