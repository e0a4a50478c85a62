"""Pooled states of memes from fitted candidates, or from encoders as they are; see `memeblend.candidates.states`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memeblend.candidates.base import FitContext
from memeblend.candidates.neural import Neural
from memeblend.candidates.states import SHARED, FeatureSpec, States
from memeblend.files import digest
from memeblend.models.encoders import image_states, text_states
from memeblend.models.image import ImageClassifier
from memeblend.models.loading import no_progress_bars
from memeblend.models.multimodal import MultiModalClassifier
from memeblend.models.pair import Encoders, load_encoders
from memeblend.models.text import TextClassifier
from memeblend.training.encoder import start_encoders
from memeblend.training.preprocessing import Memes
from memeblend.training.progress import Progress, Silent

_BATCH = 64
_ENCODER = "encoder"

Forward = Callable[[Mapping[str, Tensor]], Tensor]
"""From model inputs of a batch to states [B, d]."""


class StateReader:
    """Reads the pooled states of memes from fitted candidates, or from encoders as they are.

    Args:
        features: which states, in order.
        candidates: the fitted candidates that give them, one each; none when `encoders` are given.
        encoders: give "text" and "image" for all label tasks alike.
    """

    def __init__(
        self, features: Sequence[str], *, candidates: Sequence[Neural] = (), encoders: Encoders | None = None
    ) -> None:
        self.features = tuple(features)
        self.candidates = tuple(candidates)
        self.encoders = encoders

    @classmethod
    def start(cls, spec: FeatureSpec, starts_from: Sequence[str], context: FitContext) -> StateReader:
        """A reader as a recipe asks for it; see `ready_encoders` for what an encoder as it is means."""
        if spec.start == "encoder":
            return cls(spec.features, encoders=ready_encoders(context))
        candidates = [context.fitted(name) for name in starts_from]
        neural = [candidate for candidate in candidates if isinstance(candidate, Neural)]
        assert len(neural) == len(spec.features), "each feature comes from a neural candidate"
        return cls(spec.features, candidates=neural)

    def read(self, memes: Memes, label: str = "", progress: Progress | None = None) -> States:
        """States of memes, in their order; what a feature does not need (texts, images) need not be there.

        Args:
            memes: at least one.
            label: what the progress calls it.
            progress: who watches, if anyone.
        """
        reads = {"text": (True, False), "image": (False, True), "fused": (True, True)}
        spaces = self._forwards()
        watch = Silent() if progress is None else progress
        watch.start(label, len(spaces) * len(self.features))
        num_done = 0
        parts: dict[str, tuple[NDArray[np.float32], ...]] = {}
        for space, forwards in spaces.items():
            found = []
            for feature, forward in zip(self.features, forwards, strict=True):
                text, image = reads[feature]
                found.append(pooled(forward, memes, text=text, image=image))
                num_done += 1
                watch.advance(num_done)
            parts[space] = tuple(found)
        return States(parts)

    def _forwards(self) -> dict[str, list[Forward]]:
        """For each space, what gives each feature."""
        if self.encoders is not None:
            return {SHARED: [encoder_pooled(self.encoders, feature) for feature in self.features]}
        pairs = list(zip(self.features, self.candidates, strict=True))
        spaces = self.candidates[0].models
        return {
            space: [_model_pooled(candidate.models[space], feature) for feature, candidate in pairs] for space in spaces
        }

    def save(self, folder: Path) -> None:
        """Write the encoders in Hugging Face's layout, or each candidate as itself, into a folder, made if need be."""
        if self.encoders is not None:
            save_encoders(self.encoders, folder / _ENCODER)
        for feature, candidate in zip(self.features, self.candidates, strict=False):
            (folder / feature).mkdir(parents=True, exist_ok=True)
            candidate.save(folder / feature)

    @classmethod
    def load(cls, folder: Path, spec: FeatureSpec, starts_from: Sequence[str]) -> StateReader:
        """The inverse of `save`.

        Raises:
            ModelError: something is missing, cut short or altered.
        """
        if spec.start == "encoder":
            return cls(spec.features, encoders=ready(load_encoders(folder / _ENCODER)))
        pairs = zip(starts_from, spec.features, strict=True)
        return cls(spec.features, candidates=[Neural.load(name, folder / feature) for name, feature in pairs])


def ready_encoders(context: FitContext) -> Encoders:
    """The recipe's encoders as they are, ready to be read.

    The embedded ones have random weights, drawn from the run's seed: their states tell texts and images apart,
    but mean nothing. They are good for trying a recipe out, not for scores.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(digest(context.seed, _ENCODER), 16) % 2**31)
        return ready(start_encoders(context.recipe.encoder, context.fit.preprocessor))


def ready(encoders: Encoders) -> Encoders:
    """Encoders without dropout, on the GPU where there is one."""
    encoders.eval()
    if torch.cuda.is_available():
        torch.nn.Module.cuda(encoders)
    return encoders


def save_encoders(encoders: Encoders, folder: Path) -> None:
    """Write encoders in Hugging Face's layout; `load_encoders` reads them."""
    with no_progress_bars():
        encoders.save_pretrained(folder)


def encoder_pooled(encoders: Encoders, feature: str) -> Forward:
    """What gives the pooled "text" [B, d_t] or "image" state [B, d_i] of encoders."""
    if feature == "text":
        return lambda inputs: text_states(encoders.text_model, *texts_for(encoders, inputs)).pooled
    return lambda inputs: image_states(encoders.vision_model, inputs["pixel_values"].to(encoders.device)).pooled


def texts_for(encoders: Encoders, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Token ids and mask [B, T] of model inputs, where the encoders are."""
    return inputs["input_ids"].to(encoders.device), inputs["attention_mask"].to(encoders.device)


def _model_pooled(model: Any, feature: str) -> Forward:
    assert isinstance(model, TextClassifier | ImageClassifier | MultiModalClassifier), "only these pool states"

    def forward(inputs: Mapping[str, Tensor]) -> Tensor:
        return model.pooled_states({name: value.to(model.device) for name, value in inputs.items()})[feature]

    return forward


@torch.inference_mode()
def pooled(forward: Forward, memes: Memes, *, text: bool, image: bool) -> NDArray[np.float32]:
    """States [num_memes, d] of memes, in their order.

    Args:
        forward: gives the states of a batch.
        memes: at least one.
        text: whether `forward` reads the texts.
        image: whether it reads the images.
    """
    lengths = [len(ids) for ids in memes.token_ids] if text else [0] * len(memes)
    order = np.argsort(np.array(lengths), kind="stable")  # neighbours of one length need little padding
    found = [
        forward(memes.batch(order[start : start + _BATCH].tolist(), text=text, image=image)).float().cpu()
        for start in range(0, len(order), _BATCH)
    ]
    states: NDArray[np.float32] = torch.cat(found).numpy()[np.argsort(order, kind="stable")]
    return states
