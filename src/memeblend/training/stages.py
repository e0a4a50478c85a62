"""Stages: folders that hold finished work with a fingerprint of what made it.

A stage whose fingerprint is unchanged is not run again; one whose inputs changed starts anew; one that was
killed goes on in its folder.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memeblend.errors import OutputError
from memeblend.files import write_json

_STARTED, _DONE = "started.json", "stage.json"


@dataclass(frozen=True)
class Stage:
    """A folder and the fingerprint of all that goes into what it will hold.

    Attributes:
        folder: where the stage works and leaves its results.
        fingerprint: digest of its inputs.
    """

    folder: Path
    fingerprint: str

    @property
    def is_done(self) -> bool:
        """Whether the folder holds the finished results of exactly these inputs."""
        return _fingerprint(self.folder / _DONE) == self.fingerprint

    @property
    def facts(self) -> dict[str, Any]:
        """What `run` kept about the finished stage."""
        return dict(json.loads((self.folder / _DONE).read_text(encoding="utf-8"))["facts"])

    def run(self, work: Callable[[Path], None]) -> bool:
        """Do the work unless it is done already.

        Args:
            work: is given the folder, which holds what a killed run of the same inputs left there.

        Returns:
            Whether the work was done now.

        Raises:
            OutputError: the folder could not be written.
        """
        if self.is_done:
            return False
        try:
            if self.folder.exists() and _fingerprint(self.folder / _STARTED) != self.fingerprint:
                for name in (_DONE, _STARTED):  # first, so that a kill in between leaves no folder that looks done
                    (self.folder / name).unlink(missing_ok=True)
                shutil.rmtree(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"Could not prepare '{self.folder}': {error.strerror or error}.") from error
        write_json(self.folder / _STARTED, {"fingerprint": self.fingerprint})
        began = time.monotonic()
        work(self.folder)
        facts = {"seconds": round(time.monotonic() - began, 2)}
        write_json(self.folder / _DONE, {"fingerprint": self.fingerprint, "facts": facts})
        return True


def _fingerprint(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
