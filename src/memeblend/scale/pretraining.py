"""Pre-training by several workers of Ray Train: the same stage, each worker with its part of every batch."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from memeblend.data.manifest import Manifest
from memeblend.errors import ClusterError, DataError, MemeblendError, RecipeError
from memeblend.ray_session import need_ray, ray_session
from memeblend.recipe.pretraining import Pretraining
from memeblend.training.contrastive.work import claimed, fingerprint_of, pretrain, read_facts
from memeblend.training.progress import Progress, Silent
from memeblend.training.workers import Workers

_MAX_FAILURES = 3
_PLACE_IN_GROUP = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK")
_METRICS = Path("training", "metrics.jsonl")
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
    need_ray("Several workers and clusters")
    if num_workers < 1:
        raise DataError(f"{num_workers} workers can't be.")
    num_memes = sum(len(manifest) for manifest in manifests)
    if num_memes < num_workers:
        raise DataError(f"{num_memes} meme(s) are fewer than {num_workers} workers.", fix="Ask for fewer workers.")
    if settings.batch_size < num_workers:
        raise RecipeError(f"batch_size {settings.batch_size} is fewer pairs than there are workers ({num_workers}).")
    out, progress = Path(out).absolute(), progress or Silent()
    if claimed(out, fingerprint_of(manifests, settings)):
        return read_facts(out)
    given = {"manifests": list(manifests), "out": out, "settings": settings, "cache_dir": cache_dir}
    try:
        with ray_session(num_workers, address), _Followed(out / _METRICS, settings.num_steps, progress):
            _check_room(num_workers)
            _train(given, out, num_workers)
    finally:
        shutil.rmtree(out / _BOOKS, ignore_errors=True)
    return read_facts(out)


def _check_room(num_workers: int) -> None:
    """Ray would wait for machines to join, without end.

    Raises:
        ClusterError: the cluster has fewer cores than workers.
    """
    import ray

    cores = int(ray.cluster_resources().get("CPU", 0))
    if cores < num_workers:
        raise ClusterError(f"The cluster has {cores} CPU core(s) for {num_workers} workers.", fix="Ask for fewer.")


def _train(given: dict[str, Any], out: Path, num_workers: int) -> None:
    import ray
    from ray.exceptions import RayError
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    trainer = TorchTrainer(
        _work,
        train_loop_config=given,
        scaling_config=ScalingConfig(
            num_workers=num_workers, use_gpu=ray.cluster_resources().get("GPU", 0) >= num_workers
        ),
        run_config=RunConfig(
            name="pretrain",
            storage_path=str(out / _BOOKS),
            failure_config=FailureConfig(max_failures=_MAX_FAILURES),
        ),
    )
    try:
        trainer.fit()
    except (TrainingFailedError, RayError) as error:
        failures = list(getattr(error, "worker_failures", {}).values())
        causes = [getattr(one, "_base_exc", one) for one in failures]
        for cause in causes:
            if isinstance(cause, MemeblendError):
                raise cause from error
        reason = next((str(cause) for cause in causes), str(error)).strip().splitlines() or [type(error).__name__]
        raise ClusterError(
            f"The workers failed {_MAX_FAILURES + 1} times: {reason[-1]}",
            fix="The same command goes on from the last checkpoint, with --num-workers or without.",
        ) from error


def _work(given: dict[str, Any]) -> None:
    """What each worker does; torch's process group is there already."""
    workers = Workers.of_process_group()
    with _by_itself():
        pretrain(given["manifests"], given["out"], given["settings"], cache_dir=given["cache_dir"], workers=workers)


@contextmanager
def _by_itself() -> Iterator[None]:
    """The Trainer takes itself for the only process: shared out by itself, batches would not be one's parts."""
    hidden = {name: os.environ.pop(name) for name in _PLACE_IN_GROUP if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


class _Followed(threading.Thread):
    """Tells the progress what the first worker writes into its metrics."""

    def __init__(self, metrics: Path, num_steps: int, progress: Progress) -> None:
        super().__init__(daemon=True)
        self.metrics, self.progress, self.over = metrics, progress, threading.Event()
        progress.start("pre-training", num_steps)

    def __enter__(self) -> _Followed:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.join()

    def run(self) -> None:
        """Look once a second, and once more at the end."""
        is_over = False
        while not is_over:
            is_over = self.over.wait(1.0)
            try:
                lines = self.metrics.read_text(encoding="utf-8").splitlines()
                entries = [json.loads(line) for line in lines]
            except (OSError, ValueError):
                continue
            losses = [entry["eval_loss"] for entry in entries if "eval_loss" in entry]
            if entries:
                note = f"loss {losses[-1]:.3f} on held-back pairs" if losses else ""
                self.progress.advance(int(entries[-1].get("step", 0)), note)
