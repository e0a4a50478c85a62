"""Contrastive losses over a batch of pairs of text and image: tensors in, tensor out."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

SamePairs = Literal["mask", "multiple", "plain"]
"""What becomes of text i and image j, i != j, that fit each other: they are left out of the loss, count as further
right answers, or count as wrong ones."""


def pair_logits(text_embeds: Tensor, image_embeds: Tensor, logit_scale: Tensor) -> Tensor:
    """Similarity of every text and image, t_i . v_j exp(k) (paper equation 1).

    Args:
        text_embeds: [B, d], any length; they are normalised here.
        image_embeds: [B, d] likewise.
        logit_scale: k, a scalar.

    Returns:
        Logits [B, B], texts in rows and images in columns; equal to `CLIPModel`'s logits_per_text.
    """
    text = text_embeds / text_embeds.norm(dim=-1, keepdim=True)
    image = image_embeds / image_embeds.norm(dim=-1, keepdim=True)
    logits: Tensor = text @ image.T * logit_scale.exp()
    return logits


def clip_loss(logits: Tensor, fits: Tensor | None = None, same_pairs: SamePairs = "plain") -> Tensor:
    """Symmetric cross-entropy that tells each text's image from the batch's others, and each image's text.

    Minimises the mean of -log softmax at the diagonal over rows (texts) and over columns (images), half each. With
    "multiple", the target of a row or column is spread evenly over all that fit.

    Inputs:
        logits: [B, B], texts in rows and images in columns; `pair_logits` gives them.
        fits: bool [B, B], whether text i fits image j; the diagonal always does. Not read by "plain".
        same_pairs: what becomes of pairs off the diagonal that fit.

    Reduction:
        Mean over the batch. Where nothing but fitting pairs is left, the loss is 0 with gradient 0.

    Reference:
        Radford et al., "Learning transferable visual models from natural language supervision", 2021 (paper equations
        2 and 3). Several right answers: Yang et al., "Unified contrastive learning in image-text-label space", 2022.

    Relations:
        "plain" equals `transformers.CLIPModel(return_loss=True)`.

    Raises:
        ValueError: `fits` is missing where it is needed.

    Example:
        >>> clip_loss(torch.tensor([[1.0, 0.0], [0.0, 1.0]])).item()
        0.313261...
    """
    own = _own(logits)
    target = own.to(logits.dtype)
    if same_pairs != "plain":
        fitting = _needed(fits) | own
        if same_pairs == "mask":
            logits = logits.masked_fill(fitting & ~own, -torch.inf)
        else:
            target = fitting.to(logits.dtype)
    return (_one_way(logits, target) + _one_way(logits.T, target.T)) / 2


def sigmoid_loss(
    logits: Tensor, logit_bias: Tensor | None = None, fits: Tensor | None = None, same_pairs: SamePairs = "plain"
) -> Tensor:
    """Binary cross-entropy of every text and image of the batch on its own.

    Minimises -log sigmoid(z_ij (l_ij + b)) with z = 1 for pairs that belong together and -1 for others.

    Inputs:
        logits: [B, B] without bias.
        logit_bias: b, a scalar; 0 when left out.
        fits: as for `clip_loss`.
        same_pairs: as for `clip_loss`.

    Reduction:
        Sum over images, mean over texts.

    Reference:
        Zhai et al., "Sigmoid loss for language image pre-training", ICCV 2023.

    Relations:
        "plain" equals `transformers.SiglipModel(return_loss=True)`.

    Raises:
        ValueError: `fits` is missing where it is needed.

    Example:
        >>> sigmoid_loss(torch.tensor([[1.0, 0.0], [0.0, 1.0]])).item()
        1.006408...
    """
    own = _own(logits)
    together, counted = own, torch.ones_like(own)
    if same_pairs != "plain":
        fitting = _needed(fits) | own
        if same_pairs == "mask":
            counted = ~fitting | own
        else:
            together = fitting
    shifted = logits if logit_bias is None else logits + logit_bias
    values = -logsigmoid(torch.where(together, shifted, -shifted))  # [B, B]
    return (values * counted).sum(dim=1).mean()


def fitting_pairs(texts: Tensor, images: Tensor, shows_text: Tensor) -> Tensor:
    """Which texts fit which images of a batch.

    A text fits images that came with the same text, and every image that it came with in the batch wherever that is
    shown without a text on it: a blank template fits all of its texts, one that shows another text does not.

    Args:
        texts: number of each pair's text [B], equal for equal texts.
        images: number of each pair's image [B], equal for equal images.
        shows_text: whether the pair's own text was drawn onto the image [B].

    Returns:
        bool [B, B], texts in rows and images in columns; the diagonal is True.
    """
    same_text = texts[:, None] == texts[None, :]
    same_image = images[:, None] == images[None, :]
    fits = same_text | (same_image & ~shows_text[None, :])
    # Each of several pairs of one text fits the others' images too; such texts are few.
    distinct = torch.stack([texts, images], dim=1).unique(dim=0)[:, 0]
    of_several, num_images = distinct.unique(return_counts=True)
    for text in of_several[num_images > 1]:
        own = texts == text
        fits[own] |= torch.isin(images, images[own]) & ~shows_text
    return fits


def _own(logits: Tensor) -> Tensor:
    return torch.eye(len(logits), dtype=torch.bool, device=logits.device)


def _needed(fits: Tensor | None) -> Tensor:
    if fits is None:
        raise ValueError("fits says which pairs to treat otherwise; only same_pairs 'plain' does without")
    return fits


def _one_way(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of rows of logits [B, B] with targets of equal weight [B, B]."""
    log_p = log_softmax(logits, dim=1)
    # What is left out has log p = -inf, which a target of 0 would turn into nan.
    of_targets = torch.where(target > 0, log_p, 0).sum(dim=1) / target.sum(dim=1)
    return -of_targets.mean()
