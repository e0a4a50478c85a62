"""Costs of what can go wrong, and the limits that follow from them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from memeblend.policy.parts import Part

_Positive = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
_NotNegative = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]


class Costs(Part):
    """Costs of a category, in any unit; only their ratios matter for the limits.

    Attributes:
        false_alarm: acting on a meme that is none of the category.
        miss: passing one that is.
        review: having a person look; the person is taken to be right.
    """

    false_alarm: _Positive = 1.0
    miss: _Positive = 1.0
    review: _NotNegative = 0.2

    def band(self) -> tuple[float, float]:
        """The calibrated scores from which a meme is reviewed, and acted on.

        With probability p that a meme is of the category, acting costs (1 - p) false_alarm in expectation, passing
        p miss and reviewing review; the cheapest is chosen (Elkan 2001; the reject option of Chow 1970). Where
        reviewing is never cheapest the two are equal: false_alarm / (false_alarm + miss).
        """
        low, high = self.review / self.miss, 1 - self.review / self.false_alarm
        if low < high:
            return low, high
        threshold = 1 / (1 + self.miss / self.false_alarm)
        return threshold, threshold
