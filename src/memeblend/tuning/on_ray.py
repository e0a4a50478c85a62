"""Trials as those of a Ray Tune experiment: several at a time, each in a worker of its own, here or on a cluster."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from memeblend.ray_session import ray_session
from memeblend.tuning.searching import Asked, Course
from memeblend.tuning.training import Maker, Setup
from memeblend.tuning.trials import Trial

_RETRIES = 2
"""How often a trial whose worker was killed is taken up again."""


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
        ClusterError: no cluster answers at the address.
    """
    if course.is_over:
        return
    with ray_session(num_workers, address), tempfile.TemporaryDirectory(prefix="mb") as storage:
        from ray import tune

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tuner = tune.Tuner(
                tune.with_resources(tune.with_parameters(_trial, setup=setup), {"cpu": 1, "gpu": _gpu_share()}),
                tune_config=tune.TuneConfig(
                    metric="value",
                    mode="max",
                    num_samples=-1,
                    search_alg=_searcher(course, changed),
                    max_concurrent_trials=num_workers,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name="tune",
                    storage_path=storage,
                    verbose=0,
                    failure_config=tune.FailureConfig(max_failures=_RETRIES),
                    callbacks=[_watcher(course, changed)],
                ),
            )
            tuner.fit()


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
        tune.report({"number": number, "key": key, "scores": scores, "value": scores[-1], "ended": None})

    trial = _maker(setup).make(asked, told)
    tune.report({"number": trial.number, "value": trial.value or 0.0, "ended": asdict(trial)})


def _searcher(course: Course, changed: Callable[[], None]) -> Any:
    from ray.tune.search import Searcher

    class Draws(Searcher):
        """Hands the course's trials to Ray Tune, and what became of them back."""

        def __init__(self) -> None:
            super().__init__(metric="value", mode="max")
            self.asked: dict[str, Asked] = {}

        def suggest(self, trial_id: str) -> Any:
            asked = course.next()
            if asked is None:
                return Searcher.FINISHED if course.is_over else None
            self.asked[trial_id] = asked
            changed()
            return {"asked": {"number": asked.number, "values": dict(asked.values), "limits": dict(asked.limits)}}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            asked = self.asked.pop(trial_id, None)
            if asked is None:
                return
            ended = (result or {}).get("ended")
            if error or not ended:
                reason = f"its worker was killed, and {_RETRIES} more that took it up"
                course.tell(Trial(asked.number, asked.values, state="failed", error=reason))
            else:
                course.tell(Trial(**ended))
            changed()

        def save(self, checkpoint_path: str) -> None:
            """Nothing: the course's own files tell what was done."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing."""

    return Draws()


def _watcher(course: Course, changed: Callable[[], None]) -> Any:
    from ray.tune import Callback

    class Watches(Callback):
        """Hears of epochs as Ray Tune does."""

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            if result.get("key"):
                course.told(result["number"], result["key"], list(result["scores"]))
                changed()

    return Watches()
