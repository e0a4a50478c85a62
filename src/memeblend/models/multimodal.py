"""What multi-modal models share: both branches, and their start from trained uni-modal models."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import ClassVar, Self

from torch import Tensor, nn

from memeblend.errors import ModelError
from memeblend.models.base import EncoderModel, LabelTaskLogits, MemeOutput, Reading
from memeblend.models.config import MemeConfig
from memeblend.models.encoders import EncoderStates, text_mask
from memeblend.models.heads import LabelTaskHeads
from memeblend.models.image import ImageBranch, ImageClassifier
from memeblend.models.text import TextBranch, TextClassifier


class MultiModalClassifier(EncoderModel):
    """A text branch, an image branch, and a fusion of their states that predicts.

    All three give logits, so that each can be supervised (gradient blending, paper equation 7).
    A subclass says which states its fusion reads.
    """

    fusion_reads: ClassVar[Reading]

    branches = ("text", "image", "fused")
    fused_heads: LabelTaskHeads
    main_input_name = "input_ids"

    def __init__(self, config: MemeConfig) -> None:
        super().__init__(config)
        self.text = TextBranch(config)
        self.image = ImageBranch(config)

    @classmethod
    def from_branches(cls, config: MemeConfig, text: TextClassifier, image: ImageClassifier) -> Self:
        """A model that starts from trained uni-modal ones (paper section 4); their weights are copied.

        Args:
            config: of the new model; what concerns the BiLSTM is taken from `text`.
            text: trained on the same label tasks.
            image: trained on the same label tasks.

        Raises:
            ModelError: a uni-modal model has other label tasks or other sizes than `config`.
        """
        config = copy.deepcopy(config)
        config.lstm_hidden_size = text.config.lstm_hidden_size
        config.lstm_layers = text.config.lstm_layers
        config.lstm_packed = text.config.lstm_packed
        model = cls(config)
        for name, branch, start in (("text", model.text, text), ("image", model.image, image)):
            if start.config.label_tasks != config.label_tasks:
                raise ModelError(
                    f"Expected a {name} model for {_names(config)}, found one for {_names(start.config)}.",
                    fix="Train the uni-modal models on the label tasks of the multi-modal one.",
                )
            _copy(getattr(start, name), branch, name)
        return model

    @property
    def encoders(self) -> dict[str, nn.Module]:
        """The encoders of the modalities "text" and "image"."""
        return {"text": self.text.text_model, "image": self.image.vision_model}

    def alone(self, branch: str) -> EncoderModel:
        """A copy of one branch: of "text" and "image" a uni-modal model, of "fused" the whole."""
        kinds: dict[str, type[EncoderModel]] = {"text": TextClassifier, "image": ImageClassifier}
        if branch not in kinds:
            return super().alone(branch)
        made = kinds[branch](copy.deepcopy(self.config))
        setattr(made, branch, copy.deepcopy(getattr(self, branch)))
        made.train(self.training)
        return made

    def reads(self, branches: Collection[str]) -> dict[str, Reading]:
        """What the fusion reads, and all tokens of the text where its branch with the BiLSTM is wanted."""
        return {"text": "tokens" if "text" in branches else self.fusion_reads, "image": self.fusion_reads}

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        text_tokens: Tensor | None = None,
        image_tokens: Tensor | None = None,
        branches: Collection[str] | None = None,
        dropped: Tensor | None = None,
        probing: bool = False,
    ) -> MemeOutput:
        """Logits of the branches "text", "image" and "fused"; the last one predicts.

        Args:
            input_ids: token ids [B, T] of texts that end with their end token, padded on the right.
            attention_mask: [B, T], 1 for tokens and 0 for padding; all tokens when left out.
            pixel_values: normalised pixels [B, 3, S, S].
            text_tokens: states [B, T, d_t] computed before, in place of input_ids.
            image_tokens: states [B, 1 + P, d_i] computed before, in place of pixel_values.
            branches: branches whose logits are wanted beside "fused"; all when left out. Prediction needs none,
                and the BiLSTM behind "text" costs as much as the text encoder.
            dropped: where the fusion is to see zeros in place of a meme's states, of text and image, bool [B, 2].
            probing: let no gradient pass from the branches "text" and "image" into their encoders: what these two
                are trained on then shows what the states hold, and changes nothing in them.
        """
        wanted = self.branches if branches is None else branches
        mask = text_mask(input_ids, attention_mask, text_tokens)
        text, image = self.text(input_ids, mask, text_tokens), self.image(pixel_values, image_tokens)
        logits = {}
        if "text" in wanted:
            logits["text"] = self.text.logits(text.detach() if probing else text, mask)
        if "image" in wanted:
            logits["image"] = self.image.logits(image.detach() if probing else image)
        if dropped is not None:
            text, image = text.without(dropped[:, 0]), image.without(dropped[:, 1])
        return self.output(logits | {"fused": self.fuse(text, image, mask)})

    def pooled_states(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The states that stand for a meme, of model inputs as `forward` takes them: "text" [B, d_t], "image"
        [B, d_i], and "fused", which the predicting heads read (see `fused_state`)."""
        mask = inputs["attention_mask"]
        text, image = self.text(inputs["input_ids"], mask), self.image(inputs["pixel_values"])
        return {"text": text.pooled, "image": image.pooled, "fused": self.fused_state(text, image, mask)}

    def fuse(self, text: EncoderStates, image: EncoderStates, attention_mask: Tensor) -> LabelTaskLogits:
        """Each label task's logits [B, num_classes]; arguments as `fused_state`."""
        logits: LabelTaskLogits = self.fused_heads(self.fused_state(text, image, attention_mask))
        return logits

    @abstractmethod
    def fused_state(self, text: EncoderStates, image: EncoderStates, attention_mask: Tensor) -> Tensor:
        """The input of the heads that predict, [B, d], from the states of both encoders.

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
            fix="Build both from the same encoders.",
        ) from error
