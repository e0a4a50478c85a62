"""Attention roll-out: where the attention of a neural candidate's predicting states comes from, through all layers.

Abnar and Zuidema (2020, "Quantifying Attention Flow in Transformers", section 3): heads are averaged, a layer with a
residual is half its attention and half itself, and layers are multiplied. One forward pass gives it, so it is cheap;
it does not look at a class, at values or at what comes after attention (so not at the BiLSTM of a text branch, nor at
how SigLIP weighs patches for its pooled state: they count alike).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from memeblend.candidates.neural import Neural
from memeblend.explain.attribution import Attribution, by_word, rows
from memeblend.explain.gradients import model_of, one_batch
from memeblend.explain.inputs import Meme, token_words
from memeblend.models.align import AlignClassifier
from memeblend.models.base import EncoderModel
from memeblend.models.encoders import has_class_token, text_pooling
from memeblend.models.fusion import FusionClassifier
from memeblend.models.image import ImageClassifier
from memeblend.models.multimodal import MultiModalClassifier
from memeblend.models.text import TextClassifier
from memeblend.training.preprocessing import Preprocessor

_PLAIN = (
    *("clip_text_model", "siglip_text_model", "bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra"),
    *("clip_vision_model", "siglip_vision_model", "vit", "dinov2"),
)
_QUERY_KEY = (("q_proj", "k_proj"), ("query", "key"), ("q_lin", "k_lin"))
_HEADS = ("num_heads", "num_attention_heads", "n_heads")


@dataclass(frozen=True, eq=False)
class Shares:
    """Shares of attention of one meme; both together sum to 1.

    Attributes:
        tokens: of the text's tokens, begin and end included [T]; None where texts are not read.
        states: of the image's class token and patches [1 + P]; None where images are not read.
    """

    tokens: NDArray[np.float64] | None
    states: NDArray[np.float64] | None


def attention_rollout(candidate: Neural, meme: Meme, preprocessor: Preprocessor, label_task: str) -> Attribution:
    """Shares of attention by word and patch.

    Args:
        candidate: a fitted candidate.
        meme: with an image where the candidate reads images.
        preprocessor: the one that the candidate was trained with.
        label_task: name of the label task; where one model answers for all of them, the shares are the same for all.
    """
    shares = model_shares(model_of(candidate, label_task), one_batch(candidate, meme, preprocessor))
    words, patches, rest = None, None, 0.0
    if shares.tokens is not None:
        words, rest = by_word(shares.tokens, token_words(meme, preprocessor), len(meme.words))
    if shares.states is not None:
        rest += float(shares.states[0])
        patches = rows(regridded(shares.states[1:], meme.side))
    return Attribution(candidate.name, "rollout", words, patches, rest=rest)


def rolled_out(attentions: Sequence[Tensor], *, residual: bool = True) -> Tensor:
    """Shares [S, S] of the first layer's inputs (columns) in each state of the last one (rows); rows sum to 1.

    Args:
        attentions: of each layer from the first [S, S], rows summing to 1.
        residual: whether each layer adds its input to its output.
    """
    result = torch.eye(len(attentions[0]), dtype=torch.float64)
    for attention in attentions:
        weights = attention.double()
        if residual:
            weights = (weights + torch.eye(len(weights), dtype=torch.float64)) / 2
        result = weights @ result
    return result


def regridded(patches: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Shares of an encoder's patches [P], by rows of a square, spread by area over another grid [side, side]."""
    own = round(len(patches) ** 0.5)
    edges, cells = np.linspace(0, 1, own + 1), np.linspace(0, 1, side + 1)
    shared = np.minimum(cells[1:, None], edges[None, 1:]) - np.maximum(cells[:-1, None], edges[None, :-1])
    overlap = np.maximum(shared, 0) * own  # [side, own]: share of each own row that lies in a row of the grid
    spread: NDArray[np.float64] = overlap @ patches.reshape(own, own) @ overlap.T
    return spread


def can_roll_out(model: EncoderModel) -> bool:
    """Whether the attention of a model's encoders is of the plain kind, from every token to every one."""
    config = model.config
    kinds = {"text": config.text_config.model_type, "image": config.vision_config.model_type}
    return all(kinds[name] in _PLAIN for name in model.branches if name in kinds)


