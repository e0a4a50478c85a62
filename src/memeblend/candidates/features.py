"""Pooled states of memes, and what the candidates that learn from them share.

"text" [d_t] is the end token's state of the text encoder, "image" [d_i] the class token's of the image encoder
(paper section 3), "fused" [2 d_t] the state F_cls that the fusion candidate's heads read (equation 6).
"""

from __future__ import annotations

import difflib
import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor
from transformers import CLIPModel

from memeblend.candidates.base import Candidate, FitContext
from memeblend.candidates.neural import Neural
from memeblend.errors import ModelError, TrainingError
from memeblend.files import digest, replacing, write_json
from memeblend.labels import MISSING, LabelTask
from memeblend.models.encoders import image_states, load_clip, text_states
from memeblend.models.image import ImageClassifier
from memeblend.models.loading import no_progress_bars
from memeblend.models.multimodal import MultiModalClassifier
from memeblend.models.text import TextClassifier
from memeblend.recipe.candidates import BoostingCandidate, KnnCandidate, LinearCandidate
from memeblend.training.encoder import load_encoder
from memeblend.training.preprocessing import Memes
from memeblend.training.progress import Progress, Silent

READ_ERRORS = (OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError, SafetensorError, ModelError)
"""What reading a candidate's folder can meet when it is cut short or altered."""

_SHARED = "joint"  # as `Neural` calls the one model that serves all label tasks
_BATCH = 64
_STATES = "states"
_ENCODER = "encoder"

Forward = Callable[[Mapping[str, Tensor]], Tensor]
"""From model inputs of a batch to states [B, d]."""


@dataclass(frozen=True)
class States:
    """Pooled states of some memes.

    Attributes:
        parts: for each space of states ("joint", or each label task whose models are its own), the wanted
            states in order, each [num_memes, d].
    """

    parts: Mapping[str, tuple[NDArray[np.float32], ...]]

    def space(self, label_task: str) -> str:
        """The space that a label task is judged in."""
        return label_task if label_task in self.parts else _SHARED

    def of(self, label_task: str) -> NDArray[np.float64]:
        """The states that a label task is judged by, side by side: [num_memes, sum of their widths]."""
        return np.concatenate(self.parts[self.space(label_task)], axis=1, dtype=np.float64)


class StateReader:
    """Reads the pooled states of memes from fitted candidates, or from a CLIP as it is.

    Args:
        features: which states, in order.
        candidates: the fitted candidates that give them, one each; none when `clip` is given.
        clip: gives "text" and "image" for all label tasks alike.
    """

    def __init__(
        self, features: Sequence[str], *, candidates: Sequence[Neural] = (), clip: CLIPModel | None = None
    ) -> None:
        self.features = tuple(features)
        self.candidates = tuple(candidates)
        self.clip = clip

    @classmethod
    def start(cls, spec: FeatureSpec, starts_from: Sequence[str], context: FitContext) -> StateReader:
        """A reader as a recipe asks for it; see `start_encoder` for what an encoder as it is means."""
        if spec.start == "encoder":
            return cls(spec.features, clip=start_encoder(context))
        candidates = [context.fitted(name) for name in starts_from]
        neural = [candidate for candidate in candidates if isinstance(candidate, Neural)]
        assert len(neural) == len(spec.features), "each feature comes from a neural candidate"
        return cls(spec.features, candidates=neural)

    def read(self, memes: Memes, label: str = "", progress: Progress | None = None) -> States:
        """States of memes, in their order; what a feature does not need (texts, images) need not be there.

        Args:
            memes: at least one.
            label: what the progress calls it.
            progress: who watches, if anyone.
        """
        reads = {"text": (True, False), "image": (False, True), "fused": (True, True)}
        spaces = self._forwards()
        watch = Silent() if progress is None else progress
        watch.start(label, len(spaces) * len(self.features))
        num_done = 0
        parts: dict[str, tuple[NDArray[np.float32], ...]] = {}
        for space, forwards in spaces.items():
            found = []
            for feature, forward in zip(self.features, forwards, strict=True):
                text, image = reads[feature]
                found.append(pooled(forward, memes, text=text, image=image))
                num_done += 1
                watch.advance(num_done)
            parts[space] = tuple(found)
        return States(parts)

    def _forwards(self) -> dict[str, list[Forward]]:
        """For each space, what gives each feature."""
        if self.clip is not None:
            return {_SHARED: [clip_pooled(self.clip, feature) for feature in self.features]}
        pairs = list(zip(self.features, self.candidates, strict=True))
        spaces = self.candidates[0].models
        return {
            space: [_model_pooled(candidate.models[space], feature) for feature, candidate in pairs] for space in spaces
        }

    def save(self, folder: Path) -> None:
        """Write the CLIP in Hugging Face's layout, or each candidate as itself, into a folder, made if need be."""
        if self.clip is not None:
            save_clip(self.clip, folder / _ENCODER)
        for feature, candidate in zip(self.features, self.candidates, strict=False):
            (folder / feature).mkdir(parents=True, exist_ok=True)
            candidate.save(folder / feature)

    @classmethod
    def load(cls, folder: Path, spec: FeatureSpec, starts_from: Sequence[str]) -> StateReader:
        """The inverse of `save`.

        Raises:
            ModelError: something is missing, cut short or altered.
        """
        if spec.start == "encoder":
            return cls(spec.features, clip=ready(load_clip(folder / _ENCODER)))
        pairs = zip(starts_from, spec.features, strict=True)
        return cls(spec.features, candidates=[Neural.load(name, folder / feature) for name, feature in pairs])


