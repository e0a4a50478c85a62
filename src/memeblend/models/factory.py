"""From a model's kind to the model: new on encoders, from uni-modal models, or from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from memeblend.errors import ModelError
from memeblend.models.align import AlignClassifier
from memeblend.models.base import EncoderModel
from memeblend.models.config import MemeConfig
from memeblend.models.fusion import FusionClassifier
from memeblend.models.image import ImageClassifier
from memeblend.models.loading import read_config, read_model
from memeblend.models.multimodal import MultiModalClassifier
from memeblend.models.pair import Encoders
from memeblend.models.text import TextClassifier

ModelKind = Literal["text", "image", "fusion", "align"]


def model_class(kind: ModelKind) -> type[EncoderModel]:
    """The class of a kind of model.

    Raises:
        ValueError: no such kind.
    """
    match kind:
        case "text":
            return TextClassifier
        case "image":
            return ImageClassifier
        case "fusion":
            return FusionClassifier
        case "align":
            return AlignClassifier
        case _:
            raise ValueError(f"kind is {kind!r}, expected one of {', '.join(get_args(ModelKind))}")


def build_model(kind: ModelKind, config: MemeConfig, encoders: Encoders) -> EncoderModel:
    """A new model whose encoders start from others; their weights are copied.

    Args:
        kind: which model.
        config: its configuration, with `encoder_config` that of `encoders`.
        encoders: from `load_encoders`, or new.
    """
    model = model_class(kind)(config)
    if isinstance(model, TextClassifier | MultiModalClassifier):
        model.text.text_model.load_state_dict(encoders.text_model.state_dict())
    if isinstance(model, ImageClassifier | MultiModalClassifier):
        model.image.vision_model.load_state_dict(encoders.vision_model.state_dict())
    return model


def from_branches(kind: ModelKind, config: MemeConfig, text: EncoderModel, image: EncoderModel) -> MultiModalClassifier:
    """A multi-modal model that starts from trained uni-modal ones; see `MultiModalClassifier.from_branches`.

    Raises:
        ValueError: `kind` is not multi-modal, or a uni-modal model is of another kind.
        ModelError: as `MultiModalClassifier.from_branches`.
    """
    found = model_class(kind)
    if not issubclass(found, MultiModalClassifier):
        raise ValueError(f"kind is {kind!r}, expected a multi-modal one: fusion or align")
    if not isinstance(text, TextClassifier) or not isinstance(image, ImageClassifier):
        names = f"{type(text).__name__} and {type(image).__name__}"
        raise ValueError(f"expected a TextClassifier and an ImageClassifier, found {names}")
    return found.from_branches(config, text, image)


def load_model(kind: ModelKind, folder: str | Path) -> EncoderModel:
    """A model from the folder that its `save_pretrained` wrote, ready to predict, without network.

    Raises:
        ModelError: the folder is not of such a model, is cut short, or lacks weights.
    """
    expected = model_class(kind)
    found = read_config(Path(folder), f"a saved {expected.__name__}").get("architectures")
    if found != [expected.__name__]:
        raise ModelError(f"Expected a saved {expected.__name__} in '{folder}', found architectures {found!r}.")
    fix = "Its files are cut short or altered: copy the folder again, or train the model again."
    model = read_model(expected, str(folder), local=True, fix=fix)
    assert isinstance(model, EncoderModel)
    return model
