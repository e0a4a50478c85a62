"""What the parts of a policy file have in common: unknown keys are refused, numbers are numbers and finite."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A finite number; neither true nor "0.5" is one."""
Share = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=0)]


class Part(BaseModel):
    """A table of a policy file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
