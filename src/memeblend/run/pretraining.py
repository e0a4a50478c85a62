"""The pre-training stages of a recipe, carried out in a run's folder before its candidates.

    pretraining/<stage>/encoder/            of a contrastive stage: a folder as `memeblend pretrain` writes it
    pretraining/<stage>/stages/, ...        of a stage of candidates: laid out like a run

A stage is carried out again when its memes, its part of the recipe or what it starts from has changed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from memeblend.candidates.base import Planned
from memeblend.candidates.making import plan
from memeblend.data.cache import unreadable_images
from memeblend.data.combining import combined
from memeblend.data.manifest import Manifest
from memeblend.errors import DataError, Problem
from memeblend.recipe import Pretraining, Recipe
from memeblend.recipe.chain import ClassifyStage, ContrastiveStage, stage_arrows, training_order
from memeblend.recipe.parts import PAIR
from memeblend.run.hands import HERE, Hands
from memeblend.run.inputs import check_needs, possible
from memeblend.run.places import candidates_in, encoder_in, stage_folder
from memeblend.run.work import Work, begin
from memeblend.training.contrastive.pairs import SHARE_HELD_BACK
from memeblend.training.contrastive.work import fingerprint_of
from memeblend.training.encoder import image_transform, shown_source
from memeblend.training.progress import Progress
from memeblend.training.stages import Stage


@dataclass(frozen=True)
class Place:
    """Where and with what a stage is carried out.

    Attributes:
        recipe: that it is part of.
        name: of the stage.
        manifests: its memes.
        run: the run's folder.
        cache_dir: where decoded images are kept.
        progress: who watches.
        hands: who trains.
    """

    recipe: Recipe
    name: str
    manifests: Sequence[Manifest]
    run: Path
    cache_dir: Path
    progress: Progress
    hands: Hands = HERE

    @property
    def folder(self) -> Path:
        """The stage's own."""
        return stage_folder(self.run, self.name)

    def say(self, text: str) -> None:
        """Tell something of the stage."""
        _say(self.progress, self.name, text)


def train_stages(
    recipe: Recipe,
    folder: Path,
    *,
    cache_dir: Path,
    progress: Progress,
    hands: Hands = HERE,
    only: Collection[str] | None = None,
) -> None:
    """Carry out the recipe's pre-training stages, each after those that it starts from, unless that is done.

    Args:
        recipe: the recipe, with names of stages in it.
        folder: the run's folder, claimed.
        cache_dir: where decoded images are kept.
        progress: who watches.
        hands: who trains.
        only: names of the stages that are wanted; None wants all.

    Raises:
        DataError: memes of a stage are not there or can't be trained on.
        ModelError: what a stage starts from can't be loaded or does not fit.
        OutputError: the folder can't be written.
    """
    wanted = recipe.pretraining if only is None else only
    check_data(recipe, wanted)
    # Read first, so that what can't be read is told before anything is trained.
    memes = {name: read_stage(recipe, name, progress) for name in recipe.pretraining if name in wanted}
    for name in training_order(recipe.pretraining, recipe.encoder.source):
        if name not in wanted:
            continue
        stage = recipe.pretraining[name]
        place = Place(recipe, name, memes[name], folder.absolute(), cache_dir, progress, hands)
        if isinstance(stage, ContrastiveStage):
            _contrast(stage, place)
        else:
            _classify(stage, place)


def stages_before(recipe: Recipe, name: str) -> set[str]:
    """The stages that a stage starts from, and that those start from."""
    found: set[str] = set()
    due = [name]
    while due:
        arrows = stage_arrows(due.pop(), recipe.pretraining, recipe.encoder.source)
        new = {arrow.value for arrow in arrows if arrow.value in recipe.pretraining} - found
        found |= new
        due += sorted(new)
    return found


def check_data(recipe: Recipe, names: Collection[str] | None = None) -> None:
    """Refuse a recipe whose stages' memes are not there, before anything is trained.

    Args:
        recipe: the recipe.
        names: of the stages that matter; None for all.

    Raises:
        DataError: with every path that leads nowhere.
    """
    problems = [
        Problem(f"pretraining.{name}.data", f"there is no file or folder '{path}'")
        for name, stage in recipe.pretraining.items()
        for path in stage.data
        if (names is None or name in names) and not Path(path).expanduser().exists()
    ]
    if problems:
        raise DataError(
            "Memes that the recipe pre-trains on are not there:",
            problems=problems,
            fix="Make them with `memeblend prepare`, or say where they are: --set 'pretraining.STAGE.data=[\"PATH\"]'.",
        )


def read_stage(recipe: Recipe, name: str, progress: Progress) -> list[Manifest]:
    """The memes of a stage.

    Args:
        recipe: the recipe.
        name: of the stage.
        progress: who watches.

    Raises:
        DataError: they can't be read.
        MissingExtraError: a candidate of the stage needs a package that is not installed.
    """
    stage = recipe.pretraining[name]
    if isinstance(stage, ClassifyStage):
        check_needs(recipe.model_copy(update={"candidates": stage.candidates}))
    label_tasks = None if isinstance(stage, ContrastiveStage) else ()
    notify = partial(_say, progress, name)
    return [Manifest.read(Path(path).expanduser(), label_tasks=label_tasks, notify=notify) for path in stage.data]


