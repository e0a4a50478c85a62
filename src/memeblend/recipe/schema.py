"""The recipe: every choice of a run, each with its meaning beside it.

A recipe is one frozen object. It is checked all at once and unknown keys are refused, so a run never starts
with a setting that does nothing. Defaults here are those of `tiny`; the shipped presets are TOML files beside
this module.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator

from memeblend.labels import LabelKind, LabelTask

Metric = Literal["weighted_f1", "macro_f1", "accuracy"]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
MAX_CANDIDATES = 20
"""Most candidates: every subset of them is tried, and each further one doubles that."""

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Splits(_Part):
    """Which splits train, which choose and which report. Empty means: decided by the splits that the data has."""

    fit: tuple[str, ...] = ()
    """Splits whose memes train the candidates."""
    select: tuple[str, ...] = ()
    """Splits that choose: early stopping and ensemble members."""
    report: tuple[str, ...] = ()
    """Splits that report and are used for nothing else."""
    select_fraction: Fraction = 0.2
    """Share of the training memes that becomes *select* where the data has no split for it."""
    report_fraction: Fraction = 0.2
    """Share of all memes that becomes *report* where the data has no split for it."""


class DeclaredLabelTask(_Part):
    """A label task stated by the user instead of inferred from its column."""

    kind: LabelKind
    """"nominal", "ordinal" or "binary"."""
    classes: tuple[str, ...]
    """Class names in order; of a binary label task the second is the positive class."""
    intensity: bool = False
    """Whether class 0 means absent; then a binary `<name>_present` is scored too."""


class TinyEncoder(_Part):
    """Sizes of the embedded CLIP configuration, trained from scratch with a tokenizer made from the fit split."""

    hidden_size: PositiveInt = 128
    """Width of both encoders and of the joint space."""
    text_layers: PositiveInt = 2
    """Transformer layers of the text encoder."""
    image_layers: PositiveInt = 4
    """Transformer layers of the image encoder."""
    num_heads: PositiveInt = 4
    """Attention heads of both encoders."""
    image_size: PositiveInt = 96
    """Side of the square image in pixels."""
    patch_size: PositiveInt = 16
    """Side of an image patch in pixels."""
    vocab_size: Annotated[int, Field(ge=300, le=100_000)] = 4000
    """Largest number of tokens of the tokenizer."""

    @model_validator(mode="after")
    def _divisible(self) -> TinyEncoder:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")
        return self


class Encoder(_Part):
    """Where the CLIP text and image encoders come from."""

    source: str = "tiny"
    """"tiny" (embedded, nothing is downloaded), a folder that holds a Hugging Face CLIP, or a hub id."""
    max_length: Annotated[int, Field(ge=4, le=512)] = 48
    """Longest text in tokens, begin and end included; longer texts are cut and keep their end token."""
    image_fit: Literal["letterbox", "crop"] = "letterbox"
    """How an image becomes square: padded whole, or CLIP's centre crop (which cuts words at a meme's edges)."""
    tiny: TinyEncoder = TinyEncoder()
    """Sizes when `source` is "tiny"."""

    @field_validator("source")
    @classmethod
    def _home(cls, source: str) -> str:
        return str(Path(source).expanduser()) if source.startswith("~") else source


class Training(_Part):
    """How a neural candidate is trained (paper section 4, seed recipe section 6)."""

    num_epochs: PositiveInt = 12
    """Most passes over the fit memes."""
    batch_size: PositiveInt = 32
    """Memes a step."""
    learning_rate: Positive = 5e-4
    """Peak learning rate of AdamW."""
    weight_decay: NonNegative = 0.01
    """AdamW weight decay."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """Learning rate after the warm-up."""
    warmup_ratio: Probability = 0.1
    """Share of the steps in which the learning rate rises from 0."""
    max_grad_norm: NonNegative = 1.0
    """Gradients are scaled down to this norm; 0 leaves them alone."""
    token_dropout: Probability = 0.0
    """Share of a text's tokens, begin and end aside, that is left out anew whenever it is trained on."""
    patience: Annotated[int, Field(ge=0)] = 4
    """Epochs without a better `metric` after which training stops; 0 never stops early."""
    metric: Metric = "weighted_f1"
    """Mean over the label tasks on the *select* split; the best epoch's weights are kept."""


