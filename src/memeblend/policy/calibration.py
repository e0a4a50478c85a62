"""From a category's score to the probability that a meme is of it, with an interval."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from memeblend.policy.parts import Count, Number, Part
from memeblend.policy.shares import Z, effective_number

_LEAST = 1e-6
"""Scores are kept this far from 0 and 1, so that their log-odds are finite."""


class Calibration(Part):
    """calibrated = sigmoid(slope * logit(score) + intercept).

    Platt scaling of the score's log-odds. It has two parameters, so a few hundred memes suffice, where isotonic
    regression overfits below about a thousand (Niculescu-Mizil & Caruana 2005). Log-odds rather than the
    score itself: then slope 1 and intercept 0 leave a score that is right already as it is, which Platt's form on
    probabilities can't (Kull, Silva Filho & Flach 2017; this is their beta calibration with equal shapes).

    Attributes:
        slope: 0 or above, so that a higher score is never worth less.
        intercept: log-odds at a score of one half.
        covariance: variance of the slope, covariance, variance of the intercept.
        num_memes: labelled memes that it was fitted on.
        num_positive: how many of them were of the category.
    """

    slope: Annotated[Number, Field(ge=0)]
    intercept: Number
    covariance: tuple[Number, Number, Number]
    num_memes: Count
    num_positive: Count

    @field_validator("covariance")
    @classmethod
    def _positive(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        slope, both, intercept = value
        if min(slope, intercept) < 0 or both**2 > slope * intercept * (1 + 1e-6):
            raise ValueError("is no covariance; expected [variance of slope, covariance, variance of intercept]")
        return value

    def calibrated(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities [num_memes] of scores [num_memes]."""
        return _sigmoid(self.slope * _logit(scores) + self.intercept)

    def interval(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """95 % intervals [num_memes, 2] of the probabilities of scores [num_memes].

        How far the validation pins the curve down at this score, by the delta method on the log-odds; not how sure
        one may be of a single meme.
        """
        logits = _logit(scores)
        slope, both, intercept = self.covariance
        spread = Z * np.sqrt(np.maximum(0, slope * logits**2 + 2 * both * logits + intercept))
        middle = self.slope * logits + self.intercept
        return np.stack([_sigmoid(middle - spread), _sigmoid(middle + spread)], axis=1)


def fit_calibration(scores: NDArray[np.float64], positive: NDArray[np.bool_], groups: NDArray[np.int64]) -> Calibration:
    """Fit a calibration by maximum likelihood, with Platt's (1999) targets that keep separable memes finite.

    The covariance is that of logistic regression times the memes' design effect (see `shares.effective_number`).
    Where a higher score does not mean a higher probability, every score gets the share of positive memes.

    Args:
        scores: [num_memes].
        positive: whether each meme is of the category [num_memes]; some are and some are not.
        groups: duplicate groups [num_memes].
    """
    number, num_positive = len(scores), int(positive.sum())
    targets = np.where(positive, (num_positive + 1) / (num_positive + 2), 1 / (number - num_positive + 2))
    logits = _logit(scores)
    slope, intercept = _regression(logits, targets)
    told = slope > 0
    if not told:
        slope, intercept = 0.0, float(_logit(targets.mean()))
    probabilities = _sigmoid(slope * logits + intercept)
    design = np.stack([logits, np.ones(number)], axis=1)
    information = (design * (probabilities * (1 - probabilities))[:, None]).T @ design
    effect = number / effective_number(groups)
    if told:
        covariance = effect * np.linalg.inv(information)
    else:
        covariance = np.array([[0.0, 0.0], [0.0, effect / information[1, 1]]])
    spread = tuple(float(f"{value:.6g}") for value in (covariance[0, 0], covariance[0, 1], covariance[1, 1]))
    return Calibration(
        slope=round(slope, 6),
        intercept=round(intercept, 6),
        covariance=(spread[0], spread[1], spread[2]),
        num_memes=number,
        num_positive=num_positive,
    )


def _regression(logits: NDArray[np.float64], targets: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and intercept of a logistic regression without penalty on targets between 0 and 1."""
    from sklearn.linear_model import LogisticRegression

    if np.ptp(logits) < 1e-9:
        return 0.0, 0.0
    # A target t is a meme of the category with weight t and one that is not with weight 1 - t.
    both = np.concatenate([logits, logits])[:, None]
    classes = np.repeat([1, 0], len(logits))
    found = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(
        both, classes, sample_weight=np.concatenate([targets, 1 - targets])
    )
    return float(found.coef_[0, 0]), float(found.intercept_[0])


def _logit(values: Any) -> NDArray[np.float64]:
    kept = np.clip(np.asarray(values, dtype=np.float64), _LEAST, 1 - _LEAST)
    found: NDArray[np.float64] = np.log(kept) - np.log1p(-kept)
    return found


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(values, -700, 700)))
    return found
