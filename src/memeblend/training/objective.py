"""The objective: from branch logits and labels to one loss and its named parts.

It owns the losses of the recipe and knows no modality: branches are names with weights (paper equation 7).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memeblend.labels import MISSING, LabelTask
from memeblend.losses import cross_entropy, focal, gradient_blend, label_task_loss
from memeblend.recipe.parts import CrossEntropy, Focal

LabelTaskLoss = Callable[[Tensor, Tensor], Tensor]
"""From logits [B, num_classes] and class indices [B] to a scalar."""

BranchWeights = Mapping[str, float | Mapping[str, float]]
"""Weight of each branch that is trained: one for all label tasks, or one for each by name."""


@dataclass(frozen=True)
class Objective:
    """A weighted sum over branches of the mean over label tasks of their losses.

    Attributes:
        label_tasks: the label tasks, in the order of the labels' columns.
        losses: loss of each label task.
        branch_weights: weight of each branch that is trained.
    """

    label_tasks: tuple[LabelTask, ...]
    losses: Mapping[str, LabelTaskLoss]
    branch_weights: BranchWeights

    def __call__(self, branch_logits: Mapping[str, Mapping[str, Tensor]], labels: Tensor) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            branch_logits: for each branch and label task, logits [B, num_classes].
            labels: class indices [B, num_label_tasks], -1 where missing.

        Returns:
            "loss", the value to minimise, and "loss_<branch>" for each trained branch (where its label tasks have
            weights of their own, with them).
        """
        by_name = self._by_name(labels)
        parts: dict[str, Tensor] = {}
        shared: dict[str, float] = {}
        for branch, weight in self.branch_weights.items():
            own = weight if isinstance(weight, Mapping) else None
            parts[branch] = label_task_loss(branch_logits[branch], by_name, self.losses, own)
            shared[branch] = 1.0 if isinstance(weight, Mapping) else weight
        return {"loss": gradient_blend(parts, shared)} | {f"loss_{branch}": part for branch, part in parts.items()}

    def label_task_losses(self, logits: Mapping[str, Tensor], labels: Tensor) -> dict[str, float]:
        """One branch's loss of each label task that has a label.

        Args:
            logits: for each label task, [B, num_classes].
            labels: class indices [B, num_label_tasks], -1 where missing.
        """
        return {
            name: float(self.losses[name](logits[name], column))
            for name, column in self._by_name(labels).items()
            if (column != MISSING).any()
        }

    def _by_name(self, labels: Tensor) -> dict[str, Tensor]:
        return {task.name: labels[:, column] for column, task in enumerate(self.label_tasks)}


def balanced_class_weights(labels: NDArray[np.int64], num_classes: int) -> Tensor:
    """Weights inverse to class frequency, as scikit-learn's "balanced"; classes never seen weigh 0.

    Args:
        labels: class indices [num_memes], -1 where missing.
    """
    counts = np.bincount(labels[labels != MISSING], minlength=num_classes).astype(np.float64)
    seen = counts > 0
    weights = np.zeros(num_classes)
    weights[seen] = counts.sum() / (seen.sum() * counts[seen])
    return torch.tensor(weights, dtype=torch.float32)


def make_objective(
    label_tasks: Sequence[LabelTask],
    losses: Mapping[str, CrossEntropy | Focal],
    fit_labels: NDArray[np.int64],
    branch_weights: BranchWeights,
) -> Objective:
    """An objective whose class weights come from the fit split.

    Args:
        label_tasks: the label tasks.
        losses: loss settings of each label task.
        fit_labels: class indices [num_memes, num_label_tasks] of the fit split.
        branch_weights: weight of each branch that is trained.
    """
    made = {}
    for column, task in enumerate(label_tasks):
        settings = losses[task.name]
        weights = None
        if settings.class_weights == "balanced":
            weights = balanced_class_weights(fit_labels[:, column], task.num_classes)
        made[task.name] = _loss(settings, weights)
    return Objective(tuple(label_tasks), made, branch_weights)


def _loss(settings: CrossEntropy | Focal, class_weights: Tensor | None) -> LabelTaskLoss:
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        weights = None if class_weights is None else class_weights.to(logits.device)
        if isinstance(settings, Focal):
            return focal(logits, labels, settings.gamma, weights, settings.detach)
        return cross_entropy(logits, labels, weights)

    return loss
