"""What makes regions of images, and how one is told from another."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from PIL import Image
from torch import nn

from memeblend.regions.boxes import MemeRegions


class RegionEngine(Protocol):
    """Makes regions of images.

    Attributes:
        feature_size: numbers of a feature.
    """

    feature_size: int

    @property
    def name(self) -> str:
        """The engine in one word, as the command line calls it."""

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides about its regions, as plain JSON types; equal settings give equal regions."""

    def regions(self, images: Sequence[Image.Image]) -> list[MemeRegions]:
        """Regions of RGB images, best first. An image's regions don't depend on those beside it."""


def device() -> torch.device:
    """Where engines run: a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def weights_digest(model: nn.Module) -> str:
    """Digest of a model's weights, wherever they were read from."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]
