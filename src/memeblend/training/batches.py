"""Batches of memes of about the same length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from memeblend.training.preprocessing import Memes

_CHUNK = 8  # batches that are sorted by length together: little padding, still well mixed


class BatchedDataset(Protocol):
    """Memes that can be trained on and predicted; an item is its row number, a batch is built from rows at once."""

    @property
    def labels(self) -> Tensor:
        """Class indices [num_memes, num_label_tasks], -1 where missing."""

    def __len__(self) -> int:
        """Number of memes."""

    def __getitem__(self, row: int) -> int:
        """The row itself: `collate` builds a batch from rows."""

    def collate(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """What the model's `forward` takes for some rows, and "labels" [B, num_label_tasks]."""

    def lengths(self) -> NDArray[np.int64]:
        """Cost of each meme, by which neighbours in a batch are chosen; any unit."""


class MemeDataset(Dataset[int]):
    """Rows of memes with their labels; an item is its row number, a batch is built from rows at once."""

    def __init__(
        self, memes: Memes, labels: NDArray[np.int64], *, text: bool, image: bool, token_dropout: float = 0.0
    ) -> None:
        self.memes = memes
        self.token_dropout = token_dropout
        self.labels = torch.from_numpy(labels)  # [num_memes, num_label_tasks]
        self.text = text
        self.image = image

    def __len__(self) -> int:
        return len(self.memes)

    def __getitem__(self, row: int) -> int:
        return row

    def collate(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Model inputs and labels [B, num_label_tasks] of some rows."""
        inputs = self.memes.batch(rows, text=self.text, image=self.image, token_dropout=self.token_dropout)
        return inputs | {"labels": self.labels[torch.tensor(rows)]}

    def lengths(self) -> NDArray[np.int64]:
        """Cost of each meme in tokens; equal for all where only the image is read."""
        if not self.text:
            return np.zeros(len(self), dtype=np.int64)
        return np.array([len(ids) for ids in self.memes.token_ids], dtype=np.int64)


class LengthBatches(Sampler[int]):
    """A random order in which neighbours that make up a batch have about the same length."""

    def __init__(self, lengths: NDArray[np.int64], batch_size: int, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer; the order depends on (seed, epoch) alone."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        order = random.permutation(len(self.lengths))
        span = self.batch_size * _CHUNK
        batches: list[NDArray[np.int64]] = []
        for start in range(0, len(order), span):
            chunk = order[start : start + span]
            chunk = chunk[np.argsort(self.lengths[chunk], kind="stable")]
            batches += [chunk[i : i + self.batch_size] for i in range(0, len(chunk), self.batch_size)]
        # A last, smaller batch must stay last: the loader cuts the flat order every batch_size memes.
        rest = [batches.pop()] if len(batches[-1]) < self.batch_size else []
        mixed = [batches[i] for i in random.permutation(len(batches))] + rest
        return iter(np.concatenate(mixed).tolist())
