"""The choice of an ensemble's members: every non-empty subset of the candidates is tried (paper section 3.5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.ensemble.voting import ballots, comparable, stack
from memeblend.errors import PredictionError
from memeblend.evaluation.metrics import Metric, score_of_counts
from memeblend.evaluation.tables import PredictionTable

MAX_CANDIDATES = 20
"""2**20 - 1 subsets of a thousand memes take minutes; each further candidate doubles that."""
_BLOCK_WORK = 400_000
"""Multiplications of one matrix product (subsets x candidates x memes). Small enough that its arrays stay in the
processor's cache and that BLAS starts no threads, which on a busy machine cost more than the product."""
_DECIMALS = 12
"""Scores closer than this are the same score reached by another order of additions."""


@dataclass(frozen=True)
class EnsembleChoice:
    """The members chosen for one label task, and what the choice saw.

    Attributes:
        label_task: name of the label task.
        members: names of the chosen candidates, sorted.
        objective: the score that was maximised.
        score: its value on the memes the choice saw; optimistic, since it is the best of `num_subsets`.
        selected_on: names of the splits the choice saw.
        num_memes: number of labelled memes it saw.
        num_subsets: number of subsets tried.
    """

    label_task: str
    members: tuple[str, ...]
    objective: Metric
    score: float
    selected_on: tuple[str, ...]
    num_memes: int
    num_subsets: int

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; `from_dict` is the inverse."""
        return {
            "label_task": self.label_task,
            "members": list(self.members),
            "objective": self.objective,
            "score": self.score,
            "selected_on": list(self.selected_on),
            "num_memes": self.num_memes,
            "num_subsets": self.num_subsets,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> EnsembleChoice:
        """The inverse of `to_dict`."""
        return cls(**data | {"members": tuple(data["members"]), "selected_on": tuple(data["selected_on"])})


def search(tables: Sequence[PredictionTable], objective: Metric = "weighted_f1") -> EnsembleChoice:
    """Find the best majority vote among all non-empty subsets of the candidates.

    Between subsets of equal score the smallest wins, then the first by its sorted member names.

    Args:
        tables: the candidates' tables for one label task, restricted to the splits the choice may see. Memes
            without a label are left out.
        objective: the score to maximise: "weighted_f1", "macro_f1" or "accuracy".

    Raises:
        PredictionError: more than twenty candidates, no labelled meme, or tables that do not fit together.
    """
    if len(tables) > MAX_CANDIDATES:
        raise PredictionError(
            f"{len(tables)} candidates are offered to the ensemble; every subset is tried, so at most "
            f"{MAX_CANDIDATES} can be.",
            fix="Leave out the weakest candidates.",
        )
    candidates = [table.labelled() for table in comparable(tables)]
    first = candidates[0]
    if len(first) == 0:
        raise PredictionError(
            f"No meme of split(s) {', '.join(tables[0].split_names) or '(none)'} has a label for label task "
            f"'{first.label_task.name}', so no ensemble can be chosen there."
        )
    classes, probabilities = stack(candidates)
    subset_scores = np.concatenate(
        [
            np.round(score_of_counts(counts, objective), _DECIMALS)
            for counts in _subset_counts(ballots(classes, probabilities), first.labels)
        ]
    )
    names = [table.candidate for table in candidates]
    best = np.flatnonzero(subset_scores == subset_scores.max()) + 1
    members = min((_members(int(subset), names) for subset in best), key=lambda some: (len(some), some))
    return EnsembleChoice(
        label_task=first.label_task.name,
        members=members,
        objective=objective,
        score=float(subset_scores.max()),
        selected_on=first.split_names,
        num_memes=len(first),
        num_subsets=len(subset_scores),
    )


def _members(subset: int, names: Sequence[str]) -> tuple[str, ...]:
    """Names of the candidates whose bit is set in a subset number."""
    return tuple(name for bit, name in enumerate(names) if subset >> bit & 1)


def _subset_counts(cast: NDArray[np.float64], labels: NDArray[np.int64]) -> Iterator[NDArray[np.float64]]:
    """Confusion counts of every subset's vote, in blocks.

    Args:
        cast: ballots [num_candidates, num_memes, num_classes].
        labels: true class indices [num_memes].

    Yields:
        [block, num_classes, num_classes]; row i of all blocks together is subset number i + 1, whose bits name
        its members.
    """
    num_candidates, num_memes, num_classes = cast.shape
    by_class = np.ascontiguousarray(cast.transpose(2, 0, 1))  # [num_classes, num_candidates, num_memes]
    truth = (labels[:, None] == np.arange(num_classes)).astype(np.float32)  # [num_memes, num_classes]
    block = max(1, _BLOCK_WORK // (num_candidates * num_memes))
    for start in range(1, 2**num_candidates, block):
        subsets = np.arange(start, min(start + block, 2**num_candidates))
        chosen = (subsets[:, None] >> np.arange(num_candidates) & 1).astype(np.float64)
        voted = _first_largest(chosen @ one_class for one_class in by_class)  # [block, num_memes]
        columns = [(voted == index).astype(np.float32) @ truth for index in range(num_classes)]
        yield np.stack(columns, axis=-1).astype(np.float64)


def _first_largest(sums: Iterator[NDArray[np.float64]]) -> NDArray[np.int8]:
    """Which of some arrays is largest, element by element; the first among equals.

    Faster than `argmax` over a short last axis, and holds two of the arrays at a time.
    """
    best = next(sums)
    where = np.zeros(best.shape, dtype=np.int8)
    for index, other in enumerate(sums, start=1):
        where[other > best] = index
        best = np.maximum(best, other)
    return where
