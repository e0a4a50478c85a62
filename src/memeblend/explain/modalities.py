"""What of a decision comes from the text, what from the image, and what only from both together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memeblend.explain.inputs import Meme, Variant


@dataclass(frozen=True)
class ModalitySplit:
    """A class's probability, split exactly: baseline + text + image + interaction = value.

    With f(t, i) the probability for text t and image i, the meme's own being T and I, and means over the backgrounds
    (t, i):

        baseline     v0 = mean f(t, i)
        text         mean f(T, i) - v0
        image        mean f(t, I) - v0
        interaction  f(T, I) - mean f(T, i) - mean f(t, I) + v0

    These are Harsanyi's dividends of the game with the players text and image; Shapley's values (1953) share the
    interaction evenly, and sum to value - baseline.

    Attributes:
        baseline: what the class has without the meme.
        text: what the text adds by itself.
        image: what the image adds by itself.
        interaction: what both add together beyond that.
        standard_errors: of text, image and interaction over the backgrounds; None with fewer than two.
    """

    baseline: float
    text: float
    image: float
    interaction: float
    standard_errors: tuple[float, float, float] | None = None

    @property
    def value(self) -> float:
        """The class's probability for the meme."""
        return self.baseline + self.text + self.image + self.interaction

    @property
    def shapley_text(self) -> float:
        """Shapley value of the text."""
        return self.text + self.interaction / 2

    @property
    def shapley_image(self) -> float:
        """Shapley value of the image."""
        return self.image + self.interaction / 2


@dataclass(frozen=True)
class Irony:
    """How far the decision on both modalities departs from those on each alone.

    Attributes:
        index: see `irony_index`.
        fused: probabilities [num_classes] from both.
        text: from the text alone.
        image: from the image alone.
    """

    index: float
    fused: tuple[float, ...]
    text: tuple[float, ...]
    image: tuple[float, ...]

    @classmethod
    def of(cls, fused: NDArray[np.float64], text: NDArray[np.float64], image: NDArray[np.float64]) -> Irony:
        """From the three distributions."""
        index = irony_index(fused, text, image)
        return cls(index, tuple(fused.tolist()), tuple(text.tolist()), tuple(image.tolist()))


def counterfactuals(meme: Meme, backgrounds: list[Variant]) -> list[Variant]:
    """What the members are asked for a split: for all backgrounds the meme's text with the background's image, then
    the background's text with the meme's image, then the backgrounds themselves."""
    texts = [Variant(meme.text, one.pixels) for one in backgrounds]
    images = [Variant(one.text, meme.pixels) for one in backgrounds]
    return [*texts, *images, *backgrounds]


def split_scores(whole: NDArray[np.float64], others: NDArray[np.float64]) -> tuple[ModalitySplit, ...]:
    """The split of every class.

    Args:
        whole: probabilities of the meme [num_classes].
        others: of `counterfactuals` [3 num_backgrounds, num_classes].
    """
    text, image, none = others.reshape(3, -1, len(whole))  # each [num_backgrounds, num_classes]
    terms = np.stack([text - none, image - none, whole - text - image + none])  # [3, num_backgrounds, num_classes]
    means, num = terms.mean(axis=1), len(none)
    errors = terms.std(axis=1, ddof=1) / num**0.5 if num > 1 else None
    return tuple(
        ModalitySplit(
            float(none[:, index].mean()),
            float(means[0, index]),
            float(means[1, index]),
            float(means[2, index]),
            None if errors is None else tuple(errors[:, index].tolist()),
        )
        for index in range(len(whole))
    )


def irony(whole: NDArray[np.float64], others: NDArray[np.float64]) -> Irony:
    """The irony of a decision; "alone" means with the other modality taken from the backgrounds, on average.

    Args:
        whole: as of `split_scores`.
        others: as of `split_scores`.
    """
    text, image, _ = others.reshape(3, -1, len(whole)).mean(axis=1)
    return Irony.of(whole, text, image)


def irony_index(fused: NDArray[np.float64], text: NDArray[np.float64], image: NDArray[np.float64]) -> float:
    """How far the fused distribution p is from every compromise between those of text and image:

        min over w in [0, 1] of TV(p, w p_text + (1 - w) p_image),    TV(p, q) = sum_k |p_k - q_k| / 2.

    0 where the fused decision is one modality's or any mixture of both; 1 where both modalities exclude every class
    that it holds possible. The function of w is convex and piecewise linear, so its minimum is at w = 0, at w = 1 or
    where a class's difference is 0: all of these are tried, and the result is exact.

    Args:
        fused: probabilities [num_classes].
        text: the same of the text alone.
        image: the same of the image alone.
    """
    slope = text - image
    moves = slope != 0
    weights = np.concatenate([[0.0, 1.0], np.clip((fused - image)[moves] / slope[moves], 0, 1)])
    mixed = weights[:, None] * text + (1 - weights[:, None]) * image
    return float(np.abs(fused - mixed).sum(axis=1).min() / 2)
