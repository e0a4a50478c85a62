"""Web services, through the package `translators` that the paper used (extra `translators`).

That package scrapes the pages of services; it promises nothing, and the texts leave this machine. It is imported with
the first request, since importing it asks the network where this machine stands; that question is not asked here.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import Any

from memeblend.errors import MissingExtraError, TranslationError
from memeblend.translation.engines import EMPTY, Failure, Hop, ServiceError

INSTALL = 'Install the extra, best in an environment of its own: pip install "memeblend[translators]"'
_REGION = "translators_default_region"


class ServiceEngine:
    """One web service; a text is a request.

    Args:
        service: as the package calls it: google, bing, ...
        timeout_s: how long an answer may take.

    Raises:
        MissingExtraError: the package is not installed.
    """

    name = "translators"
    batch_size = 1

    def __init__(self, service: str = "google", timeout_s: float = 30.0) -> None:
        if importlib.util.find_spec("translators") is None:
            raise MissingExtraError("The engine 'translators' needs the package translators.", fix=INSTALL)
        self.service = service
        self.timeout_s = timeout_s

    def version(self, hop: Hop) -> str:
        """The service's name; the package's version is left out, for a new one does not translate anew."""
        return self.service

    def translate(self, texts: Sequence[str], hop: Hop) -> list[str | Failure]:
        """See `Engine.translate`."""
        translators = self._translators()
        return [self._translated(translators, text, hop) for text in texts]

    def _translators(self) -> Any:
        os.environ.setdefault(_REGION, "EN")  # or importing it looks the machine's address up at a third party's
        try:
            import translators
        except ImportError as error:
            raise MissingExtraError(f"The package translators can't be used: {error}.", fix=INSTALL) from error
        except Exception as error:  # it prepares all its services while it is imported
            raise ServiceError(_failure(error)) from error
        if self.service not in translators.translators_pool:
            raise TranslationError(
                f"The package translators knows no service '{self.service}'.",
                fix=f"Services are {', '.join(sorted(translators.translators_pool))}.",
            )
        return translators

    def _translated(self, translators: Any, text: str, hop: Hop) -> str | Failure:
        try:
            found = translators.translate_text(
                text,
                translator=self.service,
                from_language=hop.source,
                to_language=hop.target,
                timeout=self.timeout_s,
                if_print_warning=False,
            )
        except Exception as error:  # it and the clients below it raise nearly anything
            told = str(error) if type(error).__name__ == "TranslatorError" else ""
            if "Unsupported" in told:
                raise TranslationError(
                    f"The service {self.service} does not translate {hop}: {told[:300]}",
                    fix="Choose languages that it knows (--source, --chain), or another --service.",
                ) from error
            if "exceeds the limit" in told:
                return Failure("too long for the service", f"{len(text)} characters", of_text=True)
            raise ServiceError(_failure(error), _asked_wait_s(error)) from error
        if found is None:
            return EMPTY
        return found if isinstance(found, str) else Failure("no text in the answer", f"a {type(found).__name__}")


def _failure(error: Exception) -> Failure:
    """The kind of an error as reason, its words (which may name hosts and ports) as detail."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    kind = type(error).__name__
    return Failure(f"{kind} {status}" if status else kind, " ".join(str(error).split())[:300])


def _asked_wait_s(error: Exception) -> float | None:
    """What a response's `Retry-After` asks for, in seconds; dates are not read."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    value = str(headers.get("Retry-After", ""))
    return float(value) if value.isdecimal() else None
