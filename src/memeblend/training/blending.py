"""Ways to keep the branches of a multi-modal model in balance while it is trained, behind one interface.

The trainer calls the hooks of `Blending`; each way overrides those that it needs. Gradient-Blend's is in
`memeblend.training.estimating`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from memeblend.labels import LabelTask
from memeblend.losses import dropped_modalities, modulation_coefficients, true_class_score
from memeblend.models.multimodal import MultiModalClassifier
from memeblend.training.objective import Objective

BranchLogits = Mapping[str, Mapping[str, Tensor]]
"""For each branch and label task, logits [B, num_classes]."""


class Blending:
    """The objective's own weights, which stay as they are."""

    def before_epoch(self, epoch: int, model: PreTrainedModel, objective: Objective) -> Objective:
        """The objective of an epoch, counted from 0; the model is as the epoch before left it."""
        return objective

    def model_inputs(self, num_memes: int) -> dict[str, Any]:
        """What the model is given in a step beside a batch of so many memes."""
        return {}

    def after_forward(self, branch_logits: BranchLogits, labels: Tensor) -> None:
        """Takes a step's logits and class indices [B, num_label_tasks]."""

    def after_backward(self, model: PreTrainedModel) -> None:
        """May change a step's gradients."""

    def trace(self) -> dict[str, float]:
        """Numbers for the log, called "quantity/branch" or "quantity/branch/label task", since last asked; asked for
        when an epoch has begun, and with its loss."""
        return {}


class GradientModulation(Blending):
    """OGM-GE: the fused loss, with the gradients of the encoder that is ahead scaled down.

    Which is ahead is told by the branches "text" and "image", which are trained on the states as they are and do not
    change them (the reference reads it from the weights of a late fusion, which this fusion has not). All parameters
    of an encoder are scaled. Noise is for matrices alone, as the reference's code has it for convolutions, and not
    for embeddings, where it would also move the words that a batch does not hold.

    Args:
        label_tasks: the label tasks, in the order of the labels' columns.
        alpha: see `modulation_coefficients`.
        noise: add to each gradient Gaussian noise of its own standard deviation.
    """

    def __init__(self, label_tasks: tuple[LabelTask, ...], alpha: float, noise: bool) -> None:
        self.label_tasks = label_tasks
        self.alpha = alpha
        self.noise = noise
        self._coefficients: dict[str, float] = {}
        self._sums: dict[str, float] = {}
        self._num_steps = 0

    def model_inputs(self, num_memes: int) -> dict[str, Any]:
        """Lets the branches watch only."""
        return {"probing": True}

    def after_forward(self, branch_logits: BranchLogits, labels: Tensor) -> None:
        """Take the scores of a batch to coefficients."""
        by_name = {task.name: labels[:, column] for column, task in enumerate(self.label_tasks)}
        scores = {name: true_class_score(branch_logits[name], by_name) for name in ("text", "image")}
        self._coefficients = modulation_coefficients(scores, self.alpha)

    def after_backward(self, model: PreTrainedModel) -> None:
        """Scale the encoders' gradients and add noise."""
        assert isinstance(model, MultiModalClassifier), "only multi-modal models are modulated"
        for name, encoder in model.encoders.items():
            coefficient = self._coefficients[name]
            self._sums[name] = self._sums.get(name, 0.0) + coefficient
            for module in encoder.modules():
                for parameter in module.parameters(recurse=False):
                    if parameter.grad is not None:
                        _modulate(parameter.grad, coefficient, self.noise and _takes_noise(module, parameter))
        self._num_steps += 1

    def trace(self) -> dict[str, float]:
        """Each encoder's mean coefficient since last asked."""
        found = {f"modulation/{name}": total / self._num_steps for name, total in self._sums.items()}
        self._sums, self._num_steps = {}, 0
        return found


class ModalityDropout(Blending):
    """The fused loss, with text or image left out of the fusion for some memes; see `dropped_modalities`."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def model_inputs(self, num_memes: int) -> dict[str, Any]:
        """Draws which memes lose what."""
        return {"dropped": dropped_modalities(num_memes, 2, self.probability)}


def _takes_noise(module: nn.Module, parameter: Tensor) -> bool:
    return parameter.dim() >= 2 and not isinstance(module, nn.Embedding)


def _modulate(gradient: Tensor, coefficient: float, noise: bool) -> None:
    deviation = gradient.std() if noise else None
    gradient.mul_(coefficient)
    if deviation is not None:
        gradient.add_(torch.randn_like(gradient) * deviation)
