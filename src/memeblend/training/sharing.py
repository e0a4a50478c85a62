"""A batch of memes shared out among the workers of a training, and its logits brought together again.

Each worker encodes its part. Logits are gathered with their gradients, so each has the loss of the whole batch: means
over memes, classes' weights, label tasks and branches are those of one process, whatever has a label where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from memeblend.training.workers import Workers

Collate = Callable[[Sequence[int]], dict[str, Tensor]]


class Labelled(Protocol):
    """What can be shared out: a dataset whose batches are built from rows."""

    @property
    def labels(self) -> Tensor:
        """Class indices [num_memes, num_label_tasks], -1 where missing."""

    def collate(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Model inputs and "labels" of some rows."""


def shared_collate(dataset: Labelled, workers: Workers) -> Collate:
    """What takes the rows of a batch to the inputs of this worker's part and the labels of all.

    The labels are in the order of the workers' parts, one after the other. Where a batch has fewer memes than there
    are workers, one without any encodes the first: it must go through the model as the others do, and `whole_logits`
    leaves out what it finds.
    """
    if workers.size == 1:
        return dataset.collate

    def collate(rows: Sequence[int]) -> dict[str, Tensor]:
        parts = workers.parts(rows)
        everyone = [row for part in parts for row in part]
        inputs = dataset.collate(parts[workers.rank] or rows[:1])
        return inputs | {"labels": dataset.labels[torch.tensor(everyone)]}

    return collate


def num_encoded(num_memes: int, workers: Workers) -> int:
    """How many memes of a batch of so many this worker encodes."""
    return max(1, _num_own(num_memes, workers))


def whole_logits(
    branch_logits: Mapping[str, Mapping[str, Tensor]], branches: Iterable[str], num_memes: int, workers: Workers
) -> Mapping[str, Mapping[str, Tensor]]:
    """The logits of a whole batch, differentiable if every worker goes backward; see `Workers.gather`.

    Args:
        branch_logits: for each branch and label task, this worker's logits [b, num_classes].
        branches: which of the branches are wanted. Others must stay out of the graph, as they do in one process:
            parameters whose gradient is 0 still decay, those that have none do not.
        num_memes: of the batch, B.
        workers: who share it.

    Returns:
        The same of these branches with [B, num_classes], the workers' parts one after the other.
    """
    if workers.size == 1:
        return branch_logits
    names = [(branch, task) for branch in branches for task in branch_logits[branch]]
    parts = [branch_logits[branch][task].float() for branch, task in names]
    whole = workers.gather(torch.cat(parts, dim=1)[: _num_own(num_memes, workers)])  # [B, all classes]
    found: dict[str, dict[str, Tensor]] = {}
    for (branch, task), columns in zip(names, whole.split([part.shape[1] for part in parts], dim=1), strict=True):
        found.setdefault(branch, {})[task] = columns
    return found


def _num_own(num_memes: int, workers: Workers) -> int:
    return len(range(workers.rank, num_memes, workers.size))
