"""Several processes that take one step together: each encodes its part of the batch, all see every embedding.

Notable: embeddings are gathered with their gradients, so the loss and its gradients are those of one process with the
whole batch, to rounding, whatever the number of workers. Gradients are averaged once a step and not by
`DistributedDataParallel`, which would do it in every pass of gradient caching.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

_Found = TypeVar("_Found")
_Item = TypeVar("_Item")
_BUCKET = 2**24  # values that are sent at once


@dataclass(frozen=True)
class Workers:
    """The processes that train together, seen from one of them; a process alone is a group of one.

    Attributes:
        rank: number of this process; the first one, 0, writes files.
        size: number of all.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def of_process_group(cls) -> Workers:
        """Those of torch's process group, which is initialised already."""
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def parts(self, items: Sequence[_Item]) -> list[Sequence[_Item]]:
        """A batch dealt out like cards: parts of neighbours in a sorted batch cost about the same."""
        return [items[rank :: self.size] for rank in range(self.size)]

    def gather(self, values: Tensor) -> Tensor:
        """The rows of all workers, in the order of their ranks; each may have another number of them.

        Differentiable, provided that every worker goes backward: what arrives here is the sum of all workers' losses'
        gradients with respect to this worker's rows.

        Args:
            values: [num_rows, ...].
        """
        if self.size == 1:
            return values
        gathered: Tensor = _Gather.apply(values, self.counts(len(values)), self.rank)
        return gathered

    def counts(self, count: int) -> tuple[int, ...]:
        """A number that every worker has, of all of them."""
        if self.size == 1:
            return (count,)
        device = _device()
        everyone = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(self.size)]
        dist.all_gather(everyone, torch.tensor([count], device=device))
        return tuple(int(one) for one in everyone)

    def join(self, text: Tensor, image: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The whole batch's embeddings from each worker's.

        Args:
            text: embeddings [b, d] of this worker's texts.
            image: embeddings [m, d] of its distinct images.
            index: which of them is a pair's image [b].

        Returns:
            The same of all workers: [B, d], [M, d] and [B].
        """
        if self.size == 1:
            return text, image, index
        before = sum(self.counts(len(image))[: self.rank])
        return self.gather(text.float()), self.gather(image.float()), self.gather(index + before)

    def average_gradients(self, model: nn.Module) -> None:
        """Give every worker the mean of all workers' gradients."""
        if self.size == 1:
            return
        gradients = [value.grad for value in model.parameters() if value.grad is not None]
        for bucket in _buckets(gradients):
            flat = torch.cat([one.reshape(-1) for one in bucket])
            dist.all_reduce(flat)
            flat /= self.size
            for one, mean in zip(bucket, flat.split([one.numel() for one in bucket]), strict=True):
                one.copy_(mean.view_as(one))

    def share_weights(self, model: nn.Module) -> None:
        """Give every worker the first one's weights and buffers."""
        if self.size > 1:
            for value in model.state_dict().values():
                dist.broadcast(value, src=0)

    def wait(self) -> None:
        """Go on when all have come here."""
        self.counts(0)

    @contextmanager
    def drawing_alike(self, seed: int) -> Iterator[None]:
        """Within it all workers draw the same random numbers; afterwards each goes on with its own.

        A process alone just goes on with those that it has.
        """
        if self.size == 1:
            yield
            return
        with torch.random.fork_rng(device_type="cuda"):
            torch.manual_seed(seed)
            yield

    def from_first(self, make: Callable[[], _Found]) -> _Found:
        """What the first worker makes, known to all; the others wait for it.

        Raises:
            Exception: what it raised there, on every worker.
        """
        if self.size == 1:
            return make()
        made: list[Any] = [None, None]
        if self.rank == 0:
            try:
                made[0] = make()
            except Exception as error:  # the others wait for an answer
                made[1] = error
        dist.broadcast_object_list(made, src=0, device=_device())
        if made[1] is not None:
            raise made[1]
        found: _Found = made[0]
        return found


ALONE = Workers()
"""A process that trains by itself."""


class _Gather(torch.autograd.Function):
    """All workers' rows; backward, each worker gets the summed gradients of its own."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, counts: tuple[int, ...], rank: int) -> Tensor:
        ctx.counts, ctx.rank = counts, rank
        padded = values.new_zeros((max(counts), *values.shape[1:]))
        padded[: len(values)] = values
        everyone = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(everyone, padded)
        return torch.cat([rows[:count] for rows, count in zip(everyone, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        whole = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(whole)
        start = sum(ctx.counts[: ctx.rank])
        return whole[start : start + ctx.counts[ctx.rank]], None, None


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients in groups of about the same size, so that few messages are sent and little is copied at a time."""
    bucket: list[Tensor] = []
    for one in gradients:
        bucket.append(one)
        if sum(each.numel() for each in bucket) >= _BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket


def _device() -> torch.device:
    """Where this process group's messages must lie."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
