"""Pre-training stages of a recipe, and the arrows between stages: what names the stage that it starts from.

An arrow is `encoder.source`, the `start` of a contrastive stage, the `start` of a text, image, fusion or align
candidate, or the `source` of an oscar candidate. Each names a stage of `pretraining`, or a folder or hub id.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from memeblend.recipe.candidates import (
    FROM_UNI_MODAL,
    CandidateSpec,
    EncoderCandidate,
    ImageCandidate,
    OscarCandidate,
    stem,
)
from memeblend.recipe.parts import PAIR, TINY, CrossEntropy, Loss, Part, Splits, Training
from memeblend.recipe.pretraining import Pretraining

RESERVED = (TINY, PAIR, "encoder", *FROM_UNI_MODAL)
"""Words of `start`, `source` and `encoder.source` that name no stage, folder or hub id."""

Data = Annotated[tuple[str, ...], Field(min_length=1)]


class ContrastiveStage(Part):
    """Contrastive pre-training of an encoder on pairs of image and text (paper equations 1 to 3)."""

    kind: Literal["contrastive"]
    data: Data
    """Tables of memes or data-set folders; their labels are not read."""
    start: str = TINY
    """"tiny" (random weights of the recipe's `encoder.tiny`), "pair" (its `encoder.pair`), another contrastive stage,
    or a folder or hub id as `encoder.source` takes them."""
    num_epochs: Annotated[int, Field(ge=0)] = 0
    """Passes over the memes, in place of `settings.num_steps`; 0 takes those."""
    settings: Pretraining = Pretraining()
    """How. The encoder is the recipe's, from `start`, and so is the seed."""

    @model_validator(mode="after")
    def _encoder_is_the_recipes(self) -> Self:
        own = sorted({"encoder", "seed"} & self.settings.model_fields_set)
        if own and any(getattr(self.settings, name) != getattr(Pretraining(), name) for name in own):
            raise ValueError(
                f"settings has {' and '.join(own)}, but a stage takes seed and encoder from the recipe and starts from "
                "`start`"
            )
        return self


class ClassifyStage(Part):
    """Candidates trained on other memes first (the paper's binary pre-training), one of each, for others to start
    from."""

    kind: Literal["classify"]
    data: Data
    """Tables of memes or data-set folders, with labels."""
    splits: Splits = Splits()
    only_label_tasks: tuple[str, ...] = ()
    """Label tasks to train, by one model for all; empty means all."""
    losses: dict[str, Loss] = {"default": CrossEntropy()}
    """Loss of each label task by its name; "default" is for all others. Not filled up from the recipe's."""
    training: Training = Training()
    """Training settings, filled up from the recipe's; the candidates' are filled up from these."""
    candidates: Annotated[tuple[CandidateSpec, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for spec in self.candidates:
            if spec.copies > 1 or spec.variants:
                raise ValueError(f"candidate {stem(spec)} has copies, but a stage trains one of each kind")
        kinds = [spec.kind for spec in self.candidates]
        repeated = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if repeated:
            raise ValueError(
                f"candidates has {', '.join(repeated)} twice, so it is not clear which one is started from"
            )
        return self


StageSpec = Annotated[ContrastiveStage | ClassifyStage, Field(discriminator="kind")]
Stages = Mapping[str, ContrastiveStage | ClassifyStage]


@dataclass(frozen=True)
class Arrow:
    """A field that says what something starts from.

    Attributes:
        where: the field, dotted.
        value: what it says.
        kind: of the candidate that must be in a stage that it names; "" needs a contrastive stage.
    """

    where: str
    value: str
    kind: str


def start_field(spec: CandidateSpec) -> str:
    """Name of the field that says what a candidate starts from; "" where it starts from nothing outside its recipe."""
    if isinstance(spec, OscarCandidate):
        return "source"
    return "start" if isinstance(spec, EncoderCandidate) else ""


def arrows(specs: Iterable[CandidateSpec], where: str = "") -> Iterator[Arrow]:
    """The arrows of candidates."""
    for spec in specs:
        field = start_field(spec)
        if field:
            yield Arrow(f"{where}candidates.{stem(spec)}.{field}", getattr(spec, field), spec.kind)


def stage_arrows(name: str, stages: Stages, source: str) -> list[Arrow]:
    """The arrows that lead to a stage: its own, and for one of candidates that of the encoder.

    Args:
        name: the stage.
        stages: all stages.
        source: the recipe's `encoder.source`.
    """
    stage, where = stages[name], f"pretraining.{name}."
    if isinstance(stage, ContrastiveStage):
        return [Arrow(f"{where}start", stage.start, "")]
    return [Arrow("encoder.source", source, ""), *arrows(stage.candidates, where)]


def training_order(stages: Stages, source: str) -> list[str]:
    """The stages in an order in which each comes after those that it starts from.

    Raises:
        ValueError: stages start from one another in a circle.
    """
    needs = {
        name: [arrow.value for arrow in stage_arrows(name, stages, source) if arrow.value in stages] for name in stages
    }
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise ValueError(f"pretraining goes in a circle: each of {circle} starts from the next") from None


def check_chain(stages: Stages, source: str, candidates: Iterable[CandidateSpec]) -> None:
    """Refuse arrows that lead nowhere, in a circle or to what can't be started from, and stages that none leads to.

    Args:
        stages: the recipe's `pretraining`.
        source: its `encoder.source`.
        candidates: its candidates.

    Raises:
        ValueError: with every reason.
    """
    specs = list(candidates)
    wrong = [f"pretraining.{name} has a name that means something else" for name in stages if name in RESERVED]
    found = [Arrow("encoder.source", source, ""), *arrows(specs)]
    found += [arrow for name in stages for arrow in stage_arrows(name, stages, source)]
    found = list(dict.fromkeys(found))
    wrong += [reason for arrow in found if (reason := _why_wrong(arrow, stages))]
    named = {arrow.value for arrow in found}
    wrong += [
        f"nothing starts from pretraining.{name}; let encoder.source or a candidate's start name it, or leave it out"
        for name in stages
        if name not in named
    ]
    if source == TINY:
        wrong += [reason for spec in _all_specs(specs, stages) if (reason := _without_tokenizer(spec))]
    if wrong:
        raise ValueError("; ".join(wrong))
    training_order(stages, source)


def _all_specs(specs: Iterable[CandidateSpec], stages: Stages) -> list[CandidateSpec]:
    inner = [spec for stage in stages.values() if isinstance(stage, ClassifyStage) for spec in stage.candidates]
    return [*specs, *inner]


def _without_tokenizer(spec: CandidateSpec) -> str:
    if not isinstance(spec, EncoderCandidate) or isinstance(spec, ImageCandidate) or spec.start in RESERVED:
        return ""
    return (
        f'candidates.{stem(spec)}.start is "{spec.start}", but encoder.source is "tiny", whose tokenizer is made anew '
        "from each data set; let encoder.source name a contrastive stage, a folder or a hub id"
    )


def _why_wrong(arrow: Arrow, stages: Stages) -> str:
    says = f'{arrow.where} is "{arrow.value}"'
    stage = stages.get(arrow.value)
    if isinstance(stage, ContrastiveStage):
        return "" if arrow.kind != "oscar" else f"{says}, a contrastive stage, but an oscar candidate starts from BERT"
    if stage is not None:
        kinds = [spec.kind for spec in stage.candidates]
        if not arrow.kind:
            return f"{says}, which trains candidates; only a contrastive stage makes an encoder"
        return "" if arrow.kind in kinds else f"{says}, which trains {', '.join(kinds)} and no {arrow.kind}"
    if arrow.kind not in ("", "oscar") and arrow.value in (TINY, PAIR):
        return f'{says}, a word of encoder.source; "encoder" starts from what that names'
    if arrow.value in RESERVED or "/" in arrow.value or Path(arrow.value).exists():
        return ""
    if arrow.kind == "oscar" or not arrow.kind:
        return _unless_like(arrow.value, stages, says)
    return f"{says}, which is no stage of pretraining ({', '.join(stages) or 'has none'}) and no folder or hub id"


def _unless_like(value: str, stages: Stages, says: str) -> str:
    """A hub id without an owner can't be told from a wrong name, unless it is nearly the name of a stage."""
    close = difflib.get_close_matches(value, list(stages), n=1)
    return f"{says}, which is no stage of pretraining; did you mean {close[0]}?" if close else ""