def start_encoder(context: FitContext) -> CLIPModel:
    """The recipe's encoder as it is, ready to be read.

    The embedded encoder has random weights, drawn from the run's seed: its states tell texts and images apart, but
    mean nothing. It is good for trying a recipe out, not for scores.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(digest(context.seed, _ENCODER), 16) % 2**31)
        return ready(load_encoder(context.recipe.encoder, context.fit.preprocessor))


def ready(clip: CLIPModel) -> CLIPModel:
    """A CLIP without dropout, on the GPU where there is one."""
    clip.eval()
    if torch.cuda.is_available():
        torch.nn.Module.cuda(clip)
    return clip


def save_clip(clip: CLIPModel, folder: Path) -> None:
    """Write a CLIP in Hugging Face's layout; `load_clip` reads it."""
    with no_progress_bars():
        clip.save_pretrained(folder)


def clip_pooled(clip: CLIPModel, feature: str) -> Forward:
    """What gives the pooled "text" [B, d_t] or "image" state [B, d_i] of a CLIP."""
    if feature == "text":
        return lambda inputs: text_states(clip.text_model, *_texts(inputs, clip)).pooled
    return lambda inputs: image_states(clip.vision_model, inputs["pixel_values"].to(clip.device)).pooled


def _texts(inputs: Mapping[str, Tensor], clip: CLIPModel) -> tuple[Tensor, Tensor]:
    return inputs["input_ids"].to(clip.device), inputs["attention_mask"].to(clip.device)


def _model_pooled(model: Any, feature: str) -> Forward:
    assert isinstance(model, TextClassifier | ImageClassifier | MultiModalClassifier), "only these pool states"

    def forward(inputs: Mapping[str, Tensor]) -> Tensor:
        return model.pooled_states({name: value.to(model.device) for name, value in inputs.items()})[feature]

    return forward


