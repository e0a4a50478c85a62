"""The image branch and CLIP-image (paper section 3, figure 1b)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from memeblend.models.base import EncoderModel, LabelTaskLogits, MemeOutput, Reading
from memeblend.models.config import MemeConfig
from memeblend.models.encoders import EncoderStates, image_states, new_encoder, rounded
from memeblend.models.heads import LabelTaskHeads


class ImageBranch(nn.Module):
    """Image encoder and heads on its pooled state."""

    def __init__(self, config: MemeConfig) -> None:
        super().__init__()
        self.states_type = config.encoder_states
        self.vision_model = new_encoder(config.vision_config)
        self.pooled_heads = LabelTaskHeads(config.image_width, config.num_classes(), config.head_dropout)

    def forward(self, pixel_values: Tensor | None, tokens: Tensor | None = None) -> EncoderStates:
        """States of images.

        Args:
            pixel_values: as `image_states`.
            tokens: states [B, 1 + P, d_i] computed before by this branch; then the encoder isn't run. The class
                token alone, as P = 0, will do where only pooled states are read.
        """
        if tokens is None:
            if pixel_values is None:
                raise ValueError("expected images: either pixel_values or image_tokens")
            tokens = image_states(self.vision_model, pixel_values).tokens
        return EncoderStates.of_image(rounded(tokens.float(), self.states_type))

    def logits(self, states: EncoderStates) -> LabelTaskLogits:
        """Each label task's logits x_i [B, num_classes] from the images' states."""
        logits: LabelTaskLogits = self.pooled_heads(states.pooled)
        return logits


class ImageClassifier(EncoderModel):
    """CLIP-image: classifies a meme by its image alone."""

    branches = ("image",)
    main_input_name = "pixel_values"

    def __init__(self, config: MemeConfig) -> None:
        super().__init__(config)
        self.image = ImageBranch(config)
        self.post_init()

    def reads(self, branches: Collection[str]) -> dict[str, Reading]:
        """The pooled state alone."""
        return {"image": "pooled"}

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_tokens: Tensor | None = None,
        branches: Collection[str] | None = None,
    ) -> MemeOutput:
        """Logits of the "image" branch.

        Args:
            input_ids: not read; taken so that all models are called alike.
            attention_mask: not read.
            pixel_values: normalised pixels [B, 3, S, S].
            image_tokens: states [B, 1 + P, d_i] computed before, in place of pixel_values.
            branches: not read; there is one.
        """
        return self.output({"image": self.image.logits(self.image(pixel_values, image_tokens))})

    def pooled_states(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The "image" state [B, d_i] of model inputs as `forward` takes them: of CLIP the class token's (paper
        section 3)."""
        return {"image": self.image(inputs["pixel_values"]).pooled}
