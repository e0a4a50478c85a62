"""What every candidate can do, and what it is given to do it.

A new kind is one recipe variant, one class with these methods and one arm in `make_candidate`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from memeblend.labels import LabelTask
from memeblend.recipe.candidates import CandidateSpec
from memeblend.recipe.schema import Recipe
from memeblend.training.preprocessing import Memes
from memeblend.training.progress import Progress

if TYPE_CHECKING:
    from memeblend.training.workers import Workers


def _alone() -> Workers:
    from memeblend.training.workers import ALONE  # brings torch, which exported members do without

    return ALONE


@dataclass(frozen=True)
class FitContext:
    """What a candidate is trained with.

    Attributes:
        recipe: the resolved recipe.
        label_tasks: label tasks to learn, in the order of the labels' columns.
        fit: memes to train on.
        fit_labels: class indices [num_fit, num_label_tasks], -1 where missing.
        select: memes for early stopping.
        select_labels: class indices [num_select, num_label_tasks], -1 where missing.
        seed: seed of this candidate.
        folder: where the candidate may keep checkpoints and its `metrics.jsonl`.
        fitted: gives a finished candidate by its name, for those that start from others.
        progress: who watches.
        fit_groups: duplicate group of each meme to train on [num_fit], kept whole where some are held out; when
            left out, each is a group of its own.
        told: told of each finished epoch of a neural candidate: the key of its model ("joint", or a label task), the
            epoch from 1 and the metric on the memes to select by; where it says so, that training ends early.
        workers: who train a neural candidate together, each with the same context but for folder and progress.
    """

    recipe: Recipe
    label_tasks: tuple[LabelTask, ...]
    fit: Memes
    fit_labels: NDArray[np.int64]
    select: Memes
    select_labels: NDArray[np.int64]
    seed: int
    folder: Path
    fitted: Callable[[str], Candidate]
    progress: Progress
    fit_groups: NDArray[np.int64] | None = None
    told: Callable[[str, int, float], bool] = lambda key, epoch, score: False
    workers: Workers = field(default_factory=_alone)


class Member(Protocol):
    """What an ensemble needs of a member: a candidate, or an exported one."""

    @property
    def needs_text(self) -> bool:
        """Whether it reads ocr_text."""

    @property
    def needs_image(self) -> bool:
        """Whether it reads the image."""

    def predict(self, memes: Memes) -> Mapping[str, NDArray[np.float64]]:
        """Class probabilities [num_memes, num_classes] of each label task."""


class Candidate(ABC):
    """A model for all label tasks of a run, under a name such as "fusion-1".

    Attributes:
        name: kind and number.
        needs_text: whether it reads ocr_text.
        needs_image: whether it reads the image.
    """

    name: str
    needs_text: bool
    needs_image: bool

    @abstractmethod
    def fit(self, context: FitContext) -> None:
        """Train.

        Raises:
            TrainingError: it could not be trained, with the reason.
        """

    @abstractmethod
    def predict(self, memes: Memes) -> Mapping[str, NDArray[np.float64]]:
        """Class probabilities [num_memes, num_classes] of each label task."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write safetensors and JSON into an existing folder."""

    @classmethod
    @abstractmethod
    def load(cls, name: str, folder: Path) -> Candidate:
        """The inverse of `save`.

        Raises:
            ModelError: the folder is cut short or is not what `save` wrote.
        """


@dataclass(frozen=True)
class Planned:
    """A candidate that a recipe asks for.

    Attributes:
        name: kind and number, for example "text-0".
        number: the copy's number from 0.
        spec: its part of the recipe.
        starts_from: names of the candidates whose weights it starts from.
    """

    name: str
    number: int
    spec: CandidateSpec
    starts_from: tuple[str, ...]
