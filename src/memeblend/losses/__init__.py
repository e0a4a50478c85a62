"""Losses: tensors in, tensors out, no model inside."""

from memeblend.losses.blending import gradient_blend, label_task_loss
from memeblend.losses.classification import cross_entropy, focal

__all__ = ["cross_entropy", "focal", "gradient_blend", "label_task_loss"]
