"""What else keeps the modalities of a model in balance: coefficients of gradients, and modalities left out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor


def modulation_coefficients(scores: Mapping[str, float], alpha: float) -> dict[str, float]:
    """On-the-fly gradient modulation: how far the gradient of each modality's encoder is scaled down.

    A modality whose own prediction of the true classes is ahead of the others' is slowed, the others are left alone:
    k = 1 - tanh(alpha * rho) where rho > 1, else 1, with rho the modality's score over the mean of the others'.

    Inputs:
        scores: for each modality, the summed probability that it alone gives to the true classes of a batch.
        alpha: how strongly it is slowed, above 0.

    Reference:
        Peng, Wei, Deng, Wang and Hu, "Balanced multimodal learning via on-the-fly gradient modulation", CVPR 2022
        (equations 8 and 9; theirs are for two modalities, with which this is the same).

    Raises:
        ValueError: fewer than two modalities, a negative score, or alpha is not above 0.

    Example:
        >>> modulation_coefficients({"text": 6.0, "image": 3.0}, alpha=0.5)
        {'text': 0.238405..., 'image': 1.0}
    """
    if len(scores) < 2 or min(scores.values()) < 0 or alpha <= 0:
        raise ValueError(f"expected two scores of at least 0 and alpha above 0, found {dict(scores)} and {alpha}")
    return {name: _coefficient(score, _others_mean(scores, name), alpha) for name, score in scores.items()}


def _others_mean(scores: Mapping[str, float], name: str) -> float:
    return math.fsum(score for other, score in scores.items() if other != name) / (len(scores) - 1)


def _coefficient(score: float, others: float, alpha: float) -> float:
    if score <= others * (1 + 1e-9):  # scores that are even are not ahead by a rounding
        return 1.0
    return 1 - math.tanh(alpha * (score / others if others > 0 else math.inf))


def true_class_score(logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> float:
    """The summed probability of the true classes, over labelled memes and label tasks.

    Args:
        logits: for each label task, [B, num_classes].
        labels: for each label task, int64 class indices [B]; -1 where missing.
    """
    total = 0.0
    for name, value in logits.items():
        known = labels[name] >= 0
        chosen = value.detach()[known].float().softmax(dim=1)
        total += float(chosen.gather(1, labels[name][known][:, None]).sum())
    return total


def dropped_modalities(num_memes: int, num_modalities: int, probability: float) -> Tensor:
    """Which modalities each meme loses in one training step, from PyTorch's own random numbers.

    Each is lost with this probability, but where a meme would lose all, one of them, drawn evenly, is kept.

    Reference:
        Neverova, Wolf, Taylor and Nebout, "ModDrop: adaptive multi-modal gesture recognition", TPAMI 2016.

    Returns:
        True where lost, [num_memes, num_modalities].

    Raises:
        ValueError: no modality, or the probability is not from 0 to 1.
    """
    if num_modalities < 1 or not 0 <= probability <= 1:
        raise ValueError(f"expected a modality and a probability, found {num_modalities} and {probability}")
    lost = torch.rand(num_memes, num_modalities) < probability
    kept = torch.randint(num_modalities, (num_memes,))
    all_lost = lost.all(dim=1)
    lost[all_lost, kept[all_lost]] = False
    return lost