@torch.inference_mode()
def model_shares(model: EncoderModel, inputs: dict[str, Tensor]) -> Shares:
    """Shares of attention in what a model's predicting heads read, of a batch of one.

    A text's states are read at its end token, or all alike where their mean is pooled, an image's at its class token.
    Fusion reads one of each after its blocks, and both count half; align multiplies them, and both count half too.
    """
    with _recorded(model) as seen:
        model(**inputs, branches=())
    text = image = None
    if isinstance(model, TextClassifier | MultiModalClassifier):
        encoder = model.text.text_model
        text = rolled_out(seen(encoder, causal=encoder.config.model_type == "clip_text_model"))  # [T, T]
    if isinstance(model, ImageClassifier | MultiModalClassifier):
        image = rolled_out(seen(model.image.vision_model, causal=False))  # [1 + P, 1 + P]
        if not has_class_token(model.image.vision_model):
            image = _with_pooled(image)
    if isinstance(model, FusionClassifier):
        assert text is not None, "fusion reads texts"
        assert image is not None, "fusion reads images"
        blocks = rolled_out(seen(model.blocks, causal=False), residual=model.config.residual)
        both = blocks @ torch.block_diag(text, image)  # [T + 1 + P, T + 1 + P]
        of_text = _pooled(both[: len(text)], model) if model.config.text_state == "eos" else both[0]
        row = (of_text + both[len(text)]) / 2
        return Shares(row[: len(text)].numpy(), row[len(text) :].numpy())
    half = 0.5 if isinstance(model, AlignClassifier) else 1.0
    if text is not None:
        text = half * _pooled(text, model)
    return Shares(None if text is None else text.numpy(), None if image is None else half * image[0].numpy())


def _pooled(states: Tensor, model: EncoderModel) -> Tensor:
    """Of shares in each of a text's states [T, S], those in its pooled state [S]."""
    return states[-1] if text_pooling(model.config.text_config) == "end" else states.mean(dim=0)


def _with_pooled(patches: Tensor) -> Tensor:
    """Shares [1 + P, 1 + P] of an encoder without a class token, with a pooled state first that reads all alike."""
    both = torch.cat([patches.mean(dim=0, keepdim=True), patches])  # [1 + P, P]
    return nn.functional.pad(both, (1, 0))


@contextmanager
def _recorded(model: EncoderModel) -> Iterator[Any]:
    """Records queries and keys of every attention that runs in this thread.

    Gives a function: from a part of the model to the attentions [S, S] of its layers in order, heads averaged.
    """
    owner, outputs = threading.get_ident(), {}

    def keep(module: nn.Module, _: Any, output: Tensor) -> None:
        if threading.get_ident() == owner:
            outputs[module] = output.float().cpu()

    def seen(part: nn.Module, *, causal: bool) -> list[Tensor]:
        return [_attention(one, outputs, causal) for one in part.modules() if _attends(one)]

    with ExitStack() as hooks:
        for module in model.modules():
            if _attends(module):
                for projection in _projections(module):
                    hooks.callback(projection.register_forward_hook(keep).remove)
        yield seen


def _attends(module: nn.Module) -> bool:
    """Whether a module is attention: that of an encoder's layers or that of the fusion."""
    return any(hasattr(module, name) for name in _HEADS) and bool(_projections(module))


def _projections(attention: Any) -> list[nn.Module]:
    """What makes the queries and keys of an attention: one layer each, or one for both and the values."""
    if hasattr(attention, "in_proj"):
        return [attention.in_proj]
    found = [names for names in _QUERY_KEY if hasattr(attention, names[0]) and hasattr(attention, names[1])]
    return [getattr(attention, name) for name in found[0]] if found else []


def _attention(module: Any, outputs: dict[nn.Module, Tensor], causal: bool) -> Tensor:
    """Attention weights [S, S] of a batch of one, heads averaged."""
    projected = torch.cat([outputs[one][0] for one in _projections(module)], dim=1)  # [S, 2 d or 3 d]
    width = outputs[_projections(module)[0]].shape[2]
    width = width // 3 if hasattr(module, "in_proj") else width
    heads = next(getattr(module, name) for name in _HEADS if hasattr(module, name))
    query, key = (projected[:, at : at + width].unflatten(1, (heads, -1)) for at in (0, width))  # [S, H, d]
    scores = torch.einsum("qhd,khd->hqk", query, key) * query.shape[2] ** -0.5
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[1:]).triu(1).bool(), -torch.inf)
    weights: Tensor = scores.softmax(dim=2).mean(dim=0)
    return weights
