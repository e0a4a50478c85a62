"""Lines of a file that stays on disk."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path


class MappedLines:
    """A text file mapped into memory.

    Raises:
        OSError: it can't be read.
        ValueError: it is empty.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as stream:
            self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        """Bytes of the file."""
        return len(self._bytes)

    def places(self) -> Iterator[tuple[int, int]]:
        """Where each line begins and how many bytes it has, without its end; empty lines count as lines."""
        begin = 0
        while begin < len(self._bytes):
            end = self._bytes.find(b"\n", begin)
            end = len(self._bytes) if end < 0 else end
            yield begin, end - begin
            begin = end + 1

    def line(self, place: tuple[int, int]) -> bytes:
        """The bytes of the line at a place."""
        return self._bytes[place[0] : place[0] + place[1]].rstrip(b"\r")

    def first_field(self, place: tuple[int, int]) -> bytes:
        """What stands before the first tab of the line at a place."""
        end = self._bytes.find(b"\t", place[0], place[0] + place[1])
        return self._bytes[place[0] : end] if end >= 0 else self.line(place)
