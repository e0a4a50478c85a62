"""What pre-training starts from: the encoder of pairs and the preprocessor that fits it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import CLIPImageProcessorPil, CLIPModel, PreTrainedModel, SiglipModel

from memeblend.data.images import ImageTransform
from memeblend.errors import ModelError, RecipeError
from memeblend.models.loading import no_progress_bars
from memeblend.models.pair import MINILM, image_side, load_pair_encoder, longest_text, make_pair, minilm_folder
from memeblend.models.tokenizer import load_tokenizer
from memeblend.recipe.pretraining import Pretraining
from memeblend.training.encoder import (
    CLIP_MEAN,
    CLIP_STD,
    TINY,
    image_statistics,
    load_encoder,
    make_preprocessor,
)
from memeblend.training.preprocessing import Preprocessor

_LEGACY_EOS = 2


def image_transform(settings: Pretraining) -> ImageTransform:
    """How images become squares; known before the texts are.

    Raises:
        ModelError: the encoder can't be loaded.
    """
    encoder = settings.encoder
    if settings.pair.text or encoder.source != TINY:
        return ImageTransform(image_side(_loaded(settings)), encoder.image_fit)
    return ImageTransform(encoder.tiny.image_size, encoder.image_fit)


def start(settings: Pretraining, texts: Sequence[str]) -> tuple[PreTrainedModel, Preprocessor]:
    """The encoder to train, random parts from the current torch seed, and its preprocessor.

    Args:
        settings: say what to start from.
        texts: to make the embedded encoder's tokenizer of.

    Raises:
        ModelError: an encoder or tokenizer that can't be loaded, or two that do not fit each other.
        RecipeError: texts longer than the encoder reads are asked for.
        MissingExtraError: the text encoder "minilm" is not installed.
    """
    encoder = settings.encoder
    if not settings.pair.text and encoder.source == TINY:
        preprocessor = make_preprocessor(encoder, texts)
        return load_encoder(encoder, preprocessor), preprocessor
    model = _loaded(settings)
    source = settings.pair.text or encoder.source
    tokens_from = str(minilm_folder()) if source == MINILM else source
    tokenizer = load_tokenizer(tokens_from, needs_end=isinstance(model, CLIPModel | SiglipModel))
    _check_tokenizer(model, tokenizer, source)
    if encoder.max_length > longest_text(model):
        raise RecipeError(
            f"encoder.max_length is {encoder.max_length}, but '{source}' reads at most {longest_text(model)} tokens.",
            fix=f"Set encoder.max_length={longest_text(model)} or less.",
        )
    images_from = settings.pair.image if settings.pair.text else encoder.source
    mean, std = (CLIP_MEAN, CLIP_STD) if images_from == TINY else image_statistics(images_from)
    transform = ImageTransform(image_side(model), encoder.image_fit)
    length, cleaning = encoder.max_length, encoder.text_cleaning
    return model, Preprocessor(tokenizer, length, transform, mean, std, cleaning, encoder.keep_end)


def token_ids(model: PreTrainedModel, preprocessor: Preprocessor, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text as the encoder was trained to read them: SigLIP's with all their padding."""
    ids = preprocessor.token_ids(texts)
    if not isinstance(model, SiglipModel):
        return ids
    longest, padding = preprocessor.max_length, [int(preprocessor.tokenizer.pad_token_id)]
    return [[*one, *padding * (longest - len(one))] for one in ids]


def save_encoder(folder: Path, model: PreTrainedModel, preprocessor: Preprocessor) -> None:
    """Write weights, configuration, tokenizer and image processor in Hugging Face's layout into an existing folder."""
    side = preprocessor.transform.size
    with no_progress_bars():
        model.save_pretrained(folder)
    preprocessor.tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=list(preprocessor.mean),
        image_std=list(preprocessor.std),
    ).save_pretrained(folder)


def _loaded(settings: Pretraining) -> PreTrainedModel:
    pair, encoder = settings.pair, settings.encoder
    if pair.text:
        return make_pair(pair.text, pair.image, pair.projection_size, encoder.tiny)
    return load_pair_encoder(encoder.source)


def _check_tokenizer(model: PreTrainedModel, tokenizer: Any, source: str) -> None:
    """Refuse a tokenizer whose tokens the text encoder does not know, or whose end it would not find."""
    config: Any = model.config
    text = config.text_config
    if len(tokenizer) > text.vocab_size:
        raise ModelError(
            f"The tokenizer of '{source}' has {len(tokenizer)} tokens, but its text encoder knows {text.vocab_size}.",
            fix="Put the tokenizer that the encoder was trained with into the folder.",
        )
    if not isinstance(model, CLIPModel | SiglipModel):
        return
    end = tokenizer.eos_token_id
    if tokenizer.backend_tokenizer.encode("a").ids[-1] != end:
        raise ModelError(
            f"The tokenizer of '{source}' does not put its end token after a text, but the encoder pools there."
        )
    if isinstance(model, CLIPModel):
        # With this id Hugging Face pools at the highest token, whatever the configuration says of the end token.
        pooled = len(tokenizer) - 1 if text.eos_token_id == _LEGACY_EOS else text.eos_token_id
        if end != pooled:
            raise ModelError(
                f"The tokenizer of '{source}' ends texts with token {end}, but its text encoder pools at {pooled}."
            )
