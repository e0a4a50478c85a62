"""Logistic regression kept as arrays: fitted by scikit-learn, stored and applied without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

ClassWeights = Literal["none", "balanced"]


@dataclass(frozen=True)
class Logistic:
    """A softmax over all classes of a label task.

    Attributes:
        coefficients: [num_classes, num_features].
        intercepts: [num_classes]; minus infinity for a class never seen in training, whose probability is then 0.
    """

    coefficients: NDArray[np.float64]
    intercepts: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        features: csr_matrix | NDArray[np.float64],
        labels: NDArray[np.int64],
        num_classes: int,
        *,
        strength: float,
        class_weights: ClassWeights,
    ) -> Logistic:
        """Fit to labelled memes.

        Args:
            features: [num_memes, num_features].
            labels: class indices [num_memes], none missing, of at least two classes.
            num_classes: of the label task.
            strength: scikit-learn's C, the inverse of the regularisation.
            class_weights: "balanced" weighs classes by the inverse of their frequency.
        """
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(
            C=strength,
            class_weight="balanced" if class_weights == "balanced" else None,
            max_iter=1000,
            random_state=0,
        )
        model.fit(features, labels)
        seen = model.classes_.astype(np.int64)
        coefficients, intercepts = model.coef_, model.intercept_
        if len(seen) == 2:  # scikit-learn keeps one row for two classes: logits (0, w.x + b)
            coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
            intercepts = np.concatenate([np.zeros(1), intercepts])
        rows = np.zeros((num_classes, coefficients.shape[1]))
        rows[seen] = coefficients
        bias = np.full(num_classes, -np.inf)
        bias[seen] = intercepts
        return cls(rows, bias)

    def probabilities(self, features: csr_matrix | NDArray[np.float64]) -> NDArray[np.float64]:
        """Class probabilities [num_memes, num_classes] of features [num_memes, num_features]."""
        return softmax(np.asarray(features @ self.coefficients.T) + self.intercepts)

    def tensors(self, position: int) -> dict[str, NDArray[np.float64]]:
        """As named arrays, numbered by the label task's position; `from_tensors` is the inverse."""
        return {f"coefficients.{position}": self.coefficients, f"intercepts.{position}": self.intercepts}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]], position: int) -> Logistic:
        """The inverse of `tensors`.

        Raises:
            KeyError: an array is missing.
        """
        return cls(tensors[f"coefficients.{position}"], tensors[f"intercepts.{position}"])


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softmax over the last axis; a logit of minus infinity has probability 0."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities
