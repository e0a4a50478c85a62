"""A thin subclass of the Hugging Face Trainer: our objective, length-aware batches, scores on *select*.

Notable: batches are drawn from (seed, epoch) alone and a checkpoint is kept for every epoch, so a run that was
killed goes on from its last checkpoint to the very same weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations.integration_utils import is_mlflow_available, is_tensorboard_available
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from memeblend.evaluation.metrics import scores
from memeblend.files import digest
from memeblend.labels import MISSING, LabelTask
from memeblend.recipe.parts import Training
from memeblend.training.batches import BatchedDataset, LengthBatches
from memeblend.training.blending import Blending
from memeblend.training.objective import Objective
from memeblend.training.progress import Progress
from memeblend.training.sharing import num_encoded, shared_collate, whole_logits
from memeblend.training.watching import Steps, Told, Watch
from memeblend.training.workers import ALONE, Workers

_STATE = "trainer_state.json"
_CHECKPOINT_FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")


@torch.inference_mode()
def predict_probabilities(
    model: PreTrainedModel, dataset: BatchedDataset, batch_size: int
) -> dict[str, NDArray[np.float64]]:
    """Class probabilities [num_memes, num_classes] of each label task, in the dataset's order."""
    was_training = model.training
    if was_training:  # it goes through all modules, which takes as long as a small layer
        model.eval()
    device = next(model.parameters()).device
    order = np.argsort(dataset.lengths(), kind="stable")
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(order), batch_size):
        inputs = dataset.collate(order[start : start + batch_size].tolist())
        inputs.pop("labels")
        inputs = {name: value.to(device) for name, value in inputs.items()}
        logits = model(**inputs, branches=()).logits
        for name, value in logits.items():
            parts.setdefault(name, []).append(value.double().softmax(dim=-1).cpu())
    if was_training:
        model.train()
    back = np.argsort(order, kind="stable")
    return {name: torch.cat(values).numpy()[back] for name, values in parts.items()}


def mean_score(
    label_tasks: Sequence[LabelTask], labels: NDArray[np.int64], probabilities: dict[str, Any], metric: str
) -> dict[str, float]:
    """A metric of each label task that has labels, and under the metric's own name their mean."""
    values = {}
    for column, task in enumerate(label_tasks):
        known = labels[:, column] != MISSING
        if known.any():
            part = probabilities[task.name][known]
            found = scores(task, labels[known, column], part.argmax(axis=1), part)[metric]
            values[f"{task.name}_{metric}"] = float(found)
    values[metric] = float(np.mean(list(values.values()))) if values else 0.0
    return values


