"""What of a recipe is searched, where, and how; and a recipe with values put in."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, PositiveInt, Tag, model_validator

from memeblend.recipe.parts import Metric, Part

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


class Search(Part):
    """How fields of the recipe are searched by `memeblend tune` (paper section 4); `fit` reads none of it."""

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
    metric: Metric = "weighted_f1"
    """What to make best: its mean over the label tasks on the *select* split, of the best epoch."""
    space: dict[str, Space] = {}
    """Dotted fields, as `--set` takes them, and their values. A candidate is named as in predictions, without its
    number."""


_ROOTS = ("candidates", "encoder", "joint", "losses", "training")


def fields_of(name: str, recipe: Any) -> dict[str, Space]:
    """The part of a recipe's search space that concerns a stage: fields of its own and those of the whole recipe.

    Args:
        name: the stage.
        recipe: the recipe.
    """
    own = f"candidates.{name}."
    return {
        key: space for key, space in recipe.search.space.items() if key.startswith((own, *map(_dotted, _ROOTS[1:])))
    }


def _dotted(root: str) -> str:
    return root if root == "joint" else f"{root}."


def unknown_fields(data: Mapping[str, Any], names: Mapping[str, int]) -> Iterator[str]:
    """Sentences about keys of a search space that name no field which could be searched.

    Args:
        data: the recipe as plain data.
        names: position of each candidate by its name.
    """
    for key in data["search"]["space"]:
        root, _, rest = key.partition(".")
        found: Any = data
        parts = key.split(".")
        if root == "candidates":
            name, _, rest = rest.partition(".")
            if name not in names:
                yield _near(key, name, [f"candidates.{one}" for one in names], "candidates.")
                continue
            found, parts = _with_losses(data, data["candidates"][names[name]]), rest.split(".")
        elif root in data and root not in _ROOTS:
            yield f"search.space names {key}, but a stage does not depend on {root}; its fields are {', '.join(_ROOTS)}"
            continue
        yield from _missing(key, found, parts)


def _missing(key: str, found: Any, parts: list[str]) -> Iterator[str]:
    """Why a path leads to no field."""
    for position, part in enumerate(parts):
        there = list(found) if isinstance(found, Mapping) else []
        if part not in there or part in ("kind", "copies", "variants"):
            before = key.removesuffix(".".join(parts[position:]))
            yield _near(
                key, part, [f"{before}{one}" for one in there if one not in ("kind", "copies", "variants")], before
            )
            return
        found = found[part]


def _near(key: str, part: str, known: list[str], before: str) -> str:
    close = difflib.get_close_matches(before + part, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known) or 'nothing'}"
    return f"search.space names {key}, which is no field of this recipe; {hint}"


def put(data: dict[str, Any], name: str, position: int, values: Mapping[str, Any]) -> None:
    """Put values of a stage's search into a recipe's plain data.

    A field of `training` goes where the stage's candidate and others took it from.

    Args:
        data: the recipe, changed in place.
        name: the stage.
        position: of its candidate in "candidates".
        values: by their dotted fields.
    """
    spec = data["candidates"][position]
    for key, value in values.items():
        parts = key.split(".")
        if parts[0] == "candidates":
            parts = parts[2:]
            if parts[0] == "losses":
                spec["losses"] = _with_losses(data, spec)["losses"]
            _set(spec, parts, value)
            continue
        if parts[0] == "training":
            before = data["training"][parts[1]]
            for other in data["candidates"]:
                if other.get("training", {}).get(parts[1]) == before:
                    other["training"][parts[1]] = value
        _set(data, parts, value)


def own_fields(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Of a stage's values those that its candidate alone has, as nested plain data of the candidate."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key.startswith(f"candidates.{name}."):
            _set(found, key.split(".")[2:], value)
    return found


def _with_losses(data: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    return {**spec, "losses": {**data["losses"], **spec["losses"]}} if "losses" in spec else dict(spec)


def _set(table: dict[str, Any], parts: list[str], value: Any) -> None:
    for part in parts[:-1]:
        table[part] = dict(table.get(part) or {})
        table = table[part]
    table[parts[-1]] = value
