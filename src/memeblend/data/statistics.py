"""What the paper's tables 1 and 2 say of the data sets, counted from manifests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memeblend.data.manifest import Manifest
from memeblend.data.sets import COMPOSITE_SIZES, SETS
from memeblend.errors import DataError, Problem
from memeblend.labels import LabelTask


@dataclass(frozen=True)
class Sizes:
    """A row of table 1: how many memes each split has.

    Attributes:
        name: of the data set or composite.
        counts: split -> memes.
        paper: split -> memes in the paper; empty where it does not use the set.
    """

    name: str
    counts: Mapping[str, int]
    paper: Mapping[str, int]

    @property
    def title(self) -> str:
        """The set's name in the paper."""
        return SETS[self.name].title if self.name in SETS else self.name

    @property
    def differences(self) -> dict[str, int]:
        """Split -> memes here less memes in the paper, for the splits of the paper."""
        return {split: self.counts.get(split, 0) - size for split, size in self.paper.items()}

    @property
    def whole(self) -> bool:
        """Whether the set is one of the paper's and has its sizes."""
        return bool(self.paper) and not any(self.differences.values())

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {"name": self.name, "counts": dict(self.counts), "paper": dict(self.paper)}


@dataclass(frozen=True)
class ClassCounts:
    """Rows of table 2: how many memes of a split have each class.

    Attributes:
        name: of the data set.
        label_task: the label task.
        split: the split.
        counts: memes of each class, in the order of its classes.
        paper: the same in the paper; empty where it says nothing.
    """

    name: str
    label_task: LabelTask
    split: str
    counts: tuple[int, ...]
    paper: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        classes = self.label_task.classes
        found = {"name": self.name, "label_task": self.label_task.name, "split": self.split}
        paper = dict(zip(classes, self.paper, strict=True)) if self.paper else {}
        return {**found, "counts": dict(zip(classes, self.counts, strict=True)), "paper": paper}


def sizes_of(manifest: Manifest, name: str = "") -> list[Sizes]:
    """The rows of table 1 for a manifest: one for each data set, or one for it all if it has a name.

    Args:
        manifest: the memes.
        name: a composite's, or any that the whole is to have.
    """
    if name:
        return [Sizes(name, _by_split(manifest), COMPOSITE_SIZES.get(name, {}))]
    sources = manifest.table["source"].to_numpy()
    found = []
    for source in dict.fromkeys(sources.tolist()):
        part = manifest.take(sources == source)
        known = SETS.get(source)
        if known is not None and known.pairs_only:
            with_text = sum(1 for text in part.texts if text.strip())
            found.append(Sizes(source, {"train": with_text}, known.sizes))
        else:
            found.append(Sizes(source, _by_split(part), known.sizes if known else {}))
    return found


def classes_of(manifest: Manifest) -> list[ClassCounts]:
    """The rows of table 2 for a manifest: data set by data set, label task by label task, split by split.

    Splits without a label are left out.
    """
    sources = manifest.table["source"].to_numpy()
    found = []
    for source in dict.fromkeys(sources.tolist()):
        known = SETS.get(source)
        for task in manifest.label_tasks:
            labels = manifest.labels(task.name)
            for split in manifest.split_names:
                there = labels[(sources == source) & (manifest.splits == split) & (labels >= 0)]
                if len(there):
                    counts = tuple(np.bincount(there, minlength=task.num_classes).tolist())
                    paper = known.classes.get(task.name, {}).get(split, ()) if known else ()
                    found.append(ClassCounts(source, task, split, counts, paper))
    return found


def check_composite(whole: Sizes, parts: Sequence[Sizes], others: int = 0) -> None:
    """Refuse a composite that is not as large as in the paper though every set of it is.

    Args:
        whole: the composite.
        parts: its sets in the paper, as they were given.
        others: memes to train on from sets that the paper does not count.

    Raises:
        DataError: it has other sizes than the paper's.
    """
    if not parts or not all(part.whole for part in parts):
        return
    expected = {**whole.paper, "train": whole.paper["train"] + others}
    problems = [
        Problem(f"split {split}", f"has {whole.counts.get(split, 0):,} memes, expected {size:,}")
        for split, size in expected.items()
        if whole.counts.get(split, 0) != size
    ]
    if problems:
        raise DataError(
            f"Every set of {whole.name} has the sizes of the paper's table 1, but the whole has not.",
            problems=problems,
            fix="Some memes have no text or no label; look at what was left out.",
        )


def _by_split(manifest: Manifest) -> dict[str, int]:
    return {name: int((manifest.splits == name).sum()) for name in manifest.split_names}
