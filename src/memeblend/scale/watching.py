"""Progress that one process writes into a file and another one follows."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from memeblend.training.progress import Progress

_SECONDS_BETWEEN = 0.3
_SECONDS_BETWEEN_LOOKS = 0.5


class Written:
    """A progress that is written down, line by line, for whoever follows the file.

    Args:
        path: the file; what it holds stays.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last = 0.0
        self._held_back: tuple[int, str] | None = None

    def start(self, label: str, total: int) -> None:
        """A piece of work begins."""
        self._flush()
        self._write("start", label, total)

    def advance(self, num_done: int, note: str = "") -> None:
        """So many steps of it are done; told a few times a second at most."""
        self._held_back = num_done, note
        if time.monotonic() - self._last >= _SECONDS_BETWEEN:
            self._flush()

    def say(self, text: str) -> None:
        """A sentence worth keeping."""
        self._flush()
        self._write("say", text)

    def _flush(self) -> None:
        if self._held_back is not None:
            self._last = time.monotonic()
            self._write("advance", *self._held_back)
        self._held_back = None

    def _write(self, *entry: Any) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")


class Followed(threading.Thread):
    """Within the block, a progress is told what another process writes down.

    Args:
        path: the file; it need not be there yet.
        progress: who is told.
    """

    def __init__(self, path: Path, progress: Progress) -> None:
        super().__init__(daemon=True)
        self.path, self.progress = path, progress
        self._over = threading.Event()
        self._num_read = 0

    def __enter__(self) -> Followed:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """Look now and then, and once more at the end."""
        is_over = False
        while not is_over:
            is_over = self._over.wait(_SECONDS_BETWEEN_LOOKS)
            self._tell()

    def _tell(self) -> None:
        try:
            with self.path.open("rb") as stream:
                stream.seek(self._num_read)
                found = stream.read()
        except OSError:
            return
        whole = found[: found.rfind(b"\n") + 1]  # the last line may still be under way
        self._num_read += len(whole)
        for line in whole.splitlines():
            what, *values = json.loads(line)
            getattr(self.progress, what)(*values)
