"""The engine that needs no detector: a grid of an image encoder's patch states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from memeblend.data.images import ImageFit, ImageTransform
from memeblend.models.encoders import image_states
from memeblend.models.loading import device, weights_digest
from memeblend.models.pair import Encoders, image_side, image_statistics, load_encoders
from memeblend.regions.boxes import MemeRegions, box_numbers
from memeblend.regions.grid import grid_regions


class GridEngine:
    """Patch states of an image encoder as regions, without tags, each with score 1.

    Boxes are shares of the image itself: where it was fitted into the encoder's square, cells that show nothing of
    it are left out and the others are cut at its edges.

    Args:
        encoders: a CLIP, or another text and image encoder; the text encoder is not used.
        mean: channel means of pixel values in [0, 1], length 3.
        std: channel standard deviations, length 3.
        fit: how an image becomes the encoder's square.
        max_regions: most regions of an image; a finer grid is averaged to fit.
    """

    name = "grid"

    def __init__(
        self,
        encoders: Encoders,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        fit: ImageFit = "letterbox",
        max_regions: int = 50,
    ) -> None:
        config: Any = encoders.config.vision_config
        self.feature_size = int(config.hidden_size)
        self.transform = ImageTransform(image_side(encoders), fit)
        self.max_regions = max_regions
        self._device = device()
        self._encoder = encoders.vision_model.eval().to(self._device)
        self._mean = torch.tensor(list(mean), dtype=torch.float32)
        self._std = torch.tensor(list(std), dtype=torch.float32)
        self._weights = weights_digest(encoders.vision_model)

    @classmethod
    def load(cls, source: str | Path, *, fit: ImageFit = "letterbox", max_regions: int = 50) -> GridEngine:
        """The engine of a CLIP, SigLIP or dual encoder in a folder or on the hub.

        Raises:
            ModelError: the source is none, is cut short or can't be reached.
        """
        return cls(load_encoders(source), *image_statistics(str(source)), fit=fit, max_regions=max_regions)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides about its regions."""
        return {
            "engine": self.name,
            "weights": self._weights,
            "transform": self.transform.to_dict(),
            "mean": self._mean.tolist(),
            "std": self._std.tolist(),
            "max_regions": self.max_regions,
        }

    @torch.inference_mode()
    def regions(self, images: Sequence[Image.Image]) -> list[MemeRegions]:
        """Regions of RGB images, row by row of the grid."""
        squares = np.stack([self.transform.apply(image) for image in images])  # [B, S, S, 3]
        values = (torch.from_numpy(squares).float() / 255 - self._mean) / self._std
        states = image_states(self._encoder, values.permute(0, 3, 1, 2).to(self._device))
        features, boxes = grid_regions(states.tokens, max_regions=self.max_regions)
        found = zip(images, features.float().cpu().numpy(), boxes.double().cpu().numpy(), strict=True)
        return [self._on_image(image.size, *of_image) for image, *of_image in found]

    def _on_image(
        self, size: tuple[int, int], features: NDArray[np.float32], boxes: NDArray[np.float64]
    ) -> MemeRegions:
        left, top, width, height = _placed(self.transform, size)
        side = self.transform.size
        offset = np.array([left, top, left, top], dtype=np.float64)
        corners = np.clip((boxes[:, :4] * side - offset) / np.array([width, height, width, height]), 0, 1)
        shown = (corners[:, 2:] > corners[:, :2]).all(axis=1)
        num_shown = int(shown.sum())
        return MemeRegions(
            box_numbers(corners[shown]), features[shown], [""] * num_shown, np.ones(num_shown, dtype=np.float32)
        )


def _placed(transform: ImageTransform, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where an image of some width and height comes to lie in the square: left, top, width, height in its pixels.

    A crop lies beyond the edges of the square. Rounds as `ImageTransform.apply` does.
    """
    if transform.fit == "letterbox":
        scale = transform.size / max(size)
        width, height = (max(1, min(transform.size, round(side * scale))) for side in size)
    else:
        width, height = (int(transform.size * side / min(size)) for side in size)
    return (transform.size - width) // 2, (transform.size - height) // 2, width, height
