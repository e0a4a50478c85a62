"""The recipe: every choice of a run, each with its meaning beside it.

A recipe is one frozen object. It is checked all at once and unknown keys are refused, so a run never starts
with a setting that does nothing. The shipped presets are TOML files beside this module.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from memeblend.labels import LabelTask
from memeblend.recipe.candidates import (
    NEURAL_KINDS,
    CandidateSpec,
    FusionCandidate,
    ImageCandidate,
    NeuralCandidate,
    TextCandidate,
    copies_are_alike,
    starts_from,
    stem,
)
from memeblend.recipe.chain import ClassifyStage, ContrastiveStage, StageSpec, check_chain
from memeblend.recipe.parts import (
    TINY,
    CrossEntropy,
    Decisions,
    DeclaredLabelTask,
    Encoder,
    Ensemble,
    Focal,
    Loss,
    Part,
    Splits,
    Training,
)
from memeblend.recipe.search import Search
from memeblend.recipe.searched import all_searched, unknown_fields, unknown_stages

MAX_EXHAUSTIVE = 24
"""Most candidates of which every subset can be tried: each further one doubles the work."""


class Recipe(Part):
    """A recipe. See the parts for their fields."""

    name: str
    """Name shown in reports."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """The one seed from which all others follow."""
    joint: bool = True
    """One model with a head for each label task, or (False, as in the paper) a model for each label task."""
    copies: Annotated[int, Field(ge=1, le=9)] = 2
    """Candidates of each kind, from distinct seeds or hyper-parameters."""
    only_label_tasks: tuple[str, ...] = ()
    """Label tasks to train; empty means all."""
    splits: Splits = Splits()
    label_tasks: dict[str, DeclaredLabelTask] = {}
    """Label tasks declared by name instead of inferred."""
    encoder: Encoder = Encoder()
    losses: dict[str, Loss] = {"default": CrossEntropy()}
    """Loss of each label task by its name; "default" is for all others."""
    training: Training = Training()
    """Training settings of every neural candidate that does not override them."""
    pretraining: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")], StageSpec] = {}
    """Stages on other memes, trained before, that the encoder and the candidates start from, by their names."""
    candidates: tuple[CandidateSpec, ...]
    ensemble: Ensemble = Ensemble()
    decisions: Decisions = Decisions()
    search: Search = Search()

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        """Fill up losses and the candidates' `training` from the recipe's, so that the resolved recipe says it all."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if isinstance(data.get("losses"), dict):
            data["losses"] = {"default": CrossEntropy(), **data["losses"]}
        base, specs = data.get("training", {}), data.get("candidates")
        try:
            base = Training.model_validate(base).model_dump()
        except ValidationError:
            return data  # wrong once in `training`, not once more in every candidate
        if isinstance(specs, list | tuple):
            data["candidates"] = [_filled(spec, base) for spec in specs]
        if isinstance(data.get("pretraining"), dict):
            data["pretraining"] = {name: _filled_stage(stage, base) for name, stage in data["pretraining"].items()}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if not self.candidates:
            raise ValueError("a recipe needs at least one entry in candidates")
        stems = Counter(stem(spec) for spec in self.candidates)
        repeated = sorted(name for name, count in stems.items() if count > 1)
        if repeated:
            raise ValueError(f"candidates names {', '.join(repeated)} more than once; use copies for several of a kind")
        num_candidates = sum(self.copies_of(spec) for spec in self.candidates)
        if self.ensemble.method == "exhaustive" and num_candidates > MAX_EXHAUSTIVE:
            raise ValueError(
                f"the recipe asks for {num_candidates} candidates, but every subset can be tried of at most "
                f'{MAX_EXHAUSTIVE}; lower copies or set ensemble.method = "greedy"'
            )
        width, tiny = self.encoder.tiny.hidden_size, self.first_encoder().source == TINY
        for spec in (copy for one in self.candidates for copy in _copies(one)):
            if tiny and isinstance(spec, FusionCandidate) and width % spec.num_heads:
                raise ValueError(
                    f"candidates.fusion.num_heads {spec.num_heads} does not divide encoder.tiny.hidden_size {width}"
                )
        kinds = {spec.kind for spec in self.candidates}
        for spec in self.candidates:
            missing = sorted(set(starts_from(spec)) - kinds)
            if missing:
                raise ValueError(
                    f"candidate {spec.kind} starts from other candidates, but candidates has no "
                    f"{' and no '.join(missing)}; add them or let it start from the encoder"
                )
        chained = [spec for spec in self.candidates if isinstance(spec, TextCandidate | ImageCandidate) and spec.chain]
        if self.joint and chained:
            raise ValueError(f"candidate {stem(chained[0])} has chain = true, which needs joint = false")
        check_chain(self.pretraining, self.encoder.source, self.candidates)
        searched = [key for key in self.search.space if key.startswith("encoder.")] if self.pretraining else []
        if searched:
            raise ValueError(
                f"search.space names {searched[0]}, but the stages of pretraining depend on the encoder and are "
                "trained once"
            )
        if self.search.space or self.search.stages:
            every = all_searched(self.candidates, self.pretraining)
            unknown = [*unknown_fields(self.model_dump(mode="json"), every), *unknown_stages(self.search, every)]
            if unknown:
                raise ValueError("; ".join(unknown))
        return self

    def first_encoder(self) -> Encoder:
        """The encoder with the source that all contrastive stages start from at last, which is known before any."""
        source, left = self.encoder.source, dict(self.pretraining)
        while isinstance(stage := left.pop(source, None), ContrastiveStage):
            source = stage.start
        return self.encoder.model_copy(update={"source": source})

    def declared(self) -> tuple[LabelTask, ...]:
        """The declared label tasks.

        Raises:
            ValueError: a declaration contradicts itself.
        """
        return tuple(
            LabelTask(name, task.kind, task.classes, task.intensity) for name, task in self.label_tasks.items()
        )

    def loss_of(self, label_task: str, spec: CandidateSpec | None = None) -> CrossEntropy | Focal:
        """Loss of a label task, and of a candidate where it has its own."""
        own = spec.losses if isinstance(spec, NeuralCandidate) else {}
        losses = {**self.losses, **own}
        return losses.get(label_task, losses["default"])

    def copies_of(self, spec: CandidateSpec) -> int:
        """How many candidates of this specification."""
        return spec.copies or (1 if copies_are_alike(spec) else self.copies)


