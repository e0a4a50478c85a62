"""Every exception that memeblend raises on purpose.

    MemeblendError
    ├── DataError            a data set, table or manifest that can't be used
    │   └── ImageError       an image that can't be decoded safely
    ├── RecipeError          a recipe that says something it can't say
    ├── PredictionError      a prediction table that can't be used
    ├── PolicyError          a policy that says something it can't say
    ├── ModelError           a model folder that is not ours, cut short or altered
    ├── TrainingError        a stage that could not be trained
    ├── TranslationError     a translator that does not answer, or does not know a language
    ├── ClusterError         a Ray cluster that does not answer, or can't be started
    ├── MissingExtraError    an optional package that is not installed
    └── OutputError          a file or folder that could not be written

A message says what was expected, what was found and where, and what to do. An error that can have
many causes at once (a table with forty bad rows) collects them all and is raised once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_SHOWN_PROBLEMS = 20


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where.

    Attributes:
        where: file, row or column, as a user would look it up ("labels.csv row 12, column humour").
        what: what was found there and what was expected.
        meme_id: the meme concerned, where there is one.
    """

    where: str
    what: str
    meme_id: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class MemeblendError(Exception):
    """Base of all memeblend errors.

    Args:
        message: one or more plain sentences.
        problems: every single problem found; the message shown lists the first twenty and counts the rest.
        fix: what the user can do about it.
    """

    def __init__(self, message: str, *, problems: Sequence[Problem] = (), fix: str = "") -> None:
        self.message = message
        self.problems = tuple(problems)
        self.fix = fix
        super().__init__(self._text())

    def _text(self) -> str:
        lines = [self.message]
        lines += [f"  - {problem}" for problem in self.problems[:_SHOWN_PROBLEMS]]
        if len(self.problems) > _SHOWN_PROBLEMS:
            lines.append(f"  ... and {len(self.problems) - _SHOWN_PROBLEMS} more")
        if self.fix:
            lines.append(self.fix)
        return "\n".join(lines)


class DataError(MemeblendError):
    """A data set, table or manifest that can't be used as it is."""


class ImageError(DataError):
    """An image that can't be decoded safely: corrupt, truncated, too large, or not an image."""


class RecipeError(MemeblendError):
    """A recipe with an unknown key, a wrong value, or a combination that makes no sense."""


class PredictionError(MemeblendError):
    """A prediction table with wrong columns, ids, classes or probabilities."""


class PolicyError(MemeblendError):
    """A policy with an unknown key or category, a wrong value, or memes that it can't be fitted on."""


class ModelError(MemeblendError):
    """A model folder that is not ours, is cut short, or does not match its own description."""


class TrainingError(MemeblendError):
    """A stage that could not be trained, with the reason."""


class TranslationError(MemeblendError):
    """A translator that does not answer, gives nothing, or does not know a language."""


class MissingExtraError(MemeblendError):
    """Something needs an optional package that is not installed; `fix` names the extra to install."""


class ClusterError(MemeblendError):
    """A Ray cluster that does not answer, or that can't be started on this machine."""


class HubError(MemeblendError):
    """A model hub that refuses, does not answer or does not have what was asked for."""


class OutputError(MemeblendError):
    """Something could not be written (disk full, no permission); nothing half-written was left behind."""
