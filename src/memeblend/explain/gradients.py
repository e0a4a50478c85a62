"""Integrated gradients of neural candidates over words and patches (Sundararajan et al. 2017), through Captum.

The path goes from the meme's baseline to the meme: from zeros in place of the embeddings of the tokens between begin
and end, and from the mean grey image. Positions, begin and end tokens are the same on all of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from memeblend.candidates.neural import Neural
from memeblend.errors import MissingExtraError
from memeblend.explain.attribution import Attribution, by_word, rows
from memeblend.explain.inputs import Meme, inner_tokens, ready, token_words
from memeblend.models.base import EncoderModel
from memeblend.models.multimodal import MultiModalClassifier
from memeblend.models.text import TextClassifier
from memeblend.training.preprocessing import Preprocessor

FIRST_STEPS, MOST_STEPS = 32, 512
TOLERANCE = 0.02
"""Share of the change along the path (of 1 where that is smaller) by which the attributions' sum may miss it."""
_BATCH = 32

Function = Callable[..., Tensor]
"""From one tensor [B, ...] for each input to values [B]."""


@dataclass(frozen=True, eq=False)
class Path:
    """Integrated gradients from a baseline to an input.

    Attributes:
        attributions: one for each input, of its shape, without the batch.
        value: the function at the input.
        baseline: the function at the baseline.
        num_steps: steps taken.
        tolerance: largest `delta` that counts as complete.
    """

    attributions: tuple[NDArray[np.float64], ...]
    value: float
    baseline: float
    num_steps: int
    tolerance: float

    @property
    def delta(self) -> float:
        """How far the attributions' sum is from value - baseline."""
        return abs(float(sum(one.sum() for one in self.attributions)) - (self.value - self.baseline))


def integrate(function: Function, inputs: Sequence[Tensor], baselines: Sequence[Tensor]) -> Path:
    """Integrated gradients by Gauss-Legendre quadrature; steps are doubled until the sum is complete.

    Args:
        function: what is explained.
        inputs: each [1, ...].
        baselines: each of its input's shape.

    Returns:
        The first path that is complete, else the one of `MOST_STEPS` steps, whose `delta` says so.

    Raises:
        MissingExtraError: Captum is not installed.
    """
    method = captum().IntegratedGradients(function)
    with torch.no_grad():
        value, baseline = (float(function(*at)[0].double()) for at in (inputs, baselines))
    tolerance = TOLERANCE * max(1.0, abs(value - baseline))
    num_steps = FIRST_STEPS
    while True:
        found = method.attribute(tuple(inputs), tuple(baselines), n_steps=num_steps, internal_batch_size=_BATCH)
        arrays = tuple(one[0].detach().double().cpu().numpy() for one in found)
        path = Path(arrays, value, baseline, num_steps, tolerance)
        if path.delta <= tolerance or num_steps >= MOST_STEPS:
            return path
        num_steps *= 2


def captum() -> Any:
    """The module `captum.attr`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module("captum.attr")
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"Integrated gradients need the package {error.name}, which is not installed.",
            fix='Install the extra: pip install "memeblend[explain]", or ask for the cheap explanation.',
        ) from error


def integrated_gradients(
    candidate: Neural, meme: Meme, preprocessor: Preprocessor, label_task: str, class_index: int
) -> Attribution:
    """Integrated gradients of a class's margin, summed over each word and each patch.

    Args:
        candidate: a fitted candidate.
        meme: with an image where the candidate reads images.
        preprocessor: the one that the candidate was trained with.
        label_task: name of the label task.
        class_index: the class to explain.

    Raises:
        MissingExtraError: Captum is not installed.
    """
    model = model_of(candidate, label_task)
    inputs = one_batch(candidate, meme, preprocessor)
    starts: dict[str, Tensor] = {}
    ends: dict[str, Tensor] = {}
    if candidate.needs_text:
        ends["text"] = _embedding(model)(inputs["input_ids"]).detach()  # [1, T, d_t]
        inner = inner_tokens(meme, preprocessor)
        starts["text"] = ends["text"] * torch.from_numpy(~inner).to(ends["text"].device)[None, :, None]
    if candidate.needs_image:
        assert meme.neutral.pixels is not None, "a candidate that reads images was given a meme without"
        ends["image"] = inputs["pixel_values"]  # [1, 3, S, S]
        starts["image"] = preprocessor.pixel_values(meme.neutral.pixels[None]).to(ends["image"].device)

    def margin(*tensors: Tensor) -> Tensor:
        given = dict(zip(ends, tensors, strict=True))
        logits = _logits(model, inputs, given.get("text"), given.get("image"), label_task)
        return logits[:, class_index] - logits.mean(dim=1)

    with torch.backends.cudnn.flags(enabled=False):  # cuDNN's LSTM has no gradient outside training
        path = integrate(margin, list(ends.values()), list(starts.values()))
    found = dict(zip(ends, path.attributions, strict=True))
    words, rest, patches = None, 0.0, None
    if "text" in found:
        words, rest = by_word(found["text"].sum(axis=1), token_words(meme, preprocessor), len(meme.words))
    if "image" in found:
        patches = rows(meme.by_patch(found["image"].sum(axis=0)))
    return Attribution(
        candidate.name,
        "integrated_gradients",
        words,
        patches,
        rest=rest,
        value=path.value,
        baseline=path.baseline,
        tolerance=path.tolerance,
        num_steps=path.num_steps,
    )


def model_of(candidate: Neural, label_task: str) -> EncoderModel:
    """The model of a candidate that answers for a label task."""
    models = candidate.models
    return models[label_task] if label_task in models else models["joint"]


def one_batch(candidate: Neural, meme: Meme, preprocessor: Preprocessor) -> dict[str, Tensor]:
    """Model inputs of a meme as a batch of one, where the candidate's models are."""
    device = next(iter(candidate.models.values())).device
    memes = ready([meme.whole], preprocessor)
    batch = memes.batch([0], text=candidate.needs_text, image=candidate.needs_image)
    return {name: value.to(device) for name, value in batch.items()}


def _embedding(model: EncoderModel) -> nn.Module:
    """The embedding of text tokens."""
    assert isinstance(model, TextClassifier | MultiModalClassifier), "only these read texts"
    found: nn.Module = model.text.text_model.get_input_embeddings()
    return found


def _logits(
    model: EncoderModel, inputs: dict[str, Tensor], embeds: Tensor | None, pixels: Tensor | None, label_task: str
) -> Tensor:
    """Logits [B, num_classes] of the branch that predicts, with token embeddings [B, T, d_t] and pixels given."""
    num = len(next(one for one in (embeds, pixels) if one is not None))
    given = {name: value.expand(num, -1) for name, value in inputs.items() if name != "pixel_values"}
    if pixels is not None:
        given["pixel_values"] = pixels
    with nullcontext() if embeds is None else _output_replaced(_embedding(model), embeds):
        logits: Tensor = model(**given, branches=()).logits[label_task]
    return logits


@contextmanager
def _output_replaced(module: nn.Module, output: Tensor) -> Iterator[None]:
    """Makes a module give an output, in this thread alone: others may be predicting with the same model."""
    owner = threading.get_ident()
    hook = module.register_forward_hook(lambda *_: output if threading.get_ident() == owner else None)
    try:
        yield
    finally:
        hook.remove()
