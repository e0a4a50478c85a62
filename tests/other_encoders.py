"""Small random encoders of other kinds than CLIP, as Hugging Face lays them out."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    ViTConfig,
    ViTModel,
)

from memeblend.labels import LabelTask
from memeblend.training.encoder import start_with_preprocessor
from small_runs import small_recipe

SIZES = {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
MOOD = LabelTask("mood", "binary", ("bad", "good"))
IDS = torch.tensor([[2, 10, 11, 12], [2, 13, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
PIXELS = torch.linspace(-1, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)
SIGLIP_LENGTH = 14


def word_tokenizer(folder: Path, *, end: bool = True, num_words: int = 30) -> Path:
    """A tokenizer of single words, with an end token or without."""
    own = ("awful", "terrible", "sad", "lovely", "great", "happy", "bad", "good", "thing", "no", "few", "all", "$")
    words = ["<pad>", "[UNK]", "[CLS]", "</s>", *(f"word{i}" for i in range(num_words)), "when", "number", "picture"]
    words += own
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if end:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 3)])
    else:
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    kept = {"eos_token": "</s>"} if end else {"cls_token": "[CLS]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="[UNK]", **kept).save_pretrained(
        folder
    )
    return folder


def small_siglip(folder: Path) -> Path:
    """A SigLIP, whose tokenizer puts no token before a text."""
    sizes = SIZES | {"hidden_size": 16}
    text = sizes | {"vocab_size": 64, "max_position_embeddings": SIGLIP_LENGTH, "projection_size": 16}
    vision = sizes | {"image_size": 16, "patch_size": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    return word_tokenizer(folder)


def small_bert(folder: Path, *, num_words: int = 30) -> Path:
    """A BERT, whose tokenizer puts a token before a text and none after it."""
    BertModel(_bert_config()).save_pretrained(folder)
    return word_tokenizer(folder, end=False, num_words=num_words)


def small_distilbert(folder: Path) -> Path:
    """A text encoder without a pooler."""
    sizes = {"dim": 24, "hidden_dim": 32, "n_layers": 1, "n_heads": 2}
    DistilBertModel(DistilBertConfig(**sizes, vocab_size=64, max_position_embeddings=20)).save_pretrained(folder)
    return word_tokenizer(folder, end=False)


def small_dual_encoder(folder: Path) -> Path:
    """A BERT and a ViT side by side."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text = BertModel(_bert_config())
        image = ViTModel(ViTConfig(hidden_size=32, image_size=16, patch_size=8, **SIZES))
        config = VisionTextDualEncoderConfig.from_vision_text_configs(image.config, text.config, projection_dim=8)
        VisionTextDualEncoderModel(config, image, text).save_pretrained(folder)
    return word_tokenizer(folder, end=False)


def pair_of(text, image="tiny", *settings):
    """A pair's encoders and the preprocessor for them."""
    named = ["encoder.source=pair", f'encoder.pair.text="{text}"', f'encoder.pair.image="{image}"']
    return start_with_preprocessor(small_recipe(*named, *settings).encoder, [])


def saved_text(folder, model, *, end=False):
    """Write a text encoder with a tokenizer."""
    model.save_pretrained(folder)
    return word_tokenizer(folder, end=end)


def saved_image(folder, model):
    """Write an image encoder."""
    model.save_pretrained(folder)
    return folder


def _bert_config() -> BertConfig:
    return BertConfig(hidden_size=24, vocab_size=64, max_position_embeddings=20, **SIZES)
