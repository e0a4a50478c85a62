"""The encoders of a recipe (the embedded tiny CLIP, a pair, or those of a folder or hub id) and what makes memes ready
for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from transformers import CLIPModel

from memeblend.data.cleaning import clean_texts
from memeblend.data.images import ImageTransform
from memeblend.errors import ModelError, RecipeError
from memeblend.files import digest, file_digest
from memeblend.models.encoders import LEGACY_EOS, text_pooling, tiny_clip_config
from memeblend.models.pair import (
    CLIP_MEAN,
    CLIP_STD,
    MINILM,
    Encoders,
    image_side,
    image_statistics,
    load_encoders,
    longest_text,
    make_pair,
    minilm_folder,
)
from memeblend.models.tokenizer import load_tokenizer, train_tokenizer
from memeblend.recipe.parts import PAIR, TINY, Encoder
from memeblend.training.preprocessing import Preprocessor


def make_preprocessor(encoder: Encoder, texts: Sequence[str]) -> Preprocessor:
    """The preprocessor that fits a recipe's encoders.

    Args:
        encoder: the recipe's part.
        texts: ocr_text of the fit split, from which the embedded encoder's tokenizer is made.

    Raises:
        RecipeError: the recipe asks for longer texts than the encoder reads.
        ModelError: an encoder or tokenizer that can't be loaded, or two that do not fit each other.
        MissingExtraError: the text encoder "minilm" is not installed.
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
    return _fitting(encoder, _loaded(encoder))


def start_encoders(encoder: Encoder, preprocessor: Preprocessor) -> Encoders:
    """The encoders to start from; what of them starts at random is drawn from the current torch seed.

    Raises:
        ModelError: one can't be loaded.
        MissingExtraError: the text encoder "minilm" is not installed.
    """
    if encoder.source != TINY:
        return _loaded(encoder)
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


def start_with_preprocessor(encoder: Encoder, texts: Sequence[str]) -> tuple[Encoders, Preprocessor]:
    """What `start_encoders` and `make_preprocessor` give, read once; arguments and errors are theirs."""
    if encoder.source == TINY:
        preprocessor = make_preprocessor(encoder, texts)
        return start_encoders(encoder, preprocessor), preprocessor
    model = _loaded(encoder)
    return model, _fitting(encoder, model)


def image_transform(encoder: Encoder) -> ImageTransform:
    """How images become squares; known before the texts are.

    Raises:
        ModelError: the encoder can't be loaded.
    """
    side = encoder.tiny.image_size if encoder.source == TINY else image_side(_loaded(encoder))
    return ImageTransform(side, encoder.image_fit)


def encoder_fingerprint(encoder: Encoder) -> str:
    """Digest of the encoder's settings and of the files in the folders that it comes from."""
    sources = {PAIR: (encoder.pair.text, encoder.pair.image), TINY: ()}.get(encoder.source, (encoder.source,))
    files = {
        f"{position}/{path.name}": file_digest(path)
        for position, source in enumerate(sources)
        if Path(source).is_dir()
        for path in sorted(Path(source).iterdir())
        if path.is_file()
    }
    return digest(encoder.model_dump(mode="json"), files)


def shown_source(encoder: Encoder, reads: Collection[str] = ("text", "image")) -> str:
    """Where the encoders of texts, of images or of both come from, in words."""
    if encoder.source != PAIR:
        return "random weights" if encoder.source == TINY else f"the encoder '{encoder.source}'"
    tiny = encoder.pair.image == TINY
    image = "an image encoder of random weights" if tiny else f"the image encoder '{encoder.pair.image}'"
    shown = {"text": f"the text encoder '{encoder.pair.text}'", "image": image}
    return " and ".join(words for name, words in shown.items() if name in reads)


def _loaded(encoder: Encoder) -> Encoders:
    if encoder.source != PAIR:
        return load_encoders(encoder.source)
    return make_pair(encoder.pair.text, encoder.pair.image, encoder.pair.projection_size, encoder.tiny)


def _fitting(encoder: Encoder, model: Encoders) -> Preprocessor:
    """The preprocessor for encoders that were loaded."""
    config: Any = model.config
    source, images_from = encoder.source, encoder.source
    if encoder.source == PAIR:
        source, images_from = encoder.pair.text, encoder.pair.image
    pools_end = text_pooling(config.text_config) == "end"
    tokenizer = load_tokenizer(minilm_folder() if source == MINILM else source, needs_end=pools_end)
    _check_tokenizer(config.text_config, tokenizer, source)
    longest = longest_text(model)
    if encoder.max_length > longest:
        raise RecipeError(
            f"encoder.max_length is {encoder.max_length}, but '{source}' reads at most {longest} tokens.",
            fix=f"Set encoder.max_length={longest} or less.",
        )
    mean, std = (CLIP_MEAN, CLIP_STD) if images_from == TINY else image_statistics(images_from)
    return Preprocessor(
        tokenizer,
        encoder.max_length,
        ImageTransform(image_side(model), encoder.image_fit),
        mean,
        std,
        encoder.text_cleaning,
        encoder.keep_end,
        longest if config.text_config.model_type == "siglip_text_model" else 0,
    )


def _check_tokenizer(text: Any, tokenizer: Any, source: str) -> None:
    """Refuse a tokenizer whose tokens the text encoder does not know, or whose end it would not find."""
    if len(tokenizer) > text.vocab_size:
        raise ModelError(
            f"The tokenizer of '{source}' has {len(tokenizer)} tokens, but its text encoder knows {text.vocab_size}.",
            fix="Put the tokenizer that the encoder was trained with into the folder.",
        )
    if text_pooling(text) != "end":
        return
    end = tokenizer.eos_token_id
    if tokenizer.backend_tokenizer.encode("a").ids[-1] != end:
        raise ModelError(
            f"The tokenizer of '{source}' does not put its end token after a text, but the encoder pools there."
        )
    if text.model_type == "clip_text_model":
        pooled = len(tokenizer) - 1 if text.eos_token_id == LEGACY_EOS else text.eos_token_id
        if end != pooled:
            raise ModelError(
                f"The tokenizer of '{source}' ends texts with token {end}, but its text encoder pools at {pooled}."
            )
