"""The memes that the trials of a stage are judged on, and what the stage starts from, made ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memeblend.candidates.making import plan
from memeblend.data.manifest import Manifest
from memeblend.data.splits import SplitRoles
from memeblend.errors import DataError, Problem
from memeblend.recipe import Recipe
from memeblend.recipe.chain import ContrastiveStage
from memeblend.recipe.searched import Searched
from memeblend.run.folder import rows_of
from memeblend.run.inputs import possible
from memeblend.run.pretraining import (
    Place,
    check_data,
    classifying,
    contrastive_settings,
    num_held_back,
    read_stage,
    stages_before,
    train_stages,
)
from memeblend.run.work import WithRoles, Work
from memeblend.training.contrastive.work import fingerprint_of
from memeblend.training.progress import Progress
from memeblend.tuning.setup import Setup, write_memes, write_pairs
from memeblend.tuning.training import before_stage

_FEWEST = 10
"""Labelled memes of a label task, or held-back pairs, without which no trial can be told from another."""


@dataclass(frozen=True)
class Grounds:
    """What a stage's trials stand on.

    Attributes:
        inputs: digest of the memes and of what comes before.
        work: that trains what the stage's candidate starts from; None for a contrastive stage.
    """

    inputs: str
    work: Work | None

    def train_before(self, searched: Searched) -> None:
        """Train the candidates that the stage starts from, unless that is done; at the least the preprocessor is made.

        Args:
            searched: the stage.
        """
        if self.work is None:
            return
        for one in before_stage(self.work.recipe, searched.candidate)[0]:
            self.work.train(one)
        self.work.make_ready()


def read_stages(recipe: Recipe, every: Sequence[Searched], progress: Progress) -> dict[str, list[Manifest]]:
    """The memes of each pre-training stage that is searched, or a candidate of which is.

    Refuses, before anything is trained, stages whose memes are not there, can't be read or are too few.

    Args:
        recipe: the recipe.
        every: the stages to search.
        progress: who watches.

    Raises:
        DataError: with the reasons.
        MissingExtraError: a candidate of a stage needs a package that is not installed.
    """
    names = list(dict.fromkeys(one.stage for one in every if one.stage))
    needed = {*names, *(before for name in names for before in stages_before(recipe, name))}
    check_data(recipe, needed if all(one.stage for one in every) else None)
    read = {name: read_stage(recipe, name, progress) for name in names}
    for name, manifests in read.items():
        stage = recipe.pretraining[name]
        if isinstance(stage, ContrastiveStage) and (found := num_held_back(stage, manifests)) < _FEWEST:
            raise DataError(
                f"pretraining.{name} holds back {found} pairs, which are too few to tell trials apart; it needs "
                f"{_FEWEST}.",
                fix="Use more memes (a fifth of them is held back at most), or raise its settings.num_validation.",
            )
    return read


def check_memes(memes: WithRoles, recipe: Recipe, every: Sequence[Searched]) -> None:
    """Refuse memes that are too few to select by, or that lack what a stage's candidate reads.

    Args:
        memes: the memes.
        recipe: the recipe of candidates.
        every: the stages to search that are candidates of it.

    Raises:
        DataError: with the reasons.
    """
    _check_enough(memes.manifest, memes.roles)
    left_out: list[str] = []
    there = {one.name for one in possible(plan(recipe), memes.manifest, left_out)}
    if any(f"{one.candidate}-0" not in there for one in every):
        raise DataError(" ".join(left_out), fix="Name another stage with --stage.")


def _check_enough(manifest: Manifest, roles: SplitRoles) -> None:
    selecting = manifest.take(rows_of(manifest, roles, ["select"]))
    found = {task.name: int((selecting.labels(task.name) >= 0).sum()) for task in manifest.label_tasks}
    problems = [
        Problem(f"label task {name}", f"{count} labelled memes select")
        for name, count in found.items()
        if count < _FEWEST
    ]
    if problems:
        raise DataError(
            f"The memes that select ({', '.join(roles.select)}) are too few to tell trials apart; each label task "
            f"needs {_FEWEST}:",
            problems=problems,
            fix="Use more memes, or raise splits.select_fraction where the data has no split of its own for it.",
        )


class Preparing:
    """Makes ready what the trials of stages stand on, one stage after the other.

    Args:
        memes: the memes of the recipe's candidates; None where none of these is searched.
        of_stages: those of each pre-training stage that is searched.
        progress: who watches.
    """

    def __init__(
        self, memes: WithRoles | None, of_stages: Mapping[str, Sequence[Manifest]], progress: Progress
    ) -> None:
        self.memes = memes
        self.of_stages = of_stages
        self.progress = progress
        self._trained: object = {}

    def grounds(self, setup: Setup) -> Grounds:
        """Train the pre-training stages that a stage starts from, unless that is done, and keep its memes for its
        trials.

        Args:
            setup: of the stage.

        Raises:
            DataError: memes can't be trained on, or are too few to select by.
            ModelError: what a stage starts from can't be loaded.
            OutputError: the run's folder can't be written.
        """
        if not setup.searched.stage:
            return self._of_recipe(setup)
        recipe, name = setup.recipe, setup.searched.stage
        before = stages_before(recipe, name)
        if before:
            train_stages(recipe, setup.run, cache_dir=setup.cache_dir, progress=self.progress, only=before)
        stage, manifests = recipe.pretraining[name], self.of_stages[name]
        if isinstance(stage, ContrastiveStage):
            write_pairs(manifests, setup.kept)
            return Grounds(fingerprint_of(manifests, contrastive_settings(recipe, stage, manifests, setup.run)), None)
        work, _ = classifying(stage, Place(recipe, name, manifests, setup.run, setup.cache_dir, self.progress))
        _check_enough(work.manifest, work.roles)
        write_memes(work, setup.kept)
        return Grounds(work.inputs, work)

    def _of_recipe(self, setup: Setup) -> Grounds:
        assert self.memes is not None, "the recipe's candidates are searched on its memes"
        recipe = setup.recipe
        if recipe.pretraining != self._trained:
            train_stages(recipe, setup.run, cache_dir=setup.cache_dir, progress=self.progress)
            self._trained = recipe.pretraining
        work = Work(setup.run, recipe, *self.memes, setup.cache_dir, self.progress)
        write_memes(work, setup.kept)
        return Grounds(work.inputs, work)
