"""Reading recipes from presets, files and `key=value` overrides; writing the resolved one."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from memeblend.errors import Problem, RecipeError
from memeblend.files import toml_text
from memeblend.recipe.candidates import CandidateSpec
from memeblend.recipe.chain import StageSpec
from memeblend.recipe.parts import DeclaredLabelTask, Loss
from memeblend.recipe.pretraining import Pretraining
from memeblend.recipe.schema import Recipe

_VARIANTS: dict[str, type[BaseModel]] = {
    get_args(variant.model_fields["kind"].annotation)[0]: variant
    for union in (CandidateSpec, Loss, StageSpec)
    for variant in get_args(get_args(union)[0])
}
"""The variants of a recipe's unions by their `kind`, which pydantic puts into an error's location."""


def preset_names() -> list[str]:
    """Names of the recipes that ship with memeblend."""
    folder = resources.files("memeblend.recipe") / "presets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def preset_text(name: str) -> str:
    """TOML text of a shipped recipe.

    Raises:
        RecipeError: no such preset.
    """
    names = preset_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise RecipeError(
            f"There is no recipe named '{name}' and no file of that name.{hint}",
            fix=f"Shipped recipes: {', '.join(names)}. A recipe file ends in .toml.",
        )
    return (resources.files("memeblend.recipe") / "presets" / f"{name}.toml").read_text(encoding="utf-8")


def load_recipe(source: str | Path = "tiny", overrides: Iterable[str] = ()) -> Recipe:
    """A recipe from a preset's name or a TOML file, with `key=value` overrides applied before validation.

    Args:
        source: preset name ("tiny", "memotion3") or path of a TOML file, either of which may be an overlay on another.
        overrides: dotted keys and TOML values, e.g. "training.num_epochs=3"; `candidates.fusion.norm=true`
            addresses candidates by kind, and a bare word is taken as text.

    Raises:
        RecipeError: no such recipe, not TOML, or anything in it that is wrong; all of it at once.
    """
    data = _whole(source)
    stages = _stage_names(data)
    for override in overrides:
        _apply(data, override)
    _forget_searches(data, stages)
    return parse_recipe(data, where=str(source))


def _stage_names(data: dict[str, Any]) -> set[str]:
    stages = data.get("pretraining")
    return set(stages) if isinstance(stages, dict) else set()


def _forget_searches(data: dict[str, Any], stages: set[str]) -> None:
    """Of pre-training stages that were there and were taken out, take out what is searched too.

    Args:
        data: plain data of a recipe, changed in place.
        stages: names of the stages that were there.
    """
    left = _stage_names(data)
    gone = tuple(f"pretraining.{name}." for name in stages - left) + (("pretraining.",) if stages and not left else ())
    search = data.get("search")
    if not gone or not isinstance(search, dict):
        return
    for part in ("space", "stages"):
        if isinstance(search.get(part), dict):
            search[part] = {key: value for key, value in search[part].items() if not f"{key}.".startswith(gone)}


def _whole(source: str | Path, over: tuple[str, ...] = ()) -> dict[str, Any]:
    """Plain data of a recipe; of an overlay, its base's with its settings put in.

    An overlay says `base`, the recipe that it changes, and under `set` dotted keys with values, as overrides have them.
    """
    path = Path(source)
    is_file = path.suffix == ".toml" or path.is_file()
    data = _data(_text(path) if is_file else preset_text(str(source)), source)
    if "base" not in data:
        return data
    base, changes = data.pop("base"), data.pop("set", {})
    name = data.pop("name", path.stem)
    if data or not isinstance(base, str) or not isinstance(changes, dict) or str(source) in over:
        raise RecipeError(
            f"The recipe '{source}' is an overlay, which says base (another recipe), name and set, a table of dotted "
            f"keys; found {', '.join(data) or 'one that is based on itself, or other values'}.",
        )
    beside = path.parent / base
    whole = _whole(beside if is_file and beside.suffix == ".toml" else base, (*over, str(source)))
    whole["name"] = name
    stages = _stage_names(whole)
    for key, value in changes.items():
        _put(whole, key, value, f"{key} of {source}")
    _forget_searches(whole, stages)
    return whole


def load_pretraining(source: str | Path | None = None, overrides: Iterable[str] = ()) -> Pretraining:
    """Settings of pre-training from a TOML file, with `key=value` overrides applied before validation.

    Args:
        source: the file; None takes the defaults.
        overrides: dotted keys and TOML values, as for `load_recipe`.

    Raises:
        RecipeError: no such file, not TOML, or anything in it that is wrong; all of it at once.
    """
    where = "settings" if source is None else str(source)
    data = _data("" if source is None else _text(Path(source)), where)
    for override in overrides:
        _apply(data, override)
    try:
        return Pretraining.model_validate(data)
    except ValidationError as error:
        problems = [_problem(item, where, Pretraining) for item in error.errors()]
        raise RecipeError(f"'{where}' has {len(problems)} problem(s):", problems=problems) from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"Could not read the recipe '{path}': {error}.") from error


def _data(text: str, source: str | Path) -> dict[str, Any]:
    """Plain data of a TOML text."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"The recipe '{source}' is not valid TOML: {error}.") from error


