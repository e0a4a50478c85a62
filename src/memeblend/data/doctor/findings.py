"""What the doctor found, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from memeblend.errors import Problem

DUPLICATE_KINDS = {
    "identical": "identical images",
    "near": "near-duplicate images",
    "repeated_text": "repeated texts",
    "any": "any of these",
}
"""Kinds of duplicates and how they are called."""


@dataclass(frozen=True)
class ImageFindings:
    """The images that can be decoded.

    Attributes:
        num_images: memes with such an image.
        num_distinct: distinct ones, byte for byte.
        num_blank: memes whose image has one colour only.
        widths: least, median and largest width in pixels.
        heights: the same of heights.
        common_size: the most frequent width and height.
        num_common: distinct images of that size.
    """

    num_images: int
    num_distinct: int
    num_blank: int
    widths: tuple[int, int, int]
    heights: tuple[int, int, int]
    common_size: tuple[int, int]
    num_common: int


@dataclass(frozen=True)
class TextFindings:
    """The texts.

    Attributes:
        num_missing: memes without a text, by split.
        median_words: words of a text, in the median over those that are there.
    """

    num_missing: Mapping[str, int]
    median_words: float


@dataclass(frozen=True)
class DuplicateFindings:
    """Duplicates of one kind.

    Attributes:
        num_groups: groups of at least two memes.
        num_memes: memes in such groups.
        num_crossing: groups with memes in more than one split.
        num_leaking: memes outside the splits that train, whose group has a meme in one that does.
        examples: some crossing groups, each as (meme_id, split) of its memes.
    """

    num_groups: int
    num_memes: int
    num_crossing: int
    num_leaking: int
    examples: tuple[tuple[tuple[str, str], ...], ...]


@dataclass(frozen=True)
class Shift:
    """How far the class shares of a split are from those of the splits that train.

    Attributes:
        total_variation: half the sum of absolute differences of the shares, 0 to 1.
        p_value: of the chi-square test that both are drawn from the same shares.
        flagged: whether the shift is both certain and large enough to matter.
    """

    total_variation: float
    p_value: float
    flagged: bool


@dataclass(frozen=True)
class ConstantScores:
    """What answering one class for every meme of a split scores.

    Attributes:
        majority: the most frequent class of the splits that train.
        majority_weighted_f1: its weighted F1.
        majority_macro_f1: its macro F1.
        best: the class with the best weighted F1 on the split itself.
        best_weighted_f1: its weighted F1.
        best_macro_f1: its macro F1.
    """

    majority: str
    majority_weighted_f1: float
    majority_macro_f1: float
    best: str
    best_weighted_f1: float
    best_macro_f1: float


@dataclass(frozen=True)
class Conflicts:
    """Different labels within duplicate groups.

    Attributes:
        num_groups: groups with at least two labelled memes.
        num_conflicting: those of them whose labels differ.
        examples: some of these, each as (meme_id, class) of its memes.
    """

    num_groups: int
    num_conflicting: int
    examples: tuple[tuple[tuple[str, str], ...], ...]


@dataclass(frozen=True)
class TextSignal:
    """What words alone tell of the labels: TF-IDF and logistic regression, cross-validated on the fit memes.

    Attributes:
        num_memes: labelled memes that were used.
        weighted_f1: its score.
        macro_f1: its score.
        constant_weighted_f1: the best constant's score on the same memes.
        constant_macro_f1: the best macro F1 of a constant on the same memes.
        kappa: Cohen's kappa, the agreement beyond chance: 0 for none, 1 for perfect.
        near_noise: whether that is too little to speak of.
    """

    num_memes: int
    weighted_f1: float
    macro_f1: float
    constant_weighted_f1: float
    constant_macro_f1: float
    kappa: float
    near_noise: bool


@dataclass(frozen=True)
class LabelFindings:
    """One label task.

    Attributes:
        name: the label task.
        kind: nominal, ordinal or binary.
        counts: memes of each class, by split.
        num_missing: memes without a label, by split.
        shifts: by split, for labelled splits that do not train.
        constants: by split, for the same splits; for the only split if there is one.
        conflicts: within duplicate groups.
        text_signal: None if there are too few labelled texts to tell.
    """

    name: str
    kind: str
    counts: Mapping[str, Mapping[str, int]]
    num_missing: Mapping[str, int]
    shifts: Mapping[str, Shift]
    constants: Mapping[str, ConstantScores]
    conflicts: Conflicts
    text_signal: TextSignal | None


@dataclass(frozen=True)
class Diagnosis:
    """All that the doctor found.

    Attributes:
        data: the data set's name.
        num_memes: memes that could be read.
        splits: memes by split.
        fit_splits: the splits that train, whose class shares the others are compared with.
        roles: for each role its splits and their memes, as training would assign them; empty if it can't.
        unusable: rows that could not be read, with reasons.
        unreadable: images that could not be decoded, with reasons.
        images: None without images.
        texts: None without texts.
        duplicates: by kind, see `DUPLICATE_KINDS`.
        label_tasks: one entry per label task.
        obstacles: sentences on what forbids training; empty if the data are fit for it.
        watch: sentences on what to keep in mind.
    """

    data: str
    num_memes: int
    splits: Mapping[str, int]
    fit_splits: tuple[str, ...]
    roles: Mapping[str, Mapping[str, int]]
    unusable: tuple[Problem, ...]
    unreadable: tuple[Problem, ...]
    images: ImageFindings | None
    texts: TextFindings | None
    duplicates: Mapping[str, DuplicateFindings]
    label_tasks: tuple[LabelFindings, ...]
    obstacles: tuple[str, ...] = ()
    watch: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether training would start."""
        return not self.obstacles

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {"ready": self.ready} | asdict(self)
