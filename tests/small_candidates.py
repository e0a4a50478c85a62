"""Candidates of the made-up data set, each fitted once, and what others need to start from them."""

from __future__ import annotations

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
from memeblend.training.progress import Silent
from small_runs import small_recipe


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
        return np.stack([self.manifest.labels(task.name) for task in self.label_tasks], axis=1)

    def rows(self, split: str) -> NDArray[np.int64]:
        return np.flatnonzero(self.manifest.splits == split)

    def context(self, **changes: Any) -> FitContext:
        """Fit on train, select on validation; fields can be changed."""
        train, validation = self.rows("train"), self.rows("validation")
        context = FitContext(
            recipe=self.recipe,
            label_tasks=self.label_tasks,
            fit=self.memes.take(train),
            fit_labels=self.labels[train],
            select=self.memes.take(validation),
            select_labels=self.labels[validation],
            seed=0,
            folder=self.folder,
            fitted=self.fitted,
            progress=Silent(),
        )
        return replace(context, **changes)

    def fitted(self, name: str) -> Candidate:
        """A candidate of the recipe, fitted when first asked for."""
        if name not in self.done:
            candidate = make_candidate(next(one for one in plan(self.recipe) if one.name == name))
            candidate.fit(self.context(folder=self.folder / name))
            self.done[name] = candidate
        return self.done[name]
