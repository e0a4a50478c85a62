"""Composites of the paper (table 1), made of several data sets.

`pretrainCLIP` is every image with its text: training and development memes of ImgFlip575K, MMHS150K, Hateful Memes and
MAMI are its split `train`, their test memes its split `test`; tweets without a text in their picture have no pair. Of
any other set only the training memes join, as the released code does with Memotion 3 (the paper's sum leaves them out);
its other memes judge later, and leaks are looked for among them. `pretrainuni` is one binary label task, hateful or
misogynous: training and development memes of Hateful Memes and MAMI, and their test memes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memeblend.data.combining import combined
from memeblend.data.label_values import HATEFUL, HATEFUL_OR_MISOGYNOUS, MISOGYNOUS
from memeblend.data.leakage import Leaks, find_leaks
from memeblend.data.manifest import Manifest
from memeblend.data.rows import NO_SPLIT
from memeblend.data.sets import COMPOSITE_NAMES
from memeblend.data.statistics import Sizes, check_composite, sizes_of
from memeblend.errors import DataError

MEMBERS = {
    "pretrainCLIP": ("imgflip575k", "mmhs150k", "hateful_memes", "mami"),
    "pretrainuni": ("hateful_memes", "mami"),
}
"""Composite -> the sets of which the paper makes it."""

_POSITIVE = {"hateful_memes": HATEFUL, "mami": MISOGYNOUS}
_TRAIN, _TEST, _JUDGE, _OUT = range(4)


@dataclass(frozen=True, eq=False)
class Composite:
    """A composite before leaks are taken out.

    Attributes:
        name: its name.
        memes: its memes, and those that judge besides.
        part_of: mask [num_memes] of the memes that belong to it.
        sizes: of the composite.
        members: sizes of the sets that it is made of.
        absent: the sets of the paper that were not given.
        left_out: why memes were left out -> how many.
    """

    name: str
    memes: Manifest
    part_of: NDArray[np.bool_]
    sizes: Sizes
    members: tuple[Sizes, ...]
    absent: tuple[str, ...]
    left_out: dict[str, int]

    @property
    def judging(self) -> NDArray[np.bool_]:
        """Mask [num_memes] of the memes that judge: its own test memes, and those of other sets."""
        judging: NDArray[np.bool_] = ~self.part_of | (self.memes.splits == "test")
        return judging

    def leaks(self, hashes: NDArray[np.uint64]) -> Leaks:
        """Memes to train on that are also among those that judge.

        Args:
            hashes: perceptual hash of the image of each of `memes`, from `data.duplicates.hash_images`.
        """
        return find_leaks(self.memes, self.judging, hashes)

    def without(self, rows: NDArray[np.bool_]) -> Manifest:
        """The composite without some memes [mask over `memes`].

        Raises:
            DataError: none is left to train on.
        """
        left = self.memes.take(self.part_of & ~rows)
        if not (left.splits == "train").any():
            raise DataError(f"Every meme of {self.name} to train on leaks into a split that judges.")
        return left


def compose(name: str, manifests: Sequence[Manifest], against: Sequence[Manifest] = ()) -> Composite:
    """Make a composite.

    Args:
        name: one of `data.sets.COMPOSITE_NAMES`.
        manifests: the data sets, each with its own splits.
        against: sets that are no part of it, but whose memes judge: all but the training ones.

    Raises:
        DataError: no such composite, no meme to train on, an id in two sets, or sizes that are not the paper's though
            those of all its sets are.
    """
    if name not in MEMBERS:
        raise DataError(f"There is no composite '{name}'.", fix=f"Composites are {', '.join(COMPOSITE_NAMES)}.")
    whole = combined([_needed(manifest, name) for manifest in (*manifests, *against)])
    num_own = sum(len(manifest) for manifest in manifests)
    sources, splits = whole.table["source"].tolist(), whole.splits.tolist()
    parts = np.array(
        [
            _part(name, source, split, own=row < num_own)
            for row, (source, split) in enumerate(zip(sources, splits, strict=True))
        ]
    )
    left_out: dict[str, int] = {}
    left_out["of a set that is no part of it"] = int((parts[:num_own] == _OUT).sum())
    wanted = (parts == _TRAIN) | (parts == _TEST)
    if name == "pretrainCLIP":
        fit = np.array([bool(text.strip()) for text in whole.texts])
        left_out["no text"] = int((wanted & ~fit).sum())
    else:
        whole = _relabelled(whole, sources)
        fit = (parts != _TRAIN) | (whole.labels(HATEFUL_OR_MISOGYNOUS.name) >= 0)
        left_out["no label"] = int((wanted & ~fit).sum())
    if not (fit & (parts == _TRAIN)).any():
        raise DataError(
            f"There is no meme for {name} to train on.",
            fix=f"Its sets are {', '.join(MEMBERS[name])}: give their folders, or one that holds them by these names.",
        )
    keep = (wanted & fit) | (parts == _JUDGE)
    named = np.select([parts == _TRAIN, parts == _TEST], ["train", "test"], default=whole.splits).tolist()
    memes = whole.with_splits(named).take(keep)
    part_of = wanted[keep]
    members = tuple(size for manifest in manifests for size in sizes_of(manifest) if size.name in MEMBERS[name])
    sizes = sizes_of(memes.take(part_of), name)[0]
    absent = tuple(member for member in MEMBERS[name] if member not in {size.name for size in members})
    others = sum(source not in MEMBERS[name] for source in memes.table["source"][part_of & (memes.splits == "train")])
    if not absent:
        check_composite(sizes, members, others)
    return Composite(
        name, memes, part_of, sizes, members, absent, {why: number for why, number in left_out.items() if number}
    )


def _needed(manifest: Manifest, name: str) -> Manifest:
    """The memes without the label tasks that the composite has no use for: those of two sets may not agree."""
    wanted = _POSITIVE.values() if name == "pretrainuni" else ()
    return manifest.with_label_tasks(task.name for task in manifest.label_tasks if task in wanted)


def _part(name: str, source: str, split: str, *, own: bool) -> int:
    """What becomes of a meme of that set and split."""
    trains = split in ("train", NO_SPLIT)
    if own and source in MEMBERS[name]:
        return _TEST if split == "test" and source != "mmhs150k" else _TRAIN
    if own and trains and name == "pretrainCLIP":
        return _TRAIN
    return _OUT if trains else _JUDGE


def _relabelled(manifest: Manifest, sources: Sequence[str]) -> Manifest:
    """The memes with the one label task of `pretrainuni`."""
    there = {task.name for task in manifest.label_tasks}
    values: list[str | None] = [None] * len(manifest)
    for source, task in _POSITIVE.items():
        labels = manifest.labels(task.name).tolist() if task.name in there else [-1] * len(manifest)
        for row, (own, label) in enumerate(zip(sources, labels, strict=True)):
            if own == source and label >= 0:
                values[row] = HATEFUL_OR_MISOGYNOUS.classes[label]
    table = manifest.table.copy()
    table[HATEFUL_OR_MISOGYNOUS.name] = pd.Series(values, dtype=object)
    return Manifest(table, (HATEFUL_OR_MISOGYNOUS,), manifest.root)
