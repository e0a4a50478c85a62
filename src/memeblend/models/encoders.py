"""CLIP encoders: where they come from, and the states they give.

Notable: texts are padded on the right and CLIP's text encoder is causal, so no token of a text ever sees
padding. The text encoder therefore runs without a padding mask, which lets attention take its fast causal path.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPVisionModel

from memeblend.errors import ModelError
from memeblend.models.loading import read_config, read_model

_LEGACY_EOS = 2  # with this id Hugging Face pools at the highest token id instead of at the end token


@dataclass(frozen=True)
class ClipStates:
    """States of an encoder.

    Attributes:
        tokens: last states after the final layer norm: text [B, T, d_t], or class token and image
            patches [B, 1 + P, d_i] (paper equation 4).
        pooled: the state that stands for the whole, F_cls: of a text its end token [B, d_t], of an image its
            class token [B, d_i].
    """

    tokens: Tensor
    pooled: Tensor

    @classmethod
    def of_text(cls, tokens: Tensor, attention_mask: Tensor) -> ClipStates:
        """States of texts from those of their tokens [B, T, d_t] and the mask [B, T]."""
        rows = torch.arange(tokens.shape[0], device=tokens.device)
        return cls(tokens, tokens[rows, last_positions(attention_mask)])

    @classmethod
    def of_image(cls, tokens: Tensor) -> ClipStates:
        """States of images from those of class token and patches [B, 1 + P, d_i]."""
        return cls(tokens, tokens[:, 0])

    def detach(self) -> ClipStates:
        """The same, through which no gradient passes."""
        return ClipStates(self.tokens.detach(), self.pooled.detach())

    def without(self, dropped: Tensor) -> ClipStates:
        """The same, with zeros for the memes that are dropped, bool [B]."""
        kept = (~dropped).to(self.pooled.dtype)[:, None]
        return ClipStates(self.tokens * kept[:, :, None], self.pooled * kept)


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


def text_states(encoder: CLIPTextModel, input_ids: Tensor, attention_mask: Tensor) -> ClipStates:
    """States of texts.

    Args:
        encoder: CLIP's text encoder.
        input_ids: token ids [B, T] of texts that end with their end token, padded on the right.
        attention_mask: [B, T], 1 for tokens and 0 for padding.

    Returns:
        States; those at padding mean nothing.
    """
    return ClipStates.of_text(encoder(input_ids=input_ids).last_hidden_state, attention_mask)


def image_states(encoder: CLIPVisionModel, pixel_values: Tensor) -> ClipStates:
    """States of images.

    Hugging Face's last_hidden_state is not normalised, only its pooled class token is; here every token is, so
    that the pooled state is the first of the sequence (paper equation 4) and all have one scale.

    Args:
        encoder: CLIP's image encoder.
        pixel_values: normalised pixels [B, 3, S, S].
    """
    return ClipStates.of_image(encoder.post_layernorm(encoder(pixel_values=pixel_values).last_hidden_state))


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
    if eos_token_id == _LEGACY_EOS:
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


def load_clip(source: str | Path) -> CLIPModel:
    """A CLIP in float32 from a folder in Hugging Face's layout or from the hub; weights are safetensors only.

    Raises:
        ModelError: no such folder, not a CLIP, cut short, or the hub can't be reached.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        fix = "Give a folder that save_pretrained of a CLIPModel wrote; if this is one, copy or download it again."
        _check_folder(folder, fix)
        clip = read_model(CLIPModel, str(folder), local=True, fix=fix)
    elif folder.exists() or _looks_like_path(str(source)):
        raise ModelError(
            f"Expected a folder that holds a CLIP at '{source}', found {'a file' if folder.exists() else 'nothing'}.",
            fix="Give a folder with config.json and model.safetensors, or a hub id like openai/clip-vit-base-patch32.",
        )
    else:
        fix = (
            f"Check the name and the network, or run 'hf download {source} --local-dir FOLDER' where there is a "
            "network, and give FOLDER."
        )
        clip = read_model(CLIPModel, str(source), local=False, fix=fix)
    assert isinstance(clip, CLIPModel)
    return clip


def _looks_like_path(source: str) -> bool:
    """Hub ids are "name" or "owner/name"."""
    return source.startswith((".", "/", "~")) or source.count("/") > 1 or "\\" in source


def _check_folder(folder: Path, fix: str) -> None:
    found = read_config(folder, "a CLIP").get("model_type")
    if found != CLIPConfig.model_type:
        raise ModelError(f"Expected a CLIP in '{folder}', found model_type {found!r} in its config.json.", fix=fix)
    if not list(folder.glob("model*.safetensors")):
        raise ModelError(f"Expected weights (model.safetensors) in '{folder}', found none.", fix=fix)
