"""Memes held out from those that fit, to estimate blend weights by; see `memeblend.training.estimating`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from inspect import signature

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from memeblend.data.splits import choose_groups
from memeblend.errors import Problem, TrainingError
from memeblend.labels import MISSING, LabelTask
from memeblend.models.base import EncoderModel
from memeblend.training.batches import BatchedDataset

_FEWEST = 5
"""Labelled memes that each label task needs in each part."""


class Batched(Dataset[int]):
    """Some rows of a dataset, and of their inputs those that a model takes; a `BatchedDataset` as the trainer's own.

    Args:
        dataset: any other one.
        rows: which, in what order.
        names: inputs to keep beside "labels"; all when left out.
    """

    def __init__(self, dataset: BatchedDataset, rows: NDArray[np.int64], names: Collection[str] | None = None) -> None:
        self.dataset = dataset
        self.rows = rows
        self.names = None if names is None else {*names, "labels"}
        self.labels: Tensor = dataset.labels[torch.from_numpy(rows)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> int:
        return row

    def collate(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Model inputs and labels [B, num_label_tasks] of some rows."""
        inputs: dict[str, Tensor] = self.dataset.collate(self.rows[np.asarray(rows, dtype=np.int64)].tolist())
        return inputs if self.names is None else {name: inputs[name] for name in inputs if name in self.names}

    def lengths(self) -> NDArray[np.int64]:
        """Cost of each meme."""
        lengths: NDArray[np.int64] = self.dataset.lengths()[self.rows]
        return lengths

    def read_by(self, model: EncoderModel) -> Batched:
        """The same, with the inputs that a model takes."""
        return Batched(self.dataset, self.rows, signature(model.forward).parameters)


@dataclass(frozen=True)
class Parts:
    """The memes of an estimate.

    Attributes:
        train: to train branches on.
        train_measured: the same to measure losses on, nothing left out at random.
        held_out: to measure losses on, seen by no branch.
    """

    train: Batched
    train_measured: Batched
    held_out: Batched


def hold_out(
    label_tasks: Sequence[LabelTask],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    fraction: float,
    seed: int,
) -> NDArray[np.bool_]:
    """Which of the fit memes are held out, [num_memes]: whole duplicate groups, the classes in proportion.

    Args:
        label_tasks: the label tasks, in the order of the labels' columns.
        labels: class indices [num_memes, num_label_tasks], -1 where missing.
        groups: duplicate group of each meme [num_memes].
        fraction: share to hold out.
        seed: which of the many equally good choices is made.

    Raises:
        TrainingError: the memes are too few to estimate anything from.
    """
    _, number = np.unique(groups, return_inverse=True)
    columns = [np.bincount(number)]
    for column, task in enumerate(label_tasks):
        for index in range(task.num_classes):
            columns.append(np.bincount(number[labels[:, column] == index], minlength=len(columns[0])))
    held_out = np.zeros(len(labels), dtype=np.bool_)
    if len(columns[0]) > 1:
        contents = np.stack(columns, axis=1).astype(np.float64)
        held_out = choose_groups(contents, fraction, np.random.default_rng(seed))[number]
    problems = []
    for column, task in enumerate(label_tasks):
        for where, part in (("held out", held_out), ("left to train on", ~held_out)):
            count = int((labels[part, column] != MISSING).sum())
            if count < _FEWEST:
                problems.append(Problem(f"label task {task.name}", f"{count} labelled memes {where}"))
    if problems:
        raise TrainingError(
            f"Blend weights can't be estimated from {len(labels)} fit memes in {len(columns[0])} groups of duplicates; "
            f"each label task needs {_FEWEST} labelled memes in both parts:",
            problems=problems,
            fix='Use more memes, change estimation.held_out, or set blending = "fixed" or "uniform".',
        )
    return held_out
