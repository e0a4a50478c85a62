"""Regions without a detector: the image encoder's patch states, each the region of its cell of a square grid."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from memeblend.errors import ModelError
from memeblend.regions.boxes import BOX_SIZE


def grid_regions(states: Tensor, *, max_regions: int | None = None) -> tuple[Tensor, Tensor]:
    """Patch states as regions on a square grid, row by row from the top left.

    Where the grid has more cells than `max_regions`, neighbouring cells are averaged into the finest square grid
    that has not, so that the regions still cover the whole image.

    Args:
        states: class token and patches of the image encoder [B, 1 + P, d]; P is the square of a whole number.
        max_regions: most regions of an image; None keeps every patch.

    Returns:
        features [B, R, d], and boxes [B, R, 6] (x1, y1, x2, y2, w, h as shares of the square that the encoder
        sees), with R = P unless cells were averaged.

    Raises:
        ValueError: `max_regions` is below 1.
        ModelError: P is no square.
    """
    if max_regions is not None and max_regions < 1:
        raise ValueError(f"max_regions is {max_regions}, expected at least 1")
    features = states[:, 1:]  # [B, P, d]
    num_images, num_patches, width = features.shape
    side = math.isqrt(num_patches)
    if side == 0 or side * side != num_patches:
        raise ModelError(
            f"The image encoder's {num_patches} patches are no square grid, so they can't be regions.",
            fix="Take regions from one whose patches are, such as a CLIP or a ViT.",
        )
    cells = side if max_regions is None else min(side, math.isqrt(max_regions))
    if cells < side:
        grid = features.transpose(1, 2).reshape(num_images, width, side, side)  # [B, d, side, side]
        grid = nn.functional.adaptive_avg_pool2d(grid, cells)  # [B, d, cells, cells]
        features = grid.flatten(2).transpose(1, 2)  # [B, R, d]
    boxes = _grid_boxes(side, cells).to(device=states.device, dtype=states.dtype)  # [R, 6]
    return features, boxes.expand(num_images, -1, -1)


def _grid_boxes(side: int, cells: int) -> Tensor:
    """Boxes [cells * cells, 6] of a grid of `side` patches a side, averaged into `cells` a side."""
    turns = torch.arange(cells, dtype=torch.float64)
    # What adaptive pooling averages: from the patch in which a cell begins to the one in which it ends.
    begin = (turns * side / cells).floor() / side
    end = ((turns + 1) * side / cells).ceil() / side
    y1, x1 = (part.flatten() for part in torch.meshgrid(begin, begin, indexing="ij"))
    y2, x2 = (part.flatten() for part in torch.meshgrid(end, end, indexing="ij"))
    boxes = torch.stack([x1, y1, x2, y2, x2 - x1, y2 - y1], dim=1)
    assert boxes.shape[1] == BOX_SIZE
    return boxes
