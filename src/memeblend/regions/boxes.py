"""The regions of one image, and the six numbers that say where a region lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BOX_SIZE = 6
"""x1, y1, x2, y2, width and height, each as a share of the image's width or height (Li et al. 2020)."""


@dataclass(frozen=True, eq=False)
class MemeRegions:
    """Regions of one meme's image, the one of highest score first.

    Attributes:
        boxes: x1, y1, x2, y2, w, h of each region as shares of the image, float32 [n, 6].
        features: what the detector or encoder says of each, float32 [n, feature_size]; without the box.
        tags: name of the object in each, "" where there is none; n of them.
        scores: how sure the detector is of each, float32 [n]; 1 where it does not say.
    """

    boxes: NDArray[np.float32]
    features: NDArray[np.float32]
    tags: list[str]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes)

    def best(self, max_regions: int) -> MemeRegions:
        """At most `max_regions` regions by falling score; equal scores stay in their order.

        Raises:
            ValueError: `max_regions` is below 1.
        """
        if max_regions < 1:
            raise ValueError(f"max_regions is {max_regions}, expected at least 1")
        order = np.argsort(-self.scores, kind="stable")[:max_regions]
        return MemeRegions(
            np.ascontiguousarray(self.boxes[order], dtype=np.float32),
            np.ascontiguousarray(self.features[order], dtype=np.float32),
            [self.tags[position] for position in order],
            np.ascontiguousarray(self.scores[order], dtype=np.float32),
        )


def box_numbers(corners: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """The six numbers [n, 6] of boxes given as x1, y1, x2, y2 [n, 4], all as shares of the image."""
    x1, y1, x2, y2 = corners.astype(np.float64).T
    return np.stack([x1, y1, x2, y2, x2 - x1, y2 - y1], axis=1).astype(np.float32)


def box_faults(
    corners: NDArray[np.floating[Any]], slack: float | NDArray[np.float64]
) -> list[tuple[NDArray[np.bool_], str]]:
    """Which boxes can't be, and why.

    Args:
        corners: x1, y1, x2, y2 [n, 4] as shares of the image.
        slack: how far beyond the image a box may reach, since detectors round; one number, or [4].

    Returns:
        A mask [n] for each kind of fault, with its words.
    """
    finite = np.isfinite(corners).all(axis=1)
    known = np.where(finite[:, None], corners, 0)
    inverted = (known[:, 2:] < known[:, :2]).any(axis=1)
    outside = ((known < -slack) | (known > 1 + slack)).any(axis=1)
    return [
        (~finite, "box holds NaN or infinity"),
        (inverted, "box is inverted: expected x1 <= x2 and y1 <= y2"),
        (outside, "box lies outside the image"),
    ]
