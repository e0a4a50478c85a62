"""How a recipe is searched: values of fields, and the settings of a search, which stages may have their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    Discriminator,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from memeblend.recipe.parts import Metric, Part

PairMetric = Literal[
    "loss",
    "image_recall@1",
    "image_recall@5",
    "image_recall@10",
    "text_recall@1",
    "text_recall@5",
    "text_recall@10",
]
"""What a contrastive stage reports of its held-back pairs."""
PAIR_METRICS: tuple[str, ...] = get_args(PairMetric)
LOWER_IS_BETTER = ("loss",)
"""Metrics that are made least; all others are made greatest."""

_KINDS = ("choice", "uniform", "loguniform", "randint")


class Choice(Part):
    """One of some values."""

    choice: Annotated[tuple[Any, ...], Field(min_length=1)]
    """The values: anything that the field takes."""


class Uniform(Part):
    """A number between two."""

    uniform: tuple[float, float]
    """Lowest and highest."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check(self.uniform)
        return self


class LogUniform(Part):
    """A number between two, whose logarithm is drawn evenly."""

    loguniform: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    """Lowest and highest, both above 0."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check(self.loguniform)
        return self


class RandInt(Part):
    """A whole number from a range."""

    randint: tuple[int, int]
    """Lowest, and the one after the highest, as NumPy and Ray Tune have it."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check(self.randint)
        return self


def _check(bounds: tuple[float, float]) -> None:
    if bounds[0] >= bounds[1]:
        raise ValueError(f"[{bounds[0]:g}, {bounds[1]:g}] should begin with the lower bound")


def _kind(value: Any) -> str | None:
    if isinstance(value, Part):
        return next(iter(type(value).model_fields))
    named = [name for name in _KINDS if isinstance(value, Mapping) and name in value]
    return named[0] if len(named) == 1 else None


Space = Annotated[
    Annotated[Choice, Tag("choice")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[LogUniform, Tag("loguniform")]
    | Annotated[RandInt, Tag("randint")],
    Discriminator(
        _kind,
        custom_error_type="space",
        custom_error_message="expected one of {choice = [...]}, {uniform = [low, high]}, {loguniform = [low, high]} "
        "and {randint = [low, high]}",
    ),
]
"""What values a field may take."""


class How(Part):
    """Settings of a search."""

    num_trials: PositiveInt = 8
    """Trials of each stage."""
    sampler: Literal["tpe", "random"] = "tpe"
    """How trials are drawn: by what earlier ones found (Bergstra et al. 2011, as Optuna has it), or at random."""
    scheduler: Literal["asha", "none"] = "asha"
    """"asha" stops trials that fall behind (Li et al. 2020); "none" trains all to their end."""
    grace: PositiveInt = 2
    """Epochs after which "asha" first compares."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """One of so many goes on each time "asha" compares, which is after `grace` times its powers."""
    batch_size: PositiveInt = 4
    """Trials that are drawn and compared with earlier batches alone, so that what is drawn and stopped does not depend
    on how many work at a time; more workers than this have nothing to do."""
    metric: Literal[Metric, PairMetric] = "weighted_f1"
    """What to make best: of candidates its mean over the label tasks on the *select* split, of the best epoch; of a
    contrastive stage "loss" (made least) or a recall, on its held-back pairs. A contrastive stage that is given none of
    these takes "loss"."""


class StageHow(How):
    """Settings of a stage's search that differ from the others'; what is not said here is the recipe's."""

    @model_serializer(mode="wrap")
    def _said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Defaults that were written down would be read again as the stage's own.
        return {name: value for name, value in handler(self).items() if name in self.model_fields_set}


class Search(How):
    """How fields of the recipe are searched by `memeblend tune` (paper section 4); `fit` reads none of it."""

    stages: dict[str, StageHow] = {}
    """What differs for a stage, by its name as `--stage` takes it: "fusion", "pretraining.NAME", and for a candidate
    of a pre-training stage "pretraining.NAME.text"."""
    space: dict[str, Space] = {}
    """Dotted fields, as `--set` takes them, and their values. A candidate is named as in predictions, without its
    number."""

    def alike(self, names: Collection[str]) -> Search:
        """The same, but no stage has its own value of these settings.

        Args:
            names: of the settings.
        """
        stages = {
            stage: StageHow.model_validate({key: value for key, value in how.model_dump().items() if key not in names})
            for stage, how in self.stages.items()
        }
        return self.model_copy(update={"stages": stages})
