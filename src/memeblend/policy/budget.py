"""What a red team may achieve at most: the table `[redteam]` of a policy file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from memeblend.policy.parts import Part, Share


class Budget(Part):
    """Limits for a red team's report; what is left out is not limited.

    Attributes:
        max_flip_rate: share of memes whose decision may change in a cell.
        max_score_drop: weighted F1 that a cell may cost.
        max_evasion_rate: share of the memes caught by a category that a cell may get past it.
        max_name_gap: difference between groups of names in the mean score.
        cells: name of a perturbation, or of one at a severity ("leetspeak@2") -> its own `max_flip_rate`.
        label_tasks: label tasks that are held to the budget; none means all that were trained.
        strict: whether what can't be told fails.

    Raises:
        ValidationError: a value out of its range, an unknown key, or no limit at all.
    """

    max_flip_rate: Share | None = None
    max_score_drop: Share | None = None
    max_evasion_rate: Share | None = None
    max_name_gap: Share | None = None
    cells: dict[str, Share] = Field(default_factory=dict)
    label_tasks: tuple[str, ...] = ()
    strict: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _limits_something(self) -> Budget:
        limits = (self.max_flip_rate, self.max_score_drop, self.max_evasion_rate, self.max_name_gap)
        if all(limit is None for limit in limits) and not self.cells:
            raise ValueError("it sets no limit, so everything would pass")
        return self
