"""Low-rank adapters in the encoders' attention (LoRA; Hu et al., ICLR 2022, arXiv:2106.09685)."""

from __future__ import annotations

import re
from typing import Any

from memeblend.errors import MissingExtraError, ModelError
from memeblend.models.base import EncoderModel

_PROJECTIONS = (
    r"(text\.text_model|image\.vision_model)\..*\.(q_proj|v_proj|query|value|q_lin|v_lin|query_proj|value_proj)"
)
"""What Hugging Face's text and image encoders call them: CLIP and SigLIP, BERT and ViT, DistilBERT, DeBERTa."""
_ENCODERS = ("text.text_model", "image.vision_model")
_NAME = "default"


class Adapters:
    """Adapters on the query and value projections of a model's encoders, whose own weights stand still meanwhile.

    All that is no encoder stays trainable. The model keeps its class and is called, trained and checkpointed as
    before; `merge` makes it an ordinary model again.

    Args:
        model: changed in place.
        rank: r of the update B A, with B [d, r] and A [r, d]; it is scaled by alpha / r = 2.

    Raises:
        MissingExtraError: PEFT is not installed.
        ModelError: an encoder whose attention has no such projections.
    """

    def __init__(self, model: EncoderModel, rank: int) -> None:
        try:
            from peft import LoraConfig
            from peft.tuners.lora import LoraModel
        except ImportError as error:
            raise MissingExtraError(
                'encoders = "lora" needs the package peft, which is not installed.',
                fix='Install it with: pip install "memeblend[peft]"',
            ) from error
        self.model = model
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=_PROJECTIONS)
        for encoder in [name for name, _ in model.named_modules() if name in _ENCODERS]:
            if not any(
                re.fullmatch(_PROJECTIONS, name) for name, _ in model.named_modules() if name.startswith(encoder)
            ):
                kind = type(model.get_submodule(encoder)).__name__
                raise ModelError(
                    f'encoders = "lora" finds no query and value projections in a {kind}.',
                    fix='Set encoders = "trained" or "frozen".',
                )
        self._tuner: Any = LoraModel(model, config, _NAME)
        for name, value in model.named_parameters():
            value.requires_grad_("lora_" in name or not _is_encoder(name))

    @property
    def num_trained(self) -> int:
        """Number of parameters that are trained: of the adapters and of all that is no encoder."""
        return sum(value.numel() for value in self.model.parameters() if value.requires_grad)

    def merge(self) -> None:
        """Add the adapters' updates to the encoders' weights and take them out."""
        self._tuner.merge_and_unload()
        self.model.requires_grad_(True)


def _is_encoder(name: str) -> bool:
    return name.startswith(tuple(f"{encoder}." for encoder in _ENCODERS))
