"""What the paper reports: its table 4, its scores on the test set, and constants that follow from its table 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from memeblend.data.sets import SETS

COLUMNS = ("sentiment", "humorous", "motivational", "offensive", "sarcastic")
"""The label tasks in the order of table 4, where sentiment is called Overall."""

CHALLENGE: Mapping[str, tuple[float, int]] = {"A": (0.3289, 5), "B": (0.7977, 1), "C": (0.5982, 1)}
"""Task -> weighted F1 on the test set, and the rank it had (section 5)."""


@dataclass(frozen=True)
class Row:
    """A row of table 4.

    Attributes:
        title: as the paper calls it.
        model: the candidate, or the pool that an ensemble was chosen from.
        scores: weighted F1 on validation, in the order of `COLUMNS`.
    """

    title: str
    model: str
    scores: tuple[float, ...]


TABLE_4 = (
    Row("CLIP-text0", "text-0", (0.3724, 0.5237, 0.9568, 0.4645, 0.4750)),
    Row("CLIP-text1", "text-1", (0.3617, 0.5244, 0.9572, 0.4520, 0.4422)),
    Row("CLIP-image0", "image-0", (0.3469, 0.5261, 0.9572, 0.4811, 0.5302)),
    Row("CLIP-image1", "image-1", (0.3492, 0.5221, 0.9572, 0.4611, 0.5255)),
    Row("CLIP-multi0", "fusion-0", (0.3666, 0.5225, 0.9572, 0.4966, 0.4803)),
    Row("CLIP-multi1", "fusion-1", (0.3691, 0.5198, 0.9572, 0.4858, 0.4786)),
    Row("OSCAR0", "oscar-0", (0.3684, 0.5302, 0.9532, 0.4553, 0.4011)),
    Row("OSCAR1", "oscar-1", (0.3380, 0.5181, 0.9532, 0.4525, 0.3843)),
    Row("CLIP-multi0 without GB", "fusion_unblended-0", (0.3764, 0.5186, 0.9419, 0.4590, 0.4512)),
    Row("Ensemble-1", "Ensemble-1", (0.3725, 0.5345, 0.9572, 0.4974, 0.6170)),
    Row("Ensemble-2", "Ensemble-2", (0.4453, 0.5362, 0.9572, 0.5052, 0.6259)),
)


def best_constant(label_task: str) -> float:
    """Weighted F1 of the best constant class on the paper's validation memes, by its table 2.

    Saying one class always, of which a share p of n memes is, has 2 p / (1 + p) for its F1 and 0 for the others', so
    2 p^2 / (1 + p) weighted.
    """
    counts = SETS["memotion3"].classes[label_task]["validation"]
    share = max(counts) / sum(counts)
    return 2 * share**2 / (1 + share)