def _say(progress: Progress, name: str, text: str) -> None:
    progress.say(f"pretraining {name}: {text}")


def _contrast(stage: ContrastiveStage, place: Place) -> None:
    settings = contrastive_settings(place.recipe, stage, place.manifests, place.run)

    def work(folder: Path) -> None:
        anew = "its projections into the joint space" if settings.encoder.source == PAIR else "nothing"
        place.say(f"the encoder starts from {shown_source(settings.encoder)}, as a whole; started anew: {anew}.")
        facts = place.hands.encoder(
            place.manifests, folder / "encoder", settings, progress=place.progress, cache_dir=place.cache_dir
        )
        before, after = (facts["held_back"][when]["loss"] for when in ("before", "after"))
        place.say(f"loss on held-back pairs {before:.3f} before, {after:.3f} after.")

    Stage(place.folder, fingerprint_of(place.manifests, settings)).run(work)


def contrastive_settings(
    recipe: Recipe, stage: ContrastiveStage, manifests: Sequence[Manifest], folder: Path
) -> Pretraining:
    """The settings of a contrastive stage with encoder, seed and number of steps put in.

    Args:
        recipe: the recipe.
        stage: its stage.
        manifests: the stage's memes.
        folder: the run's folder.
    """
    own = stage.settings
    base = recipe.model_copy(update={"encoder": recipe.encoder.model_copy(update={"source": stage.start})})
    num_steps = own.num_steps
    if stage.num_epochs:
        num_fit = sum(_num_pairs(manifest, own.splits) for manifest in manifests) - num_held_back(stage, manifests)
        num_steps = max(1, stage.num_epochs * math.ceil(num_fit / own.batch_size))
    return own.model_copy(
        update={
            "encoder": encoder_in(base, folder),
            "seed": recipe.seed,
            "num_steps": num_steps,
            "eval_every": min(own.eval_every, num_steps),
        }
    )


def num_held_back(stage: ContrastiveStage, manifests: Sequence[Manifest]) -> int:
    """About how many pairs of its memes a contrastive stage holds back, before images are looked at."""
    num_pairs = sum(_num_pairs(manifest, stage.settings.splits) for manifest in manifests)
    return min(stage.settings.num_validation, num_pairs // SHARE_HELD_BACK)


def _num_pairs(manifest: Manifest, splits: Sequence[str]) -> int:
    with_text = np.array([bool(text.strip()) for text in manifest.texts], dtype=bool)
    return int((with_text & np.isin(manifest.splits, splits)).sum())


def _classify(stage: ClassifyStage, place: Place) -> None:
    work, planned = classifying(stage, place)
    names = ", ".join(one.name for one in planned)
    place.say(f"{names} on {len(work.manifest):,} memes.")
    place.hands.candidates(work, planned)
    for one in planned:
        work.train(one)


def classifying(stage: ClassifyStage, place: Place) -> tuple[Work, list[Planned]]:
    """The work of a stage of candidates, with its memes read and checked and nothing trained, and its candidates.

    Args:
        stage: the stage.
        place: where it is carried out.

    Raises:
        DataError: its memes can't be trained on.
    """
    own = stage_recipe(place.recipe, stage, place.name, place.run)
    place.folder.mkdir(parents=True, exist_ok=True)
    manifest = combined(place.manifests)
    if manifest.has_images:
        problems = unreadable_images(manifest, image_transform(own.encoder), place.cache_dir)
        rejected = place.folder / "rejected.csv"
        rejected.unlink(missing_ok=True)
        manifest = manifest.reject(problems, rejected, place.say)
    work = begin(manifest, own, place.folder, cache_dir=place.cache_dir, progress=place.progress, hands=place.hands)
    planned, left_out = plan(own), list[str]()
    possible(planned, work.manifest, left_out)
    if left_out:
        raise DataError(
            f"pretraining {place.name}: {left_out[0]}", fix="Give its memes what is missing, or leave these out."
        )
    return work, planned


def stage_recipe(recipe: Recipe, stage: ClassifyStage, name: str, folder: Path) -> Recipe:
    """A stage of candidates as a recipe of its own.

    Args:
        recipe: the recipe that it belongs to.
        stage: the stage.
        name: its name.
        folder: the run's folder.
    """
    candidates = candidates_in(stage.candidates, recipe.pretraining, folder)
    made = Recipe(
        name=f"{recipe.name}, {name}",
        seed=recipe.seed,
        copies=1,
        only_label_tasks=stage.only_label_tasks,
        splits=stage.splits,
        encoder=encoder_in(recipe, folder),
        losses=stage.losses,
        training=stage.training,
        candidates=candidates,
    )
    # Validating fills up a candidate's training from the recipe's once more; the stage's is whole already.
    return made.model_copy(update={"candidates": candidates})
