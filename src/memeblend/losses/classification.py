"""Losses of one label task: tensors in, tensor out. Labels of -1 are missing and count for nothing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

MISSING = -1
"""The class index that stands for "no label"."""


def cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Cross-entropy between predicted and true classes.

    Minimises -log p_t, where p_t is the probability given to a meme's true class.

    Inputs:
        logits: [B, K], any real numbers.
        labels: [B], int64 class indices; -1 where missing.
        class_weights: [K], non-negative; all one when left out.

    Reduction:
        Mean over the labelled memes, weighted by their classes' weights as PyTorch does. A batch without labels
        gives 0 with gradient 0, so that a step on it changes nothing.

    Relations:
        Equal to `torch.nn.functional.cross_entropy(..., ignore_index=-1)` where at least one meme is labelled
        (that gives nan where none is), and to `focal` with gamma 0.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
        >>> cross_entropy(logits, torch.tensor([0, -1])).item()
        0.126928...
    """
    known, target = _targets(labels)
    log_p_t = log_softmax(logits, dim=1).gather(1, target[:, None])[:, 0]  # [B]
    return _mean(-log_p_t, known, target, class_weights)


def focal(
    logits: Tensor,
    labels: Tensor,
    gamma: float,
    class_weights: Tensor | None = None,
    detach: bool = False,
) -> Tensor:
    """Focal loss: cross-entropy that cares less for memes it already gets right.

    Minimises -(1 - p_t)^gamma log p_t, so that a large, easy class does not drown a small one.

    Inputs:
        logits: [B, K], any real numbers.
        labels: [B], int64 class indices; -1 where missing.
        gamma: focusing exponent, at least 0; the paper searches 0, .5, 1, 2 and 5.
        class_weights: [K], non-negative (the reference's alpha); all one when left out.
        detach: take (1 - p_t)^gamma as a constant when differentiating, as the paper's released code does. The
            gradient is then only cross-entropy's, scaled.

    Reduction:
        As `cross_entropy`.

    Reference:
        Lin, Goyal, Girshick, He and Dollar, "Focal loss for dense object detection", ICCV 2017.

    Relations:
        gamma 0 is `cross_entropy`.

    Raises:
        ValueError: gamma is negative.

    Example:
        >>> focal(torch.tensor([[2.0, 0.0]]), torch.tensor([0]), gamma=2.0).item()
        0.001803...
    """
    if gamma < 0:
        raise ValueError(f"gamma is {gamma}, expected at least 0")
    known, target = _targets(labels)
    log_p = log_softmax(logits, dim=1)  # [B, K]
    log_p_t = log_p.gather(1, target[:, None])[:, 0]  # [B]
    # log(1 - p_t) from the other classes: finite, and so is its gradient, even where p_t rounds to 1.
    others = log_p.scatter(1, target[:, None], -torch.inf)
    factor = torch.exp(gamma * torch.logsumexp(others, dim=1))  # [B]
    if detach:
        factor = factor.detach()
    return _mean(-factor * log_p_t, known, target, class_weights)


def _targets(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which memes are labelled [B], and class indices that can be gathered [B]."""
    return labels != MISSING, labels.clamp(min=0)


def _mean(values: Tensor, known: Tensor, target: Tensor, class_weights: Tensor | None) -> Tensor:
    """Mean of values [B] over the labelled memes; 0, still part of the graph, where there are none."""
    weights = torch.ones_like(values) if class_weights is None else class_weights.to(values)[target]
    weights = weights * known
    total = weights.sum()
    return (weights * values).sum() / torch.where(total > 0, total, torch.ones_like(total))
