"""Class shares that differ between training and serving (label shift).

Where the memes of a class look the same in both and only its share differs, Bayes' rule corrects the probabilities:
p'(k) is proportional to p(k) * serving_prior(k) / prior_fit(k) (Saerens, Latinne & Decaestecker 2002, equation 2.4).
Unknown serving shares are estimated from unlabelled memes by expectation maximisation (the same, equation 2.9).

Both take the probabilities at their word, and `prior_fit` too. A candidate trained with balanced class weights speaks
as if all classes were equally frequent, whatever the fit split's shares; corrected from those, its estimates end far
off. So where labels are at hand, the prior that the probabilities behave as trained with is fitted first, together
with the temperature: bias-corrected temperature scaling (Alexandari, Kundaje & Shrikumar 2020, "Maximum Likelihood
with Bias-Corrected Calibration is Hard-To-Beat at Label Shift Adaptation", section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memeblend.decisions.calibration import FLOOR, LARGEST_TEMPERATURE, LEAST_TEMPERATURE

LEAST_MEMES = 30
"""Fewer memes say nothing of the shares: of a single one, the estimate would be its most probable class alone."""
_MOST_ITERATIONS = 5000
_TOLERANCE = 1e-7


@dataclass(frozen=True)
class PriorEstimate:
    """Class shares estimated from unlabelled memes.

    Attributes:
        prior: share of each class; where there is no estimate the prior to correct from, so that nothing changes.
        num_memes: memes it was estimated from.
        num_iterations: steps of expectation maximisation taken.
        reason: why there is no estimate, "" where there is one.
    """

    prior: tuple[float, ...]
    num_memes: int
    num_iterations: int
    reason: str = ""


def corrected(
    probabilities: NDArray[np.float64], prior_fit: NDArray[np.float64], serving_prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Probabilities for other class shares than those they were trained with [num_memes, num_classes].

    A class of share 0 in `prior_fit` gets probability 0: what a model says of it has no meaning. A meme whose
    probability lies wholly on classes of share 0 keeps its row.

    Args:
        probabilities: [num_memes, num_classes].
        prior_fit: class shares that the probabilities behave as trained with [num_classes].
        serving_prior: class shares to expect [num_classes].
    """
    if np.array_equal(prior_fit, serving_prior):
        return probabilities
    ratios = np.divide(serving_prior, prior_fit, out=np.zeros_like(prior_fit), where=prior_fit > 0)
    moved = probabilities * ratios
    totals = moved.sum(axis=1, keepdims=True)
    result: NDArray[np.float64] = np.divide(moved, totals, out=probabilities.copy(), where=totals > 0)
    return result


def fit_behaved_prior(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    prior_fit: NDArray[np.float64],
    *,
    with_temperature: bool,
) -> tuple[float, NDArray[np.float64]]:
    """The temperature, and the prior from which a correction towards these memes' shares has the least log loss.

    Logits l become l / T + b, convex in 1/T and b; with these memes' shares s, the prior is proportional to
    s / exp(b). One meme's worth of a quadratic pull towards the fit split's shares keeps b finite.

    Args:
        probabilities: [num_memes, num_classes].
        labels: true class indices [num_memes], none missing.
        prior_fit: class shares of the fit split [num_classes].
        with_temperature: whether the temperature may leave 1.

    Returns:
        The temperature and the prior [num_classes]. A class without a label here, or without a meme in the fit split,
        keeps its share of the fit split; fewer than two others leave everything as it is.
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp, softmax

    found = np.bincount(labels, minlength=len(prior_fit))
    known = np.flatnonzero((found > 0) & (prior_fit > 0))
    if known.size < 2:
        return 1.0, prior_fit
    rows = np.isin(labels, known)
    logits = np.log(np.maximum(probabilities[rows][:, known], FLOOR))
    num_memes, truth = len(logits), np.eye(len(known))[np.searchsorted(known, labels[rows])]
    shares = found[known] / num_memes
    pulled = np.log(shares / prior_fit[known])

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        inverse, biases = parameters[0], parameters[1:]
        moved = inverse * logits + biases
        wrong = (softmax(moved, axis=1) - truth) / num_memes
        away = (biases - pulled) / num_memes
        value = float((logsumexp(moved, axis=1) - (moved * truth).sum(axis=1)).mean() + away @ (biases - pulled) / 2)
        return value, np.array([(wrong * logits).sum(), *(wrong.sum(axis=0) + away)])

    inverse_bounds = (1 / LARGEST_TEMPERATURE, 1 / LEAST_TEMPERATURE) if with_temperature else (1.0, 1.0)
    bounds = [inverse_bounds, *([(None, None)] * len(known))]
    options = {"maxiter": 1000, "ftol": 1e-13, "gtol": 1e-9}
    fit = minimize(loss, np.array([1.0, *pulled]), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    behaved = softmax(np.log(shares) - fit.x[1:])
    prior = prior_fit.copy()
    prior[known] = behaved * prior_fit[known].sum()
    return float(1 / fit.x[0]), prior


def estimate_prior(probabilities: NDArray[np.float64], prior_fit: NDArray[np.float64]) -> PriorEstimate:
    """Estimate the class shares of unlabelled memes.

    A class of share 0 in `prior_fit` keeps share 0. Fewer than `LEAST_MEMES` memes, or steps that do not settle, give
    `prior_fit` and the reason.

    Args:
        probabilities: calibrated [num_memes, num_classes].
        prior_fit: class shares that they behave as trained with [num_classes].
    """
    num_memes = len(probabilities)
    unchanged = tuple(prior_fit.tolist())
    if num_memes < LEAST_MEMES:
        reason = f"only {num_memes} meme(s), at least {LEAST_MEMES} are needed to estimate class shares"
        return PriorEstimate(unchanged, num_memes, 0, reason)
    prior = prior_fit
    for iteration in range(1, _MOST_ITERATIONS + 1):
        following: NDArray[np.float64] = corrected(probabilities, prior_fit, prior).mean(axis=0)
        following = np.where(prior_fit > 0, following, 0.0)
        following /= following.sum()
        if np.abs(following - prior).max() < _TOLERANCE:
            return PriorEstimate(tuple(following.tolist()), num_memes, iteration)
        prior = following
    reason = f"the estimate of class shares did not settle within {_MOST_ITERATIONS} steps"
    return PriorEstimate(unchanged, num_memes, _MOST_ITERATIONS, reason)
