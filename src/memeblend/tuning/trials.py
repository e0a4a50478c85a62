"""A trial: values of the searched fields and what they led to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from memeblend.errors import OutputError
from memeblend.files import digest, write_json
from memeblend.recipe.search import LOWER_IS_BETTER

State = Literal["running", "finished", "stopped", "repeated", "failed"]
RESULT = "result.json"


@dataclass(frozen=True)
class Trial:
    """A trial.

    Attributes:
        number: from 0.
        values: by the recipe's dotted fields.
        state: "running"; "finished"; "stopped" early since it fell behind; "repeated", where an earlier trial of the
            same values stands for it; "failed".
        value: the metric on what the trial is judged by, of the best epoch; None while there is none.
        curves: the metric after each epoch, for each of the candidate's models.
        seconds: time it took.
        error: why it failed.
        metric: what `value` and `curves` are of.
    """

    number: int
    values: Mapping[str, Any]
    state: State = "running"
    value: float | None = None
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""
    metric: str = ""

    @property
    def merit(self) -> float | None:
        """The value so that higher is better, whatever the metric."""
        return None if self.value is None else merit(self.metric, self.value)

    @property
    def key(self) -> str:
        """Equal for trials of equal values."""
        return digest(dict(self.values))

    @property
    def num_epochs(self) -> int:
        """Epochs of the longest of its trainings."""
        return max((len(curve) for curve in self.curves.values()), default=0)

    def write(self, folder: Path) -> None:
        """Keep an ended trial in its folder.

        Raises:
            OutputError: it could not be written.
        """
        write_json(folder / RESULT, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Trial | None:
        """An ended trial; None where the folder has none.

        Raises:
            OutputError: its file is not what `write` wrote.
        """
        path = folder / RESULT
        if not path.is_file():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise OutputError(
                f"'{path}' could not be read: {error}.", fix="Remove it; the trial is made again."
            ) from error


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Trials that have a value and are distinct in what they tried, the best first, the earlier among equals."""
    found = [trial for trial in trials if trial.value is not None and trial.state in ("finished", "stopped")]
    return sorted(found, key=lambda trial: (-(trial.merit or 0.0), trial.number))


def merit(metric: str, value: float) -> float:
    """A metric so that higher is better: a loss with its sign changed.

    Args:
        metric: its name.
        value: of it.
    """
    return -value if metric in LOWER_IS_BETTER else value
