"""Where a neural candidate's model starts: the encoders, uni-modal or trained candidates, or other encoders.

What a model does not take over from its start begins with random weights, and that is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedConfig

from memeblend.candidates.base import Candidate, FitContext
from memeblend.candidates.making import load_candidate
from memeblend.errors import ModelError, RecipeError
from memeblend.labels import LabelTask
from memeblend.models import build_model, from_branches, model_class
from memeblend.models.base import EncoderModel
from memeblend.models.config import MemeConfig, StatesType
from memeblend.models.pair import Encoders, image_side, load_encoders
from memeblend.models.starting import BRANCHES, ENCODERS, Start, start_from, started_with
from memeblend.recipe.candidates import (
    FROM_UNI_MODAL,
    AlignCandidate,
    FusionCandidate,
    ImageCandidate,
    TextCandidate,
    stem,
)
from memeblend.recipe.parts import TINY
from memeblend.training.batches import MemeDataset
from memeblend.training.encoder import shown_source, start_encoders
from memeblend.training.preprocessing import Preprocessor
from memeblend.training.trainer import mean_score, predict_probabilities

NeuralSpec = TextCandidate | ImageCandidate | FusionCandidate | AlignCandidate
NEURAL_FILE = "neural.json"
PREDICT_BATCH = 64


@dataclass
class Starter:
    """Makes the models of a candidate before their training.

    Attributes:
        name: the candidate's.
        spec: its part of the recipe.
        starts_from: names of the text and image candidates that it starts from.
        context: what it is trained with.
        told: sentences that were said already, so that what holds for every label task is said once.
    """

    name: str
    spec: NeuralSpec
    starts_from: Sequence[str]
    context: FitContext
    told: set[str] = field(default_factory=set)

    def model(self, key: str, group: tuple[LabelTask, ...], trained: Mapping[str, EncoderModel]) -> EncoderModel:
        """A model before its training.

        Args:
            key: "joint", or the label task that it is for.
            group: its label tasks.
            trained: the candidate's models so far, by their keys.

        Raises:
            RecipeError: the recipe does not fit the encoder.
            ModelError: what it starts from can't be read or has other sizes.
        """
        encoders, spec = start_encoders(self.context.recipe.encoder, self.context.fit.preprocessor), self.spec
        config = self._config(encoders, group)
        if isinstance(spec, TextCandidate | ImageCandidate) and spec.chain and trained:
            first, start = next(iter(trained.items()))
            return self._from_model(config, encoders, start, f"its own model of {first}", key)
        if spec.start in FROM_UNI_MODAL:
            return self._from_branches(config, key, group)
        if spec.start == "encoder":
            return self._from_recipe(config, encoders)
        source = f"'{self._shown(spec.start)}'"
        if not (Path(spec.start) / NEURAL_FILE).is_file():
            return self._from_other(config, self._other_encoders(encoders), source)
        start = self._of_folder(Path(spec.start), key)
        return self._from_model(config, encoders, start, source, key)

    def _config(self, encoders: Encoders, group: tuple[LabelTask, ...]) -> MemeConfig:
        try:
            return model_config(self.spec, encoders.config, group)
        except ValueError as error:
            raise RecipeError(
                f"Candidate '{self.name}' does not fit the encoder '{self.context.recipe.encoder.source}': {error}."
            ) from error

    def _from_recipe(self, config: MemeConfig, encoders: Encoders) -> EncoderModel:
        encoder = self.context.recipe.encoder
        if encoder.source == TINY:  # of which nothing but its sizes is taken over
            return build_model(self.spec.kind, config, encoders)
        shown = encoder.model_copy(update={"source": self._shown(encoder.source)})
        return self._from_encoders(config, encoders, shown_source(shown, model_class(self.spec.kind).branches))

    def _from_encoders(self, config: MemeConfig, encoders: Encoders, source: str) -> EncoderModel:
        model = build_model(self.spec.kind, config, encoders)
        self._tell(started_with(model, ENCODERS), source)
        return model

    def _from_other(self, config: MemeConfig, other: Encoders, source: str) -> EncoderModel:
        try:
            return self._from_encoders(config, other, source)
        except RuntimeError as error:
            first = str(error).strip().splitlines()[-1].strip().rstrip(".")
            raise ModelError(
                f"Candidate '{self.name}' can't start from {source}, whose encoders have other sizes than the "
                f"recipe's: {first}.",
                fix="Let encoder.source name it.",
            ) from error

    def _from_model(
        self, config: MemeConfig, encoders: Encoders, start: EncoderModel, source: str, key: str
    ) -> EncoderModel:
        model = build_model(self.spec.kind, config, encoders)
        self._tell(start_from(model, start, source), source, key)
        return model

    def _from_branches(self, config: MemeConfig, key: str, group: tuple[LabelTask, ...]) -> EncoderModel:
        found: dict[str, tuple[float, str, EncoderModel]] = {}
        choosing = self.spec.start == "best"
        for name in self.starts_from:
            candidate: Any = self.context.fitted(name)
            kind, model = candidate.spec.kind, candidate.models[key]
            score = self._score(model, group) if choosing else 0.0
            if kind not in found or score > found[kind][0]:
                found[kind] = score, name, model
        text, image = found["text"], found["image"]
        model = from_branches(self.spec.kind, config, text[2], image[2])
        if choosing:
            source = " and ".join(f"{one[1]} ({self._metric} {one[0]:.3f} on select)" for one in (text, image))
            self._tell(started_with(model, BRANCHES), source, key)
        else:
            self._tell(started_with(model, BRANCHES), f"{text[1]} and {image[1]}")
        return model

    @property
    def _metric(self) -> str:
        return self.spec.training.metric

    def _score(self, model: EncoderModel, group: tuple[LabelTask, ...]) -> float:
        """A uni-modal model's score on the memes to select by, which it is chosen by among copies."""
        context = self.context
        columns = [context.label_tasks.index(task) for task in group]
        labels = np.ascontiguousarray(context.select_labels[:, columns])
        branches = model.branches
        memes = MemeDataset(context.select, labels, text="text" in branches, image="image" in branches)
        return mean_score(group, labels, predict_probabilities(model, memes, PREDICT_BATCH), self._metric)[self._metric]

    def _of_folder(self, folder: Path, key: str) -> EncoderModel:
        """The model of a fitted candidate that has the same key, or its first."""
        candidate: Candidate = load_candidate(folder.name, folder)
        kind = candidate.spec.kind  # type: ignore[attr-defined]
        models: dict[str, EncoderModel] = candidate.models  # type: ignore[attr-defined]
        if kind != self.spec.kind:
            raise ModelError(
                f"Candidate '{self.name}' starts from '{folder}', expected a fitted {self.spec.kind} candidate there, "
                f"found one of the kind {kind}.",
                fix=f"Let candidates.{stem(self.spec)}.start name another.",
            )
        if candidate.needs_text:
            self._check_tokenizer(folder)
        return models.get(key) or next(iter(models.values()))

    def _check_tokenizer(self, folder: Path) -> None:
        """Refuse a candidate that read its texts as other tokens; where its preprocessor lies with it, that is told."""
        beside = [folder.parents[1] / "preprocessor" / "preprocessor", folder.parents[1] / "preprocessor"]
        found = next((path for path in beside if (path / "preprocessor.json").is_file()), None)
        if found is None:
            return
        theirs = Preprocessor.load(found).tokenizer.get_vocab()
        if theirs != self.context.fit.preprocessor.tokenizer.get_vocab():
            raise ModelError(
                f"Candidate '{self.name}' starts from '{folder}', which reads texts as other tokens than the encoder "
                f"'{self.context.recipe.encoder.source}' does.",
                fix="Let encoder.source name the encoder that it was trained on.",
            )

    def _other_encoders(self, encoders: Encoders) -> Encoders:
        """The encoders that `start` names, which must be of the recipe's kinds and read what they read."""
        other = load_encoders(self.spec.start)
        ours, theirs = _reads(encoders), _reads(other)
        if ours != theirs:
            differing = ", ".join(f"{name} {theirs[name]} and not {ours[name]}" for name in ours)
            raise ModelError(
                f"Candidate '{self.name}' can't start from '{self.spec.start}', which reads other inputs than the "
                f"recipe's encoder: {differing}.",
                fix="Let encoder.source name it, so that texts and images are made ready for it.",
            )
        return other

    def _shown(self, source: str) -> str:
        """What is started from; a path within the run where it lies there."""
        runs = [folder for folder in self.context.folder.absolute().parents if (folder / ".lock").is_file()]
        return next((str(Path(source).relative_to(run)) for run in runs if Path(source).is_relative_to(run)), source)

    def _tell(self, start: Start, source: str, key: str = "") -> None:
        line = start.line(self.name if key in ("", "joint") else f"{self.name} {key}", source)
        if line not in self.told:
            self.told.add(line)
            self.context.progress.say(line)


