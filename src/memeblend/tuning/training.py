"""Making a trial: what is searched is trained with the trial's values, and judged on what the stage chooses by."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from memeblend.candidates.base import Candidate, Planned
from memeblend.candidates.making import load_candidate, make_candidate, plan
from memeblend.data.manifest import Manifest
from memeblend.errors import MemeblendError, TrainingError
from memeblend.recipe import Pretraining, Recipe
from memeblend.recipe.chain import ContrastiveStage
from memeblend.run.folder import candidate_folder
from memeblend.run.pretraining import contrastive_settings
from memeblend.run.work import Work
from memeblend.training.contrastive.work import WORK, pretrain
from memeblend.training.progress import Silent
from memeblend.training.trainer import mean_score
from memeblend.tuning.halving import Race
from memeblend.tuning.searching import Asked
from memeblend.tuning.setup import Setup, read_memes, read_pairs, with_values
from memeblend.tuning.trials import Trial, merit

Told = Callable[[int, str, list[float]], None]
"""Told of a trial's number, the key of a model under training and its metric after each epoch so far."""
OnEpoch = Callable[[str, int, float], bool]
"""Told of a model's key, its epoch from 1 and its metric; says whether its training ends."""
_PAIRS, _ENCODER = "pairs", "encoder"


def before_stage(recipe: Recipe, name: str) -> tuple[list[Planned], Planned]:
    """The candidates that a candidate's first copy starts from, in the order in which they are trained, and itself.

    Args:
        recipe: the recipe.
        name: the candidate, without its number.
    """
    planned = plan(recipe)
    needed = {f"{name}-0"}
    for one in reversed(planned):
        if one.name in needed:
            needed |= set(one.starts_from)
    return [one for one in planned if one.name in needed - {f"{name}-0"}], next(
        one for one in planned if one.name == f"{name}-0"
    )


class _Trains(Protocol):
    """Trains what a stage trains."""

    def value(self, asked: Asked, folder: Path, on_epoch: OnEpoch) -> float:
        """The metric of a trial that works in a folder; goes on from what a killed worker left there."""

    def logs(self, folder: Path) -> dict[str, Path]:
        """The Trainer's log of each model under training in a trial's folder, by the model's key."""

    def clean(self, folder: Path) -> None:
        """Leave the metrics of an ended trial alone in its folder."""


class Maker:
    """Makes the trials of a stage in this process, with the memes read once."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._trains: _Trains = _TrainsPairs(setup) if setup.searched.is_contrastive else _TrainsCandidate(setup)

    def make(self, asked: Asked, told: Told) -> Trial:
        """Train and judge a trial; goes on from what a killed worker left. What goes wrong is the trial's error.

        Args:
            asked: which.
            told: told of its epochs.
        """
        began = time.monotonic()
        folder, metric = self.setup.folder / f"{asked.number:03d}", self.setup.search.metric
        race = Race(asked.limits)
        curves = _curves_in(self._trains.logs(folder), metric)
        for key, curve in curves.items():  # what was reached before the kill counts
            for epoch, score in enumerate(curve, 1):
                race.falls_behind(key, epoch, merit(metric, score))

        def on_epoch(key: str, epoch: int, score: float) -> bool:
            curve = curves.setdefault(key, [])
            curve[epoch - 1 :] = [score]
            told(asked.number, key, list(curve))
            return race.falls_behind(key, epoch, merit(metric, score))

        trial = Trial(asked.number, asked.values, metric=metric)
        try:
            value = self._trains.value(asked, folder, on_epoch)
            trial = replace(trial, state="stopped" if race.stopped else "finished", value=value)
        except MemeblendError as error:
            trial = replace(trial, state="failed", error=str(error))
        except Exception as error:  # a library's; the other trials go on
            trial = replace(trial, state="failed", error=f"{type(error).__name__}: {error}")
        self._trains.clean(folder)
        return replace(trial, curves=curves, seconds=round(time.monotonic() - began, 2))


class _TrainsCandidate:
    """Trains a candidate on the memes that fit, judged on those that select."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    @cached_property
    def _work(self) -> Work:
        return read_memes(self.setup, self.setup.own_recipe(self.setup.recipe), self.setup.home)

    def value(self, asked: Asked, folder: Path, on_epoch: OnEpoch) -> float:
        setup, searched = self.setup, self.setup.searched
        recipe = setup.own_recipe(with_values(setup, dict(asked.values)))
        before, planned = before_stage(recipe, searched.candidate)
        work, base = self._work, setup.home
        if any(not key.startswith(searched.own) for key in asked.values):
            # Fields of the whole recipe or stage also change what the candidate starts from.
            base = folder / "run"
            work = read_memes(setup, recipe, base)
            for one in before:
                work.train(one)

        def fitted(name: str) -> Candidate:
            return load_candidate(name, candidate_folder(base, name))

        context = replace(work.context(folder), recipe=recipe, told=on_epoch, fitted=fitted)
        candidate = make_candidate(planned)
        candidate.fit(context)
        metric = setup.search.metric
        found = mean_score(context.label_tasks, context.select_labels, dict(candidate.predict(context.select)), metric)
        return found[metric]

    def logs(self, folder: Path) -> dict[str, Path]:
        return {path.parent.name: path for path in sorted(folder.glob("training/*/metrics.jsonl"))}

    def clean(self, folder: Path) -> None:
        shutil.rmtree(folder / "run", ignore_errors=True)
        for checkpoints in folder.glob("training/*/checkpoints"):
            shutil.rmtree(checkpoints, ignore_errors=True)


