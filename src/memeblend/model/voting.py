"""From the members' probabilities of some memes to what their ensembles decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from memeblend.candidates.base import Candidate
from memeblend.decisions import DecisionRule
from memeblend.ensemble.combining import combine
from memeblend.ensemble.selection import EnsembleChoice
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import MISSING, LabelTask
from memeblend.predictions import Predictions
from memeblend.training.preprocessing import Memes


def vote(
    label_tasks: Sequence[LabelTask],
    candidates: Mapping[str, Candidate],
    choices: Mapping[str, EnsembleChoice],
    rules: Mapping[str, DecisionRule],
    memes: Memes,
    *,
    splits: NDArray[np.str_],
    groups: NDArray[np.int64],
    labels: Mapping[str, NDArray[np.int64]],
    fingerprint: str,
) -> Predictions:
    """What every member says of memes made ready, and what their ensembles make of it.

    Args:
        label_tasks: the trained label tasks.
        candidates: the members by name.
        choices: the chosen ensemble of each label task.
        rules: how each label task's probabilities become decisions.
        memes: the memes.
        splits: split of each meme [num_memes].
        groups: duplicate group of each meme [num_memes].
        labels: class indices [num_memes] of the label tasks that have labels.
        fingerprint: of the manifest that the memes come from.
    """
    probabilities = {name: candidate.predict(memes) for name, candidate in candidates.items()}
    missing = np.full(len(memes), MISSING, dtype=np.int64)
    tables: dict[str, PredictionTable] = {}
    members: dict[str, tuple[PredictionTable, ...]] = {}
    for task in label_tasks:
        members[task.name] = tuple(
            PredictionTable(
                candidate=name,
                label_task=task,
                meme_ids=np.array(memes.meme_ids, dtype=np.str_),
                splits=splits,
                groups=groups,
                labels=labels.get(task.name, missing),
                probabilities=probabilities[name][task.name],
                manifest_fingerprint=fingerprint,
            )
            for name in choices[task.name].members
        )
        tables[task.name] = rules[task.name].apply(combine(members[task.name], choices[task.name]))
    derived = [tables[task.name].derived() for task in label_tasks if task.intensity]
    return Predictions(tables | {table.label_task.name: table for table in derived}, members)
