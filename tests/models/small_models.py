"""Small models and batches for the tests of this folder: two-layer CLIP, random weights, three label tasks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import CLIPModel

from clip_checkpoint import clip_config, clip_tokenizer
from memeblend.labels import LabelTask
from memeblend.models import build_model
from memeblend.models.base import MemeModel, MemeOutput
from memeblend.models.config import MemeConfig
from memeblend.models.tokenizer import encode, pad

KINDS = ("text", "image", "fusion", "align")
LABEL_TASKS = (
    LabelTask("sentiment", "ordinal", ("negative", "neutral", "positive")),
    LabelTask("keys", "binary", ("no", "yes")),
    LabelTask("a.b", "nominal", ("p", "q", "r", "s")),
)
TEXTS = ("hello meme", "me", "a rather longer hello, meme", "")


def small_config(**settings: Any) -> MemeConfig:
    """A configuration with dropout, which tests switch off with `eval`."""
    defaults: dict[str, Any] = {"lstm_hidden_size": 12, "num_blocks": 2, "num_heads": 4, "projection_size": 24}
    return MemeConfig(clip_config(), LABEL_TASKS, **(defaults | settings))


def small_model(kind: Any, seed: int = 0, **settings: Any) -> MemeModel:
    """A model of a kind in evaluation mode; equal seeds give equal weights."""
    torch.manual_seed(seed)
    config = small_config(**settings)
    return build_model(kind, config, CLIPModel(config.encoder_config)).eval()


def small_batch(texts: tuple[str, ...] = TEXTS, padding: int = 0) -> dict[str, Tensor]:
    """Model inputs for some texts with random images; `padding` more padding tokens than needed."""
    tokenizer = clip_tokenizer()
    input_ids, attention_mask = pad(encode(tokenizer, texts, 20), tokenizer.pad_token_id)
    pixels = torch.randn(len(texts), 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return {
        "input_ids": torch.nn.functional.pad(input_ids, (0, padding), value=tokenizer.pad_token_id),
        "attention_mask": torch.nn.functional.pad(attention_mask, (0, padding)),
        "pixel_values": pixels,
    }


def assert_same(ours: MemeOutput, expected: MemeOutput, *, exact: bool = True) -> None:
    """All branches and label tasks have the same logits."""
    tolerance = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(ours.branch_logits, expected.branch_logits, **tolerance)
    torch.testing.assert_close(ours.logits, expected.logits, **tolerance)
