"""Blend weights from how fast each branch generalises and overfits. Numbers in, numbers out.

The method is Gradient-Blend of Wang, Tran and Feiszli, "What makes training multi-modal classification networks
hard?", CVPR 2020 (equation 3, proposition 1 and algorithm 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class LossChange:
    """A branch's mean losses at two checkpoints, on memes that it is trained on and on memes held out from it.

    Attributes:
        train_before: on the train memes at the first checkpoint.
        train_after: on the train memes at the second.
        held_out_before: on the held-out memes at the first checkpoint.
        held_out_after: on the held-out memes at the second.

    Raises:
        ValueError: a loss is negative or not finite.
    """

    train_before: float
    train_after: float
    held_out_before: float
    held_out_after: float

    def __post_init__(self) -> None:
        wrong = [f"{name} is {value}" for name, value in asdict(self).items() if not 0 <= value < math.inf]
        if wrong:
            raise ValueError(f"expected losses of at least 0, all finite, but {', '.join(wrong)}")

    @property
    def generalization(self) -> float:
        """G: how far the loss fell on held-out memes."""
        return self.held_out_before - self.held_out_after

    @property
    def overfitting(self) -> float:
        """O: how far the gap between held-out and train loss grew."""
        return (self.held_out_after - self.train_after) - (self.held_out_before - self.train_before)

    @property
    def ogr(self) -> float | None:
        """The overfitting-to-generalisation ratio |O / G|; None where nothing was learned that generalises."""
        return abs(self.overfitting / self.generalization) if self.generalization > 0 else None


def uniform_weights(branches: Iterable[str]) -> dict[str, float]:
    """The same weight for each branch; they sum to one."""
    names = list(branches)
    return dict.fromkeys(names, 1 / len(names))


def estimated_weights(
    changes: Mapping[str, LossChange],
    *,
    least_overfitting: float = 0.02,
    otherwise: Mapping[str, float] | None = None,
    predicting: str | None = None,
    least_predicting: float = 0.0,
) -> dict[str, float]:
    """Weights w_i proportional to G_i / O_i^2, normalised.

    They minimise the expected squared overfitting-to-generalisation ratio of the blended step, where the branches'
    overfitting is uncorrelated (the reference's proposition 1).

    Inputs:
        changes: for each branch, its losses at two checkpoints between which it was trained alone.
        least_overfitting: O_i counts as at least this share of the branch's held-out loss at the first checkpoint.
            An O_i near 0 is below what a few held-out memes can tell, and would take all the weight; a negative one
            (the gap shrank) is no overfitting, where the plain square would punish it. Above 0.
        otherwise: the weights where no branch has a G_i above 0; the same for each when left out.
        predicting: the branch that predicts, if one of them does.
        least_predicting: the least weight of that branch; the others share the rest as before. The reference has no
            such bound, and a head without weight would stay as it is.

    Where G_i is 0 or less the branch learned nothing that generalises, and w_i is 0.

    Reference:
        Wang, Tran and Feiszli, "What makes training multi-modal classification networks hard?", CVPR 2020.

    Relations:
        The weights do not change where all losses are multiplied by one number. With one branch it is 1.

    Raises:
        ValueError: no branch, `least_overfitting` is not above 0, `least_predicting` is not in [0, 1), or
            `predicting` is none of the branches.

    Example:
        >>> even = LossChange(1.0, 0.5, 1.0, 0.8)  # G = .2, O = .3
        >>> twice = LossChange(1.0, 0.2, 1.0, 0.8)  # G = .2, O = .6
        >>> {name: round(weight, 3) for name, weight in estimated_weights({"text": even, "image": twice}).items()}
        {'text': 0.8, 'image': 0.2}
    """
    if not changes or least_overfitting <= 0 or not 0 <= least_predicting < 1:
        raise ValueError(
            f"expected a branch, least_overfitting above 0 and least_predicting from 0 to below 1, found "
            f"{len(changes)} branches, {least_overfitting} and {least_predicting}"
        )
    if predicting is not None and predicting not in changes:
        raise ValueError(f"predicting is '{predicting}', expected one of {', '.join(changes)}")
    # In logarithms, since the square of a small O may be too small for a float.
    logs = {
        name: math.log(change.generalization) - 2 * _log_overfitting(change, least_overfitting)
        for name, change in changes.items()
        if change.generalization > 0
    }
    if logs:
        largest = max(logs.values())
        raw = {name: math.exp(logs[name] - largest) if name in logs else 0.0 for name in changes}
    else:
        raw = dict(otherwise) if otherwise is not None else dict.fromkeys(changes, 1.0)
    total = math.fsum(raw.values())
    weights = {name: value / total for name, value in raw.items()}
    if predicting is None or weights[predicting] >= least_predicting:
        return weights
    rest = 1 - weights[predicting]
    return {
        name: least_predicting if name == predicting else (1 - least_predicting) * value / rest
        for name, value in weights.items()
    }


def _log_overfitting(change: LossChange, least: float) -> float:
    lowest = math.log(least) + math.log(change.held_out_before)  # above 0 where G is
    return max(math.log(change.overfitting), lowest) if change.overfitting > 0 else lowest
