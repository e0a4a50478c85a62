"""Estimating blend weights: each branch is trained alone for a while, on one part of the fit memes, and judged on it
and on another part that none of them has seen (Wang, Tran and Feiszli, CVPR 2020, algorithm 1).

An estimate depends on the model that it begins with and on its seed alone, leaves the random numbers as they were,
and is kept in a file: a training that was killed takes it from there and goes on to the same weights.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from memeblend.errors import TrainingError
from memeblend.files import digest, write_json
from memeblend.losses import LossChange, estimated_weights, uniform_weights
from memeblend.models.base import EncoderModel
from memeblend.recipe.candidates import Estimation
from memeblend.recipe.parts import Training
from memeblend.training.blending import Blending
from memeblend.training.holding import Batched, Parts
from memeblend.training.objective import BranchWeights, Objective
from memeblend.training.progress import Progress
from memeblend.training.trainer import TrainJob, train_alone

_BATCH = 64
_ALL = ""
"""Stands for all label tasks together."""


@dataclass(frozen=True)
class Estimate:
    """What was measured, and the weights that follow.

    Attributes:
        changes: for each branch and label task ("" for all together), its losses at both checkpoints.
        weights: of each branch.
    """

    changes: Mapping[str, Mapping[str, LossChange]]
    weights: BranchWeights

    def trace(self) -> dict[str, float]:
        """Weights, G, O and (where G is above 0) OGR, called "quantity/branch" or "quantity/branch/label task"."""
        found: dict[str, float] = {}
        for branch, by_task in self.changes.items():
            own = self.weights[branch]
            for task, change in by_task.items():
                key = f"{branch}/{task}" if task else branch
                found[f"blend_weight/{key}"] = own[task] if isinstance(own, Mapping) else own
                found[f"generalization/{key}"] = change.generalization
                found[f"overfitting/{key}"] = change.overfitting
                if change.ogr is not None:
                    found[f"ogr/{key}"] = change.ogr
        return found

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        changes = {branch: {task: asdict(one) for task, one in found.items()} for branch, found in self.changes.items()}
        return {"changes": changes, "weights": dict(self.weights)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Estimate:
        """The inverse of `to_dict`."""
        changes = {
            branch: {task: LossChange(**one) for task, one in found.items()}
            for branch, found in data["changes"].items()
        }
        return cls(changes, data["weights"])


@torch.no_grad()
def mean_losses(model: EncoderModel, branch: str, dataset: Batched, objective: Objective) -> dict[str, float]:
    """A branch's loss of each label task, and under "" their mean, over all memes at once."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    order = np.argsort(dataset.lengths(), kind="stable")
    parts: dict[str, list[Tensor]] = {}
    labels: list[Tensor] = []
    for start in range(0, len(order), _BATCH):
        inputs = {name: one.to(device) for name, one in dataset.collate(order[start : start + _BATCH].tolist()).items()}
        labels.append(inputs.pop("labels"))
        for task, value in model(**inputs, branches=(branch,)).branch_logits[branch].items():
            parts.setdefault(task, []).append(value.double())
    model.train(was_training)
    found = objective.label_task_losses({task: torch.cat(values) for task, values in parts.items()}, torch.cat(labels))
    return found | {_ALL: float(np.mean(list(found.values())))}


@dataclass(frozen=True)
class Estimator:
    """Estimates the weights of a model's branches.

    Attributes:
        label: what the progress calls it.
        folder: where estimates are kept.
        objective: holds the losses.
        parts: the memes.
        settings: the recipe's.
        training: settings with which each branch is trained.
        seed: seed of batches and dropout.
        progress: who watches.
    """

    label: str
    folder: Path
    objective: Objective
    parts: Parts
    settings: Estimation
    training: Training
    seed: int
    progress: Progress

    def kept(self, epoch: int) -> Estimate | None:
        """The estimate made before an epoch, if there is one."""
        try:
            return Estimate.from_dict(json.loads(self._file(epoch).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def ever_weighed(self, branch: str) -> bool:
        """Whether a branch had any weight in any estimate."""
        for path in self.folder.glob("estimate-*.json"):
            weight = Estimate.from_dict(json.loads(path.read_text(encoding="utf-8"))).weights[branch]
            if (max(weight.values()) if isinstance(weight, Mapping) else weight) > 0:
                return True
        return False

    def estimate(self, epoch: int, start: Callable[[], EncoderModel], before: Estimate | None) -> Estimate:
        """Train a copy of each branch alone, and keep what that says of the weights.

        Args:
            epoch: the epoch that the weights are for.
            start: gives the model whose branches are copied.
            before: the estimate before, whose weights stay where no branch learns anything that generalises.

        Raises:
            TrainingError: a branch's loss is not finite.
        """
        changes = {}
        with _same_random_numbers():
            torch.manual_seed(int(digest(self.seed, "start"), 16) % 2**31)
            model = start()
            device = torch.device("cuda") if torch.cuda.is_available() else next(model.parameters()).device
            for branch in model.branches:
                seed = int(digest(self.seed, epoch, branch), 16) % 2**31
                alone: Any = model.alone(branch)  # Hugging Face's `to` has a signature of its own
                changes[branch] = self._change(alone.to(device), branch, seed)
        estimate = Estimate(changes, self._weights(model.branches, changes, before))
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self._file(epoch), estimate.to_dict())
        weights = {key.partition("/")[2]: value for key, value in estimate.trace().items() if key.startswith("blend")}
        shown = ", ".join(f"{name} {value:.3f}" for name, value in weights.items())
        self.progress.say(f"{self.label}: blend weights from epoch {epoch} on are {shown}.")
        return estimate

    def _file(self, epoch: int) -> Path:
        return self.folder / f"estimate-{epoch:05d}.json"

    def _change(self, model: EncoderModel, branch: str, seed: int) -> dict[str, LossChange]:
        """The losses of one branch before and after it was trained alone, for each label task and for all."""
        objective = replace(self.objective, branch_weights={branch: 1.0})
        measured = [part.read_by(model) for part in (self.parts.train_measured, self.parts.held_out)]
        before = [mean_losses(model, branch, part, objective) for part in measured]
        train = self.parts.train.read_by(model)
        label = f"{self.label}: {branch} alone"
        training = self.training.model_copy(update={"num_epochs": self.settings.super_epoch, "schedule_epochs": 0})
        train_alone(model, TrainJob(label, self.folder, training, objective, train, measured[1], seed, self.progress))
        after = [mean_losses(model, branch, part, objective) for part in measured]
        tasks = [task.name for task in objective.label_tasks] if self.settings.per_label_task else [_ALL]
        losses = (before[0], after[0], before[1], after[1])
        try:
            return {task: LossChange(*(found[task] for found in losses)) for task in tasks}
        except ValueError as error:
            raise TrainingError(
                f"The blend weights of {self.label} can't be estimated: with the branch '{branch}' trained alone, "
                f"{error}.",
                fix="Lower training.learning_rate, or clip gradients with training.max_grad_norm.",
            ) from error

    def _weights(
        self, branches: Sequence[str], changes: Mapping[str, Mapping[str, LossChange]], before: Estimate | None
    ) -> BranchWeights:
        """For each branch one weight, or one for each label task."""

        def of(task: str) -> dict[str, float]:
            old = None if before is None else {name: _of_task(before.weights[name], task) for name in branches}
            return estimated_weights(
                {name: changes[name][task] for name in branches},
                least_overfitting=self.settings.least_overfitting,
                otherwise=old,
                predicting=branches[-1],
                least_predicting=self.settings.least_fused,
            )

        if not self.settings.per_label_task:
            return of(_ALL)
        found = {task.name: of(task.name) for task in self.objective.label_tasks}
        return {name: {task: weights[name] for task, weights in found.items()} for name in branches}


class EstimatedBlending(Blending):
    """Gradient-Blend: weights estimated once, or anew at the begin of each super-epoch.

    The estimate trains copies of the model's branches; the model itself goes on from where it was, with the new
    weights (Wang, Tran and Feiszli, CVPR 2020, algorithms 1 and 2).

    Args:
        estimator: estimates.
        warm_up: epochs with equal weights before the first estimate.
        every: epochs between estimates; 0 estimates once.
        start: gives the model whose branches the estimate trains; the trained model itself when left out.
    """

    def __init__(
        self, estimator: Estimator, *, warm_up: int = 0, every: int = 0, start: Callable[[], EncoderModel] | None = None
    ) -> None:
        self.estimator = estimator
        self.warm_up = warm_up
        self.every = every
        self.start = start
        self._found: dict[str, float] = {}

    def before_epoch(self, epoch: int, model: PreTrainedModel, objective: Objective) -> Objective:
        """The objective with equal weights in the warm-up, then with those of the last estimate."""
        if epoch < self.warm_up:
            return replace(objective, branch_weights=uniform_weights(objective.branch_weights))
        due = epoch - (epoch - self.warm_up) % self.every if self.every else self.warm_up
        estimate = self.estimator.kept(due)
        if estimate is None:
            assert due == epoch, "an estimate is kept before the epoch that it is for"
            assert isinstance(model, EncoderModel), "only models of branches are blended"
            before = self.estimator.kept(due - self.every) if due > self.warm_up else None
            begun = self.start
            estimate = self.estimator.estimate(due, (lambda: model) if begun is None else begun, before)
        if due == epoch:
            self._found = estimate.trace()
        return replace(objective, branch_weights=estimate.weights)

    def trace(self) -> dict[str, float]:
        """Weights, G, O and OGR of an estimate."""
        found, self._found = self._found, {}
        return found


def _of_task(weight: float | Mapping[str, float], task: str) -> float:
    return weight[task] if isinstance(weight, Mapping) else weight


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Afterwards all random numbers go on as if nothing had been drawn."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(device_type="cuda"):
        yield
    random.setstate(python)
    np.random.set_state(numpy)
