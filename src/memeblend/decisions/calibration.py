"""How far probabilities can be taken at their word, and one number that brings them closer.

Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2) divides the logits by
a temperature T. A prediction table holds probabilities, whose logarithms are the logits up to a constant that
softmax ignores. A probability below `FLOOR` is taken as `FLOOR`: a candidate that says 0 or 1 (nearest neighbours,
a hard voter) would else have an infinite log loss that no temperature can change.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOOR = 1e-12
"""Least probability that a logarithm sees."""
LEAST_TEMPERATURE, LARGEST_TEMPERATURE = 0.1, 100.0
"""Where every meme is decided rightly the log loss has no minimum (T -> 0), and where the probabilities know less
than nothing it has none either (T -> infinity); the temperature then stays at one of these."""
NUM_BINS = 10


def log_losses(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Minus the logarithm of the probability given to each meme's true class [num_memes], at most 27.6.

    Args:
        probabilities: [num_memes, num_classes].
        labels: true class indices [num_memes], none missing.
    """
    given: NDArray[np.float64] = probabilities[np.arange(len(labels)), labels]
    losses: NDArray[np.float64] = -np.log(np.maximum(given, FLOOR))
    return losses


def brier_score(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean squared distance of the probabilities from the truth, summed over classes: 0 to 2 (Brier 1950).

    Args:
        probabilities: [num_memes, num_classes].
        labels: true class indices [num_memes], none missing.
    """
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def scaled(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """The probabilities after dividing their logarithms by a temperature [num_memes, num_classes].

    The order of a row's classes stays as it is; 1 returns the very same probabilities.
    """
    if temperature == 1:
        return probabilities
    from scipy.special import softmax

    softened: NDArray[np.float64] = softmax(np.log(np.maximum(probabilities, FLOOR)) / temperature, axis=1)
    return softened


def fit_temperature(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The temperature of the least log loss.

    The log loss is convex in 1/T (a log-sum-exp less a linear function), so its derivative rises and has one root.

    Args:
        probabilities: [num_memes, num_classes].
        labels: true class indices [num_memes], none missing.

    Returns:
        Between `LEAST_TEMPERATURE` and `LARGEST_TEMPERATURE`, and one of them where the minimum lies beyond; 1 where
        the log loss is the same at every temperature (all probabilities equal).
    """
    from scipy.optimize import brentq
    from scipy.special import softmax

    logits = np.log(np.maximum(probabilities, FLOOR))
    true_logits = logits[np.arange(len(labels)), labels]

    def slope(inverse: float) -> float:
        said = softmax(inverse * logits, axis=1)
        return float(((said * logits).sum(axis=1) - true_logits).mean())

    softest, hardest = 1 / LARGEST_TEMPERATURE, 1 / LEAST_TEMPERATURE
    if np.ptp(logits, axis=1).max() < 1e-9:
        return 1.0
    if slope(softest) >= 0:
        return LARGEST_TEMPERATURE
    if slope(hardest) <= 0:
        return LEAST_TEMPERATURE
    return float(1 / brentq(slope, softest, hardest, xtol=1e-10))


def reliability_curve(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], *, num_bins: int = NUM_BINS
) -> list[dict[str, Any]]:
    """How often the most probable class is true, by how probable it is said to be.

    Bins hold equally many memes (Nguyen & O'Connor 2015) rather than being equally wide, so that none is nearly
    empty; memes of equal confidence are never parted, so bins are fewer where many are equal.

    Args:
        probabilities: [num_memes, num_classes].
        labels: true class indices [num_memes], none missing.
        num_bins: most bins.

    Returns:
        By rising confidence: "confidence" (mean probability of the most probable class), "accuracy" (share of memes
        whose true class it is) and "num_memes".
    """
    confidence: NDArray[np.float64] = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    starts = np.arange(1, num_bins) * len(labels) // num_bins
    edges = np.unique(np.sort(confidence)[starts])
    bins = np.searchsorted(edges, confidence, side="right")
    return [
        {
            "confidence": float(confidence[bins == index].mean()),
            "accuracy": float(right[bins == index].mean()),
            "num_memes": int((bins == index).sum()),
        }
        for index in np.unique(bins)
    ]


def expected_calibration_error(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], *, num_bins: int = NUM_BINS
) -> float:
    """Mean distance between confidence and accuracy over the bins of `reliability_curve`, weighted by their memes.

    Guo et al. 2017, equation 3, with bins of equal mass. Of few memes it is above 0 for perfect probabilities too.

    Args:
        probabilities: [num_memes, num_classes].
        labels: true class indices [num_memes], none missing.
        num_bins: most bins.
    """
    curve = reliability_curve(probabilities, labels, num_bins=num_bins)
    gaps = [abs(point["confidence"] - point["accuracy"]) * point["num_memes"] for point in curve]
    return float(sum(gaps) / len(labels))
