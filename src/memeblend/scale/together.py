"""A training that several workers of Ray Train carry out together, for as long as it takes."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from memeblend.errors import ClusterError, DataError, MemeblendError, RecipeError
from memeblend.ray_client import carry_out_there, is_far
from memeblend.ray_session import check_room, need_ray, ray_session
from memeblend.scale.watching import Followed, Written
from memeblend.training.progress import Progress, Silent
from memeblend.training.workers import Workers

_MAX_FAILURES = 3
_PLACE_IN_GROUP = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK")
_LONGEST_WAIT = 24 * 3600
"""Seconds that workers wait for the first one, which estimates blend weights or judges an epoch alone. One that died
is noticed at once, by Ray."""
_PROGRESS = "progress.jsonl"

Training = Callable[[Workers, Progress, dict[str, Any]], None]
"""What each worker calls: with its place among them, who watches, and what it was given."""


@dataclass(frozen=True)
class Crew:
    """The workers to be.

    Attributes:
        num_workers: how many.
        address: a running Ray cluster; "" starts Ray on this machine.
    """

    num_workers: int
    address: str = ""

    def check(self) -> None:
        """Refuse what can't be, before anything is read.

        Raises:
            DataError: fewer workers than one.
            MissingExtraError: Ray is not installed.
        """
        if self.num_workers < 1:
            raise DataError(f"{self.num_workers} workers can't be.", fix="Ask for one or more.")
        need_ray("Several workers and clusters")

    def check_answers(self) -> None:
        """Refuse a cluster that does not answer or has no room, before anything is trained.

        Raises:
            ClusterError: it has no CPU for each worker, or is none.
        """
        if self.address:
            with ray_session(self.num_workers, self.address):
                check_room(self.num_workers)

    def check_memes(self, num_memes: int, batch_size: int, what: str) -> None:
        """Refuse workers that would have nothing to do.

        Args:
            num_memes: to train on.
            batch_size: of a batch that they share.
            what: how a message says that it is too small: "batch_size 2 is fewer pairs".

        Raises:
            DataError: fewer memes than workers.
            RecipeError: batches smaller than workers are many.
        """
        if num_memes < self.num_workers:
            raise DataError(
                f"{num_memes} meme(s) are fewer than {self.num_workers} workers.", fix="Ask for fewer workers."
            )
        if batch_size < self.num_workers:
            raise RecipeError(
                f"{what} than there are workers ({self.num_workers}).", fix="Ask for fewer workers, or raise it."
            )


def train_together(training: Training, given: dict[str, Any], books: Path, crew: Crew, progress: Progress) -> None:
    """Have a training carried out by workers, each in a process of its own that is a member of torch's process group.

    Workers have a GPU each (nccl) where the cluster has as many, and else a CPU core each (gloo). Where one dies all
    are started again, up to three times, and call the training anew: it must go on from what it left on disk.

    Args:
        training: a function that can be imported by the workers; the first one's progress is told to this one's.
        given: goes to each of them.
        books: a folder that all see, for Ray's own files meanwhile; what is in it is removed.
        crew: the workers.
        progress: who watches.

    Raises:
        MemeblendError: what the training raised.
        ClusterError: no cluster answers or has room, or workers keep dying.
    """
    books = books.absolute()
    if is_far(crew.address):
        there = partial(train_together, training, given, books, replace(crew, address="auto"))
        return carry_out_there(crew.address, there, {"progress": progress})
    shutil.rmtree(books, ignore_errors=True)
    try:
        with ray_session(crew.num_workers, crew.address):
            check_room(crew.num_workers)
            books.mkdir(parents=True)
            progress.start("starting workers", crew.num_workers)
            config = {"training": training, "given": given, "books": books, "cwd": Path.cwd()}
            with Followed(books / _PROGRESS, progress):
                for number in range(_MAX_FAILURES + 1):
                    reason = _tried(config, books / str(number), crew.num_workers)
                    if reason is None:
                        return None
                    if number < _MAX_FAILURES:
                        progress.say(f"A worker failed ({reason.rstrip('.')}). All go on from the last checkpoint.")
        raise ClusterError(
            f"The workers failed {_MAX_FAILURES + 1} times: {reason}",
            fix="The same command goes on from the last checkpoint, with --num-workers or without.",
        )
    finally:
        shutil.rmtree(books, ignore_errors=True)


def _tried(config: dict[str, Any], storage: Path, num_workers: int) -> str | None:
    """Why the workers failed; None where they came to the end.

    Raises:
        MemeblendError: what the training raised.
    """
    from ray.exceptions import RayError
    from ray.train.v2.api.exceptions import TrainingFailedError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of its own settings
            _trainer(config, storage, num_workers).fit()
    except (TrainingFailedError, RayError) as error:
        # What a worker raised comes as it is or wrapped, depending on when Ray heard of it; a death is Ray's own error.
        failures = [getattr(one, "_base_exc", one) for one in getattr(error, "worker_failures", {}).values()]
        raised = [one for one in failures if not type(one).__module__.startswith("ray.")]
        has_died = len(raised) < len(failures)
        # A worker whose neighbour died raises a RuntimeError of torch's; any other error would come again.
        final = [one for one in raised if isinstance(one, MemeblendError)]
        if not has_died:
            final += [one for one in raised if not isinstance(one, RuntimeError)]
        if final:
            raise final[0] from error
        if has_died:
            return "its process died: was it killed, or out of memory?"
        reason = str((raised or [error])[0]).strip().splitlines() or [type(error).__name__]
        return reason[-1]
    return None


def _trainer(config: dict[str, Any], storage: Path, num_workers: int) -> Any:
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    class Trainer(TorchTrainer):
        def _register_sigint_handler(self, controller: Any) -> None:
            """Ctrl-C ends the command and with it the session; Ray's own handler would stay when the training ends."""

    class Config(TorchConfig):
        @property
        def backend_cls(self) -> Any:
            # transformers takes the first GPU that it sees, so each worker is to see its own alone.
            return type("OwnGpu", (super().backend_cls,), {"share_cuda_visible_devices": False})

    has_gpus = ray.cluster_resources().get("GPU", 0) >= num_workers
    return Trainer(
        _work,
        train_loop_config=config,
        torch_config=Config(timeout_s=_LONGEST_WAIT),
        scaling_config=ScalingConfig(num_workers=num_workers, use_gpu=has_gpus),
        run_config=RunConfig(name="workers", storage_path=str(storage)),
    )


def _work(config: dict[str, Any]) -> None:
    """What each worker does; torch's process group is there already."""
    import torch.distributed as dist

    if dist.get_backend() != "nccl":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # there are too few GPUs for all
    with suppress(OSError):
        os.chdir(config["cwd"])  # paths of a recipe may start there
    workers = Workers.of_process_group()
    progress = Written(config["books"] / _PROGRESS) if workers.is_first else Silent()
    with _by_itself():
        config["training"](workers, progress, config["given"])


@contextmanager
def _by_itself() -> Iterator[None]:
    """The Trainer takes itself for the only process: shared out by itself, batches would not be one's parts."""
    hidden = {name: os.environ.pop(name) for name in _PLACE_IN_GROUP if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
