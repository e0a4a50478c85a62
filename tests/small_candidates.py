"""Candidates of the made-up data set, each fitted once, and what others need to start from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.candidates.base import Candidate, FitContext
from memeblend.candidates.making import make_candidate, plan
from memeblend.data.manifest import Manifest
from memeblend.labels import LabelTask
from memeblend.recipe import Recipe
from memeblend.training.encoder import make_preprocessor
from memeblend.training.preprocessing import Memes, prepare
from memeblend.training.progress import Progress, Silent
from small_runs import small_recipe


def labels_of(manifest: Manifest) -> NDArray[np.int64]:
    """Class indices [num_memes, num_label_tasks]."""
    return np.stack([manifest.labels(task.name) for task in manifest.label_tasks], axis=1)


def fit_context(
    recipe: Recipe,
    manifest: Manifest,
    memes: Memes,
    folder: Path,
    fitted: Callable[[str], Candidate],
    progress: Progress | None = None,
) -> FitContext:
    """Fit on train, select on validation."""
    labels = labels_of(manifest)
    fit, select = (np.flatnonzero(manifest.splits == split) for split in ("train", "validation"))
    return FitContext(
        recipe=recipe,
        label_tasks=manifest.label_tasks,
        fit=memes.take(fit),
        fit_labels=labels[fit],
        select=memes.take(select),
        select_labels=labels[select],
        seed=0,
        folder=folder,
        fitted=fitted,
        progress=progress or Silent(),
    )


@dataclass
class Setting:
    """Memes made ready for a recipe. Each gives a context to fit with, in which starts are fitted when asked for."""

    recipe: Recipe
    manifest: Manifest
    memes: Memes
    folder: Path
    done: dict[str, Candidate] = field(default_factory=dict)

    @classmethod
    def make(cls, manifest: Manifest, folder: Path, *settings: str) -> Setting:
        """The small recipe with settings on a manifest."""
        recipe = small_recipe(*settings)
        memes = prepare(manifest, make_preprocessor(recipe.encoder, manifest.texts), cache_dir=None)
        return cls(recipe, manifest, memes, folder)

    @property
    def label_tasks(self) -> tuple[LabelTask, ...]:
        return self.manifest.label_tasks

    @property
    def labels(self) -> NDArray[np.int64]:
        return labels_of(self.manifest)

    def rows(self, split: str) -> NDArray[np.int64]:
        return np.flatnonzero(self.manifest.splits == split)

    def context(self, **changes: Any) -> FitContext:
        """Fit on train, select on validation; fields can be changed."""
        context = fit_context(self.recipe, self.manifest, self.memes, self.folder, self.fitted)
        return replace(context, **changes)

    def fitted(self, name: str) -> Candidate:
        """A candidate of the recipe, fitted when first asked for."""
        if name not in self.done:
            candidate = make_candidate(next(one for one in plan(self.recipe) if one.name == name))
            candidate.fit(self.context(folder=self.folder / name))
            self.done[name] = candidate
        return self.done[name]
