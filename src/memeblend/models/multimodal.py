"""What multi-modal models share: both branches, and their start from trained uni-modal models."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Collection
from typing import Self

import torch
from torch import Tensor, nn

from memeblend.errors import ModelError
from memeblend.models.base import LabelTaskLogits, MemeModel, MemeOutput
from memeblend.models.config import MemeConfig
from memeblend.models.encoders import ClipStates
from memeblend.models.image import ImageBranch, ImageClassifier
from memeblend.models.text import TextBranch, TextClassifier


class MultiModalClassifier(MemeModel):
    """A text branch, an image branch, and a fusion of their states that predicts.

    All three give logits, so that each can be supervised (gradient blending, paper equation 7).
    """

    branches = ("text", "image", "fused")
    main_input_name = "input_ids"

    def __init__(self, config: MemeConfig) -> None:
        super().__init__(config)
        self.text = TextBranch(config)
        self.image = ImageBranch(config)

    @classmethod
    def from_branches(cls, config: MemeConfig, text: TextClassifier, image: ImageClassifier) -> Self:
        """A model that starts from trained uni-modal ones (paper section 4); their weights are copied.

        Args:
            config: of the new model; the BiLSTM's size is taken from `text`.
            text: trained on the same label tasks.
            image: trained on the same label tasks.

        Raises:
            ModelError: a uni-modal model has other label tasks or other sizes than `config`.
        """
        config = copy.deepcopy(config)
        config.lstm_hidden_size = text.config.lstm_hidden_size
        config.lstm_layers = text.config.lstm_layers
        model = cls(config)
        for name, branch, start in (("text", model.text, text), ("image", model.image, image)):
            if start.config.label_tasks != config.label_tasks:
                raise ModelError(
                    f"Expected a {name} model for {_names(config)}, found one for {_names(start.config)}.",
                    fix="Train the uni-modal models on the label tasks of the multi-modal one.",
                )
            _copy(getattr(start, name), branch, name)
        return model

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        pixel_values: Tensor,
        branches: Collection[str] | None = None,
    ) -> MemeOutput:
        """Logits of the branches "text", "image" and "fused"; the last one predicts.

        Args:
            input_ids: token ids [B, T] of texts that end with their end token, padded on the right.
            attention_mask: [B, T], 1 for tokens and 0 for padding; all tokens when left out.
            pixel_values: normalised pixels [B, 3, S, S].
            branches: branches whose logits are wanted beside "fused"; all when left out. Prediction needs none,
                and the BiLSTM behind "text" costs as much as the text encoder.
        """
        wanted = self.branches if branches is None else branches
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        text, image = self.text(input_ids, mask), self.image(pixel_values)
        logits = {}
        if "text" in wanted:
            logits["text"] = self.text.logits(text, mask)
        if "image" in wanted:
            logits["image"] = self.image.logits(image)
        return self.output(logits | {"fused": self.fuse(text, image, mask)})

    @abstractmethod
    def fuse(self, text: ClipStates, image: ClipStates, attention_mask: Tensor) -> LabelTaskLogits:
        """Each label task's logits [B, num_classes] from the states of both encoders.

        Args:
            text: tokens [B, T, d_t] and pooled [B, d_t].
            image: tokens [B, 1 + P, d_i] and pooled [B, d_i].
            attention_mask: of the text, [B, T].
        """


def _names(config: MemeConfig) -> str:
    return ", ".join(config.num_classes()) or "no label task"


def _copy(source: nn.Module, target: nn.Module, name: str) -> None:
    try:
        target.load_state_dict(source.state_dict())
    except RuntimeError as error:
        raise ModelError(
            f"The {name} model's sizes differ from those of the multi-modal model's {name} branch: {error}",
            fix="Build both from the same CLIP.",
        ) from error