def near(name: str, known: Iterable[str]) -> str:
    """What a wrong name may have meant, and what names there are."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    meant = f"Did you mean {' or '.join(repr(one) for one in close)}? " if close else ""
    shown = ", ".join(names[:10]) or "none"
    return f"{meant}There are: {shown}{f', ... ({len(names)} in all)' if len(names) > 10 else ''}."


@torch.inference_mode()
def pooled(forward: Forward, memes: Memes, *, text: bool, image: bool) -> NDArray[np.float32]:
    """States [num_memes, d] of memes, in their order.

    Args:
        forward: gives the states of a batch.
        memes: at least one.
        text: whether `forward` reads the texts.
        image: whether it reads the images.
    """
    lengths = [len(ids) for ids in memes.token_ids] if text else [0] * len(memes)
    order = np.argsort(np.array(lengths), kind="stable")  # neighbours of one length need little padding
    found = [
        forward(memes.batch(order[start : start + _BATCH].tolist(), text=text, image=image)).float().cpu()
        for start in range(0, len(order), _BATCH)
    ]
    states: NDArray[np.float32] = torch.cat(found).numpy()[np.argsort(order, kind="stable")]
    return states


FeatureSpec = LinearCandidate | BoostingCandidate | KnnCandidate
Spec = TypeVar("Spec", bound=FeatureSpec)


class FeatureCandidate(Candidate, Generic[Spec]):
    """A candidate that learns from pooled states and carries the encoders that give them.

    A subclass says how it learns, predicts, and what arrays it is made of.

    Args:
        name: kind and number.
        spec: its part of the recipe.
        number: copy number.
        starts_from: names of the candidates that give the states, in the order of `spec.features`.
    """

    kind: ClassVar[str]
    spec_class: ClassVar[type[Any]]

    def __init__(self, name: str, spec: Spec, number: int, starts_from: Sequence[str] = ()) -> None:
        self.name = name
        self.spec = spec
        self.number = number
        self.starts_from = tuple(starts_from)
        self.needs_text = bool({"text", "fused"} & set(spec.features))
        self.needs_image = bool({"image", "fused"} & set(spec.features))

    def fit(self, context: FitContext) -> None:
        """Read the states of the fit memes and learn from them.

        Raises:
            TrainingError: states that are no finite numbers, or a label task with fewer than two classes to learn.
        """
        self.label_tasks = context.label_tasks
        self.reader = StateReader.start(self.spec, self.starts_from, context)
        states = self.reader.read(context.fit, f"{self.name}: reading states", context.progress)
        self._check(states, context)
        context.progress.start(self.name, len(self.label_tasks))
        self._learn(context, states)

    def _check(self, states: States, context: FitContext) -> None:
        for parts in states.parts.values():
            for feature, part in zip(self.spec.features, parts, strict=True):
                if not np.isfinite(part).all():
                    raise TrainingError(
                        f"Candidate '{self.name}' could not be trained: the {feature} states it starts from "
                        f"({', '.join(self.starts_from) or 'the encoder'}) hold numbers that are not finite.",
                        fix="Train the candidates it starts from with a lower learning rate.",
                    )
        for column, task in enumerate(context.label_tasks):
            seen = np.unique(context.fit_labels[:, column])
            found = [task.classes[index] for index in seen if index != MISSING]
            if len(found) < 2:
                raise TrainingError(
                    f"Candidate '{self.name}' could not be trained: the fit memes have {len(found)} class(es) of "
                    f"label task '{task.name}' ({', '.join(found) or 'no labels'}), expected at least two.",
                    fix="Leave the label task out, or add labels.",
                )

    def predict(self, memes: Memes) -> Mapping[str, NDArray[np.float64]]:
        """Class probabilities from the memes' states."""
        states = self.reader.read(memes)
        return {task.name: self._probabilities(states, task) for task in self.label_tasks}

    def save(self, folder: Path) -> None:
        """The encoders, and what was learned from their states as JSON and safetensors."""
        self.reader.save(folder / _STATES)
        self._save_learned(folder)

    def _save_learned(self, folder: Path) -> None:
        tensors = {name: np.ascontiguousarray(value) for name, value in self._tensors().items()}
        with replacing(folder / f"{self.kind}.safetensors") as temporary:
            save_file(tensors, temporary)
        write_json(
            folder / f"{self.kind}.json",
            {
                "spec": self.spec.model_dump(mode="json"),
                "number": self.number,
                "starts_from": list(self.starts_from),
                "label_tasks": [task.to_dict() for task in self.label_tasks],
                **self._settings(),
            },
        )

    @classmethod
    def load(cls, name: str, folder: Path) -> Self:
        """The inverse of `save`."""
        try:
            settings = json.loads((folder / f"{cls.kind}.json").read_text(encoding="utf-8"))
            spec = cls.spec_class.model_validate(settings["spec"])
            candidate = cls(name, spec, int(settings["number"]), settings["starts_from"])
            candidate.label_tasks = tuple(LabelTask.from_dict(task) for task in settings["label_tasks"])
            # Copied: arrays in a file's buffer lie at any address, for which the CPU may round otherwise.
            tensors = {key: value.copy() for key, value in load_file(folder / f"{cls.kind}.safetensors").items()}
            candidate._restore(settings, tensors)
            candidate.reader = StateReader.load(folder / _STATES, spec, candidate.starts_from)
        except READ_ERRORS as error:
            raise ModelError(f"Candidate '{name}' in '{folder}' could not be read: {error}.") from error
        return candidate

    def _labelled(
        self, context: FitContext, states: States
    ) -> Iterator[tuple[LabelTask, NDArray[np.float64], NDArray[np.int64]]]:
        """Each label task with the states and labels of the fit memes that have one; the progress follows."""
        for column, task in enumerate(context.label_tasks):
            labels = context.fit_labels[:, column]
            known = labels != MISSING
            yield task, states.of(task.name)[known], labels[known]
            context.progress.advance(column + 1)

    @abstractmethod
    def _learn(self, context: FitContext, states: States) -> None:
        """Learn from the states of the fit memes."""

    @abstractmethod
    def _probabilities(self, states: States, task: LabelTask) -> NDArray[np.float64]:
        """Class probabilities [num_memes, num_classes] of a label task."""

    @abstractmethod
    def _tensors(self) -> dict[str, NDArray[Any]]:
        """What was learned, as named arrays."""

    def _settings(self) -> dict[str, Any]:
        """What was learned and is no array, as JSON."""
        return {}

    @abstractmethod
    def _restore(self, settings: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
        """The inverse of `_tensors` and `_settings`."""
