"""Reading policy files: every problem at once, near names where a key or category is unknown."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from memeblend.errors import PolicyError, Problem
from memeblend.labels import LabelTask
from memeblend.policy.categories import category_names
from memeblend.policy.parts import Part

MAX_BYTES = 2**20
"""Larger files are refused unread; a policy of fifty categories has some thirty thousand."""
_Part = TypeVar("_Part", bound=Part)


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        PolicyError: it is missing, too large, or no TOML.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"Could not read the policy '{path}': {error.strerror or error}.") from error
    if len(raw) > MAX_BYTES:
        raise PolicyError(f"'{path}' is larger than {MAX_BYTES:,} bytes, so it is not read as a policy.")
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        shown = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise PolicyError(f"The policy '{path}' is not valid TOML: {shown}.") from error


def parse(kind: type[_Part], data: Any, known_keys: Sequence[str], where: str) -> _Part:
    """Validate plain data.

    Args:
        kind: what it should be.
        data: as a TOML or JSON file holds it.
        known_keys: keys to suggest where one is unknown.
        where: what to call it in messages.

    Raises:
        PolicyError: with a problem for each wrong key or value.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problems = [_problem(item, known_keys, where) for item in error.errors()]
        raise refusal(where, problems) from error


def refusal(where: str, problems: Sequence[Problem]) -> PolicyError:
    """The error for a policy with problems."""
    return PolicyError(f"The policy '{where}' has {len(problems)} problem(s):", problems=problems)


def name_problems(
    categories: Iterable[str], sets: Iterable[str], label_tasks: Sequence[LabelTask], where: str
) -> Iterator[Problem]:
    """Categories and label tasks that a model does not have.

    Args:
        categories: categories that the policy decides on.
        sets: label tasks that it has sets of classes for.
        label_tasks: the model's trained label tasks.
        where: what to call the policy.
    """
    names, known = [task.name for task in label_tasks], category_names(label_tasks)
    for name in categories:
        if name in names and name not in known:
            yield Problem(where, f"'{name}' is no category: it is neither binary nor has intensity levels")
        elif name not in known:
            yield Problem(where, f"unknown category '{name}': {_near(name, known, 'the model has')}")
    for name in sets:
        if name not in names:
            yield Problem(where, f"sets: unknown label task '{name}': {_near(name, names, 'the model has')}")


def _problem(item: Any, known_keys: Sequence[str], where: str) -> Problem:
    key = ".".join(str(part) for part in item["loc"]) or "(policy)"
    if item["type"] == "extra_forbidden":
        return Problem(where, f"unknown key '{key}': {_near(str(item['loc'][-1]), known_keys, 'known keys are')}")
    found = item.get("input")
    shown = "" if isinstance(found, dict | list | Part) else f", found {str(found)[:100]!r}"
    message = item["msg"].removeprefix("Value error, ")
    return Problem(where, f"{key}: {message[0].lower()}{message[1:]}{shown}")


def _near(name: str, known: Sequence[str], otherwise: str) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"{otherwise} {', '.join(known) or 'none'}"