def parse_recipe(data: dict[str, Any], where: str) -> Recipe:
    """Validate plain data as a recipe.

    Raises:
        RecipeError: with one problem for each wrong key or value.
    """
    try:
        recipe = Recipe.model_validate(data)
        recipe.declared()
    except ValidationError as error:
        problems = [_problem(item, where) for item in error.errors()]
        raise RecipeError(f"The recipe '{where}' has {len(problems)} problem(s):", problems=problems) from error
    except ValueError as error:
        raise RecipeError(f"The recipe '{where}' has a wrong label task declaration: {error}.") from error
    return recipe


def _problem(item: Any, where: str, root: type[BaseModel] = Recipe) -> Problem:
    location = [part for part in item["loc"] if part not in _VARIANTS]
    key = ".".join(str(part) for part in location) or "(recipe)"
    if item["type"] == "extra_forbidden":
        known = _fields_at(item["loc"][:-1], root)
        close = difflib.get_close_matches(str(item["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'?" if close else f"known keys here: {', '.join(known)}"
        return Problem(where, f"unknown key '{key}': {hint}")
    found = item.get("input")
    shown = "" if isinstance(found, dict | list | BaseModel) else f", found {found!r}"
    message = item["msg"].removeprefix("Value error, ")
    return Problem(where, f"{key}: {message[0].lower()}{message[1:]}{shown}")


def _fields_at(location: tuple[int | str, ...], root: type[BaseModel]) -> list[str]:
    """Field names of the part of a recipe that a validation location points into."""
    model = root
    for part in location:
        if part in _VARIANTS:
            model = _VARIANTS[str(part)]
        elif isinstance(part, str) and part in model.model_fields:
            inner = model.model_fields[part].annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
            elif part == "label_tasks":
                model = DeclaredLabelTask
    return sorted(model.model_fields)


def _apply(data: dict[str, Any], override: str) -> None:
    key, separator, raw = override.partition("=")
    if not separator:
        raise _malformed(override)
    try:
        value = tomllib.loads(f"value = {raw.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw.strip()
    _put(data, key, value, override)


def _put(data: dict[str, Any], key: str, value: Any, override: str) -> None:
    parts = [part.strip() for part in key.strip().split(".")]
    if not all(parts):
        raise _malformed(override)
    for target, leaf in _targets(data, parts, override):
        target[leaf] = value


def _malformed(override: str) -> RecipeError:
    return RecipeError(
        f"The setting '{override}' is not of the form key=value.", fix="Write it like training.num_epochs=3"
    )


def _targets(data: dict[str, Any], parts: list[str], override: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The tables that a dotted key addresses; `candidates.KIND.x` addresses all candidates of that kind."""
    head, *rest = parts
    if head == "candidates" and rest:
        listed = data.get("candidates")
        tables = [spec for spec in listed if isinstance(spec, dict)] if isinstance(listed, list) else []
        specs = [spec for spec in tables if spec.get("kind") == rest[0]]
        if len(rest) < 2 or not specs:
            kinds = sorted({str(spec.get("kind")) for spec in tables})
            raise RecipeError(
                f"The setting '{override}' addresses no candidate of the recipe.",
                fix=f"Write candidates.KIND.field=value; the recipe has the kinds {', '.join(kinds)}.",
            )
        for spec in specs:
            yield from _targets(spec, rest[1:], override)
    elif rest:
        child = data.setdefault(head, {})
        if not isinstance(child, dict):
            raise RecipeError(f"The setting '{override}' goes into '{head}', which has no fields.")
        yield from _targets(child, rest, override)
    else:
        yield data, head


def dump_recipe(recipe: Recipe) -> str:
    """TOML text of a recipe with every field written out; `load_recipe` reads it back to an equal object."""
    return toml_text(recipe.model_dump(mode="json"))
