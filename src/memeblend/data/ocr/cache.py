"""What engines have read, on disk; nothing that is wrong with the file stops a reading."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from memeblend.data.ocr.text import OcrLine
from memeblend.data.sqlite_cache import SqliteCache


class OcrCache(SqliteCache):
    """Lines by key. May be used from several threads.

    Args:
        path: the SQLite file; its folder is made.
        notify: takes a sentence where the file is made anew or left alone.
    """

    def __init__(self, path: str | Path, notify: Callable[[str], None]) -> None:
        columns = ("readings", "key", "lines")
        super().__init__(path, "OCR cache", columns, without="texts are read without it", notify=notify)

    def get(self, key: str) -> list[OcrLine] | None:
        """The lines of a key, None where they are not known."""
        text = self.find([key]).get(key)
        if text is None:
            return None
        try:
            return [OcrLine.from_list(line) for line in json.loads(text)]
        except (TypeError, ValueError):
            return None  # written by something else; it is read anew and replaced

    def put(self, key: str, lines: Sequence[OcrLine]) -> None:
        """Keep the lines of a key."""
        self.keep({key: json.dumps([line.to_list() for line in lines], ensure_ascii=False)})
