"""Label tasks: what a meme is classified for, and how Task B follows from Task C.

A label task has a name, a kind and its classes in order. An *intensity* label task orders its classes from
"absent" upwards (Memotion's Task C); from it a binary label task `<name>_present` is derived by a pure
function (Memotion's Task B: an aspect is present iff its intensity level is above 0; paper section 4).
Derived label tasks are scored, never trained.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

LabelKind = Literal["nominal", "ordinal", "binary"]
MISSING = -1
"""The class index that stands for "no label"."""

PRESENT_SUFFIX = "_present"


@dataclass(frozen=True)
class LabelTask:
    """A label task.

    Attributes:
        name: column name of the label task.
        kind: "binary" (two classes, the second is the positive one), "ordinal" (classes in order) or "nominal".
        classes: class names in order; their positions are the class indices used everywhere.
        intensity: whether class 0 means "absent" and the rest are levels of being present.

    Raises:
        ValueError: fewer than two classes, a class named twice, or a binary label task without two classes.
    """

    name: str
    kind: LabelKind
    classes: tuple[str, ...]
    intensity: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(LabelKind):
            raise ValueError(f"label task '{self.name}': kind is '{self.kind}', expected nominal, ordinal or binary")
        if len(self.classes) < 2:
            raise ValueError(
                f"label task '{self.name}' has {len(self.classes)} class(es) ({', '.join(self.classes)}), "
                "expected at least two"
            )
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"label task '{self.name}' names a class twice: {', '.join(self.classes)}")
        if self.kind == "binary" and len(self.classes) != 2:
            raise ValueError(f"label task '{self.name}' is binary but has {len(self.classes)} classes")

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def index(self, name: str) -> int:
        """Class index of a class name.

        Raises:
            ValueError: no such class.
        """
        return self.classes.index(name)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; `from_dict` is the inverse."""
        return {
            "name": self.name,
            "kind": self.kind,
            "classes": list(self.classes),
            "intensity": self.intensity,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LabelTask:
        """The inverse of `to_dict`."""
        return cls(data["name"], data["kind"], tuple(data["classes"]), bool(data.get("intensity", False)))


SENTIMENT = LabelTask("sentiment", "ordinal", ("negative", "neutral", "positive"))
HUMOROUS = LabelTask("humorous", "ordinal", ("not_funny", "funny", "very_funny", "hilarious"), intensity=True)
SARCASTIC = LabelTask(
    "sarcastic", "ordinal", ("not_sarcastic", "general", "twisted_meaning", "very_twisted"), intensity=True
)
OFFENSIVE = LabelTask(
    "offensive", "ordinal", ("not_offensive", "slight", "very_offensive", "hateful_offensive"), intensity=True
)
MOTIVATIONAL = LabelTask("motivational", "binary", ("not_motivational", "motivational"), intensity=True)

MEMOTION_LABEL_TASKS = (SENTIMENT, HUMOROUS, SARCASTIC, OFFENSIVE, MOTIVATIONAL)
"""Task A (sentiment) and the four aspects of Task C, in the paper's words (table 2)."""


def present_task(task: LabelTask) -> LabelTask:
    """The derived binary label task (Task B) of an intensity label task.

    Raises:
        ValueError: `task` is not an intensity label task.
    """
    if not task.intensity:
        raise ValueError(f"label task '{task.name}' has no intensity levels, so nothing can be derived from it")
    return LabelTask(task.name + PRESENT_SUFFIX, "binary", ("absent", "present"))


def present_classes(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Task B class indices from Task C class indices: 1 iff the level is above 0; missing stays missing.

    Args:
        classes: class indices [num_memes], -1 where missing.
    """
    return np.where(classes == MISSING, MISSING, (classes > 0).astype(np.int64))


def present_probabilities(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Probability of absent and present from the levels' probabilities.

    Args:
        probabilities: [num_memes, num_classes].

    Returns:
        [num_memes, 2]: probability of level 0, and the sum over the levels above it.
    """
    absent = probabilities[:, 0].astype(np.float64)
    return np.stack([absent, probabilities[:, 1:].sum(axis=1, dtype=np.float64)], axis=1)


def with_derived(tasks: Iterable[LabelTask]) -> tuple[LabelTask, ...]:
    """The label tasks followed by those derived from them, as reports list them."""
    trained = tuple(tasks)
    return trained + tuple(present_task(task) for task in trained if task.intensity)
