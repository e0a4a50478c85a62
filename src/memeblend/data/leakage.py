"""Memes to pre-train on that are also in a split that will judge.

Three things make such a leak: the same image byte for byte, an image that is nearly the same, the same text (see
`data.duplicates` for what counts as near and as a text). An image that many memes to train on share is a blank template
and not a leak by itself: only its captions can be; how many memes stand on such a template is counted all the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memeblend.data.duplicates import Duplicates, find_duplicates
from memeblend.data.manifest import Manifest
from memeblend.errors import Problem

TEMPLATE_SHARING = 20
"""An image under so many memes to train on is a template. Hateful Memes puts at most a few texts on one picture."""

_KINDS = {
    "identical": "its image is that of {}",
    "near": "its image is nearly that of {}",
    "repeated_text": "its text is that of {}",
}


@dataclass(frozen=True)
class LeakCount:
    """How many memes of a training set are also in a split that judges.

    Attributes:
        training: name of the training set.
        judging: data set and split that judges.
        identical: memes with a byte-identical image, templates apart.
        near: memes with a nearly identical image but no identical one, templates apart.
        repeated_text: memes with the same text.
        templates: memes on a template that is (nearly) an image of the split; no leak by itself.
    """

    training: str
    judging: str
    identical: int
    near: int
    repeated_text: int
    templates: int

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Leaks:
    """Memes to train on that leak, and how.

    Attributes:
        rows: mask [num_memes] of the memes to train on that leak.
        problems: one for each, which names its twin.
        counts: how many of each training set and each split that judges, where there are any.
    """

    rows: NDArray[np.bool_]
    problems: tuple[Problem, ...]
    counts: tuple[LeakCount, ...]


def find_leaks(manifest: Manifest, judging: NDArray[np.bool_], hashes: NDArray[np.uint64]) -> Leaks:
    """Memes to train on that are also among those that judge.

    Args:
        manifest: both kinds of memes.
        judging: mask [num_memes] of the memes that judge; the others train.
        hashes: perceptual hash of each image [num_memes], from `data.duplicates.hash_images`.
    """
    found = find_duplicates(manifest, hashes)
    template = _templates(manifest, judging)
    twins = {kind: _twins(getattr(found, kind), judging) for kind in _KINDS}
    for kind in ("identical", "near"):
        twins[kind] = np.where(template, -1, twins[kind])
    leaking = np.logical_or.reduce([twin >= 0 for twin in twins.values()])
    ids = manifest.table["meme_id"].tolist()
    problems = []
    for row in np.flatnonzero(leaking):
        kind = next(kind for kind in _KINDS if twins[kind][row] >= 0)
        problems.append(Problem(f"meme {ids[row]}", _KINDS[kind].format(ids[twins[kind][row]]), ids[row]))
    return Leaks(leaking, tuple(problems), _counts(manifest, judging, template, found))


def _templates(manifest: Manifest, judging: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Memes to train on whose image many of them share [num_memes]."""
    digests = pd.Series(manifest.image_digests())
    shared = digests[~judging].value_counts()
    common = set(shared[shared >= TEMPLATE_SHARING].index) - {""}
    mask: NDArray[np.bool_] = digests.isin(common).to_numpy() & ~judging
    return mask


def _twins(groups: NDArray[np.int64], judging: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each meme to train on the first one that judges in its group [num_memes], -1 where there is none."""
    first = np.full(len(groups), -1, dtype=np.int64)  # by group number
    rows = np.flatnonzero(judging)[::-1]
    first[groups[rows]] = rows  # the last write, that of the first row, stays
    return np.where(judging, -1, first[groups])


def _counts(
    manifest: Manifest, judging: NDArray[np.bool_], template: NDArray[np.bool_], found: Duplicates
) -> tuple[LeakCount, ...]:
    sources = manifest.table["source"].to_numpy()
    names = np.array(
        [f"{source}/{split}" for source, split in zip(sources, manifest.splits, strict=True)], dtype=object
    )
    pairs: dict[str, set[tuple[int, str]]] = {}
    for kind in _KINDS:
        groups = getattr(found, kind)
        judges = pd.DataFrame({"group": groups[judging], "judge": names[judging]}).drop_duplicates()
        trains = pd.DataFrame({"group": groups[~judging], "row": np.flatnonzero(~judging)})
        joined = trains.merge(judges, on="group")
        pairs[kind] = set(zip(joined["row"].tolist(), joined["judge"].tolist(), strict=True))
    images = pairs["identical"] | pairs["near"]
    kept = {
        "identical": {pair for pair in pairs["identical"] if not template[pair[0]]},
        "near": {pair for pair in pairs["near"] - pairs["identical"] if not template[pair[0]]},
        "repeated_text": pairs["repeated_text"],
        "templates": {pair for pair in images if template[pair[0]]},
    }
    keys = sorted({(str(sources[row]), judge) for found_pairs in kept.values() for row, judge in found_pairs})
    tallies = {
        kind: pd.Series([(str(sources[row]), judge) for row, judge in found_pairs], dtype=object).value_counts()
        for kind, found_pairs in kept.items()
    }
    return tuple(
        LeakCount(training, judge, **{kind: int(tally.get((training, judge), 0)) for kind, tally in tallies.items()})
        for training, judge in keys
    )
