"""Candidates as a recipe asks for them: one variant for each kind, told apart by `kind`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from memeblend.recipe.parts import Fraction, Loss, NonNegative, Part, Positive, Probability, Training

FROM_UNI_MODAL = ("uni-modal", "best")
"""Values of a multi-modal candidate's `start` that take its encoders from text and image candidates."""
Blending = Literal["fixed", "none", "uniform", "offline", "online", "ogm_ge", "modality_dropout"]


class BlendWeights(Part):
    """Fixed weights of the branches' losses (paper equation 7). They need not sum to one."""

    text: NonNegative
    image: NonNegative
    fused: NonNegative

    @model_validator(mode="after")
    def _fused_trains(self) -> BlendWeights:
        if self.fused <= 0:
            raise ValueError("fused must be above 0: predictions come from the fused branch alone")
        return self


class Estimation(Part):
    """How `blending` "offline" and "online" estimate the weights (Wang, Tran and Feiszli, CVPR 2020)."""

    super_epoch: PositiveInt = 2
    """Epochs for which each branch is trained alone between its two checkpoints; "online" estimates so often."""
    warm_up: Annotated[int, Field(ge=0)] = 0
    """Epochs with equal weights before the first estimate of "online"."""
    held_out: Fraction = 0.15
    """Share of the fit memes, duplicate groups whole, on which generalisation is measured."""
    per_label_task: bool = False
    """Weights for each label task, or (False) shared by all."""
    least_overfitting: Positive = 0.02
    """Overfitting below this share of a branch's held-out loss counts as this much: a few memes can't tell less."""
    least_fused: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Least weight of the fused branch, which predicts."""


class Modulation(Part):
    """How `blending` "ogm_ge" slows the modality that is ahead (Peng et al., CVPR 2022)."""

    alpha: Positive = 0.3
    """How strongly."""
    noise: bool = True
    """Add Gaussian noise of each gradient's own size to the encoders' weights (the GE of the name)."""


def _merged(table: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data with some of it replaced, table by table."""
    merged = dict(table)
    for key, value in own.items():
        before = merged.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(before, value) if both else value  # type: ignore[arg-type]
    return merged


class _Candidate(Part):
    copies: Annotated[int, Field(ge=0, le=9)] = 0
    """How many of this kind, from distinct seeds (the paper's "0" and "1"); 0 takes the recipe's `copies`."""
    variants: tuple[dict[str, Any], ...] = ()
    """Fields in which copies differ, one table for each copy in turn; `memeblend tune` writes them."""

    def variant(self, number: int) -> Self:
        """The specification of a copy, its own fields put in.

        Args:
            number: the copy's, from 0.

        Raises:
            ValidationError: the copy's fields don't go together with the others.
        """
        if not self.variants:
            return self
        own = self.variants[number % len(self.variants)]
        return type(self).model_validate(_merged(self.model_dump(exclude={"variants"}), own))


class NeuralCandidate(_Candidate):
    """What all neural candidates share."""

    training: Training = Training()
    """Overrides of the recipe's `training`, filled up from it."""
    losses: dict[str, Loss] = {}
    """Overrides of the recipe's `losses`, by label task or "default"."""
    head_dropout: Probability = 0.1
    """Dropout inside the classifier heads."""


class EncoderCandidate(NeuralCandidate):
    """What candidates on the recipe's encoders share."""

    encoders: Literal["trained", "frozen", "lora"] = "trained"
    """Train the encoders with the heads; leave them as they are (their states are computed once and cached, and
    `token_dropout` is ignored; with the embedded encoder and start = "encoder" they are random); or train low-rank
    adapters inside them (Hu et al. 2022; needs the extra `peft`)."""
    lora_rank: PositiveInt = 8
    """Rank of the adapters when `encoders` is "lora"; their scale is alpha / rank with alpha = 2 rank."""


class _UniModalCandidate(EncoderCandidate):
    start: str = "encoder"
    """"encoder" (the recipe's); a stage of `pretraining`; the folder of a fitted candidate of this kind; or a folder or
    hub id of encoders. What does not come from there starts anew, which is printed."""
    chain: bool = False
    """In a recipe with joint = false, let the first label task start from `start` and each other one from the first
    (Task A, then Task C); otherwise each starts from `start`."""


class TextCandidate(_UniModalCandidate):
    """CLIP-text: a head on the text's pooled state plus a head on a two-layer BiLSTM, logits summed (figure 1a)."""

    kind: Literal["text"]
    lstm_hidden_size: PositiveInt = 128
    """Width of the BiLSTM in each direction."""
    lstm_packed: bool = True
    """Whether the BiLSTM stops at a text's end; the released code of the paper lets it read a batch's padding too."""


