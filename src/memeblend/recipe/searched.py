"""What of a recipe is searched as one, which fields that concerns, and a recipe with values put in.

Three things can be: a candidate, a contrastive stage of `pretraining`, and a candidate of a `pretraining` stage that
trains candidates. The last is searched as the first is, with its stage in the place of the recipe.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memeblend.recipe.candidates import CandidateSpec, stem
from memeblend.recipe.chain import ContrastiveStage, Stages
from memeblend.recipe.search import PAIR_METRICS, Search, Space

_ROOTS = ("candidates", "encoder", "joint", "losses", "training")
_STAGE_ROOTS = ("candidates", "losses", "training")
_FIXED = ("kind", "copies", "variants")
_HELD = (
    "data",
    "start",
    "splits",
    "only_label_tasks",
    "settings.seed",
    "settings.splits",
    "settings.encoder",
    "settings.num_validation",
    "settings.validation_batch_size",
)
"""Fields of a pre-training stage without which its trials would not start alike or be judged alike."""


@dataclass(frozen=True)
class Searched:
    """What of a recipe is searched as one.

    Attributes:
        stage: the pre-training stage that it is, or that it is a candidate of; "" for the recipe's own candidates.
        candidate: the candidate, without its number; "" for a contrastive stage.
        position: of the candidate in its list.
    """

    stage: str
    candidate: str
    position: int = 0

    @property
    def name(self) -> str:
        """As `--stage` takes it."""
        return ".".join([*(["pretraining", self.stage] if self.stage else []), *filter(None, [self.candidate])])

    @property
    def within(self) -> str:
        """What the fields of the whole that it is part of begin with: nothing, or the stage."""
        return f"pretraining.{self.stage}." if self.stage else ""

    @property
    def own(self) -> str:
        """What its own fields begin with."""
        return f"{self.within}candidates.{self.candidate}." if self.candidate else self.within

    @property
    def is_contrastive(self) -> bool:
        """Whether it is a contrastive stage."""
        return not self.candidate

    def scope(self, data: dict[str, Any]) -> dict[str, Any]:
        """Of a recipe's plain data the part that it belongs to: all, or the stage."""
        scope: dict[str, Any] = data["pretraining"][self.stage] if self.stage else data
        return scope


def all_searched(candidates: Iterable[CandidateSpec], stages: Stages) -> list[Searched]:
    """All that can be searched of a recipe, pre-training first, in the recipe's order.

    Args:
        candidates: the recipe's candidates.
        stages: its `pretraining`.
    """
    found = []
    for name, stage in stages.items():
        if isinstance(stage, ContrastiveStage):
            found.append(Searched(name, ""))
        else:
            found += [Searched(name, stem(spec), position) for position, spec in enumerate(stage.candidates)]
    return found + [Searched("", stem(spec), position) for position, spec in enumerate(candidates)]


def how(search: Search, searched: Searched) -> Search:
    """The settings with which something is searched: the recipe's, over them those of what it belongs to, then its own.

    Args:
        search: the recipe's.
        searched: what is searched.
    """
    parts = searched.name.split(".")
    own: dict[str, Any] = {}
    for end in range(1, len(parts) + 1):
        stage = search.stages.get(".".join(parts[:end]))
        own |= stage.model_dump() if stage else {}
    if searched.is_contrastive:
        own.setdefault("metric", search.metric if search.metric in PAIR_METRICS else "loss")
    return search.model_copy(update={**own, "stages": {}})


def fields_of(searched: Searched, search: Search) -> dict[str, Space]:
    """The part of a search space that concerns something: its own fields, and those of the whole that it is part of.

    Args:
        searched: what is searched.
        search: the recipe's.
    """
    roots = () if searched.is_contrastive else _STAGE_ROOTS[1:] if searched.stage else _ROOTS[1:]
    whole = tuple(searched.within + (root if root == "joint" else f"{root}.") for root in roots)
    return {key: space for key, space in search.space.items() if key.startswith((searched.own, *whole))}


def unknown_stages(search: Search, every: Sequence[Searched]) -> Iterator[str]:
    """Sentences about keys of `search.stages` that name nothing which is searched.

    Args:
        search: the recipe's.
        every: all that can be searched.
    """
    for key in search.stages:
        if not any(f"{one.name}.".startswith(f"{key}.") for one in every):
            known = [one.name for one in every]
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
            yield f"search.stages names {key}, which is no stage of this recipe; {hint}"


