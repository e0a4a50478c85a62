"""What is told while the Trainer trains: progress, the metrics file, each epoch's score."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from memeblend.files import replacing
from memeblend.recipe.parts import Training
from memeblend.training.progress import Progress


class Steps(TrainerCallback):
    """Tells the progress."""

    def __init__(self, progress: Progress, label: str) -> None:
        self.progress = progress
        self.label = label
        self.note = ""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.progress.start(self.label, state.max_steps)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.progress.advance(state.global_step, self.note)


class Watch(Steps):
    """Tells the progress, and keeps the metrics file equal to the Trainer's log."""

    def __init__(self, progress: Progress, label: str, metrics_file: Path, metric: str) -> None:
        super().__init__(progress, label)
        self.metrics_file = metrics_file
        self.metric = metric

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        self._write(state)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.log_history:
            last = state.log_history[-1]
            self.note = self.remark(last, state) or self.note
            if any(key.startswith("blend_weight/") for key in last):
                self.progress.start(self.label, state.max_steps)  # the estimate had begun work of its own
        self._write(state)

    def remark(self, entry: dict[str, float], state: TrainerState) -> str:
        """What the progress says after an entry of the log; "" for nothing new."""
        score = entry.get(f"eval_{self.metric}")
        return "" if score is None else f"epoch {state.epoch or 0:.0f}, {self.metric} {score:.3f} on select"

    def _write(self, state: TrainerState) -> None:
        # Rewritten whole from the Trainer's own log, so that a resumed run has each line once.
        with replacing(self.metrics_file) as temporary:
            temporary.write_text("".join(json.dumps(entry) + "\n" for entry in state.log_history), encoding="utf-8")


class Told(TrainerCallback):
    """Tells of each epoch's metric, and ends the training where it is told to or after its last epoch."""

    def __init__(self, told: Callable[[int, float], bool], settings: Training) -> None:
        self.told = told
        self.metric = settings.metric
        self.last = settings.num_epochs

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        epoch = round(state.epoch or 0)
        if self.told(epoch, kwargs["metrics"][f"eval_{self.metric}"]) or epoch >= self.last:
            control.should_training_stop = True
