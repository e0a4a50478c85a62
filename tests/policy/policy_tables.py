"""Validations with known answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import LabelTask

RUDE = LabelTask("rude", "binary", ("no", "yes"))
LEVEL = LabelTask("harm", "ordinal", ("none", "some", "much"), intensity=True)
MOOD = LabelTask("mood", "nominal", ("bad", "fair", "good"))


def table_of(
    task: LabelTask,
    probabilities: Sequence[Sequence[float]],
    labels: Sequence[int],
    groups: Sequence[int] | None = None,
) -> PredictionTable:
    """A validation of given numbers."""
    num = len(labels)
    return PredictionTable(
        "ensemble",
        task,
        np.array([f"m{row}" for row in range(num)]),
        np.array(["validation"] * num),
        np.arange(num) if groups is None else np.array(groups),
        np.array(labels),
        np.array(probabilities, dtype=np.float64),
        "f",
    )


def drawn(task: LabelTask, num: int, seed: int, *, slope: float = 1.0, intercept: float = 0.0) -> PredictionTable:
    """Memes whose true classes are drawn from their probabilities.

    For a binary label task log-odds of the true probability are `slope` times those of the score plus `intercept`.
    """
    rng = np.random.default_rng(seed)
    if task.num_classes == 2:
        logits = rng.normal(-0.5, 1.5, num)
        said = 1 / (1 + np.exp(-logits))
        true = 1 / (1 + np.exp(-(slope * logits + intercept)))
        return table_of(task, np.stack([1 - said, said], axis=1), (rng.random(num) < true).astype(int).tolist())
    probabilities = rng.dirichlet(np.ones(task.num_classes), num)
    labels = [int(rng.choice(task.num_classes, p=row)) for row in probabilities]
    return table_of(task, probabilities, labels)


def validation(num: int = 300, seed: int = 0) -> dict[str, PredictionTable]:
    """Two categories and a label task that is none, on the same memes."""
    return {task.name: drawn(task, num, seed + n) for n, task in enumerate((RUDE, LEVEL, MOOD))}