class CrossEntropy(_Part):
    """Cross-entropy."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    class_weights: Literal["none", "balanced"] = "none"
    """"balanced" weighs classes by the inverse of their frequency in the fit split."""


class Focal(_Part):
    """Focal loss (Lin et al. 2017)."""

    kind: Literal["focal"]
    gamma: NonNegative = 2.0
    """Focusing exponent; 0 is cross-entropy."""
    detach: bool = False
    """Take the modulating factor as a constant, as the released code of the paper does."""
    class_weights: Literal["none", "balanced"] = "none"
    """"balanced" weighs classes by the inverse of their frequency in the fit split."""


Loss = Annotated[CrossEntropy | Focal, Field(discriminator="kind")]


class BlendWeights(_Part):
    """Fixed weights of the branches' losses (paper equation 7). They need not sum to one."""

    text: NonNegative
    image: NonNegative
    fused: NonNegative

    @model_validator(mode="after")
    def _fused_trains(self) -> BlendWeights:
        if self.fused <= 0:
            raise ValueError("fused must be above 0: predictions come from the fused branch alone")
        return self


class _Candidate(_Part):
    copies: Annotated[int, Field(ge=0, le=9)] = 0
    """How many of this kind, from distinct seeds (the paper's "0" and "1"); 0 takes the recipe's `copies`."""


class NeuralCandidate(_Candidate):
    """What all neural candidates share."""

    training: Training = Training()
    """Overrides of the recipe's `training`, filled up from it."""
    head_dropout: Probability = 0.1
    """Dropout inside the classifier heads."""


class TextCandidate(NeuralCandidate):
    """CLIP-text: a head on the pooled end token plus a head on a two-layer BiLSTM, logits summed (figure 1a)."""

    kind: Literal["text"]
    lstm_hidden_size: PositiveInt = 128
    """Width of the BiLSTM in each direction."""


class ImageCandidate(NeuralCandidate):
    """CLIP-image: a head on the pooled class token (figure 1b)."""

    kind: Literal["image"]


class _MultiModalCandidate(NeuralCandidate):
    blending: Literal["fixed", "none"] = "fixed"
    """Gradient blending with fixed weights, or the fused loss alone."""
    blend_weights: BlendWeights = BlendWeights(text=0.3, image=0.3, fused=0.4)
    """Weights of the branches' losses when `blending` is "fixed"."""
    start: Literal["uni-modal", "encoder"] = "uni-modal"
    """Start from the text and image candidates of the same number, or from the encoder."""


class FusionCandidate(_MultiModalCandidate):
    """CLIP-multi: attention over both sequences (figure 2, equations 4-6)."""

    kind: Literal["fusion"]
    num_blocks: PositiveInt = 6
    """Self-attention blocks."""
    num_heads: PositiveInt = 8
    """Heads of each block."""
    residual: bool = False
    """Add each block's input to its output; the paper does not."""
    norm: bool = False
    """Layer norm before each block; the paper has none."""
    dropout: Probability = 0.0
    """Dropout on the attention weights."""
    text_state: Literal["eos", "bos"] = "eos"
    """Text state given to the head: the end token has seen the text, the begin token (released code) has not."""


class AlignCandidate(_MultiModalCandidate):
    """HateCLIPper's align fusion: product of projected text and image features (Kumar & Nandakumar 2022)."""

    kind: Literal["align"]
    projection_size: PositiveInt = 128
    """Width of the space in which the features are multiplied."""
    num_hidden: Annotated[int, Field(ge=0, le=8)] = 1
    """Hidden layers between the product and the heads."""