def unknown_fields(data: dict[str, Any], every: Sequence[Searched]) -> Iterator[str]:
    """Sentences about keys of a search space that name no field which could be searched.

    Args:
        data: the recipe as plain data.
        every: all that can be searched.
    """
    for key in data["search"]["space"]:
        root, _, rest = key.partition(".")
        if root != "pretraining":
            yield from _unknown(key, key, data, [one for one in every if not one.stage], _ROOTS)
            continue
        stage, _, rest = rest.partition(".")
        if stage not in data["pretraining"]:
            yield _near(key, stage, [f"pretraining.{one}" for one in data["pretraining"]], "pretraining.")
        elif any(f"{rest}.".startswith(f"{held}.") for held in _HELD) or _is_start(rest):
            yield (
                f"search.space names {key}, but trials of a pre-training stage start from the same and are judged on "
                "the same memes; search other fields, and compare these with a run of each"
            )
        elif data["pretraining"][stage]["kind"] == "contrastive":
            yield from _missing(key, data["pretraining"][stage], rest.split("."))
        else:
            there = [one for one in every if one.stage == stage]
            yield from _unknown(key, rest, data["pretraining"][stage], there, _STAGE_ROOTS)


def _is_start(rest: str) -> bool:
    """Whether a field of a stage says what one of its candidates starts from."""
    parts = rest.split(".")
    return parts[0] == "candidates" and parts[2:] in (["start"], ["source"])


def _unknown(
    key: str, rest: str, scope: Mapping[str, Any], there: Sequence[Searched], roots: Sequence[str]
) -> Iterator[str]:
    """Why a key, of which `rest` is what stands in the recipe or the stage, can't be searched."""
    root, _, inner = rest.partition(".")
    before = key.removesuffix(rest)
    found: Any = scope
    parts = rest.split(".")
    if root == "candidates":
        name, _, inner = inner.partition(".")
        position = next((one.position for one in there if one.candidate == name), None)
        if position is None:
            prefix = f"{before}candidates."
            yield _near(key, name, [f"{prefix}{one.candidate}" for one in there], prefix)
            return
        found, parts = _with_losses(scope, scope["candidates"][position]), inner.split(".")
    elif root in scope and root not in roots:
        yield f"search.space names {key}, but a stage does not depend on {root}; its fields are {', '.join(roots)}"
        return
    yield from _missing(key, found, parts)


def _missing(key: str, found: Any, parts: list[str]) -> Iterator[str]:
    """Why a path leads to no field."""
    for position, part in enumerate(parts):
        there = list(found) if isinstance(found, Mapping) else []
        if part not in there or part in _FIXED:
            before = key.removesuffix(".".join(parts[position:]))
            yield _near(key, part, [f"{before}{one}" for one in there if one not in _FIXED], before)
            return
        found = found[part]


def _near(key: str, part: str, known: list[str], before: str) -> str:
    close = difflib.get_close_matches(before + part, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known) or 'nothing'}"
    return f"search.space names {key}, which is no field of this recipe; {hint}"


def put(data: dict[str, Any], searched: Searched, values: Mapping[str, Any]) -> None:
    """Put values of a search into a recipe's plain data.

    A field of `training` goes where the searched candidate and others took it from.

    Args:
        data: the recipe, changed in place.
        searched: what is searched.
        values: by their dotted fields.
    """
    scope = searched.scope(data)
    for key, value in values.items():
        parts = key.removeprefix(searched.within).split(".")
        if parts[0] == "candidates":
            spec, parts = scope["candidates"][searched.position], parts[2:]
            if parts[0] == "losses":
                spec["losses"] = _with_losses(scope, spec)["losses"]
            _set(spec, parts, value)
            continue
        if parts[0] == "training":
            before = scope["training"][parts[1]]
            for other in scope["candidates"]:
                if other.get("training", {}).get(parts[1]) == before:
                    other["training"][parts[1]] = value
        _set(scope, parts, value)


def own_fields(searched: Searched, values: Mapping[str, Any]) -> dict[str, Any]:
    """Of a trial's values those that are its alone, as nested plain data."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key.startswith(searched.own):
            _set(found, key.removeprefix(searched.own).split("."), value)
    return found


def _with_losses(data: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    return {**spec, "losses": {**data["losses"], **spec["losses"]}} if "losses" in spec else dict(spec)


def _set(table: dict[str, Any], parts: list[str], value: Any) -> None:
    for part in parts[:-1]:
        table[part] = dict(table.get(part) or {})
        table = table[part]
    table[parts[-1]] = value
