"""What a long piece of work tells whoever watches it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives progress; the command line draws it, a library user may pass their own."""

    def start(self, label: str, total: int) -> None:
        """A piece of work of `total` steps begins; a piece that was under way is over."""

    def advance(self, num_done: int, note: str = "") -> None:
        """So many steps of it are done in total; `note` is a short remark such as a score."""

    def say(self, text: str) -> None:
        """A sentence worth keeping."""


class Silent:
    """Progress that nobody watches."""

    def start(self, label: str, total: int) -> None:
        """Nothing."""

    def advance(self, num_done: int, note: str = "") -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""
