"""The states that text and image encoders give, of whatever kind they are, and the embedded CLIP's configuration.

Notable: texts are padded on the right and CLIP's text encoder is causal, so no token of a text ever sees
padding. The text encoder therefore runs without a padding mask, which lets attention take its fast causal path.
SigLIP's was trained on texts padded to one length with the padding in sight, so it has no mask either: its padding
counts as tokens (see `Preprocessor.fixed_length`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoModel, CLIPConfig, CLIPVisionModel, SiglipTextModel

TextPooling = Literal["end", "mean"]
"""What stands for a text: the state of its last token, or the mean over all its tokens'."""
_WITHOUT_MASK = ("clip_text_model", "siglip_text_model")
LEGACY_EOS = 2
"""With this end token's id Hugging Face's CLIP pools at the highest token id instead of at the end token."""


def text_pooling(config: Any) -> TextPooling:
    """How a text encoder of this configuration is pooled.

    CLIP and SigLIP were trained to put a text's meaning into its last state. Of other encoders, whose first or last
    states often mean little before they are trained on, the mean is taken (Reimers and Gurevych, EMNLP 2019).
    """
    return "end" if config.model_type in _WITHOUT_MASK else "mean"


@dataclass(frozen=True)
class EncoderStates:
    """States of an encoder.

    Attributes:
        tokens: last states after the final layer norm: text [B, T, d_t], or class token and image
            patches [B, 1 + P, d_i] (paper equation 4).
        pooled: the state that stands for the whole, F_cls: of a text as `text_pooling` says (of CLIP the end token's)
            [B, d_t], of an image its class token's [B, d_i].
    """

    tokens: Tensor
    pooled: Tensor

    @classmethod
    def of_text(cls, tokens: Tensor, attention_mask: Tensor, pooling: TextPooling) -> EncoderStates:
        """States of texts from those of their tokens [B, T, d_t] and the mask [B, T]."""
        if pooling == "mean":
            counted = attention_mask.to(tokens.dtype)[:, :, None]  # [B, T, 1]
            return cls(tokens, (tokens * counted).sum(dim=1) / counted.sum(dim=1))
        rows = torch.arange(tokens.shape[0], device=tokens.device)
        return cls(tokens, tokens[rows, last_positions(attention_mask)])

    @classmethod
    def of_image(cls, tokens: Tensor) -> EncoderStates:
        """States of images from those of class token and patches [B, 1 + P, d_i]."""
        return cls(tokens, tokens[:, 0])

    def detach(self) -> EncoderStates:
        """The same, through which no gradient passes."""
        return EncoderStates(self.tokens.detach(), self.pooled.detach())

    def without(self, dropped: Tensor) -> EncoderStates:
        """The same, with zeros for the memes that are dropped, bool [B]."""
        kept = (~dropped).to(self.pooled.dtype)[:, None]
        return EncoderStates(self.tokens * kept[:, :, None], self.pooled * kept)


def rounded(states: Tensor, dtype: str) -> Tensor:
    """States with values that `dtype` ("float32" or "bfloat16") can hold, in the type that they have."""
    return states if dtype == "float32" else states.to(getattr(torch, dtype)).to(states.dtype)


def text_mask(input_ids: Tensor | None, attention_mask: Tensor | None, tokens: Tensor | None) -> Tensor:
    """Mask [B, T] of texts that are given as token ids or as states; all tokens count where there is none."""
    if attention_mask is not None:
        return attention_mask
    given = input_ids if tokens is None else tokens
    if given is None:
        raise ValueError("expected texts: either input_ids or text_tokens")
    return torch.ones(given.shape[:2], dtype=torch.int64, device=given.device)


def last_positions(attention_mask: Tensor) -> Tensor:
    """Position [B] of each text's end token, given the mask [B, T] of texts padded on the right."""
    return attention_mask.sum(dim=1) - 1


def new_encoder(config: Any) -> Any:
    """A text or image encoder of this configuration with random weights."""
    if config.model_type == "siglip_text_model":  # the one that Hugging Face's AutoModel leaves out
        return SiglipTextModel._from_config(config)
    return AutoModel.from_config(config)


