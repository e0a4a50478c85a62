"""Parts of a recipe: splits, label tasks, encoder, training, losses, ensemble, decisions.

Defaults here are those of `tiny`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from memeblend.labels import LabelKind

Metric = Literal["weighted_f1", "macro_f1", "accuracy"]
Objective = Literal[
    "weighted_f1",
    "macro_f1",
    "accuracy",
    "quadratic_kappa",
    "mean_absolute_error",
    "roc_auc",
    "average_precision",
    "log_loss",
]
TINY, PAIR = "tiny", "pair"
"""Words of `encoder.source` that name no folder or hub id."""
Fraction = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class Part(BaseModel):
    """A part of a recipe: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Splits(Part):
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


class DeclaredLabelTask(Part):
    """A label task stated by the user instead of inferred from its column."""

    kind: LabelKind
    """"nominal", "ordinal" or "binary"."""
    classes: tuple[str, ...]
    """Class names in order; of a binary label task the second is the positive class."""
    intensity: bool = False
    """Whether class 0 means absent; then a binary `<name>_present` is scored too."""


class TinyEncoder(Part):
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


def _in_home(source: str) -> str:
    return str(Path(source).expanduser()) if source.startswith("~") else source


class Pair(Part):
    """A text and an image encoder from different models; their projections into the joint space start at random."""

    text: str = "minilm"
    """A Hugging Face folder or hub id of a text encoder (of a CLIP or dual encoder its text part), or "minilm":
    all-MiniLM-L6-v2 (extra `minilm`)."""
    image: str = TINY
    """A folder or hub id of an image encoder (of a CLIP, SigLIP or dual encoder its image part), or "tiny": that of
    `encoder.tiny`, random."""
    projection_size: PositiveInt = 256
    """Width of the joint space."""

    @field_validator("text", "image")
    @classmethod
    def _home(cls, source: str) -> str:
        return _in_home(source)

    @field_validator("text")
    @classmethod
    def _has_tokenizer(cls, text: str) -> str:
        if text == TINY:
            raise ValueError('text is "tiny", which has no tokenizer; give a folder, a hub id or "minilm"')
        return text


class Encoder(Part):
    """Where the text and image encoders come from."""

    source: str = TINY
    """"tiny" (embedded, nothing is downloaded), "pair" (the two encoders of `encoder.pair`), or a folder or hub id of a
    Hugging Face CLIP, SigLIP or VisionTextDualEncoder."""
    max_length: Annotated[int, Field(ge=4, le=512)] = 48
    """Longest text in tokens, begin and end included; longer texts are cut."""
    keep_end: bool = True
    """Whether a text that is cut keeps its end token, whose state stands for a text in CLIP; the released code of the
    paper loses it."""
    image_fit: Literal["letterbox", "crop"] = "letterbox"
    """How an image becomes square: padded whole, or CLIP's centre crop (which cuts words at a meme's edges)."""
    text_cleaning: Literal["none", "tweet", "mami"] = "none"
    """What is done to a text before encoders read it: users, links and emoji normalised as in tweets, or MAMI's letters
    alone; saved with the model (docs/data.md)."""
    pair: Pair = Pair()
    """The two encoders when `source` is "pair"."""
    tiny: TinyEncoder = TinyEncoder()
    """Sizes when `source` is "tiny", and of a tiny image encoder in a pair."""

    @field_validator("source")
    @classmethod
    def _home(cls, source: str) -> str:
        return _in_home(source)


class Training(Part):
    """How a neural candidate is trained (paper section 4, seed recipe section 6)."""

    num_epochs: PositiveInt = 12
    """Most passes over the fit memes."""
    num_epochs_of: dict[str, PositiveInt] = {}
    """In a recipe with joint = false, `num_epochs` of the models of these label tasks."""
    schedule_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs over which warm-up and schedule are laid out, where training ends before they do; 0 takes `num_epochs`."""
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

    @model_validator(mode="after")
    def _schedule_lasts(self) -> Self:
        longest = max(self.num_epochs, *self.num_epochs_of.values(), 0)
        if 0 < self.schedule_epochs < longest:
            raise ValueError(f"schedule_epochs {self.schedule_epochs} is below num_epochs {longest}")
        return self

    def of(self, label_task: str) -> Training:
        """The settings of the model of a label task alone."""
        return self.model_copy(update={"num_epochs": self.num_epochs_of.get(label_task, self.num_epochs)})


class CrossEntropy(Part):
    """Cross-entropy."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    class_weights: Literal["none", "balanced"] = "none"
    """"balanced" weighs classes by the inverse of their frequency in the fit split."""


