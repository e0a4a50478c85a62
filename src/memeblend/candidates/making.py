"""Which candidates a recipe asks for, and how one is made or loaded from its kind."""

from __future__ import annotations

from pathlib import Path

from memeblend.candidates.base import Candidate, Planned
from memeblend.errors import ModelError
from memeblend.recipe.schema import AlignCandidate, FusionCandidate, Recipe, TfidfCandidate, stem


def plan(recipe: Recipe) -> list[Planned]:
    """The recipe's candidates in the order in which they can be trained: all copies "0", then all copies "1"."""
    order = {"tfidf": 0, "text": 1, "image": 2}
    specs = sorted(recipe.candidates, key=lambda spec: order.get(spec.kind, 3))
    planned = []
    for number in range(max(recipe.copies_of(spec) for spec in specs)):
        for spec in specs:
            if number < recipe.copies_of(spec):
                starts: tuple[str, ...] = ()
                if isinstance(spec, FusionCandidate | AlignCandidate) and spec.start == "uni-modal":
                    starts = tuple(f"{kind}-{min(number, _num_copies(recipe, kind) - 1)}" for kind in ("text", "image"))
                planned.append(Planned(f"{stem(spec)}-{number}", number, spec, starts))
    return planned


def _num_copies(recipe: Recipe, kind: str) -> int:
    return next(recipe.copies_of(spec) for spec in recipe.candidates if spec.kind == kind)


def needs(planned: Planned) -> tuple[bool, bool]:
    """Whether a planned candidate reads ocr_text, and whether it reads the image."""
    kind = planned.spec.kind
    return kind != "image", kind not in ("text", "tfidf")


def make_candidate(planned: Planned) -> Candidate:
    """An untrained candidate."""
    match planned.spec:
        case TfidfCandidate() as spec:
            from memeblend.candidates.tfidf import Tfidf

            return Tfidf(planned.name, spec, planned.number)
        case spec:
            from memeblend.candidates.neural import Neural

            return Neural(planned.name, spec, planned.starts_from)


def load_candidate(name: str, folder: Path) -> Candidate:
    """A saved candidate.

    Raises:
        ModelError: the folder holds no candidate, or one that is cut short.
    """
    if (folder / "tfidf.json").is_file():
        from memeblend.candidates.tfidf import Tfidf

        return Tfidf.load(name, folder)
    if (folder / "neural.json").is_file():
        from memeblend.candidates.neural import Neural

        return Neural.load(name, folder)
    raise ModelError(
        f"Expected the candidate '{name}' in '{folder}', but there is neither tfidf.json nor neural.json.",
        fix="The model folder is cut short; copy or train it again.",
    )