def _copies(spec: CandidateSpec) -> list[CandidateSpec]:
    """A specification's copies where they differ, or itself."""
    if not spec.variants:
        return [spec]
    found: list[CandidateSpec] = []
    for number, own in enumerate(spec.variants):
        where = f"candidates.{stem(spec)}.variants[{number}]"
        try:
            copy = spec.variant(number)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{where} {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        fixed = {"kind", "copies", "variants"} & set(own)
        if fixed or (stem(copy), starts_from(copy)) != (stem(spec), starts_from(spec)):
            raise ValueError(f"{where} makes it another kind of candidate; give that an entry of its own")
        found.append(copy)
    return found


def _filled_stage(stage: Any, base: dict[str, Any]) -> Any:
    """A pre-training stage's plain data with all `training` in it filled up."""
    if isinstance(stage, ClassifyStage):
        stage = stage.model_dump(exclude_unset=True)
    if not isinstance(stage, dict) or stage.get("kind") != "classify":
        return stage
    own, specs = stage.get("training", {}), stage.get("candidates")
    if not isinstance(own, dict) or not isinstance(specs, list | tuple):
        return stage
    try:
        whole = Training.model_validate({**base, **own}).model_dump()
    except ValidationError:
        return stage
    return {**stage, "training": whole, "candidates": [_filled(spec, whole) for spec in specs]}


def _filled(spec: Any, base: dict[str, Any]) -> Any:
    """A candidate's specification with its `training` filled up from the recipe's."""
    if isinstance(spec, NeuralCandidate):
        own = spec.training.model_dump(exclude_unset=True)
        return spec.model_copy(update={"training": Training.model_validate({**base, **own})})
    if not isinstance(spec, dict) or spec.get("kind") not in NEURAL_KINDS:
        return spec
    own = spec.get("training", {})
    return {**spec, "training": {**base, **own}} if isinstance(own, dict) else spec
