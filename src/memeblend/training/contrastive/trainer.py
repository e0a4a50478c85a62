"""The Hugging Face Trainer for pairs: our step, our batches, our validation.

Notable: there is one "epoch" of `num_steps` batches, each drawn from (seed, step) alone, so a run that was killed
goes on from its last checkpoint to the very same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import (
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import ExportableState, PrinterCallback, ProgressCallback

from memeblend.errors import TrainingError
from memeblend.recipe.pretraining import Pretraining
from memeblend.training.contrastive.pairs import PairBatches, PairDataset
from memeblend.training.contrastive.stepping import PairObjective, backward
from memeblend.training.contrastive.validation import Validation
from memeblend.training.progress import Progress
from memeblend.training.trainer import has_bf16, last_checkpoint
from memeblend.training.watching import Watch
from memeblend.training.workers import ALONE, Workers

_CHECKPOINTING = next(  # the Trainer's newer name for it, or the older one
    name for name in ("activation_checkpointing", "gradient_checkpointing") if hasattr(TrainingArguments, name)
)


class _Steps(TrainerCallback, ExportableState):
    """Keeps the logit scale in its range, counts batches in which nothing was to be told apart, and ends a training
    that has gone astray."""

    def __init__(self, max_logit_scale: float) -> None:
        self.max_logit_scale = max_logit_scale
        self.num_empty = 0

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        with torch.no_grad():
            kwargs["model"].logit_scale.clamp_(0, math.log(self.max_logit_scale))

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        loss = state.log_history[-1].get("loss") if state.log_history else None
        if loss is not None and not math.isfinite(loss):
            raise TrainingError(
                f"The loss was no number any more at step {state.global_step}.",
                fix="Lower learning_rate or raise warmup_ratio, and start in a new folder.",
            )

    def state(self) -> dict[str, Any]:
        return {"args": {"max_logit_scale": self.max_logit_scale}, "attributes": {"num_empty": self.num_empty}}


class _PairWatch(Watch):
    def remark(self, entry: dict[str, float], state: TrainerState) -> str:
        if "eval_loss" not in entry:
            return ""
        return f"loss {entry['eval_loss']:.3f}, recall@10 {entry['eval_image_recall@10']:.3f} on held-back pairs"


Told = Callable[[int, Mapping[str, float]], bool]
"""Told of each validation's step and scores; where it says so, the training ends."""


def tell_nobody(step: int, scores: Mapping[str, float]) -> bool:
    """Lets the training go on."""
    return False


class _Told(TrainerCallback):
    def __init__(self, told: Told) -> None:
        self.told = told

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        scores = {name.removeprefix("eval_"): value for name, value in kwargs["metrics"].items()}
        if self.told(state.global_step, scores):
            control.should_training_stop = True


class PairTrainer(Trainer):
    """The Trainer with gradient caching and validation on held-back pairs."""

    objective: PairObjective

    def __init__(
        self, *, settings: Pretraining, validation: Validation, steps: _Steps, workers: Workers, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.workers = workers
        self.settings = settings
        self.validation = validation
        self.steps = steps
        self.objective = PairObjective(settings.loss, settings.same_pairs)
        self.precision = Precision(settings.precision, self.args.device.type)
        self.model_accepts_loss_kwargs = False

    def _get_train_sampler(self, train_dataset: Any = None) -> PairBatches:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        return PairBatches(dataset.image, self.settings)

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """Names of the weights that decay: not the logit scale and bias, which are no weights of a layer."""
        return [name for name in super().get_decay_parameter_names(model) if not name.startswith("logit_")]

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward pass of a batch, in one go or with gradient caching."""
        model.train()
        batch = self._prepare_inputs(inputs)
        self.steps.num_empty += int(batch["fits"].all())
        chunk_size, encoding = self.settings.chunk_size, self.precision.encoding
        with self.precision.training():
            return backward(self.model, batch, self.objective, chunk_size, encoding, self.workers)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Scores on the held-back pairs, logged and handed to the callbacks as the Trainer does."""
        with self.precision.encoding():
            scores = self.workers.from_first(lambda: self.validation.scores(self.model))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class Precision:
    """What encoders compute in.

    Args:
        name: as in the recipe.
        device: "cpu" or "cuda".
    """

    def __init__(self, name: str, device: str) -> None:
        self.device = device
        self.is_bfloat16 = has_bf16() if name == "auto" else name == "bfloat16"

    def encoding(self) -> AbstractContextManager[Any]:
        """The context in which encoders run."""
        return torch.autocast(self.device, dtype=torch.bfloat16) if self.is_bfloat16 else nullcontext()

    def training(self) -> AbstractContextManager[Any]:
        """The context around a whole step. The backward pass of fused attention in bfloat16 takes ten times as long as
        in float32 on a CPU, so that does without."""
        return sdpa_kernel(SDPBackend.MATH) if self.is_bfloat16 and self.device == "cpu" else nullcontext()


def train_pairs(
    model: PreTrainedModel,
    fit: PairDataset,
    validation: Validation,
    settings: Pretraining,
    folder: Path,
    progress: Progress,
    workers: Workers = ALONE,
    told: Told = tell_nobody,
) -> int:
    """Train an encoder of pairs in place; it ends with the weights of its best validation loss.

    Goes on from the last whole checkpoint in `folder`, if there is one. With several workers each calls this; the first
    one writes, and its model alone ends with those weights. Only a training without others may end early as told.

    Returns:
        Steps whose batch had nothing to tell apart.

    Raises:
        TrainingError: the loss is no number any more.
    """
    is_first = workers.is_first
    steps = _Steps(settings.max_logit_scale)
    watchers: list[TrainerCallback] = []
    if is_first:
        watchers = [_PairWatch(progress, "pre-training", folder / "metrics.jsonl", "loss"), _Told(told)]
    trainer = PairTrainer(
        settings=settings,
        validation=validation,
        steps=steps,
        workers=workers,
        model=model,
        args=_arguments(settings, folder, is_first),
        train_dataset=fit,
        eval_dataset=fit,  # the Trainer wants one; `evaluate` reads the validation
        data_collator=fit.collate,
        callbacks=[steps, *watchers],
    )
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    workers.share_weights(model)  # which lie where the Trainer has put them
    checkpoint = workers.from_first(lambda: last_checkpoint(folder / "checkpoints"))
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    model.eval()
    return steps.num_empty


def _arguments(settings: Pretraining, folder: Path, is_first: bool) -> TrainingArguments:
    checkpointing: dict[str, Any] = {_CHECKPOINTING: settings.gradient_checkpointing}
    return TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        per_device_train_batch_size=settings.batch_size,
        max_steps=settings.num_steps,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        adam_beta2=settings.adam_beta2,
        adam_epsilon=settings.adam_epsilon,
        lr_scheduler_type=settings.schedule if settings.schedule != "constant" else "constant_with_warmup",
        warmup_steps=settings.warmup_ratio,
        max_grad_norm=settings.max_grad_norm,
        eval_strategy="steps",
        eval_steps=settings.eval_every,
        save_strategy="steps" if is_first else "no",
        save_steps=settings.eval_every,
        logging_strategy="steps",
        logging_steps=min(50, settings.eval_every),
        save_total_limit=1 if is_first else None,  # what is no longer the best is for the first one to delete
        load_best_model_at_end=is_first,
        metric_for_best_model="loss",
        greater_is_better=False,
        restore_callback_states_from_checkpoint=True,
        remove_unused_columns=False,
        dataloader_num_workers=settings.num_workers,
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
        logging_nan_inf_filter=False,
        report_to=[],
        seed=settings.seed,
        **checkpointing,
    )
