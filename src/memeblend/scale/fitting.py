"""`fit` by several workers of Ray Train: they train what is neural, this process does the rest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from memeblend.candidates.base import Planned
from memeblend.data.cache import default_cache_dir
from memeblend.data.manifest import Manifest
from memeblend.model import MemeClassifier
from memeblend.recipe import Recipe
from memeblend.recipe.candidates import NeuralCandidate
from memeblend.run import carry_out
from memeblend.run.folder import rows_of
from memeblend.run.hands import Hands
from memeblend.run.work import Work
from memeblend.scale.pretraining import pretrain_with_workers
from memeblend.scale.together import Crew, train_together
from memeblend.training.progress import Progress, Silent
from memeblend.training.workers import Workers

_BOOKS = "workers"


def fit_with_workers(
    manifest: Manifest,
    recipe: Recipe,
    out: str | Path,
    *,
    num_workers: int,
    address: str = "",
    progress: Progress | None = None,
    cache_dir: Path | None = None,
) -> MemeClassifier:
    """As `MemeClassifier.fit`, with neural candidates and pre-training stages trained by several processes.

    Each batch is that of one process and shared out; losses and gradients are those of the whole batch, to rounding.
    A worker that dies is replaced, up to three times, and all go on from the last checkpoint. A run is the same
    whoever trains it: the same call, with any number of workers or without, goes on where this one was stopped.

    Args:
        manifest: labelled memes.
        recipe: what to do.
        out: folder of the run.
        num_workers: how many.
        address: a running Ray cluster, whose machines must see `out` and the memes; "" starts Ray on this machine.
        progress: who watches.
        cache_dir: where decoded images are kept; None takes the default folder.

    Raises:
        DataError: fewer memes to train on than workers, or memes that can't be trained on.
        RecipeError: batches have fewer memes than there are workers, or the recipe is wrong.
        OutputError: the run folder can't be used.
        MissingExtraError: Ray is not installed.
        ClusterError: no cluster answers or has room, or workers keep failing.
    """
    crew, folder, watch = Crew(num_workers, address), Path(out).absolute(), progress or Silent()
    crew.check()
    crew.check_answers()
    hands = Hands(
        candidates=partial(_train_neural, crew),
        encoder=partial(pretrain_with_workers, num_workers=num_workers, address=address),
    )
    cache_dir = (cache_dir or default_cache_dir()).absolute()
    run = carry_out(manifest, recipe, folder, cache_dir=cache_dir, progress=watch, hands=hands)
    return MemeClassifier.from_run(run, progress=watch)


def _train_neural(crew: Crew, work: Work, planned: Sequence[Planned]) -> None:
    """Have the candidates that workers can train and that are not done trained by them."""
    due = {
        one.name: one.spec.training.batch_size
        for one in planned
        if not work.stage(one).is_done and isinstance(one.spec, NeuralCandidate)
    }
    if not due:
        work.progress.say("No neural candidate is left to train, so no workers are started.")
        return
    num_fit = len(rows_of(work.manifest, work.roles, ["fit"]))
    for name, batch_size in due.items():
        crew.check_memes(num_fit, batch_size, f"training.batch_size {batch_size} of {name} is fewer memes")
    work.make_ready()
    given = {
        "manifest": work.manifest,
        "recipe": work.recipe,
        "folder": work.folder,
        "roles": work.roles,
        "groups": work.groups,
        "cache_dir": work.cache_dir,
        "planned": list(planned),
        "due": set(due),
    }
    train_together(_fit, given, work.folder / _BOOKS, crew, work.progress)


def _fit(workers: Workers, progress: Progress, given: dict[str, Any]) -> None:
    """What each worker does."""
    parts = ("folder", "recipe", "manifest", "roles", "groups", "cache_dir")
    work = Work(**{name: given[name] for name in parts}, progress=progress, workers=workers)
    for one in given["planned"]:
        if one.name in given["due"]:
            work.make(one)
        else:
            work.stage(one)  # its fingerprint is part of that of those that start from it