def _reads(encoders: Encoders) -> dict[str, int | str]:
    """What a model is built for, and its inputs are made ready by."""
    config: Any = encoders.config
    return {
        "text encoder": str(config.text_config.model_type),
        "image encoder": str(config.vision_config.model_type),
        "vocab_size": int(config.text_config.vocab_size),
        "image_size": image_side(encoders),
    }


def model_config(spec: NeuralSpec, encoder_config: PreTrainedConfig, label_tasks: Sequence[LabelTask]) -> MemeConfig:
    """The model's configuration from the candidate's part of the recipe."""
    states: StatesType = "bfloat16" if spec.encoders == "frozen" else "float32"
    match spec:
        case TextCandidate():
            own: dict[str, Any] = {
                "lstm_hidden_size": spec.lstm_hidden_size,
                "lstm_packed": spec.lstm_packed,
                "num_heads": 1,
            }
        case FusionCandidate():
            own = {
                "num_blocks": spec.num_blocks,
                "num_heads": spec.num_heads,
                "residual": spec.residual,
                "norm": spec.norm,
                "attention_dropout": spec.dropout,
                "text_state": spec.text_state,
            }
        case AlignCandidate():
            own = {"projection_size": spec.projection_size, "num_hidden": spec.num_hidden, "num_heads": 1}
        case _:
            own = {"num_heads": 1}  # only fusion has heads; the paper's 8 need not divide another's width
    return MemeConfig(encoder_config, label_tasks, head_dropout=spec.head_dropout, encoder_states=states, **own)
