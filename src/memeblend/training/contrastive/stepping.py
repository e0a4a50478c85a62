"""One step of contrastive training: the loss of a batch and its gradients, with memory for the batch or for a part.

With gradient caching (Gao, Zhang, Han and Callan, "Scaling deep contrastive learning batch size under memory limited
setup", 2021) the batch is encoded twice: first part by part without keeping anything but the embeddings, from which
the loss and its gradients with respect to them follow; then part by part again, each part's gradients being carried
on into the encoders at once. The result is that of one big batch, to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from memeblend.losses.contrastive import SamePairs, clip_loss, pair_logits, sigmoid_loss
from memeblend.models.pair import image_embeds, text_embeds
from memeblend.training.workers import ALONE, Workers

Context = Callable[[], AbstractContextManager[Any]]
"""Makes the context in which the encoders run, such as autocasting to bfloat16."""

_Encode = Callable[[int, int], Tensor]
_TEXT_PARTS = 8  # of a batch sorted by length, each padded to its own longest


class PairObjective:
    """The loss of a batch from the embeddings of its texts and of its distinct images.

    Args:
        loss: "clip" or "sigmoid".
        same_pairs: what becomes of other pairs that fit.
    """

    def __init__(self, loss: str, same_pairs: SamePairs) -> None:
        self.loss = loss
        self.same_pairs = same_pairs

    def __call__(self, model: Any, text: Tensor, image: Tensor, index: Tensor, fits: Tensor | None) -> Tensor:
        """The loss.

        Args:
            model: its logit_scale and, if it has one, logit_bias are used.
            text: embeddings [B, d].
            image: embeddings of the distinct images [M, d].
            index: which of them is a pair's image [B].
            fits: bool [B, B].
        """
        logits = pair_logits(text.float(), image.float().index_select(0, index), model.logit_scale)
        if self.loss == "clip":
            return clip_loss(logits, fits, self.same_pairs)
        return sigmoid_loss(logits, getattr(model, "logit_bias", None), fits, self.same_pairs)


def backward(
    model: Any,
    batch: dict[str, Tensor],
    objective: PairObjective,
    chunk_size: int = 0,
    context: Context = nullcontext,
    workers: Workers = ALONE,
) -> Tensor:
    """Add the gradients of a batch's loss to the model's.

    Args:
        model: an encoder of pairs.
        batch: as `PairDataset.collate` gives it, on the model's device; with several workers this one's part.
        objective: the loss.
        chunk_size: texts and images that are encoded at a time; 0 encodes all at once and only once.
        context: for the encoders; entered anew for every part.
        workers: who takes the step together; all end with the same gradients.

    Returns:
        The loss of the whole batch, detached.
    """

    def text_part(start: int, end: int) -> Tensor:
        mask = batch["attention_mask"][start:end]
        longest = int(mask.sum(dim=1).max())  # neighbours have about the same length: little of the padding is left
        return text_embeds(model, batch["input_ids"][start:end, :longest], mask[:, :longest])

    def image_part(start: int, end: int) -> Tensor:
        return image_embeds(model, batch["pixel_values"][start:end])

    index, fits = batch["image_index"], batch["fits"]
    num_texts, num_images = len(batch["input_ids"]), len(batch["pixel_values"])
    if chunk_size == 0:
        with context():
            size = -(-num_texts // _TEXT_PARTS)
            text = torch.cat([text_part(at, min(at + size, num_texts)) for at in range(0, num_texts, size)])
            image = image_part(0, num_images)
        loss = objective(model, *workers.join(text, image, index), fits)
        loss.backward()
        workers.average_gradients(model)
        return loss.detach()
    cached = [
        _Cached(encode, total, chunk_size, context)
        for encode, total in ((text_part, num_texts), (image_part, num_images))
    ]
    loss = objective(model, *workers.join(cached[0].embeds, cached[1].embeds, index), fits)
    loss.backward()
    for one in cached:
        one.backward()
    workers.average_gradients(model)
    return loss.detach()


class _Cached:
    """Embeddings that were made part by part without keeping how, and can be made again to carry gradients on."""

    def __init__(self, encode: _Encode, total: int, chunk_size: int, context: Context) -> None:
        self.encode = encode
        self.context = context
        self.parts = [(start, min(start + chunk_size, total)) for start in range(0, total, chunk_size)]
        self.random: list[Any] = []
        embeds = []
        for part in self.parts:
            self.random.append(_random_state())
            with torch.no_grad(), context():
                embeds.append(encode(*part).float())
        self.embeds = torch.cat(embeds).requires_grad_()

    def backward(self) -> None:
        """Carry the embeddings' gradients on into the encoder."""
        assert self.embeds.grad is not None, "the loss was not differentiated"
        after = _random_state()
        for (start, end), state in zip(self.parts, self.random, strict=True):
            _set_random_state(state)  # dropout must leave out what it left out before
            with self.context():
                again = self.encode(start, end)
            again.backward(self.embeds.grad[start:end].to(again.dtype))
        _set_random_state(after)


def _random_state() -> Any:
    return torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_available() else None


def _set_random_state(state: Any) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
