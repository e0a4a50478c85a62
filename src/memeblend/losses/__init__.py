"""Losses: tensors in, tensors out, no model inside."""

from memeblend.losses.balancing import dropped_modalities, modulation_coefficients, true_class_score
from memeblend.losses.blending import gradient_blend, label_task_loss
from memeblend.losses.classification import cross_entropy, focal
from memeblend.losses.ogr import LossChange, estimated_weights, uniform_weights

__all__ = [
    "LossChange",
    "cross_entropy",
    "dropped_modalities",
    "estimated_weights",
    "focal",
    "gradient_blend",
    "label_task_loss",
    "modulation_coefficients",
    "true_class_score",
    "uniform_weights",
]