class MemeTrainer(Trainer):
    """The Trainer with an objective over branch logits and scores on the *select* split."""

    model: PreTrainedModel
    objective: Objective

    def __init__(
        self, *, objective: Objective, metric: str, blending: Blending, workers: Workers, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.workers = workers
        self.objective = objective
        self.metric = metric
        self.blending = blending
        self.add_callback(_Blend(self))
        # The objective takes the mean over a batch, so there is nothing to rescale by token counts.
        self.model_accepts_loss_kwargs = False

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthBatches:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        return LengthBatches(dataset.lengths(), self.args.train_batch_size, self.args.seed)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The objective's "loss" of a batch, which several workers share."""
        labels = inputs.pop("labels")
        own: Any = self._prepare_input(self.blending.model_inputs(num_encoded(len(labels), self.workers)))
        outputs = model(**inputs, **own, branches=self.objective.branch_weights)
        logits = whole_logits(outputs.branch_logits, self.objective.branch_weights, len(labels), self.workers)
        loss = self.objective(logits, labels)["loss"]
        self.blending.after_forward(logits, labels)
        return (loss, outputs) if return_outputs else loss

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """A step up to its gradients, which the blending may change."""
        loss: Tensor = super().training_step(*args, **kwargs)
        self.workers.average_gradients(self.model)
        with self.workers.drawing_alike(self.args.seed + self.state.global_step):
            self.blending.after_backward(self.model)
        return loss

    def begin_epoch(self, epoch: int) -> None:
        """Ask the blending for the epoch's objective; workers draw dropout apart from each other."""
        weights = self.workers.from_first(
            lambda: self.blending.before_epoch(epoch, self.model, self.objective).branch_weights
        )
        self.objective = replace(self.objective, branch_weights=weights)
        if not self.workers.is_first:
            torch.manual_seed(int(digest(self.args.seed, self.workers.rank, epoch), 16) % 2**31)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if self.workers.is_first:  # a checkpoint has the first one's
            super()._load_rng_state(checkpoint)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """The Trainer's own, where an epoch's loss takes along what the blending did in it."""
        super().log(logs | self.blending.trace() if "loss" in logs else logs, *args, **kwargs)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Scores on the *select* split, logged and handed to the callbacks as the Trainer does."""
        dataset: Any = self.eval_dataset if eval_dataset is None else eval_dataset

        def judged() -> dict[str, float]:
            probabilities = predict_probabilities(self.model, dataset, self.args.eval_batch_size)
            return mean_score(self.objective.label_tasks, dataset.labels.numpy(), probabilities, self.metric)

        found = self.workers.from_first(judged)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.control.should_training_stop = self.workers.from_first(lambda: self.control.should_training_stop)
        return metrics


class _Blend(TrainerCallback):
    """Asks the blending for each epoch's objective, and for what it found on the way."""

    def __init__(self, trainer: MemeTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.begin_epoch(round(state.epoch or 0))
        found = self.trainer.blending.trace()
        if found:
            self.trainer.log(found)


@dataclass(frozen=True)
class TrainJob:
    """Everything that training one model needs.

    Attributes:
        label: what the progress calls it.
        folder: where checkpoints and `metrics.jsonl` go.
        training: the recipe's settings.
        objective: what is minimised.
        fit: memes to train on.
        select: memes that stop the training early and pick the best epoch.
        seed: seed of batches and dropout.
        progress: who watches.
        blending: how branches are kept in balance.
        told: told of each finished epoch, from 1, and its metric on *select*; where it says so, the training ends.
        workers: who train together, each with the same job but for `folder`, `progress` and `told`, which are read of
            the first one's alone.
    """

    label: str
    folder: Path
    training: Training
    objective: Objective
    fit: BatchedDataset
    select: BatchedDataset
    seed: int
    progress: Progress
    blending: Blending = field(default_factory=Blending)
    told: Callable[[int, float], bool] = lambda epoch, score: False
    workers: Workers = ALONE


def train(model: PreTrainedModel, job: TrainJob) -> None:
    """Train a model in place; it ends with the weights of its best epoch on *select*.

    Goes on from the last whole checkpoint in the job's folder, if there is one; all workers must see it there.
    """
    settings, workers = job.training, job.workers
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(job.folder / "tensorboard")  # read by the Trainer's own callback
    callbacks: list[TrainerCallback] = []
    if workers.is_first:
        callbacks += [
            Watch(job.progress, job.label, job.folder / "metrics.jsonl", settings.metric),
            Told(job.told, settings),
        ]
        if settings.patience:
            callbacks.append(EarlyStoppingCallback(settings.patience))
    keeping: dict[str, Any] = {"save_strategy": "no", "report_to": []}
    if workers.is_first:
        keeping = {
            "save_strategy": "epoch",
            "save_total_limit": 1,
            "load_best_model_at_end": True,
            "metric_for_best_model": settings.metric,
            "greater_is_better": True,
            "restore_callback_states_from_checkpoint": True,
            "report_to": _trackers(),
        }
    trainer = _trainer(model, job, callbacks, eval_strategy="epoch", logging_strategy="epoch", **keeping)
    workers.share_weights(model)
    checkpoint, had_stopped = workers.from_first(partial(_last_checkpoint_of, job))
    if checkpoint is None or not had_stopped:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    elif workers.is_first:
        # Killed between its last epoch and the end: the Trainer would train one epoch more.
        trainer.state = TrainerState.load_from_json(str(checkpoint / _STATE))
        trainer._load_best_model()
    workers.share_weights(model)
    model.eval()


def train_alone(model: PreTrainedModel, job: TrainJob) -> None:
    """Train a model in place for all epochs of a job: nothing is selected, kept or gone on with."""
    silent = {"eval_strategy": "no", "save_strategy": "no", "logging_strategy": "no", "report_to": []}
    _trainer(model, job, [Steps(job.progress, job.label)], **silent).train()


def _trainer(
    model: PreTrainedModel, job: TrainJob, callbacks: Sequence[TrainerCallback], **arguments: Any
) -> MemeTrainer:
    settings = job.training
    trainer = MemeTrainer(
        objective=job.objective,
        metric=settings.metric,
        blending=job.blending,
        workers=job.workers,
        model=model,
        args=TrainingArguments(
            output_dir=str(job.folder / "checkpoints"),
            per_device_train_batch_size=settings.batch_size,
            per_device_eval_batch_size=max(64, settings.batch_size),
            num_train_epochs=settings.schedule_epochs or settings.num_epochs,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            lr_scheduler_type=settings.schedule if settings.schedule != "constant" else "constant_with_warmup",
            warmup_steps=settings.warmup_ratio,
            max_grad_norm=settings.max_grad_norm,
            bf16=has_bf16(),
            remove_unused_columns=False,
            dataloader_pin_memory=torch.cuda.is_available(),
            disable_tqdm=True,
            seed=job.seed,
            **arguments,
        ),
        train_dataset=job.fit,
        eval_dataset=job.select,
        data_collator=shared_collate(job.fit, job.workers),
        callbacks=list(callbacks),
    )
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    return trainer


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole, if any: the Trainer writes its state last, and deletes file by file."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
    for path in found:
        try:
            json.loads((path / _STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if all((path / name).is_file() for name in _CHECKPOINT_FILES):
            return path
    return None


def _last_checkpoint_of(job: TrainJob) -> tuple[Path | None, bool]:
    """A job's last checkpoint, if any, and whether its training had ended there."""
    checkpoint = last_checkpoint(job.folder / "checkpoints")
    return checkpoint, checkpoint is not None and _had_stopped(checkpoint, job.training)


def _had_stopped(checkpoint: Path, settings: Training) -> bool:
    """Whether the training had ended at this checkpoint: by early stopping, or since its schedule goes on longer."""
    state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    if settings.schedule_epochs and round(state.get("epoch") or 0) >= settings.num_epochs:
        return True
    kept = state.get("stateful_callbacks", {}).get(EarlyStoppingCallback.__name__)
    entries = kept if isinstance(kept, list) else [kept] if kept else []
    return any(entry["attributes"]["early_stopping_patience_counter"] >= settings.patience for entry in entries)


def has_bf16() -> bool:
    """Whether to train in bfloat16: on a GPU that computes in it. Never on a CPU, not even one with AMX: models of the
    embedded size train slower in it there (docs/log.md), and float32 gives the same model on every CPU."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def _trackers() -> list[str]:
    available = {"tensorboard": is_tensorboard_available(), "mlflow": is_mlflow_available()}
    return [name for name, installed in available.items() if installed]
