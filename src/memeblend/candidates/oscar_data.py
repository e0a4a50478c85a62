"""What OSCAR reads: regions of memes from a file or from a grid of patch states, and batches of both modalities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from memeblend.models.encoders import image_states
from memeblend.models.oscar import NUM_BOX_NUMBERS
from memeblend.models.oscar_text import PairTokens
from memeblend.models.tokenizer import pad
from memeblend.regions.grid import grid_regions
from memeblend.regions.store import RegionStore
from memeblend.training.preprocessing import Memes
from memeblend.training.progress import Progress

_GRID_BATCH = 64
LARGE_BYTES = 512 * 2**20
"""Grid regions of more bytes are kept on disk while a candidate is trained."""


class RegionRows(Protocol):
    """The regions of some memes, by row.

    Attributes:
        counts: number of regions of each meme, int64 [num_memes].
        tags: object tags of each meme, those of its best regions first.
        without_regions: ids of the memes that should have regions and have none.
    """

    counts: NDArray[np.int64]
    tags: list[list[str]]
    without_regions: list[str]

    def read(self, row: int) -> NDArray[np.float32]:
        """A meme's regions [counts[row], region_size]: features, then the six numbers of the box."""


class FileRows:
    """Regions from a region file, read when they are asked for. A meme that the file lacks has none.

    Args:
        store: the region file.
        meme_ids: ids of the memes.
        max_regions: most regions of a meme, the ones of highest score.
    """

    def __init__(self, store: RegionStore, meme_ids: Sequence[str], max_regions: int) -> None:
        self._store = store
        self._meme_ids = meme_ids
        self._max_regions = max_regions
        self.counts = np.zeros(len(meme_ids), dtype=np.int64)
        self.tags: list[list[str]] = [[] for _ in meme_ids]
        for row, meme_id in enumerate(meme_ids):
            if meme_id in store:
                regions = store.get(meme_id, max_regions)
                self.counts[row] = len(regions.boxes)
                self.tags[row] = [tag for tag in regions.tags if tag]
        self.without_regions = [meme_ids[row] for row in np.flatnonzero(self.counts == 0).tolist()]

    def read(self, row: int) -> NDArray[np.float32]:
        """See `RegionRows.read`."""
        if not self.counts[row]:
            return np.zeros((0, self._store.feature_size + NUM_BOX_NUMBERS), dtype=np.float32)
        regions = self._store.get(self._meme_ids[row], self._max_regions)
        return np.concatenate([regions.features, regions.boxes], axis=1)


class GridRows:
    """Patch states of an image encoder as regions without tags, computed once.

    Args:
        memes: the memes, with images.
        encoder: the image encoder.
        max_regions: most regions of a meme; a finer grid is averaged into the finest that has no more.
        scratch: file that holds the regions if they are large; None keeps them in memory.
        progress: who watches.
    """

    def __init__(
        self,
        memes: Memes,
        encoder: PreTrainedModel,
        max_regions: int,
        *,
        scratch: Path | None,
        progress: Progress,
    ) -> None:
        self._values = _grid(memes, encoder, max_regions, scratch, progress)
        self.counts = np.full(len(memes), self._values.shape[1], dtype=np.int64)
        self.tags: list[list[str]] = [[] for _ in range(len(memes))]
        self.without_regions: list[str] = []

    def read(self, row: int) -> NDArray[np.float32]:
        """See `RegionRows.read`."""
        found: NDArray[np.float32] = self._values[row]
        return found


@torch.inference_mode()
def _grid(
    memes: Memes, encoder: PreTrainedModel, max_regions: int, scratch: Path | None, progress: Progress
) -> NDArray[np.float32]:
    """Grid regions [num_memes, R, d + 6] of memes."""
    device = next(encoder.parameters()).device
    values: NDArray[np.float32] | None = None
    for start in range(0, len(memes), _GRID_BATCH):
        rows = range(start, min(start + _GRID_BATCH, len(memes)))
        pixels = memes.batch(rows, text=False, image=True)["pixel_values"].to(device)
        features, boxes = grid_regions(image_states(encoder, pixels).tokens, max_regions=max_regions)
        part = torch.cat([features, boxes], dim=2).float().cpu().numpy()  # [B, R, d + 6]
        if values is None:
            values = _room((len(memes), *part.shape[1:]), scratch)
        values[start : start + len(part)] = part
        progress.advance(start + len(part))
    assert values is not None, "regions of no memes were asked for"
    return values


