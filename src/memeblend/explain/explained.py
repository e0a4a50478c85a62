"""What explaining asks of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from memeblend.candidates.base import Candidate
from memeblend.decisions import DecisionRule
from memeblend.ensemble.selection import EnsembleChoice
from memeblend.labels import LabelTask
from memeblend.predictions import Predictions
from memeblend.training.preprocessing import Memes, Preprocessor


class ExplainedModel(Protocol):
    """A fitted ensemble of candidates, such as a `MemeClassifier`; see there for what the attributes hold."""

    @property
    def label_tasks_(self) -> tuple[LabelTask, ...]:
        """The trained label tasks."""

    @property
    def choices_(self) -> Mapping[str, EnsembleChoice]:
        """The chosen ensemble of each label task."""

    @property
    def rules_(self) -> Mapping[str, DecisionRule]:
        """How each label task's probabilities become decisions."""

    @property
    def reads_(self) -> Mapping[str, tuple[str, ...]]:
        """What each member reads of a meme."""

    @property
    def candidates_(self) -> Mapping[str, Candidate]:
        """The members by name."""

    @property
    def preprocessor_(self) -> Preprocessor:
        """What makes memes ready for the members."""

    def predict_prepared(self, memes: Memes) -> Predictions:
        """Everything the model says of memes in memory."""
