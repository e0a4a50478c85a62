"""Trials as those of a Ray Tune experiment: several at a time, each in a worker of its own, here or on a cluster."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memeblend.errors import ClusterError, MemeblendError
from memeblend.ray_session import check_room, ray_session
from memeblend.tuning.searching import Asked, Course
from memeblend.tuning.setup import Setup
from memeblend.tuning.training import Maker
from memeblend.tuning.trials import Trial

_RETRIES = 2
"""How often a trial whose worker was killed is taken up again."""
_GO_ON = "Go on with --resume; without --num-workers it says more."


def run_on_ray(
    course: Course, setup: Setup, changed: Callable[[], None], *, num_workers: int, address: str = ""
) -> None:
    """Make the trials on Ray.

    A worker that is killed is started again and goes on from its trial's last epoch, twice at most.

    Args:
        course: of the search.
        setup: of the stage.
        changed: called when a trial begins, has finished an epoch, or ends.
        num_workers: trials at a time.
        address: a running cluster; "" starts Ray on this machine.

    Raises:
        MissingExtraError: Ray is not installed.
        ClusterError: no cluster answers at the address, or it has no CPU to give, or ends before the trials.
        OutputError: a trial could not be written.
    """
    if course.is_over:
        return
    here = Here(course, changed)
    with ray_session(num_workers, address), _books(setup.folder.parent / "ray") as storage:
        from ray import tune
        from ray.exceptions import RayError

        check_room(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tuner = tune.Tuner(
                tune.with_resources(tune.with_parameters(_trial, setup=setup), {"cpu": 1, "gpu": _gpu_share()}),
                tune_config=tune.TuneConfig(
                    metric="value",
                    mode="max",
                    num_samples=-1,
                    search_alg=make_searcher(here),
                    max_concurrent_trials=num_workers,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name="tune",
                    storage_path=str(storage),
                    verbose=0,
                    failure_config=tune.FailureConfig(max_failures=_RETRIES),
                    callbacks=[make_watcher(here)],
                ),
            )
            try:
                tuner.fit()
            except (RayError, tune.TuneError) as error:
                raise ClusterError(f"Ray Tune failed: {error}", fix=_GO_ON) from error
    if here.failure is not None:
        raise here.failure
    if not course.is_over:
        raise ClusterError("Ray Tune ended before all trials had.", fix=_GO_ON)


@contextmanager
def _books(folder: Path) -> Iterator[Path]:
    """A folder for Ray Tune's own files, where all workers see it, for as long as they work."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Here:
    """What a search needs of this process. Ray Tune keeps a copy of all that it is given, and neither files nor a
    screen can be copied: a copy holds nothing."""

    def __init__(self, course: Course | None = None, changed: Callable[[], None] | None = None) -> None:
        self._course = course
        self._changed = changed
        self.failure: MemeblendError | None = None

    def __reduce__(self) -> tuple[type[Here], tuple[()]]:
        return Here, ()

    @property
    def course(self) -> Course:
        """The course of the search."""
        assert self._course is not None, "Ray Tune works with what it was given, not with its copy"
        return self._course

    def tell(self, trial: Trial) -> None:
        """Hand an ended trial over. Ray Tune would take an error for the trial's own, so it is kept for later."""
        try:
            self.course.tell(trial)
        except MemeblendError as error:
            self.failure = error

    def changed(self) -> None:
        """Say that a trial began, has finished an epoch, or has ended."""
        if self._changed is not None:
            self._changed()


def _gpu_share() -> float:
    import ray

    gpus = float(ray.cluster_resources().get("GPU", 0))
    return 1.0 if gpus else 0.0


_makers: list[Maker] = []  # of this process: the last one, so that the memes are read once


def _maker(setup: Setup) -> Maker:
    if not _makers or _makers[0].setup != setup:
        _makers[:] = [Maker(setup)]
    return _makers[0]


def _trial(config: dict[str, Any], setup: Setup) -> None:
    """What a worker does."""
    from ray import tune

    warnings.simplefilter("ignore")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    asked = Asked(**config["asked"])

    def told(number: int, key: str, scores: list[float]) -> None:
        tune.report({"number": number, "key": key, "scores": scores, "value": scores[-1], "ended": ""})

    trial = _maker(setup).make(asked, told)
    tune.report({"number": trial.number, "value": trial.value or 0.0, "ended": json.dumps(asdict(trial))})


def make_searcher(here: Here) -> Any:
    """Ray Tune's view of a course.

    Args:
        here: the course, and who hears of its changes.
    """
    from ray.tune.search import Searcher

    class Draws(Searcher):
        """Hands the course's trials to Ray Tune, and what became of them back."""

        def __init__(self) -> None:
            super().__init__(metric="value", mode="max")
            self.asked: dict[str, Asked] = {}

        def suggest(self, trial_id: str) -> Any:
            asked = None if here.failure is not None else here.course.next()
            if asked is None:
                return Searcher.FINISHED if here.course.is_over or here.failure is not None else None
            self.asked[trial_id] = asked
            here.changed()
            return {"asked": {"number": asked.number, "values": dict(asked.values), "limits": dict(asked.limits)}}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            asked = self.asked.pop(trial_id, None)
            if asked is None:
                return
            ended = (result or {}).get("ended")  # as JSON, since Ray Tune takes tables in results apart
            if error or not ended:
                reason = f"its worker was killed, and {_RETRIES} more that took it up"
                here.tell(Trial(asked.number, asked.values, state="failed", error=reason))
            else:
                here.tell(Trial(**json.loads(ended)))
            here.changed()

        def save(self, checkpoint_path: str) -> None:
            """Nothing: the course's own files tell what was done."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing."""

    return Draws()


def make_watcher(here: Here) -> Any:
    """What Ray Tune tells of each epoch.

    Args:
        here: the course, and who hears of its changes.
    """
    from ray.tune import Callback

    class Watches(Callback):
        """Hears of epochs as Ray Tune does."""

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            if result.get("key"):
                here.course.told(result["number"], result["key"], list(result["scores"]))
                here.changed()

    return Watches()