class ImageCandidate(_UniModalCandidate):
    """CLIP-image: a head on the image's pooled state (figure 1b)."""

    kind: Literal["image"]


class _MultiModalCandidate(EncoderCandidate):
    blending: Blending = "fixed"
    """The branches' losses weighed by `blend_weights` (the paper), equally ("uniform"), or as estimated before
    ("offline") or while ("online") it is trained; or the fused loss alone: plainly ("none"), with the gradients of
    the encoders modulated ("ogm_ge"), or with a modality left out of some memes ("modality_dropout")."""
    blend_weights: BlendWeights = BlendWeights(text=0.3, image=0.3, fused=0.4)
    """Weights of the branches' losses when `blending` is "fixed"."""
    estimation: Estimation = Estimation()
    """When `blending` is "offline" or "online"."""
    modulation: Modulation = Modulation()
    """When `blending` is "ogm_ge"."""
    modality_dropout: Fraction = 0.2
    """When `blending` is "modality_dropout": share of the memes that lose their text in a step, and of those that lose
    their image; none loses both."""
    start: str = "uni-modal"
    """Start from the text and image candidates of the same number ("uni-modal"); for each label task from those of any
    number that are best on *select* by `training.metric` ("best", the paper); or as a text or image candidate does:
    "encoder", a stage of `pretraining`, or a folder or hub id."""

    @model_validator(mode="after")
    def _can_blend(self) -> Self:
        seen = 'have trained on the memes that an estimate holds out; set start = "encoder"'
        from_uni_modal = self.start in FROM_UNI_MODAL
        if self.blending == "online" and from_uni_modal:
            raise ValueError(f'blending is "online", but the uni-modal candidates that it starts from {seen}')
        if self.blending == "offline" and self.encoders == "frozen" and from_uni_modal:
            raise ValueError(f'blending is "offline", but frozen encoders of uni-modal candidates {seen}')
        if self.blending == "online" and self.estimation.warm_up >= self.training.num_epochs:
            raise ValueError(
                f"estimation.warm_up is {self.estimation.warm_up}, which leaves none of training.num_epochs "
                f"{self.training.num_epochs} for estimated weights"
            )
        if self.blending == "ogm_ge" and self.encoders == "frozen":
            raise ValueError(
                'blending is "ogm_ge", but frozen encoders have no gradients to modulate; set encoders = "trained"'
            )
        return self


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


class OscarCandidate(NeuralCandidate):
    """BERT over ocr_text, object tags and region features with full attention (Li et al. 2020)."""

    kind: Literal["oscar"]
    source: str = "tiny"
    """"tiny" (embedded, random weights), a stage of `pretraining` (the paper's chain starts from one on *pretrainuni*),
    an Oscar or Oscar+ checkpoint folder, a Hugging Face BERT folder or hub id, or the folder of a fitted oscar
    candidate."""
    regions: str = "grid"
    """"grid" (patch states of the image encoder, no tags; nothing is needed), or a region file (.tsv or .npz)."""
    max_length: Annotated[int, Field(ge=8, le=512)] = 70
    """Longest text in tokens: ocr_text and tags with their marks."""
    max_text_length: Annotated[int, Field(ge=3, le=512)] = 67
    """Most of them for ocr_text with its marks; tags get the rest."""
    max_regions: PositiveInt = 50
    """Most regions, the ones of highest score first."""
    hidden_size: PositiveInt = 128
    """Width when `source` is "tiny"."""
    num_layers: PositiveInt = 3
    """Layers when `source` is "tiny"."""
    num_heads: PositiveInt = 4
    """Attention heads when `source` is "tiny"."""
    dropout: Probability = 0.1
    """Dropout inside BERT and on the embedded regions."""
    chain: bool = True
    """In a recipe with joint = false, the first label task starts from `source` and each other one from the first
    (the paper: Task A, then each Task C aspect)."""

    @model_validator(mode="after")
    def _fits(self) -> OscarCandidate:
        if self.max_text_length > self.max_length:
            raise ValueError(f"max_text_length {self.max_text_length} is above max_length {self.max_length}")
        if self.source == "tiny" and self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}")
        return self


Features = Literal["text", "image", "fused"]


