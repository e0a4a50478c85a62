"""Pre-training by several workers of Ray Train: the same stage, each worker with its part of every batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memeblend.data.manifest import Manifest
from memeblend.recipe.pretraining import Pretraining
from memeblend.scale.together import Crew, train_together
from memeblend.training.contrastive.work import claimed, fingerprint_of, pretrain, read_facts
from memeblend.training.progress import Progress, Silent
from memeblend.training.workers import Workers

_BOOKS = Path("training", "ray")


def pretrain_with_workers(
    manifests: Sequence[Manifest],
    out: str | Path,
    settings: Pretraining,
    *,
    num_workers: int,
    address: str = "",
    progress: Progress | None = None,
    cache_dir: Path | None = None,
) -> dict[str, Any]:
    """As `training.contrastive.work.pretrain`, by several processes, to the same encoder but for rounding.

    A worker that dies is replaced, up to three times; all go on from the last checkpoint. The same call, with any
    number of workers or without, goes on where this one was stopped. Workers have a GPU each where the cluster has as
    many, and else a CPU core each.

    Args:
        manifests: memes with images and texts.
        out: folder of the encoder.
        settings: how; a batch is shared out among the workers.
        num_workers: how many.
        address: a running Ray cluster, whose machines must see `out` and the memes; "" starts Ray on this machine.
        progress: who watches.
        cache_dir: where decoded images are kept; None takes the default folder.

    Returns:
        What `pretraining.json` holds.

    Raises:
        DataError: fewer memes than workers, or what `pretrain` says.
        RecipeError: batches have fewer pairs than there are workers.
        OutputError: `out` holds something else.
        MissingExtraError: Ray is not installed.
        ClusterError: no cluster answers or has room, or workers keep failing.
    """
    crew = Crew(num_workers, address)
    crew.check()
    num_memes, batch_size = sum(len(manifest) for manifest in manifests), settings.batch_size
    crew.check_memes(num_memes, batch_size, f"batch_size {batch_size} is fewer pairs")
    out = Path(out).absolute()
    if not claimed(out, fingerprint_of(manifests, settings)):
        given = {"manifests": list(manifests), "out": out, "settings": settings, "cache_dir": cache_dir}
        train_together(_pretrain, given, out / _BOOKS, crew, progress or Silent())
    return read_facts(out)


def _pretrain(workers: Workers, progress: Progress, given: dict[str, Any]) -> None:
    """What each worker does."""
    pretrain(
        given["manifests"],
        given["out"],
        given["settings"],
        cache_dir=given["cache_dir"],
        progress=progress,
        workers=workers,
    )
