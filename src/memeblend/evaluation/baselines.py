"""What a model has to beat: predictions that never look at a meme."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memeblend.errors import PredictionError
from memeblend.evaluation.metrics import confusion_counts, score_of_counts
from memeblend.labels import MISSING


def class_prior(labels: NDArray[np.int64], num_classes: int) -> NDArray[np.float64]:
    """Share of each class [num_classes] among the labels that are not missing.

    Raises:
        PredictionError: no label at all.
    """
    counts = np.bincount(labels[labels != MISSING], minlength=num_classes).astype(np.float64)
    if counts.sum() == 0:
        raise PredictionError("The fit split has no label, so the share of each class is unknown.")
    prior: NDArray[np.float64] = counts / counts.sum()
    return prior


def constant_score(labels: NDArray[np.int64], class_index: int, num_classes: int) -> float:
    """Weighted F1 of always saying one class."""
    predicted = np.full_like(labels, class_index)
    return float(score_of_counts(confusion_counts(labels, predicted, num_classes), "weighted_f1"))


def majority_class(prior: NDArray[np.float64] | Sequence[float]) -> int:
    """The class that is most frequent in the fit split (the lowest index among equals)."""
    return int(np.argmax(prior))


def best_constant_class(labels: NDArray[np.int64], num_classes: int) -> int:
    """The single class with the best weighted F1 on these labels themselves (the lowest index among equals).

    It is chosen with the answers at hand, so it is the harder baseline of the two.
    """
    return int(np.argmax([constant_score(labels, index, num_classes) for index in range(num_classes)]))


def chance_score(labels: NDArray[np.int64], prior: NDArray[np.float64]) -> float:
    """Expected weighted F1 of drawing every prediction from the fit split's class shares.

    Exact, not simulated. For a class with share q in the fit split and n_c of the n labels, the number S of
    times it is drawn is Binomial(n, q), and given S its true positives are hypergeometric with mean
    S * n_c / n. Hence E[F1] = E[2 TP / (n_c + S)] = (2 n_c / n) * E[S / (n_c + S)].

    Args:
        labels: true class indices [num_memes], -1 where missing.
        prior: share of each class in the fit split [num_classes].
    """
    support = np.bincount(labels[labels != MISSING], minlength=len(prior))
    num_memes = int(support.sum())
    if num_memes == 0:
        return 0.0
    drawn = np.arange(num_memes + 1, dtype=np.float64)
    expected = [
        2 * n / num_memes * float(_binomial(num_memes, float(q)) @ (drawn / (n + drawn)))
        for n, q in zip(support, prior, strict=True)
        if n > 0
    ]
    return float(np.dot(support[support > 0] / num_memes, expected))


def _binomial(n: int, q: float) -> NDArray[np.float64]:
    """Probabilities [n + 1] of 0..n successes in n draws."""
    k = np.arange(n + 1, dtype=np.float64)
    if q <= 0 or q >= 1:
        certain: NDArray[np.float64] = (k == (n if q >= 1 else 0)).astype(np.float64)
        return certain
    log_choose = np.concatenate([[0.0], np.cumsum(np.log((n - k[1:] + 1) / k[1:]))])
    probabilities: NDArray[np.float64] = np.exp(log_choose + k * np.log(q) + (n - k) * np.log1p(-q))
    probabilities /= probabilities.sum()
    return probabilities


def baselines(labels: NDArray[np.int64], prior: NDArray[np.float64]) -> dict[str, float]:
    """Weighted F1 of the three baselines on these labels.

    Args:
        labels: true class indices of the memes scored [num_memes], -1 where missing.
        prior: share of each class in the fit split [num_classes].

    Returns:
        "majority": always the class most frequent in the fit split; "best_constant": the best single class on
        the memes scored; "chance": the expectation of drawing from the fit split's shares.
    """
    num_classes = len(prior)
    return {
        "majority": constant_score(labels, majority_class(prior), num_classes),
        "best_constant": constant_score(labels, best_constant_class(labels, num_classes), num_classes),
        "chance": chance_score(labels, prior),
    }