def _room(shape: tuple[int, ...], scratch: Path | None) -> NDArray[np.float32]:
    """An array to fill, on disk if it is large and there is a place for it."""
    if scratch is not None and int(np.prod(shape)) * 4 > LARGE_BYTES:
        scratch.parent.mkdir(parents=True, exist_ok=True)
        mapped: NDArray[np.float32] = np.lib.format.open_memmap(scratch, mode="w+", dtype=np.float32, shape=shape)
        return mapped
    return np.empty(shape, dtype=np.float32)


class OscarDataset(Dataset[int]):
    """Memes as OSCAR reads them; an item is its row number, a batch is built from rows at once.

    Args:
        tokens: tokens of each meme's ocr_text and object tags.
        pad_id: id of the padding token.
        regions: regions of each meme.
        labels: class indices [num_memes, num_label_tasks], -1 where missing.
        token_dropout: share of the tokens, marks aside, that is left out at random.
    """

    def __init__(
        self,
        tokens: list[PairTokens],
        pad_id: int,
        regions: RegionRows,
        labels: NDArray[np.int64],
        *,
        token_dropout: float = 0.0,
    ) -> None:
        self.tokens = tokens
        self.pad_id = pad_id
        self.regions = regions
        self.labels = torch.from_numpy(labels)
        self.token_dropout = token_dropout

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: int) -> int:
        return row

    def collate(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Model inputs and labels [B, num_label_tasks] of some rows.

        Returns:
            input_ids, attention_mask and token_type_ids [B, T], region_features [B, R, region_size],
            region_mask [B, R], labels.
        """
        tokens = [self.tokens[row] for row in rows]
        if self.token_dropout:
            tokens = [_dropped(one, self.token_dropout) for one in tokens]
        input_ids, attention_mask = pad([one.ids for one in tokens], self.pad_id)
        num_text = torch.tensor([one.num_text for one in tokens])
        is_tag = torch.arange(input_ids.shape[1])[None, :] >= num_text[:, None]  # [B, T], padding included
        features, mask = pad_regions([self.regions.read(row) for row in rows])
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": is_tag.long() * attention_mask,
            "region_features": features,
            "region_mask": mask,
            "labels": self.labels[list(rows)],
        }

    def lengths(self) -> NDArray[np.int64]:
        """Tokens and regions of each meme."""
        return np.array([len(one.ids) for one in self.tokens], dtype=np.int64) + self.regions.counts


def pad_regions(regions: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """A batch of regions, padded to its longest.

    Args:
        regions: regions [n, region_size] of each meme; n may be 0.

    Returns:
        features [B, R, region_size] and mask [B, R], 1 for regions and 0 for padding.
    """
    counts = torch.tensor([len(one) for one in regions], dtype=torch.int64)
    longest = int(counts.max())
    features = torch.zeros(len(regions), longest, regions[0].shape[1])
    for row, one in enumerate(regions):
        features[row, : len(one)] = torch.from_numpy(np.ascontiguousarray(one))
    return features, (torch.arange(longest)[None, :] < counts[:, None]).long()


def _dropped(tokens: PairTokens, share: float) -> PairTokens:
    """Tokens with some left out, drawn from torch's global generator; marks stay."""
    keep = torch.rand(len(tokens.ids)) >= share
    keep[[0, tokens.num_text - 1, len(tokens.ids) - 1]] = True
    ids = [token for token, kept in zip(tokens.ids, keep.tolist(), strict=True) if kept]
    return PairTokens(ids, int(keep[: tokens.num_text].sum()))
