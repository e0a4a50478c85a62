"""The policy that a running server follows: read at the start, exchanged while it serves."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memeblend.errors import PolicyError
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import LabelTask
from memeblend.policy import Policy
from memeblend.serving.settings import ServerSettings


class Policies:
    """Holds a server's policy.

    Args:
        label_tasks: the model's trained label tasks.
        validation: what the model says of its validation.
        settings: the server's; where `policy` names a file, that is followed and kept up to date.

    Attributes:
        label_tasks: as given.
        validation: as given.
        path: the file; None keeps policies in memory alone.

    Raises:
        PolicyError: the file can't be read or used.
    """

    def __init__(
        self,
        label_tasks: Sequence[LabelTask],
        validation: Mapping[str, PredictionTable],
        settings: ServerSettings,
    ) -> None:
        self.label_tasks = tuple(label_tasks)
        self.validation = validation
        self.path = Path(settings.policy) if settings.policy else None
        self._thresholds = bool(settings.thresholds)
        self._lock = threading.Lock()
        self._current = None if self.path is None else Policy.read(self.path, self.label_tasks)

    @property
    def current(self) -> Policy | None:
        """The policy that is followed; None leaves everything to the model's decisions."""
        return self._current

    @property
    def fits(self) -> bool:
        """Whether the current policy was fitted on this model."""
        current = self._current
        return current is None or current.fits(self.validation)

    def replace(self, policy: Policy) -> None:
        """Follow another policy from now on, and write it to the file where there is one.

        Requests that are being answered end under the policy that they began with. Blocks while the file is written.

        Raises:
            PolicyError: the policy names what the model does not have, is too large for a file, or the server goes by
                thresholds.
            OutputError: the file could not be written; the policy before is still followed.
        """
        if self._thresholds:
            raise PolicyError(
                "This server was started with --threshold, which a policy would overrule.",
                fix="Start it without --threshold, or with --policy.",
            )
        checked = Policy.from_dict(policy.to_dict(), self.label_tasks)
        checked.text()  # what no file can hold can't be kept, with a file or without
        with self._lock:
            if self.path is not None:
                checked.write(self.path)
            self._current = checked

    def said_of(self, records: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any] | None]:
        """What the current policy says of records; None of each where there is no policy."""
        current = self._current
        return [None] * len(records) if current is None else current.decide_records(records)