class Focal(Part):
    """Focal loss (Lin et al. 2017)."""

    kind: Literal["focal"]
    gamma: NonNegative = 2.0
    """Focusing exponent; 0 is cross-entropy."""
    detach: bool = False
    """Take the modulating factor as a constant, as the released code of the paper does."""
    class_weights: Literal["none", "balanced"] = "none"
    """"balanced" weighs classes by the inverse of their frequency in the fit split."""


Loss = Annotated[CrossEntropy | Focal, Field(discriminator="kind")]


class Ensemble(Part):
    """How members are chosen among the candidates, for each label task (paper section 5)."""

    objective: Objective = "weighted_f1"
    """What the choice makes best: any score of the report."""
    chosen_on: Literal["select", "report"] = "select"
    """Role of the split that chooses. "report" is what a challenge paper does; its scores are then optimistic."""
    voting: Literal["majority", "soft", "weighted", "rank"] = "majority"
    """How members vote: classes (the paper), mean probability, probabilities weighted by each member's own score
    where the choice looks, or mean rank of the probabilities."""
    method: Literal["exhaustive", "greedy", "top_k", "best_single", "all"] = "exhaustive"
    """How members are looked for: every non-empty subset (the paper), greedily with replacement and bagging (Caruana
    et al. 2004), the best `top_k`, the best one, or all."""
    rule: Literal["maximum", "one_standard_error"] = "one_standard_error"
    """With "exhaustive" and in each bag of "greedy": the best ensemble (the paper), or the smallest within one standard
    error of it."""
    shared: bool = False
    """One member list for all label tasks, chosen by their mean objective."""
    top_k: PositiveInt = 3
    """Members of "top_k"."""
    num_folds: Annotated[int, Field(ge=2, le=20)] = 5
    """Folds of the cross-validation that gives the score to expect."""
    num_repeats: PositiveInt = 4
    """How often these folds are drawn anew."""
    budget_ms: NonNegative = 0.0
    """Most milliseconds a meme that an ensemble's members may take together, as measured; 0 sets no limit."""
    pools: dict[str, tuple[str, ...]] = {}
    """Named parts of the candidates whose best ensemble is reported beside the chosen one (the paper's Ensemble-1 and
    Ensemble-2)."""
    pool: str = ""
    """The pool that the chosen ensemble comes from; empty offers all candidates."""

    @model_validator(mode="after")
    def _pool_exists(self) -> Self:
        if self.pool and self.pool not in self.pools:
            raise ValueError(f"pool is '{self.pool}', but pools has {', '.join(self.pools) or 'none'}")
        return self


class Decisions(Part):
    """How probabilities become decisions after the vote; all are fitted where the choice looks, none by default."""

    calibration: Literal["none", "temperature"] = "none"
    """Scale the logits of the ensemble's probabilities by one number (Guo et al. 2017)."""
    thresholds: Literal["none", "weighted_f1", "macro_f1", "cost"] = "none"
    """Multiply probabilities by one weight a class before the largest decides, so that this is best."""
    costs: dict[str, tuple[tuple[NonNegative, ...], ...]] = {}
    """For thresholds = "cost": cost matrix of each label task, true class by decided class."""
    serving_prior: dict[str, dict[str, Fraction] | Literal["estimated"]] = {}
    """Class shares to expect when serving, for each label task, or "estimated" from the memes that are predicted
    (Saerens et al. 2002); probabilities are corrected for them."""
    present: Literal["argmax", "threshold"] = "argmax"
    """`<name>_present`: whether the decided level is above 0 (the paper), or whether the summed probability of the
    levels above 0 passes a threshold, which then also bounds the level."""
