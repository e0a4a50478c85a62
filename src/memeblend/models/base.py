"""What all models share: the output, the initialisation of new layers, Hugging Face's save and load."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

from memeblend.models.config import MemeConfig
from memeblend.models.loading import no_progress_bars

LabelTaskLogits = dict[str, Tensor]
"""For each label task, logits [B, num_classes]."""

Reading = Literal["tokens", "pooled"]
"""Which of an encoder's states are read: those of all tokens, or the one that stands for the whole."""


@dataclass
class MemeOutput(ModelOutput):
    """What a model returns.

    Attributes:
        logits: for each label task, logits [B, num_classes] of the branch that predicts: "fused" in a
            multi-modal model (paper section 4), the only branch in a uni-modal one.
        branch_logits: the same for each branch that was asked for, and for the one that predicts.
    """

    # Hugging Face demands a default of None; `MemeModel.output` always fills both.
    logits: LabelTaskLogits = None  # type: ignore[assignment]
    branch_logits: dict[str, LabelTaskLogits] = None  # type: ignore[assignment]


class MemeModel(PreTrainedModel):
    """Base of the models. A subclass names its branches; the last one predicts."""

    config: MemeConfig
    config_class = MemeConfig
    base_model_prefix = "memeblend"
    branches: ClassVar[tuple[str, ...]]
    _supports_sdpa = True

    def output(self, branch_logits: dict[str, LabelTaskLogits]) -> MemeOutput:
        """The model's output from the logits of its branches."""
        return MemeOutput(logits=branch_logits[self.branches[-1]], branch_logits=branch_logits)

    def save_pretrained(self, save_directory: str | PathLike[Any], *args: Any, **kwargs: Any) -> None:
        """Write `config.json` and `model.safetensors` into a folder; see Hugging Face's method for the options."""
        with no_progress_bars():
            super().save_pretrained(save_directory, *args, **kwargs)

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise a layer that is not Hugging Face's own.

        Linear weights are scaled by their fan-in, so that signals keep their size at any width; Hugging Face's
        fixed .02 would shrink them by (.02 sqrt(d))^2 in each attention block, which without residuals leaves
        nothing after six.
        """
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, mean=0.0, std=module.in_features**-0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)


class EncoderModel(MemeModel):
    """Base of the models on encoders, whose states may be computed once and given in place of texts and images."""

    @abstractmethod
    def reads(self, branches: Collection[str]) -> dict[str, Reading]:
        """What these branches, and the one that predicts, read of the states of the encoders "text" and "image"."""

    def alone(self, branch: str) -> EncoderModel:
        """A copy that trains and computes one branch by itself; here the whole model, which can do that too."""
        assert branch in self.branches
        return copy.deepcopy(self)
