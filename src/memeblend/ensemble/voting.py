"""Majority votes of prediction tables, counted with arrays.

A tie goes to the tied class with the highest summed probability, then to the lowest class index. Votes and
probabilities are added as whole numbers (see `ballots`), so the outcome depends neither on the order of the
members nor on the machine's way of adding floats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.errors import PredictionError, Problem
from memeblend.evaluation.tables import PredictionTable

MAX_MEMBERS = 63
_PROBABILITY_STEPS = 2.0**40
_VOTE = 2.0**46
"""One vote outweighs the summed probabilities of 63 members (63 * 2**40 < 2**46)."""


def ballots(classes: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each member adds to each class: one vote, and its probability as the tie-break below it.

    Probabilities are rounded to steps of 2**-40 (1e-12) and a vote counts 2**46, so every sum over up to 63
    members is a whole number below 2**53: exact in float64, in any order, by any BLAS. The class with the
    largest sum is the majority's choice with ties broken.

    Args:
        classes: each member's class indices [num_members, num_memes].
        probabilities: [num_members, num_memes, num_classes].

    Returns:
        [num_members, num_memes, num_classes].

    Raises:
        ValueError: no member, more than 63, or shapes that do not fit.
    """
    num_members, num_memes, num_classes = probabilities.shape
    if classes.shape != (num_members, num_memes):
        raise ValueError(f"classes has shape {classes.shape}, expected {(num_members, num_memes)}")
    if not 1 <= num_members <= MAX_MEMBERS:
        raise ValueError(f"{num_members} members, expected 1 to {MAX_MEMBERS}")
    votes = classes[:, :, None] == np.arange(num_classes)
    cast: NDArray[np.float64] = np.rint(probabilities * _PROBABILITY_STEPS) + votes * _VOTE
    return cast


def majority_vote(classes: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """The class most members vote for.

    Args:
        classes: each member's class indices [num_members, num_memes].
        probabilities: [num_members, num_memes, num_classes], for ties.

    Returns:
        Class indices [num_memes]. A tie goes to the tied class with the highest summed probability, then to the
        lowest class index.

    Raises:
        ValueError: no member, more than 63, or shapes that do not fit.
    """
    sums = ballots(classes, probabilities).sum(axis=0)
    voted: NDArray[np.int64] = sums.argmax(axis=1).astype(np.int64)
    return voted


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


def blend(tables: Sequence[PredictionTable], name: str = "ensemble") -> PredictionTable:
    """The ensemble of some members as a prediction table of its own.

    Its decisions are the majority vote. Its probabilities are the mean of the members'; where the vote
    overrules that mean, the values of the voted class and of the mean's most probable class are exchanged, so
    that the class it names always carries the highest probability.

    Args:
        tables: the members' tables for one label task, over the same memes (in any order).
        name: candidate name of the result.

    Raises:
        PredictionError: the tables differ in label task, manifest fingerprint, memes, splits, labels or groups.
    """
    members = comparable(tables)
    first = tables[0]
    classes, probabilities = stack(members)
    decisions = majority_vote(classes, probabilities)
    mean = probabilities.mean(axis=0)
    rows: NDArray[Any] = np.arange(len(mean))
    top = mean.argmax(axis=1)
    voted_values = mean[rows, decisions]
    mean[rows, decisions] = mean[rows, top]
    mean[rows, top] = np.where(decisions == top, mean[rows, top], voted_values)
    return replace(first, candidate=name, probabilities=mean, decisions=decisions)
