"""From the members' probabilities of some memes to what their ensembles decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.candidates.base import Member
from memeblend.decisions import DecisionRule
from memeblend.ensemble.combining import combine
from memeblend.ensemble.selection import EnsembleChoice
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import MISSING, LabelTask
from memeblend.predictions import Predictions
from memeblend.training.preprocessing import Memes


def vote(
    label_tasks: Sequence[LabelTask],
    candidates: Mapping[str, Member],
    choices: Mapping[str, EnsembleChoice],
    rules: Mapping[str, DecisionRule],
    memes: Memes,
    **told: Any,
) -> Predictions:
    """What every member says of memes made ready, and what their ensembles make of it.

    Args:
        label_tasks: the trained label tasks.
        candidates: the members by name.
        choices: the chosen ensemble of each label task.
        rules: how each label task's probabilities become decisions.
        memes: the memes.
        told: splits, groups, labels and fingerprint as `decide` takes them.
    """
    probabilities = {name: candidate.predict(memes) for name, candidate in candidates.items()}
    return decide(label_tasks, probabilities, choices, rules, memes.meme_ids, **told)


def decide(
    label_tasks: Sequence[LabelTask],
    probabilities: Mapping[str, Mapping[str, NDArray[np.float64]]],
    choices: Mapping[str, EnsembleChoice],
    rules: Mapping[str, DecisionRule],
    meme_ids: Sequence[str],
    *,
    splits: NDArray[np.str_],
    groups: NDArray[np.int64],
    labels: Mapping[str, NDArray[np.int64]],
    fingerprint: str,
) -> Predictions:
    """What ensembles make of what their members say.

    Args:
        label_tasks: the trained label tasks.
        probabilities: class probabilities [num_memes, num_classes] of each member and label task.
        choices: the chosen ensemble of each label task.
        rules: how each label task's probabilities become decisions.
        meme_ids: id of each meme.
        splits: split of each meme [num_memes].
        groups: duplicate group of each meme [num_memes].
        labels: class indices [num_memes] of the label tasks that have labels.
        fingerprint: of the manifest that the memes come from.
    """
    missing = np.full(len(meme_ids), MISSING, dtype=np.int64)
    members = {
        task.name: tuple(
            PredictionTable(
                candidate=name,
                label_task=task,
                meme_ids=np.array(meme_ids, dtype=np.str_),
                splits=splits,
                groups=groups,
                labels=labels.get(task.name, missing),
                probabilities=probabilities[name][task.name],
                manifest_fingerprint=fingerprint,
            )
            for name in choices[task.name].members
        )
        for task in label_tasks
    }
    tables = {
        task.name: rules[task.name].apply(combine(members[task.name], choices[task.name])) for task in label_tasks
    }
    derived = [tables[task.name].derived() for task in label_tasks if task.intensity]
    return Predictions(tables | {table.label_task.name: table for table in derived}, members)
