"""Which candidates a recipe asks for, and how one is made or loaded from its kind."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from memeblend.candidates.base import Candidate, Planned
from memeblend.errors import ModelError
from memeblend.recipe.candidates import (
    AlignCandidate,
    BoostingCandidate,
    CandidateSpec,
    FusionCandidate,
    ImageCandidate,
    KnnCandidate,
    LinearCandidate,
    OscarCandidate,
    TextCandidate,
    TfidfCandidate,
    ZeroshotCandidate,
    starts_from,
    stem,
)
from memeblend.recipe.schema import Recipe


def plan(recipe: Recipe) -> list[Planned]:
    """The recipe's candidates in the order in which they can be trained: all copies "0", then all copies "1".

    One that starts from a kind takes that kind's first entry of the recipe, in the copy of its own number or else
    the last; one that starts from the best of it comes after all its copies.
    """
    first: dict[str, CandidateSpec] = {spec.kind: spec for spec in reversed(recipe.candidates)}
    specs = sorted(recipe.candidates, key=lambda spec: _depth(spec, first))
    planned = []
    for number in range(max(recipe.copies_of(spec) for spec in specs)):
        for spec in specs:
            if number < recipe.copies_of(spec):
                every = isinstance(spec, FusionCandidate | AlignCandidate) and spec.start == "best"
                starts = []
                for kind in starts_from(spec):
                    last = recipe.copies_of(first[kind]) - 1
                    numbers = range(last + 1) if every else [min(number, last)]
                    starts += [f"{stem(first[kind])}-{one}" for one in numbers]
                planned.append(Planned(f"{stem(spec)}-{number}", number, spec.variant(number), tuple(starts)))
    return _after_their_starts(planned)


def _after_their_starts(planned: list[Planned]) -> list[Planned]:
    """The candidates in this order, but each after those that it starts from."""
    ordered: list[Planned] = []
    left = list(planned)
    while left:
        done = {one.name for one in ordered}
        ready = next(one for one in left if done.issuperset(one.starts_from))
        left.remove(ready)
        ordered.append(ready)
    return ordered


def _depth(spec: CandidateSpec, first: Mapping[str, CandidateSpec]) -> int:
    """How many candidates must come before one, along the longest chain of starts."""
    return max((1 + _depth(first[kind], first) for kind in starts_from(spec)), default=0)


def needs(planned: Planned) -> tuple[bool, bool]:
    """Whether a planned candidate reads ocr_text, and whether it reads the image."""
    match planned.spec:
        case TextCandidate() | TfidfCandidate():
            return True, False
        case ImageCandidate():
            return False, True
        case LinearCandidate() | BoostingCandidate() | KnnCandidate() as spec:
            fused = "fused" in spec.features
            return fused or "text" in spec.features, fused or "image" in spec.features
        case OscarCandidate() as spec:
            return True, spec.regions == "grid"
        case ZeroshotCandidate() as spec:
            return spec.text_weight > 0, spec.text_weight < 1
        case _:
            return True, True


def make_candidate(planned: Planned) -> Candidate:
    """An untrained candidate."""
    name, number, starts = planned.name, planned.number, planned.starts_from
    match planned.spec:
        case TfidfCandidate() as spec:
            from memeblend.candidates.tfidf import Tfidf

            return Tfidf(name, spec, number)
        case LinearCandidate() as spec:
            from memeblend.candidates.linear import Linear

            return Linear(name, spec, number, starts)
        case BoostingCandidate() as spec:
            from memeblend.candidates.boosting import Boosting

            return Boosting(name, spec, number, starts)
        case KnnCandidate() as spec:
            from memeblend.candidates.knn import Knn

            return Knn(name, spec, number, starts)
        case ZeroshotCandidate() as spec:
            from memeblend.candidates.zeroshot import Zeroshot

            return Zeroshot(name, spec)
        case OscarCandidate() as spec:
            from memeblend.candidates.oscar import Oscar

            return Oscar(name, spec, starts)
        case spec:
            from memeblend.candidates.neural import Neural

            return Neural(name, spec, starts)


_KINDS = {
    "tfidf.json": "tfidf.Tfidf",
    "linear.json": "linear.Linear",
    "boosting.json": "boosting.Boosting",
    "knn.json": "knn.Knn",
    "zeroshot.json": "zeroshot.Zeroshot",
    "oscar.json": "oscar.Oscar",
    "neural.json": "neural.Neural",
}
"""The file that each class writes at the top of its folder, and the class in this room."""


def load_candidate(name: str, folder: Path) -> Candidate:
    """A saved candidate.

    Raises:
        ModelError: the folder holds no candidate, or one that is cut short.
    """
    return candidate_class(name, folder).load(name, folder)


def candidate_class(name: str, folder: Path) -> type[Candidate]:
    """The class of a saved candidate.

    Raises:
        ModelError: the folder holds no candidate.
    """
    for file, where in _KINDS.items():
        if (folder / file).is_file():
            module, _, class_name = where.partition(".")
            found: type[Candidate] = getattr(import_module(f"memeblend.candidates.{module}"), class_name)
            return found
    raise ModelError(
        f"Expected the candidate '{name}' in '{folder}', but there is none of {', '.join(_KINDS)}.",
        fix="The model folder is cut short; copy or train it again.",
    )
