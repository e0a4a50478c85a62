"""The image branch and CLIP-image (paper section 3, figure 1b)."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn
from transformers import CLIPVisionModel

from memeblend.models.base import LabelTaskLogits, MemeModel, MemeOutput
from memeblend.models.config import MemeConfig
from memeblend.models.encoders import ClipStates, image_states
from memeblend.models.heads import LabelTaskHeads


class ImageBranch(nn.Module):
    """Image encoder and heads on its pooled class token."""

    def __init__(self, config: MemeConfig) -> None:
        super().__init__()
        self.vision_model = CLIPVisionModel._from_config(config.vision_config)
        self.pooled_heads = LabelTaskHeads(config.image_width, config.num_classes(), config.head_dropout)

    def forward(self, pixel_values: Tensor) -> ClipStates:
        """States of images [B, 3, S, S]."""
        return image_states(self.vision_model, pixel_values)

    def logits(self, states: ClipStates) -> LabelTaskLogits:
        """Each label task's logits x_i [B, num_classes] from the images' states."""
        logits: LabelTaskLogits = self.pooled_heads(states.pooled)
        return logits


class ImageClassifier(MemeModel):
    """CLIP-image: classifies a meme by its image alone."""

    branches = ("image",)
    main_input_name = "pixel_values"

    def __init__(self, config: MemeConfig) -> None:
        super().__init__(config)
        self.image = ImageBranch(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        pixel_values: Tensor,
        branches: Collection[str] | None = None,
    ) -> MemeOutput:
        """Logits of the "image" branch.

        Args:
            input_ids: not read; taken so that all models are called alike.
            attention_mask: not read.
            pixel_values: normalised pixels [B, 3, S, S].
            branches: not read; there is one.
        """
        return self.output({"image": self.image.logits(self.image(pixel_values))})