def text_states(encoder: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> EncoderStates:
    """States of texts.

    Args:
        encoder: a text encoder of Hugging Face's.
        input_ids: token ids [B, T] of texts that end with their end token, padded on the right.
        attention_mask: [B, T], 1 for tokens and 0 for padding.

    Returns:
        States; those at padding mean nothing.
    """
    config: Any = encoder.config
    seen = {} if config.model_type in _WITHOUT_MASK else {"attention_mask": attention_mask}
    tokens = encoder(input_ids=input_ids, **seen).last_hidden_state
    return EncoderStates.of_text(tokens, attention_mask, text_pooling(config))


def image_states(encoder: nn.Module, pixel_values: Tensor) -> EncoderStates:
    """States of images.

    Hugging Face's last_hidden_state of a CLIP is not normalised, only its pooled class token is; here every token is,
    so that the pooled state is the first of the sequence (paper equation 4) and all have one scale. Encoders without a
    class token (SigLIP, Swin) have their own pooled state in its place. Tokens that stand for no patch are left out.

    Args:
        encoder: an image encoder of Hugging Face's.
        pixel_values: normalised pixels [B, 3, S, S].
    """
    return states_of_image(encoder, encoder(pixel_values=pixel_values))


def states_of_image(encoder: nn.Module, found: Any) -> EncoderStates:
    """As `image_states`, from what the encoder returned."""
    if isinstance(encoder, CLIPVisionModel):
        return EncoderStates.of_image(encoder.post_layernorm(found.last_hidden_state))
    tokens: Tensor = found.last_hidden_state
    if tokens.dim() == 4:  # a convolutional encoder's map [B, d_i, H, W]
        tokens = tokens.flatten(2).transpose(1, 2)  # [B, P, d_i]
    if has_class_token(encoder):
        tokens = torch.cat([tokens[:, :1], tokens[:, 1 + _num_registers(encoder) :]], dim=1)
    else:
        own = found.get("pooler_output")
        pooled = tokens.mean(dim=1) if own is None else own.flatten(1)
        tokens = torch.cat([pooled[:, None], tokens], dim=1)  # [B, 1 + P, d_i]
    return EncoderStates.of_image(tokens)


def has_class_token(encoder: nn.Module) -> bool:
    """Whether the first state of an image encoder is that of a token that stands for the whole."""
    embeddings = getattr(encoder, "embeddings", None)
    return any(getattr(embeddings, name, None) is not None for name in ("cls_token", "class_embedding"))


def _num_registers(encoder: nn.Module) -> int:
    """Tokens between the class token and the patches: DINOv2's registers, DeiT's distillation token."""
    config: Any = encoder.config
    distilled = getattr(encoder.embeddings, "distillation_token", None) is not None
    return int(getattr(config, "num_register_tokens", 0)) + distilled


def tiny_clip_config(
    *,
    vocab_size: int,
    bos_token_id: int,
    eos_token_id: int,
    pad_token_id: int,
    max_length: int = 48,
    hidden_size: int = 128,
    text_layers: int = 3,
    image_layers: int = 4,
    num_heads: int = 4,
    image_size: int = 96,
    patch_size: int = 16,
) -> CLIPConfig:
    """Configuration of the embedded CLIP, small enough to train from nothing on two CPU cores.

    Args:
        vocab_size: number of tokens.
        bos_token_id: id of the token that begins a text.
        eos_token_id: id of the token that ends a text.
        pad_token_id: id of the padding token.
        max_length: longest text in tokens.
        hidden_size: width of both encoders and of the joint space.
        text_layers: layers of the text encoder.
        image_layers: layers of the image encoder.
        num_heads: attention heads of both encoders.
        image_size: side of the image in pixels.
        patch_size: side of a patch in pixels.

    Raises:
        ValueError: the end token has the id 2, which switches Hugging Face to another pooling.
    """
    if eos_token_id == LEGACY_EOS:
        raise ValueError("eos_token_id is 2, which makes Hugging Face's CLIP pool elsewhere; give it another id")
    shared = {
        "hidden_size": hidden_size,
        "intermediate_size": 4 * hidden_size,
        "num_attention_heads": num_heads,
        "projection_dim": hidden_size,
        "hidden_act": "gelu",
    }
    text = {
        "vocab_size": vocab_size,
        "bos_token_id": bos_token_id,
        "eos_token_id": eos_token_id,
        "pad_token_id": pad_token_id,
        "max_position_embeddings": max_length,
        "num_hidden_layers": text_layers,
    }
    vision = {"image_size": image_size, "patch_size": patch_size, "num_hidden_layers": image_layers}
    return CLIPConfig(text_config=shared | text, vision_config=shared | vision, projection_dim=hidden_size)
