"""Reading and checking our own region files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.errors import DataError, Problem
from memeblend.regions import checked
from memeblend.regions.boxes import MemeRegions, box_faults
from memeblend.regions.npz import RegionArrays, read_arrays

_CHUNK_BYTES = 16 * 2**20


class NpzRegions:
    """An open region file of our own. A file that was not checked yet is checked as a whole.

    Args:
        path: the file.
        progress: told of regions checked and of all.

    Raises:
        DataError: it can't be used; all its problems are listed.
    """

    def __init__(self, path: Path, progress: Callable[[int, int], None] | None = None) -> None:
        self.arrays = read_arrays(path)
        key = checked.stamp(path)
        if checked.recall(key) is None:
            _check(path, self.arrays, progress)
            checked.keep(key, {"path": str(path)})
        self.meme_ids = tuple(self.arrays.meme_ids.tolist())
        self.feature_size = self.arrays.feature_size

    @property
    def description(self) -> str:
        """What made the file."""
        engine = self.arrays.settings.get("engine", "another program")
        return f"npz made by {engine}, features of {self.feature_size} numbers, boxes apart"

    def read(self, position: int) -> MemeRegions:
        """Regions of the meme at a position in `meme_ids`."""
        return self.arrays.image(int(self.arrays.image_rows[position]))


def _check(path: Path, arrays: RegionArrays, progress: Callable[[int, int], None] | None) -> None:
    problems = _id_problems(path, arrays)
    offsets = arrays.offsets
    if offsets[:1].tolist() != [0] or offsets[-1] != len(arrays.boxes) or (np.diff(offsets) < 0).any():
        raise DataError(
            f"The region file '{path}' can't be used.",
            problems=[
                *problems,
                Problem(f"{path.name}, array offsets", f"does not rise from 0 to the {len(arrays.boxes)} regions"),
            ],
        )
    for begin, end in _chunks(arrays):
        problems += _value_problems(path, arrays, begin, end)
        if progress is not None:
            progress(end, len(arrays.boxes))
    if not problems:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            problems.append(Problem(f"{path.name}, array {damaged}", "was altered: its check sum does not fit"))
    if problems:
        raise DataError(f"The region file '{path}' can't be used.", problems=problems)


def _id_problems(path: Path, arrays: RegionArrays) -> list[Problem]:
    problems, first = [], dict[str, int]()
    if not len(arrays.meme_ids):
        problems.append(Problem(path.name, "holds no meme"))
    for row, meme_id in enumerate(arrays.meme_ids.tolist()):
        where = f"{path.name}, meme {row}"
        if not meme_id:
            problems.append(Problem(where, "has an empty id"))
        elif meme_id in first:
            problems.append(Problem(where, f"the id '{meme_id}' was used already by meme {first[meme_id]}", meme_id))
        first.setdefault(meme_id, row)
        if not 0 <= arrays.image_rows[row] < len(arrays.offsets) - 1:
            what = f"its image_rows is {arrays.image_rows[row]}, but there are {len(arrays.offsets) - 1} images"
            problems.append(Problem(where, what, meme_id))
    return problems


def _chunks(arrays: RegionArrays) -> list[tuple[int, int]]:
    rows = max(1, _CHUNK_BYTES // max(1, arrays.feature_size * arrays.features.dtype.itemsize))
    return [(begin, min(begin + rows, len(arrays.boxes))) for begin in range(0, len(arrays.boxes), rows)]


def _value_problems(path: Path, arrays: RegionArrays, begin: int, end: int) -> list[Problem]:
    """Values among regions `begin` to `end` that can't be: a problem for each region and kind."""
    boxes = np.asarray(arrays.boxes[begin:end])
    with np.errstate(invalid="ignore"):
        misfit = np.abs(boxes[:, 4:] - (boxes[:, 2:4] - boxes[:, :2])).max(axis=1) > 0.01
    found: list[tuple[NDArray[Any], str]] = [
        (~np.isfinite(arrays.features[begin:end]).all(axis=1), "features hold NaN or infinity"),
        (~np.isfinite(arrays.scores[begin:end]), "score is NaN or infinite"),
        *box_faults(boxes[:, :4], 0.01),
        (misfit, "width and height don't fit the box"),
    ]
    problems = []
    for bad, what in found:
        for region in np.flatnonzero(bad) + begin:
            image = int(np.searchsorted(arrays.offsets, region, side="right")) - 1
            memes = arrays.meme_ids[arrays.image_rows == image]
            meme_id = str(memes[0]) if len(memes) else ""
            where = f"{path.name}, image {image}, region {region - arrays.offsets[image]}"
            problems.append(Problem(where + (f" (meme '{meme_id}')" if meme_id else ""), what, meme_id))
    return problems
