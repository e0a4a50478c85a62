"""Arrays on disk by the digest of what they were made from: written once, whole, mapped into memory when read.

A store is a folder of *shards*: .npy files with an index (digest, length of each entry) followed by the entries'
items. A shard never changes after it was written. So processes may fill one store at the same time (at worst an
entry is made twice), and a killed one loses at most the shard it was working on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.errors import DataError
from memeblend.files import digest, replacing

SHARD_BYTES = 32 * 2**20
"""About how many bytes to put into one shard."""

_INDEX = np.dtype([("digest", np.uint8, (32,)), ("length", np.int64)])


class ShardStore:
    """Entries of one kind: each a sequence of items of one type and shape under a SHA-256 in hexadecimal.

    Args:
        folder: holds the shards; made when the first is written.
        dtype: type of the items' values.
        shape: shape of an item.
    """

    def __init__(self, folder: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
        self.folder = folder
        self.dtype = np.dtype(dtype)
        self.shape = shape

    def known(self) -> set[str]:
        """Digests of all entries."""
        return {key for index, _ in self._shards() for key in _keys(index)}

    def find(self, digests: Collection[str]) -> dict[str, NDArray[Any]]:
        """The entries among these that the store has: items [length, *shape], mapped from the files.

        They may be written to; the files stay as they are.
        """
        wanted = set(digests)
        found: dict[str, NDArray[Any]] = {}
        for index, items in self._shards():
            end = 0
            for key, length in zip(_keys(index), index["length"].tolist(), strict=True):
                start, end = end, end + length
                if key in wanted:
                    found[key] = items[start:end]
        return found

    def find_all(self, digests: Collection[str]) -> dict[str, NDArray[Any]]:
        """As `find`, for entries that were found or written just before.

        Raises:
            DataError: one of them is gone.
        """
        found = self.find(digests)
        if len(found) < len(set(digests)):
            raise DataError(f"The cache '{self.folder}' was changed while it was read.", fix="Run it again.")
        return found

    def write(self, digests: Sequence[str], lengths: Sequence[int], items: NDArray[Any]) -> None:
        """Add a shard.

        Args:
            digests: of its entries, each once.
            lengths: number of items of each.
            items: of all of them, one after the other [sum of lengths, *shape].

        Raises:
            OutputError: it could not be written.
        """
        assert items.dtype == self.dtype, "items of another type than the store's"
        assert items.shape == (sum(lengths), *self.shape), "items of another shape than the store's"
        index = np.empty(len(digests), dtype=_INDEX)
        index["digest"] = np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, 32)
        index["length"] = lengths
        with replacing(self.folder / f"{digest(list(digests))}.npy") as temporary, temporary.open("wb") as stream:
            np.save(stream, index, allow_pickle=False)
            np.save(stream, items, allow_pickle=False)

    def _shards(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Index and items of every shard; one that is damaged is removed, so its entries are made anew."""
        for path in sorted(self.folder.glob("*.npy")):
            try:
                yield self._read(path)
            except FileNotFoundError:
                continue
            except (ValueError, EOFError):
                path.unlink(missing_ok=True)

    def _read(self, path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
        with path.open("rb") as stream:
            index: NDArray[Any] = np.load(stream, allow_pickle=False)
            if index.dtype != _INDEX or index.ndim != 1:
                raise ValueError("not a shard")
            shape, is_fortran, dtype = _header(stream)
            start = stream.tell()
        if is_fortran or dtype != self.dtype or shape != (int(index["length"].sum()), *self.shape):
            raise ValueError("not a shard of this store")
        return index, np.memmap(path, dtype, "c", start, shape).view(np.ndarray)


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of the array whose header comes next in a file."""
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError("not written by this store")
        return np.lib.format.read_array_header_1_0(stream)
    except (SyntaxError, TypeError) as error:
        raise ValueError("damaged header") from error


def _keys(index: NDArray[Any]) -> list[str]:
    return [row.tobytes().hex() for row in np.ascontiguousarray(index["digest"])]