class TfidfCandidate(_Candidate):
    """Word and character n-grams with logistic regression: the floor that a neural candidate must clear."""

    kind: Literal["tfidf"]
    word_ngrams: tuple[PositiveInt, PositiveInt] = (1, 2)
    """Shortest and longest word n-gram."""
    char_ngrams: tuple[PositiveInt, PositiveInt] = (2, 5)
    """Shortest and longest character n-gram, inside words."""
    inverse_regularization: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0, 8.0)
    """scikit-learn's C, one for each copy in turn: copies of a convex model can't differ by seed."""
    class_weights: Literal["none", "balanced"] = "balanced"
    """"balanced" weighs classes by the inverse of their frequency in the fit split."""

    @model_validator(mode="after")
    def _ordered(self) -> TfidfCandidate:
        for name in ("word_ngrams", "char_ngrams"):
            shortest, longest = getattr(self, name)
            if shortest > longest:
                raise ValueError(f"{name} is [{shortest}, {longest}], expected the shortest first")
        return self


CandidateSpec = Annotated[
    TextCandidate | ImageCandidate | FusionCandidate | AlignCandidate | TfidfCandidate,
    Field(discriminator="kind"),
]


class Ensemble(_Part):
    """How members are chosen among the candidates, for each label task (paper section 5)."""

    objective: Metric = "weighted_f1"
    """What the best subset maximises."""
    chosen_on: Literal["select", "report"] = "select"
    """Role of the split that chooses. "report" is what a challenge paper does; its scores are then optimistic."""


class Recipe(_Part):
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
    candidates: tuple[CandidateSpec, ...]
    ensemble: Ensemble = Ensemble()

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
        if num_candidates > MAX_CANDIDATES:
            raise ValueError(
                f"the recipe asks for {num_candidates} candidates, at most {MAX_CANDIDATES} can be searched; "
                "lower copies"
            )
        width = self.encoder.tiny.hidden_size
        for spec in self.candidates:
            if self.encoder.source == "tiny" and isinstance(spec, FusionCandidate) and width % spec.num_heads:
                raise ValueError(
                    f"candidates.fusion.num_heads {spec.num_heads} does not divide encoder.tiny.hidden_size {width}"
                )
        kinds = {spec.kind for spec in self.candidates}
        for spec in self.candidates:
            if isinstance(spec, FusionCandidate | AlignCandidate) and spec.start == "uni-modal":
                missing = sorted({"text", "image"} - kinds)
                if missing:
                    raise ValueError(
                        f"candidate {spec.kind} starts from uni-modal candidates, but candidates has no "
                        f'{" and no ".join(missing)}; add them or set start = "encoder"'
                    )
        return self

    def declared(self) -> tuple[LabelTask, ...]:
        """The declared label tasks.

        Raises:
            ValueError: a declaration contradicts itself.
        """
        return tuple(
            LabelTask(name, task.kind, task.classes, task.intensity) for name, task in self.label_tasks.items()
        )

    def loss_of(self, label_task: str) -> CrossEntropy | Focal:
        """Loss of a label task."""
        return self.losses.get(label_task, self.losses["default"])

    def copies_of(self, spec: CandidateSpec) -> int:
        """How many candidates of this specification."""
        return spec.copies or self.copies


def _filled(spec: Any, base: dict[str, Any]) -> Any:
    """A candidate's specification with its `training` filled up from the recipe's."""
    if isinstance(spec, NeuralCandidate):
        own = spec.training.model_dump(exclude_unset=True)
        return spec.model_copy(update={"training": Training.model_validate({**base, **own})})
    if not isinstance(spec, dict) or spec.get("kind") == "tfidf":
        return spec
    own = spec.get("training", {})
    return {**spec, "training": {**base, **own}} if isinstance(own, dict) else spec


def stem(spec: CandidateSpec) -> str:
    """Name of a candidate without its number: its kind, told apart where blending is off."""
    unblended = isinstance(spec, FusionCandidate | AlignCandidate) and spec.blending == "none"
    return f"{spec.kind}_unblended" if unblended else spec.kind
