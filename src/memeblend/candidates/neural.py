"""`text`, `image`, `fusion` and `align`: one class, since they differ in their model and where it starts.

With `joint` (the default) one model has a head for each label task; without it, as in the paper, each label
task gets a model of its own. Its encoders are trained, left as they start, or given low-rank adapters.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter
from safetensors import SafetensorError
from torch import nn
from transformers import set_seed

from memeblend.candidates.base import Candidate, FitContext
from memeblend.candidates.blending import blended, first_weights, supervised
from memeblend.candidates.starting import NEURAL_FILE, PREDICT_BATCH, NeuralSpec, Starter
from memeblend.errors import ModelError
from memeblend.files import digest, file_name, write_json
from memeblend.labels import LabelTask
from memeblend.models import build_model, load_model
from memeblend.models.base import EncoderModel
from memeblend.models.config import MemeConfig
from memeblend.models.lora import Adapters
from memeblend.recipe.candidates import AlignCandidate, FusionCandidate, ImageCandidate, TextCandidate
from memeblend.training.batches import BatchedDataset, MemeDataset
from memeblend.training.encoder import start_encoders
from memeblend.training.features import state_dataset, without_encoders
from memeblend.training.objective import make_objective
from memeblend.training.preprocessing import Memes
from memeblend.training.progress import Progress
from memeblend.training.trainer import TrainJob, predict_probabilities, train


class Neural(Candidate):
    """A candidate made of one model for all label tasks, or one for each.

    Args:
        name: kind and number.
        spec: its part of the recipe.
        starts_from: for one that starts from uni-modal candidates, their names: a text and an image candidate, or all
            of them to take the best of.
    """

    def __init__(self, name: str, spec: NeuralSpec, starts_from: Sequence[str] = ()) -> None:
        self.name = name
        self.spec = spec
        self.starts_from = tuple(starts_from)
        self.needs_text = not isinstance(spec, ImageCandidate)
        self.needs_image = not isinstance(spec, TextCandidate)
        self.models: dict[str, EncoderModel] = {}
        self.supervised = True
        """Of a multi-modal candidate, whether the branches "text" and "image" of all its models were trained."""

    def fit(self, context: FitContext) -> None:
        """Train each model from its start; see `train` for stopping and resuming."""
        tasks = context.label_tasks
        groups = {"joint": tasks} if context.recipe.joint else {task.name: (task,) for task in tasks}
        starter = Starter(self.name, self.spec, self.starts_from, context)
        for key, group in groups.items():
            self.models[key] = self._fit_one(context, key, group, starter)

    def _fit_one(self, context: FitContext, key: str, group: tuple[LabelTask, ...], starter: Starter) -> EncoderModel:
        label = self.name if context.recipe.joint else f"{self.name} {key}"
        columns = [context.label_tasks.index(task) for task in group]
        labels = np.ascontiguousarray(context.fit_labels[:, columns])
        seed = int(digest(context.seed, self.name, key), 16) % 2**31
        set_seed(seed)
        model = starter.model(key, group, self.models)
        fit, select = self._datasets(model, context, columns, label)
        losses = {task.name: context.recipe.loss_of(task.name, self.spec) for task in group}
        with self._encoders(model, label, context.progress):
            job = TrainJob(
                label=label,
                folder=context.folder / "training" / file_name(key),
                training=self.spec.training.of(key),
                objective=make_objective(group, losses, labels, self._branches()),
                fit=fit,
                select=select,
                seed=seed,
                progress=context.progress,
                told=partial(context.told, key),
                workers=context.workers,
            )
            if isinstance(self.spec, FusionCandidate | AlignCandidate):
                job = blended(
                    job,
                    self.spec,
                    groups=context.fit_groups,
                    measured=fit if self.spec.encoders == "frozen" else self._dataset(context.fit, labels),
                    start=partial(self._unseen, context, model.config) if self.starts_from else None,
                )
            train(model, job)
            self.supervised &= supervised(job)
        return model

    def _unseen(self, context: FitContext, config: MemeConfig) -> EncoderModel:
        """A model that has seen no meme of the fit split, with a configuration and encoders to train as this has."""
        encoders = start_encoders(context.recipe.encoder, context.fit.preprocessor)
        model = build_model(self.spec.kind, copy.deepcopy(config), encoders)
        if self.spec.encoders == "lora":
            Adapters(model, self.spec.lora_rank)
        return model

    def _branches(self) -> dict[str, float]:
        """The branches that are trained, with their weights (paper equation 7)."""
        if isinstance(self.spec, FusionCandidate | AlignCandidate):
            return first_weights(self.spec)
        return {self.spec.kind: 1.0}

    @contextmanager
    def _encoders(self, model: EncoderModel, label: str, progress: Progress) -> Iterator[None]:
        """Makes of the encoders what the recipe asks for while the model is trained."""
        match self.spec.encoders:
            case "trained":
                yield
            case "frozen":
                with without_encoders(model):
                    yield
            case "lora":
                adapters = Adapters(model, self.spec.lora_rank)
                progress.say(
                    f"{label} trains {adapters.num_trained:,} of {model.num_parameters():,} parameters: adapters of "
                    f"rank {self.spec.lora_rank} and what is above the encoders."
                )
                yield
                adapters.merge()

    def _datasets(
        self, model: EncoderModel, context: FitContext, columns: Sequence[int], label: str
    ) -> tuple[BatchedDataset, BatchedDataset]:
        """Memes to train on and to select by; frozen encoders are run here, over those that the cache lacks."""
        fit_labels, select_labels = (
            np.ascontiguousarray(labels[:, columns]) for labels in (context.fit_labels, context.select_labels)
        )
        dropout = self.spec.training.token_dropout
        if self.spec.encoders != "frozen":
            return self._dataset(context.fit, fit_labels, dropout), self._dataset(context.select, select_labels)
        if dropout and self.needs_text:
            context.progress.say(f"{label} has no token_dropout: frozen encoders read each text once, whole.")
        module: nn.Module = model.eval()
        if torch.cuda.is_available():
            module.cuda()
        states = partial(state_dataset, model, label=f"{label}: encoding", progress=context.progress)
        sides = ((context.fit, fit_labels, self._branches()), (context.select, select_labels, ()))
        workers = context.workers
        if workers.size > 1:  # each encodes a part into the cache, where all find the others' if they share it
            workers.share_weights(model)
            for memes, labels, branches in sides:
                rows = np.arange(len(memes))[workers.rank :: workers.size]
                if len(rows):
                    states(memes.take(rows), labels[rows], branches)
            workers.wait()
        fit, select = (states(*side) for side in sides)
        return fit, select

    def _dataset(self, memes: Memes, labels: NDArray[np.int64], token_dropout: float = 0.0) -> MemeDataset:
        return MemeDataset(memes, labels, text=self.needs_text, image=self.needs_image, token_dropout=token_dropout)

    def predict(self, memes: Memes) -> Mapping[str, NDArray[np.float64]]:
        """Softmax of the predicting branch's logits.

        Frozen encoders take and leave their states where the memes' states are cached; where they aren't, nothing
        is kept. Either way states are rounded alike: what differs between the two, and between batches, is that a
        rare number falls to the other side of its rounding.
        """
        labels = np.full((len(memes), 0), -1, dtype=np.int64)
        found: dict[str, NDArray[np.float64]] = {}
        for model in self.models.values():
            dataset: BatchedDataset = self._dataset(memes, labels)
            if self.spec.encoders == "frozen" and memes.cache_dir is not None:
                dataset = state_dataset(model, memes, labels)
            found |= predict_probabilities(model, dataset, PREDICT_BATCH)
        return found

    def save(self, folder: Path) -> None:
        """Each model in Hugging Face's own layout, in a folder of its own."""
        write_json(
            folder / NEURAL_FILE,
            {
                "kind": self.spec.kind,
                "models": list(self.models),
                "spec": self.spec.model_dump(mode="json"),
                "supervised": self.supervised,
            },
        )
        for position, model in enumerate(self.models.values()):
            model.save_pretrained(folder / str(position))

    @classmethod
    def load(cls, name: str, folder: Path) -> Neural:
        """The inverse of `save`; models are ready to predict, on the GPU where there is one."""
        try:
            settings = json.loads((folder / NEURAL_FILE).read_text(encoding="utf-8"))
            candidate = cls(name, _SPEC.validate_python(settings["spec"]))
            candidate.supervised = bool(settings.get("supervised", settings["spec"].get("blending") == "fixed"))
            for position, key in enumerate(settings["models"]):
                model = load_model(settings["kind"], folder / str(position)).eval()
                candidate.models[key] = model.to("cuda") if torch.cuda.is_available() else model
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, ModelError) as error:
            raise ModelError(f"Candidate '{name}' in '{folder}' could not be read: {error}.") from error
        return candidate


_SPEC: TypeAdapter[NeuralSpec] = TypeAdapter(Annotated[NeuralSpec, Field(discriminator="kind")])
