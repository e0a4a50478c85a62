"""A CLIP checkpoint as the hub lays it out, with two random layers and a vocabulary of bytes and few words."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

_MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o</w>"), ("m", "e"), ("m", "e</w>"), ("me", "me</w>")]
_BEGIN, _END = "<|startoftext|>", "<|endoftext|>"


def clip_tokenizer(max_length: int = 20) -> CLIPTokenizer:
    """A tokenizer of CLIP's own kind, padding with its end token as the hub's does."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in _MERGES), _BEGIN, _END]
    vocabulary = {token: position for position, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=_MERGES, model_max_length=max_length)


def clip_config(
    *, hidden_size: int = 32, image_size: int = 32, patch_size: int = 16, max_length: int = 20
) -> CLIPConfig:
    """Two layers a side; widths differ between text and image; token ids as in the hub's config.json."""
    layers = {"num_hidden_layers": 2, "num_attention_heads": 4, "projection_dim": 16}
    return CLIPConfig(
        text_config={
            **layers,
            "vocab_size": len(clip_tokenizer()),
            "hidden_size": hidden_size,
            "intermediate_size": 2 * hidden_size,
            "max_position_embeddings": max_length,
            "bos_token_id": 0,
            "pad_token_id": 1,
            "eos_token_id": 2,
        },
        vision_config={
            **layers,
            "hidden_size": hidden_size + 16,
            "intermediate_size": 2 * hidden_size,
            "image_size": image_size,
            "patch_size": patch_size,
        },
        projection_dim=16,
    )


def save_clip(folder: Path, seed: int = 0, **sizes: int) -> Path:
    """Write config.json, model.safetensors, the tokenizer's files and preprocessor_config.json.

    Args:
        folder: where; made if it is not there.
        seed: of the random weights.
        sizes: as `clip_config` takes them.
    """
    config = clip_config(**sizes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        CLIPModel(config).save_pretrained(folder)
    tokenizer = clip_tokenizer(config.text_config.max_position_embeddings)
    tokenizer.save_pretrained(folder)
    _write_json(folder / "vocab.json", tokenizer.get_vocab())
    merges = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["merges"]
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    size = config.vision_config.image_size
    _write_json(
        folder / "preprocessor_config.json",
        {
            "crop_size": size,
            "do_center_crop": True,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor",
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "resample": 3,
            "size": size,
        },
    )
    return folder


def _write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
