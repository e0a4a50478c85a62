"""Who trains a run's models: this process, or others in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from memeblend.candidates.base import Planned
from memeblend.data.manifest import Manifest
from memeblend.recipe import Pretraining
from memeblend.training.contrastive.work import pretrain
from memeblend.training.progress import Progress

if TYPE_CHECKING:
    from memeblend.run.work import Work


class Pretrains(Protocol):
    """Pre-trains an encoder, as `training.contrastive.work.pretrain`."""

    def __call__(
        self,
        manifests: Sequence[Manifest],
        out: Path,
        settings: Pretraining,
        *,
        progress: Progress,
        cache_dir: Path,
    ) -> dict[str, Any]:
        """What is known of the encoder that now is in `out`."""


@dataclass(frozen=True)
class Hands:
    """Who trains.

    Attributes:
        candidates: trains those of the planned candidates that it can; this process trains the rest.
        encoder: pre-trains an encoder.
    """

    candidates: Callable[[Work, Sequence[Planned]], None]
    encoder: Pretrains


HERE = Hands(lambda work, planned: None, pretrain)
"""This process trains all."""
