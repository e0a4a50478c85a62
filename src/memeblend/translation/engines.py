"""What translates: a small interface, and the engine that changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from memeblend.errors import TranslationError

ENGINES = ("identity", "translators", "hf")
"""Names of the engines that `memeblend translate` knows."""

AUTO = "auto"
"""Source language that the engine finds out itself."""


@dataclass(frozen=True)
class Hop:
    """One step of a chain.

    Attributes:
        number: from 0.
        source: language of the texts, as the engine calls it, or `AUTO`.
        target: language to translate to.
    """

    number: int
    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"


@dataclass(frozen=True)
class Failure:
    """Why a text has no translation.

    Attributes:
        reason: in a few words, the same for all texts that fail alike.
        detail: what is particular about this one.
        of_text: whether the text is at fault, not the engine: one that is too long.
    """

    reason: str
    detail: str = ""
    of_text: bool = False

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


EMPTY = Failure("empty translation")
"""The engine answered without a word."""


class ServiceError(TranslationError):
    """A failure that may pass (no network, too many requests): the same request is sent again.

    Args:
        failure: what happened.
        wait_s: how long the service asks to be left alone, where it says so.
    """

    def __init__(self, failure: Failure, wait_s: float | None = None) -> None:
        super().__init__(f"{failure}")
        self.failure = failure
        self.wait_s = wait_s


class Engine(Protocol):
    """Translates texts.

    Attributes:
        name: in one word, for messages and the cache.
        batch_size: most texts of a request.
    """

    name: str
    batch_size: int

    def version(self, hop: Hop) -> str:
        """Says with `name` and the languages what would translate alike; the cache goes by it."""
        ...

    def translate(self, texts: Sequence[str], hop: Hop) -> list[str | Failure]:
        """A translation of each text, or why it has none. Texts are distinct and not blank.

        Raises:
            ServiceError: the request failed, and may do better later.
            TranslationError: it will always fail, whatever the text: an unknown language.
        """
        ...


class IdentityEngine:
    """Leaves every text as it is: the baseline of a study, with the same columns."""

    name = "identity"
    batch_size = 1000

    def version(self, hop: Hop) -> str:
        """See `Engine.version`."""
        return ""

    def translate(self, texts: Sequence[str], hop: Hop) -> list[str | Failure]:
        """See `Engine.translate`."""
        return list(texts)
