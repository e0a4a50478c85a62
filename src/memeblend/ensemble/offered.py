"""The candidates offered to an ensemble for one label task, as arrays: all that a search looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memeblend.ensemble.voting import comparable, stack
from memeblend.errors import PredictionError
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import MISSING, LabelTask


@dataclass(frozen=True, eq=False)
class Offered:
    """What some candidates say of the labelled memes that a choice may see.

    Attributes:
        label_task: the label task.
        names: the candidates' names, sorted; the order of the arrays.
        split_names: splits of the memes, in order of appearance.
        labels: true class indices [num_memes], none missing.
        groups: duplicate group of each meme [num_memes].
        classes: class indices each candidate decides on [num_candidates, num_memes].
        probabilities: [num_candidates, num_memes, num_classes].
    """

    label_task: LabelTask
    names: tuple[str, ...]
    split_names: tuple[str, ...]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    classes: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    @classmethod
    def of(cls, tables: Sequence[PredictionTable]) -> Offered:
        """From the candidates' tables; memes without a label are left out.

        Raises:
            PredictionError: no table, tables that do not fit together, or no labelled meme.
        """
        candidates = comparable(tables)
        first = candidates[0]
        known = np.flatnonzero(first.labels != MISSING)
        if not len(known):
            raise PredictionError(
                f"No meme of split(s) {', '.join(first.split_names) or '(none)'} has a label for label task "
                f"'{first.label_task.name}', so no ensemble can be chosen there."
            )
        classes, probabilities = stack(candidates)
        return cls(
            first.label_task,
            tuple(table.candidate for table in candidates),
            tuple(dict.fromkeys(first.splits[known].tolist())),
            first.labels[known],
            first.groups[known],
            classes[:, known],
            probabilities[:, known],
        )

    @property
    def num_candidates(self) -> int:
        """Number of candidates."""
        return len(self.names)

    @property
    def num_memes(self) -> int:
        """Number of labelled memes."""
        return len(self.labels)
