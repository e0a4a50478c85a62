"""The encoder of a recipe: the embedded tiny CLIP, or one from a Hugging Face folder or hub id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import CLIPImageProcessorPil, CLIPModel

from memeblend.data.cleaning import clean_texts
from memeblend.data.images import ImageTransform
from memeblend.errors import RecipeError
from memeblend.files import digest, file_digest
from memeblend.models.encoders import load_clip, tiny_clip_config
from memeblend.models.tokenizer import load_tokenizer, train_tokenizer
from memeblend.recipe.parts import Encoder
from memeblend.training.preprocessing import Preprocessor

TINY = "tiny"
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def make_preprocessor(encoder: Encoder, texts: Sequence[str]) -> Preprocessor:
    """The preprocessor that fits an encoder.

    Args:
        encoder: the recipe's part.
        texts: ocr_text of the fit split, from which the embedded encoder's tokenizer is made.

    Raises:
        RecipeError: the recipe asks for longer texts than the encoder reads.
        ModelError: the source is no CLIP, is cut short or can't be reached.
    """
    if encoder.source == TINY:
        return Preprocessor(
            train_tokenizer(clean_texts(texts, encoder.text_cleaning), encoder.tiny.vocab_size, encoder.max_length),
            encoder.max_length,
            ImageTransform(encoder.tiny.image_size, encoder.image_fit),
            CLIP_MEAN,
            CLIP_STD,
            encoder.text_cleaning,
            encoder.keep_end,
        )
    config: Any = load_clip(encoder.source).config
    longest = config.text_config.max_position_embeddings
    if encoder.max_length > longest:
        raise RecipeError(
            f"encoder.max_length is {encoder.max_length}, but '{encoder.source}' reads at most {longest} tokens.",
            fix=f"Set encoder.max_length={longest} or less.",
        )
    mean, std = image_statistics(encoder.source)
    return Preprocessor(
        load_tokenizer(encoder.source),
        encoder.max_length,
        ImageTransform(config.vision_config.image_size, encoder.image_fit),
        mean,
        std,
        encoder.text_cleaning,
        encoder.keep_end,
    )


def image_statistics(source: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel means and deviations of a checkpoint's image processor; CLIP's own where it comes without one."""
    try:
        processor = CLIPImageProcessorPil.from_pretrained(source, local_files_only=Path(source).is_dir())
    except OSError:
        return CLIP_MEAN, CLIP_STD
    return tuple(processor.image_mean), tuple(processor.image_std)


def load_encoder(encoder: Encoder, preprocessor: Preprocessor) -> CLIPModel:
    """The CLIP model to start from; the embedded one gets random weights from the current torch seed.

    Raises:
        ModelError: the source is no CLIP, is cut short or can't be reached.
    """
    if encoder.source != TINY:
        return load_clip(encoder.source)
    tiny, tokenizer = encoder.tiny, preprocessor.tokenizer
    return CLIPModel(
        tiny_clip_config(
            vocab_size=len(tokenizer),
            bos_token_id=int(tokenizer.bos_token_id),
            eos_token_id=int(tokenizer.eos_token_id),
            pad_token_id=int(tokenizer.pad_token_id),
            max_length=encoder.max_length,
            hidden_size=tiny.hidden_size,
            text_layers=tiny.text_layers,
            image_layers=tiny.image_layers,
            num_heads=tiny.num_heads,
            image_size=tiny.image_size,
            patch_size=tiny.patch_size,
        )
    )


def encoder_fingerprint(encoder: Encoder) -> str:
    """Digest of the encoder's settings and, where it is a folder, of the files in it."""
    folder = Path(encoder.source)
    files = {}
    if encoder.source != TINY and folder.is_dir():
        files = {path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.is_file()}
    return digest(encoder.model_dump(mode="json"), files)
