"""Region files of either format, read meme by meme; a file is never held in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from memeblend.errors import DataError
from memeblend.regions.boxes import MemeRegions
from memeblend.regions.npz_regions import NpzRegions
from memeblend.regions.tsv_regions import TsvRegions


class _Regions(Protocol):
    """What both formats give."""

    meme_ids: tuple[str, ...]
    feature_size: int

    @property
    def description(self) -> str:
        """What was recognised in the file, in words."""

    def read(self, position: int) -> MemeRegions:
        """Regions of the meme at a position in `meme_ids`."""


class RegionStore:
    """The regions of memes, from a file.

    Use `open`. Rows are read when they are asked for.

    Attributes:
        description: what was recognised in the file, in words.
        meme_ids: ids in the file, in its order.
        feature_size: numbers of a feature, without the six of its box.
    """

    def __init__(self, path: Path, regions: _Regions) -> None:
        self.path = path
        self.description = regions.description
        self.meme_ids = regions.meme_ids
        self.feature_size = regions.feature_size
        self._regions = regions
        self._positions = {meme_id: position for position, meme_id in enumerate(regions.meme_ids)}

    @classmethod
    def open(cls, path: str | Path, progress: Callable[[int, int], None] | None = None) -> RegionStore:
        """Open a region file; see `memeblend.regions.tsv` and `memeblend.regions.npz` for the formats.

        The first time, every row is read and checked. What was found is kept in the cache folder, so that a file
        that has not changed since opens at once.

        Args:
            path: a .tsv or .npz file.
            progress: told of bytes checked and of all, while a file is new.

        Raises:
            DataError: the file can't be used; all its problems are listed with their rows.
        """
        path = Path(path).expanduser()
        match path.suffix.lower():
            case ".tsv":
                return cls(path, TsvRegions(path, progress))
            case ".npz":
                return cls(path, NpzRegions(path, progress))
            case _:
                raise DataError(f"Expected a region file, .tsv or .npz, found '{path}'.")

    def __len__(self) -> int:
        return len(self.meme_ids)

    def __contains__(self, meme_id: object) -> bool:
        return meme_id in self._positions

    def get(self, meme_id: str, max_regions: int) -> MemeRegions:
        """At most `max_regions` regions of a meme, those of highest score, best first.

        Raises:
            KeyError: the file has no such meme.
            ValueError: `max_regions` is below 1.
        """
        return self._regions.read(self._positions[meme_id]).best(max_regions)