class _TrainsPairs:
    """Trains the encoder of a contrastive stage, judged on the pairs that it holds back."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    @cached_property
    def _manifests(self) -> list[Manifest]:
        return read_pairs(self.setup)

    def value(self, asked: Asked, folder: Path, on_epoch: OnEpoch) -> float:
        setup, metric = self.setup, self.setup.search.metric
        settings = self._settings(with_values(setup, dict(asked.values)))

        def told(step: int, scores: Mapping[str, float]) -> bool:
            return on_epoch(_PAIRS, math.ceil(step / settings.eval_every), _finite(scores[metric], metric))

        facts = pretrain(
            self._manifests,
            folder / _ENCODER,
            settings,
            progress=Silent(),
            cache_dir=setup.cache_dir,
            told=told,
        )
        return _finite(facts["held_back"]["after"][metric], metric)

    def _settings(self, recipe: Recipe) -> Pretraining:
        """The stage's settings; where it counts epochs, it validates after each, so that trials with batches of
        different sizes are compared when they have seen as many pairs."""
        stage = recipe.pretraining[self.setup.searched.stage]
        assert isinstance(stage, ContrastiveStage), "only a contrastive stage trains pairs"
        settings = contrastive_settings(recipe, stage, self._manifests, self.setup.run)
        if not stage.num_epochs:
            return settings
        return settings.model_copy(update={"eval_every": math.ceil(settings.num_steps / stage.num_epochs)})

    def logs(self, folder: Path) -> dict[str, Path]:
        return {_PAIRS: folder / _ENCODER / WORK / "metrics.jsonl"}

    def clean(self, folder: Path) -> None:
        for key, log in self.logs(folder).items():
            if log.is_file():  # goes where the metrics of other trials are
                kept = folder / "training" / key / log.name
                kept.parent.mkdir(parents=True, exist_ok=True)
                log.replace(kept)
        shutil.rmtree(folder / _ENCODER, ignore_errors=True)


def _finite(value: float, metric: str) -> float:
    """Raises TrainingError where it is no number."""
    if math.isfinite(value):
        return value
    raise TrainingError(f"The {metric} on held-back pairs was no number.", fix="Lower the learning rate.")


def _curves_in(logs: Mapping[str, Path], metric: str) -> dict[str, list[float]]:
    """The metrics of epochs that a killed worker had finished, from the Trainer's own logs."""
    curves: dict[str, list[float]] = {}
    for key, path in logs.items():
        try:
            entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError):
            continue
        curves[key] = [entry[f"eval_{metric}"] for entry in entries if f"eval_{metric}" in entry]
    return curves