class _FeatureCandidate(_Candidate):
    features: Annotated[tuple[Features, ...], Field(min_length=1)] = ("text", "image", "fused")
    """Which pooled states it reads, side by side: text [d_t], image [d_i], fused [2 d_t] (F_cls of equation 6)."""
    start: Literal["candidates", "encoder"] = "candidates"
    """Take the states from the text, image and fusion candidates of the same number, or from the encoder as it is
    (which has no "fused")."""

    @model_validator(mode="after")
    def _available(self) -> Self:
        if len(set(self.features)) < len(self.features):
            raise ValueError("features names one more than once")
        if self.start == "encoder" and "fused" in self.features:
            raise ValueError('features names "fused", which only candidates have; set start = "candidates"')
        return self


class LinearCandidate(_FeatureCandidate):
    """Logistic regression on pooled states."""

    kind: Literal["linear"]
    inverse_regularization: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.1, 1.0)
    """scikit-learn's C, one for each copy in turn: copies of a convex model can't differ by seed."""
    class_weights: Literal["none", "balanced"] = "balanced"
    """"balanced" weighs classes by the inverse of their frequency in the fit split."""


class BoostingCandidate(_FeatureCandidate):
    """Boosted trees on pooled states; defaults are those of the paper's released code (which used XGBoost)."""

    kind: Literal["boosting"]
    engine: Literal["sklearn", "xgboost"] = "sklearn"
    """scikit-learn's histogram boosting, or XGBoost (the extra `boost`)."""
    num_trees: PositiveInt = 800
    """Most boosting rounds; early stopping on *select* ends them sooner."""
    max_depth: PositiveInt = 7
    """Depth of a tree."""
    learning_rate: Positive = 0.03
    """Shrinkage of each round."""
    patience: Annotated[int, Field(ge=0)] = 30
    """Rounds without a lower log loss on *select* after which boosting stops; 0 never stops early."""


class KnnCandidate(_FeatureCandidate):
    """Precedents: the nearest fit memes by cosine vote, weighted by similarity. Labels can be edited afterwards."""

    kind: Literal["knn"]
    features: Annotated[tuple[Features, ...], Field(min_length=1)] = ("fused",)
    """Which pooled states it compares, each scaled to length one."""
    num_neighbors: PositiveInt = 15
    """Precedents that vote."""
    temperature: Positive = 0.1
    """A precedent of cosine c votes with exp(c / temperature)."""


class ZeroshotCandidate(_Candidate):
    """The encoders' own similarity of a meme to prompts for each class (Radford et al. 2021); nothing is trained."""

    kind: Literal["zeroshot"]
    prompts: dict[str, dict[str, tuple[str, ...]]] = {}
    """Prompts by label task and class; a class without any gets "a meme that is CLASS", with the class's name."""
    text_weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the ocr_text's similarity to a prompt; the image's has the rest."""


CandidateSpec = Annotated[
    TextCandidate
    | ImageCandidate
    | FusionCandidate
    | AlignCandidate
    | OscarCandidate
    | TfidfCandidate
    | LinearCandidate
    | BoostingCandidate
    | KnnCandidate
    | ZeroshotCandidate,
    Field(discriminator="kind"),
]


NEURAL_KINDS = ("text", "image", "fusion", "align", "oscar")


def stem(spec: CandidateSpec) -> str:
    """Name of a candidate without its number: its kind, told apart by blending and by what becomes of the encoders."""
    name = str(spec.kind)
    if isinstance(spec, FusionCandidate | AlignCandidate) and spec.blending != "fixed":
        name += "_unblended" if spec.blending == "none" else f"_{spec.blending}"
    if isinstance(spec, EncoderCandidate) and spec.encoders != "trained":
        name += f"_{spec.encoders}"
    return name


def copies_are_alike(spec: CandidateSpec) -> bool:
    """Whether copies would be the same model: nothing in it depends on a seed or on another candidate."""
    return spec.kind == "zeroshot" or (isinstance(spec, BoostingCandidate | KnnCandidate) and spec.start == "encoder")


def starts_from(spec: CandidateSpec) -> tuple[str, ...]:
    """Kinds of the candidates whose weights or states a candidate starts from."""
    match spec:
        case FusionCandidate() | AlignCandidate() if spec.start in FROM_UNI_MODAL:
            return ("text", "image")
        case LinearCandidate() | BoostingCandidate() | KnnCandidate() if spec.start == "candidates":
            return tuple({"text": "text", "image": "image", "fused": "fusion"}[name] for name in spec.features)
        case OscarCandidate() if spec.regions == "grid":
            return ("image",)
        case _:
            return ()
