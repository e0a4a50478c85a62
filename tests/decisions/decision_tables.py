"""Simulated prediction tables: Gaussian evidence for the true class, and Bayes' posteriors of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from memeblend.evaluation import PredictionTable
from memeblend.labels import SENTIMENT, LabelTask

SKILL = 1.5


def table_of(
    probabilities: Sequence[Sequence[float]],
    labels: Sequence[int],
    task: LabelTask = SENTIMENT,
    *,
    split: str = "validation",
    groups: Sequence[int] | None = None,
    decisions: Sequence[int] | None = None,
) -> PredictionTable:
    """A table of given numbers."""
    num = len(labels)
    return PredictionTable(
        "made",
        task,
        np.array([f"{split}{row}" for row in range(num)]),
        np.array([split] * num),
        np.arange(num) if groups is None else np.array(groups),
        np.array(labels),
        np.array(probabilities, dtype=np.float64),
        "f",
        None if decisions is None else np.array(decisions),
    )


def simulated(
    num: int,
    seed: int,
    task: LabelTask = SENTIMENT,
    *,
    prior: Sequence[float] | None = None,
    prior_fit: Sequence[float] | None = None,
    overconfidence: float = 1.0,
    split: str = "validation",
) -> PredictionTable:
    """Memes with class shares `prior` and posteriors that are exact under `prior_fit` and `overconfidence` 1.

    With overconfidence c the logits are multiplied by c, so that temperature c makes them exact again.
    """
    rng = np.random.default_rng(seed)
    num_classes = task.num_classes
    shares = np.full(num_classes, 1 / num_classes) if prior is None else np.array(prior)
    trained = shares if prior_fit is None else np.array(prior_fit)
    labels = rng.choice(num_classes, num, p=shares)
    evidence = rng.normal(size=(num, num_classes))
    evidence[np.arange(num), labels] += SKILL
    logits = overconfidence * (SKILL * evidence + np.log(trained))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return table_of(powers / powers.sum(axis=1, keepdims=True), labels.tolist(), task, split=split)
