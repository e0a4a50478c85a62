"""Sums of losses: over label tasks, and over branches. Tensors in, tensor out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from memeblend.losses.classification import MISSING


def label_task_loss(
    logits: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    losses: Mapping[str, Callable[[Tensor, Tensor], Tensor]],
    weights: Mapping[str, float] | None = None,
) -> Tensor:
    """One loss for a model that serves several label tasks.

    Minimises the mean of the label tasks' own losses, so that each counts the same however many labels it has.

    Inputs:
        logits: for each label task, [B, num_classes].
        labels: for each label task, int64 class indices [B]; -1 where missing.
        losses: for each label task, what takes its logits and labels to a loss, such as `cross_entropy`.
        weights: for each label task, what its loss is multiplied with before the mean; one when left out.

    Reduction:
        Mean over the label tasks with at least one label in the batch; 0 with gradient 0 where none has any.

    Relations:
        `gradient_blend` sums over branches what this gives for each.

    Raises:
        ValueError: the three do not name the same label tasks, or none.

    Example:
        >>> from memeblend.losses import cross_entropy
        >>> logits = {"a": torch.zeros(1, 2), "b": torch.zeros(1, 4)}
        >>> labels = {"a": torch.tensor([1]), "b": torch.tensor([-1])}
        >>> label_task_loss(logits, labels, {"a": cross_entropy, "b": cross_entropy}).item()
        0.693147...
    """
    _same_names("label task", logits=logits, labels=labels, losses=losses)
    values = torch.stack([losses[name](logits[name], labels[name]) for name in logits])
    if weights is not None:
        _same_names("label task", logits=logits, weights=weights)
        values = values * values.new_tensor([weights[name] for name in logits])
    present = torch.stack([(labels[name] != MISSING).any() for name in logits])
    return (values * present).sum() / present.sum().clamp(min=1)


def gradient_blend(branch_losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Gradient blending: a weighted sum of the losses of a multi-modal model's branches.

    Minimises sum_i w_i L_i over the branches i (paper equation 7). Supervising the uni-modal branches keeps a
    fusion from leaning on whichever modality overfits first.

    Inputs:
        branch_losses: for each branch ("text", "image", "fused"), a scalar loss.
        weights: for each of the same branches, a weight of at least 0; they need not sum to one.

    Reduction:
        Weighted sum, no mean.

    Reference:
        Wang, Tran and Feiszli, "What makes training multi-modal classification networks hard?", CVPR 2020.

    Relations:
        {"fused": 1.0} alone is the paper's ablation without gradient blending.

    Raises:
        ValueError: the two do not name the same branches, or none, or a weight is negative.

    Example:
        >>> losses = {"text": torch.tensor(1.0), "fused": torch.tensor(3.0)}
        >>> gradient_blend(losses, {"text": 0.5, "fused": 0.25}).item()
        1.25
    """
    _same_names("branch", branch_losses=branch_losses, weights=weights)
    negative = [f"{name} has {weight}" for name, weight in weights.items() if weight < 0]
    if negative:
        raise ValueError(f"blend weights must be at least 0: {', '.join(negative)}")
    return torch.stack([weights[name] * loss for name, loss in branch_losses.items()]).sum()


def _same_names(what: str, **mappings: Mapping[str, object]) -> None:
    first = next(iter(mappings.values()))
    if not first or any(set(mapping) != set(first) for mapping in mappings.values()):
        found = "; ".join(f"{name}: {', '.join(mapping) or 'none'}" for name, mapping in mappings.items())
        raise ValueError(f"expected every {what} once in each, found {found}")
