"""What makes regions of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from PIL import Image

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
