"""Pooled states of memes, and what the candidates that learn from them share.

"text" [d_t] is the end token's state of the text encoder, "image" [d_i] the class token's of the image encoder
(paper section 3), "fused" [2 d_t] the state F_cls that the fusion candidate's heads read (equation 6).

Notable: importing this module, predicting from states and reading what was learned need no torch.
"""

from __future__ import annotations

import difflib
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from memeblend.candidates.base import Candidate, FitContext
from memeblend.errors import ModelError, TrainingError
from memeblend.files import replacing, write_json
from memeblend.labels import MISSING, LabelTask
from memeblend.recipe.candidates import BoostingCandidate, KnnCandidate, LinearCandidate
from memeblend.training.preprocessing import Memes
from memeblend.training.progress import Progress

READ_ERRORS = (OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError, SafetensorError, ModelError)
"""What reading a candidate's folder can meet when it is cut short or altered."""
STATES = "states"
"""Folder of what gives the states, in the folder of a candidate."""
SHARED = "joint"
"""The space of states that serves all label tasks, as `Neural` calls its one model."""


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
        return label_task if label_task in self.parts else SHARED

    def of(self, label_task: str) -> NDArray[np.float64]:
        """The states that a label task is judged by, side by side: [num_memes, sum of their widths]."""
        return np.concatenate(self.parts[self.space(label_task)], axis=1, dtype=np.float64)


class Reader(Protocol):
    """What gives the pooled states of memes: a `StateReader`, or exported encoders."""

    def read(self, memes: Memes, label: str = "", progress: Progress | None = None) -> States:
        """States of memes, in their order."""

    def save(self, folder: Path) -> None:
        """Write it into a folder, made if need be."""


def near(name: str, known: Iterable[str]) -> str:
    """What a wrong name may have meant, and what names there are."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    meant = f"Did you mean {' or '.join(repr(one) for one in close)}? " if close else ""
    shown = ", ".join(names[:10]) or "none"
    return f"{meant}There are: {shown}{f', ... ({len(names)} in all)' if len(names) > 10 else ''}."


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
    reader: Reader

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
        from memeblend.candidates.features import StateReader

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
        self.reader.save(folder / STATES)
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
    def load(cls, name: str, folder: Path, reader: Reader | None = None) -> Self:
        """The inverse of `save`.

        Args:
            name: kind and number.
            folder: what `save` wrote.
            reader: what gives the states; None reads it from the folder, which needs torch.

        Raises:
            ModelError: something is missing, cut short or altered.
        """
        try:
            settings = json.loads((folder / f"{cls.kind}.json").read_text(encoding="utf-8"))
            spec = cls.spec_class.model_validate(settings["spec"])
            candidate = cls(name, spec, int(settings["number"]), settings["starts_from"])
            candidate.label_tasks = tuple(LabelTask.from_dict(task) for task in settings["label_tasks"])
            # Copied: arrays in a file's buffer lie at any address, for which the CPU may round otherwise.
            tensors = {key: value.copy() for key, value in load_file(folder / f"{cls.kind}.safetensors").items()}
            candidate._restore(settings, tensors)
            candidate.reader = _saved_reader(folder, spec, candidate.starts_from) if reader is None else reader
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


def _saved_reader(folder: Path, spec: FeatureSpec, starts_from: Sequence[str]) -> Reader:
    from memeblend.candidates.features import StateReader

    return StateReader.load(folder / STATES, spec, starts_from)
