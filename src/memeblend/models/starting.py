"""A model that starts from another one: which tensors it takes over, and which start anew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from memeblend.errors import ModelError, Problem
from memeblend.models.base import EncoderModel
from memeblend.models.heads import LabelTaskHeads

ENCODERS = ("text.text_model.", "image.vision_model.")
BRANCHES = ("text.", "image.")
"""Prefixes of the tensors that a model built on encoders, or from a text and an image model, takes over."""


@dataclass(frozen=True)
class Start:
    """What a model took over.

    Attributes:
        num_loaded: tensors that it took over.
        anew: its parts that start from random weights, by their names in the model; heads with their label task.
        left_out: parts of the other model that it has no place for.
    """

    num_loaded: int
    anew: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def line(self, label: str, source: str) -> str:
        """A sentence that says all of it."""
        anew = ", ".join(self.anew) or "nothing"
        left_out = f"; not used: {', '.join(self.left_out)}" if self.left_out else ""
        return f"{label} starts from {source}: {self.num_loaded} tensors loaded; started anew: {anew}{left_out}."


def start_from(model: EncoderModel, other: EncoderModel, source: str) -> Start:
    """Copy the weights of a trained model into a new one of the same kind.

    Heads are copied for label tasks that both have with the same classes; the others start anew.

    Args:
        model: the new model, changed in place.
        other: the trained one.
        source: where it came from, for messages.

    Raises:
        ModelError: a tensor has another size there.
    """
    own, theirs = _tensors(model), _tensors(other)
    problems = [
        Problem(f"tensor {name}", f"has shape {list(theirs[name].shape)} there, expected {list(value.shape)}")
        for name, value in own.items()
        if name in theirs and theirs[name].shape != value.shape
    ]
    if problems:
        raise ModelError(
            f"The candidate in '{source}' has other sizes than the recipe asks for:",
            problems=problems,
            fix="Give the recipe the sizes and the encoder that it was trained with.",
        )
    shared = [name for name in own if name in theirs]
    with torch.no_grad():
        for name in shared:
            own[name].copy_(theirs[name])
    return Start(len(shared), _parts(set(own) - set(theirs)), _parts(set(theirs) - set(own)))


def started_with(model: EncoderModel, prefixes: tuple[str, ...]) -> Start:
    """What a model took over whose tensors of these prefixes were put there when it was built.

    Args:
        model: the model.
        prefixes: as `ENCODERS` or `BRANCHES`.
    """
    names = list(_tensors(model))
    anew = [name for name in names if not name.startswith(prefixes)]
    return Start(len(names) - len(anew), _parts(anew))


def _tensors(model: EncoderModel) -> dict[str, Tensor]:
    """A model's weights by name; those of a head by its label task and classes instead of its position."""
    classes = {task["name"]: "/".join(task["classes"]) for task in model.config.label_tasks}
    prefixes: dict[str, str] = {}
    for path, module in model.named_modules():
        if isinstance(module, LabelTaskHeads):
            for position, name in enumerate(module.names):
                prefixes[f"{path}.heads.{position}."] = f"{path} of {name} ({classes[name]})\n"
    found = {}
    for name, value in model.state_dict().items():  # these share memory with the model
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
        found[prefixes[prefix] + name.removeprefix(prefix) if prefix else name] = value
    return found


def _parts(names: Iterable[str]) -> tuple[str, ...]:
    """The modules that tensors belong to, to the depth at which a reader knows them."""
    parts = []
    for name in sorted(names):
        head, separator, _ = name.partition("\n")
        parts.append(head.partition(" (")[0] if separator else _module(name))
    return tuple(dict.fromkeys(parts))


def _module(name: str) -> str:
    first, _, rest = name.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if first in ("text", "image") else first
