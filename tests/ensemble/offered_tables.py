"""Random candidates for the tests of ensembles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from memeblend.evaluation import PredictionTable
from memeblend.labels import SENTIMENT, LabelTask


def candidates(
    num: int, num_memes: int, seed: int, task: LabelTask = SENTIMENT, skill: float = 0.6, steps: int = 0
) -> list[PredictionTable]:
    """Random candidates; with `steps`, probabilities on a coarse grid so that ties are common."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, task.num_classes, num_memes)
    tables = []
    for index in range(num):
        scores = rng.normal(size=(num_memes, task.num_classes))
        scores[np.arange(num_memes), labels] += skill
        probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        if steps:
            probabilities = np.array([rng.multinomial(steps, row) for row in probabilities]) / steps
        tables.append(
            PredictionTable(
                f"c{index:02d}",
                task,
                np.array([f"m{row}" for row in range(num_memes)]),
                np.array(["select"] * num_memes),
                np.arange(num_memes),
                labels,
                probabilities,
                "f",
            )
        )
    return tables


def renamed(table: PredictionTable, name: str) -> PredictionTable:
    """The same predictions under another name."""
    return replace(table, candidate=name)
