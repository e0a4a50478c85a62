"""Whether ids come twice, for any number of ids with little memory: by digests, put on disk by their first byte."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from memeblend.errors import OutputError

_IN_MEMORY = 2**20
_NUM_BUCKETS = 256
_BYTES = 16  # of a digest: among 10^10 ids, two of 2^128 agree by chance once in 10^18 times


class SeenIds:
    """Ids that were seen. A billion take 16 GB of disk and 64 MB of memory; a million take no disk.

    Args:
        folder: where a temporary folder may be made; used as a context, it is gone afterwards.
        in_memory: ids that are kept in memory before they go to disk.
    """

    def __init__(self, folder: Path, in_memory: int = _IN_MEMORY) -> None:
        self._folder = folder
        self._in_memory = in_memory
        self._scratch: Path | None = None
        self._kept: list[bytes] = []

    def __enter__(self) -> SeenIds:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def add(self, ids: Sequence[str]) -> None:
        """See more ids.

        Raises:
            OutputError: the disk is full.
        """
        self._kept += [id_digest(one) for one in ids]
        if len(self._kept) >= self._in_memory:
            self._spill()

    def repeated(self) -> set[bytes]:
        """Digests of the ids that came more than once."""
        found: set[bytes] = set()
        for digests in self._buckets():
            order = np.sort(digests)
            found.update(order[1:][order[1:] == order[:-1]].tolist())
        return found

    def _buckets(self) -> Iterator[NDArray[np.bytes_]]:
        if self._scratch is None:
            yield _array(self._kept)
            return
        self._spill()
        for path in sorted(self._scratch.iterdir()):
            yield np.frombuffer(path.read_bytes(), dtype=f"S{_BYTES}")

    def _spill(self) -> None:
        try:
            if self._scratch is None:
                self._scratch = Path(tempfile.mkdtemp(dir=self._folder, prefix=".ids-"))
            buckets: list[list[bytes]] = [[] for _ in range(_NUM_BUCKETS)]
            for one in self._kept:
                buckets[one[0] % _NUM_BUCKETS].append(one)
            for number, bucket in enumerate(buckets):
                if bucket:
                    with (self._scratch / f"{number:03d}").open("ab") as stream:
                        stream.write(b"".join(bucket))
        except OSError as error:
            raise OutputError(f"Ids could not be kept in '{self._folder}': {error.strerror or error}.") from error
        self._kept = []


def id_digest(meme_id: str) -> bytes:
    """The digest by which an id is known; no byte of it is zero, since NumPy cuts those off."""
    digest = hashlib.blake2b(meme_id.encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest()
    return digest.replace(b"\0", b"\1")


def _array(digests: Sequence[bytes]) -> NDArray[np.bytes_]:
    return np.array(digests, dtype=f"S{_BYTES}")
