"""Look at a data set as it is, broken or not."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from memeblend.data.doctor.findings import (
    DUPLICATE_KINDS,
    Diagnosis,
    DuplicateFindings,
    ImageFindings,
    TextFindings,
)
from memeblend.data.doctor.label_checks import MAX_EXAMPLES, examine_labels
from memeblend.data.doctor.text_signal import text_signals
from memeblend.data.doctor.verdict import judged
from memeblend.data.duplicates import BLANK, Duplicates, find_duplicates, hash_images, words
from memeblend.data.manifest import Manifest
from memeblend.data.rows import Notify, log_line
from memeblend.data.splits import ROLES, SplitRoles, assign_roles
from memeblend.errors import DataError, ImageError, Problem


class Watcher(Protocol):
    """Receives progress."""

    def start(self, label: str, total: int) -> None:
        """A piece of work of `total` steps begins."""

    def advance(self, num_done: int) -> None:
        """So many steps of it are done in total."""


class _Nobody:
    def start(self, label: str, total: int) -> None:
        pass

    def advance(self, num_done: int) -> None:
        pass


def diagnose(
    path: str | Path,
    *,
    reader: str | None = None,
    columns: Mapping[str, str] | None = None,
    allow_outside: bool = False,
    notify: Notify = log_line,
    progress: Watcher | None = None,
    cache_dir: str | Path | None = None,
) -> Diagnosis:
    """Read a data set, dropping what can't be used, and examine it; what was dropped is part of the diagnosis.

    Args:
        path: a table or data-set folder, as for `Manifest.read`.
        reader: as for `Manifest.read`.
        columns: as for `Manifest.read`.
        allow_outside: as for `Manifest.read`.
        notify: takes a line of text for everything that reading inferred.
        progress: who watches.
        cache_dir: where image hashes are kept; None takes `data.cache.default_cache_dir()`.

    Raises:
        DataError: nothing of it can be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        rejected = Path(folder) / "rejected.csv"
        manifest = Manifest.read(
            path,
            reader=reader,
            columns=columns,
            skip_bad=True,
            rejected_to=rejected,
            allow_outside=allow_outside,
            notify=lambda line: None if str(rejected) in line else notify(line),
        )
        problems = _rejected(rejected)
    name = Path(path).resolve().name
    return examine(manifest, problems=problems, data=name, progress=progress, cache_dir=cache_dir)


def _rejected(path: Path) -> list[Problem]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return [Problem(row["where"], row["reason"], row["meme_id"]) for row in csv.DictReader(stream)]


def examine(
    manifest: Manifest,
    *,
    problems: Sequence[Problem] = (),
    data: str = "",
    progress: Watcher | None = None,
    cache_dir: str | Path | None = None,
) -> Diagnosis:
    """Examine memes.

    Args:
        manifest: the memes.
        problems: why other rows of the data set could not be used.
        data: name of the data set; "" takes the memes' sources.
        progress: who watches.
        cache_dir: where image hashes are kept; None takes `data.cache.default_cache_dir()`.

    Raises:
        DataError: there is no meme, or no image file can be read at all.
    """
    if not len(manifest):
        raise DataError("There are no memes to examine.")
    watcher = progress or _Nobody()
    manifest, hashes, unreadable = _hashed(manifest, watcher, cache_dir)
    found = find_duplicates(manifest, hashes)
    roles, counts, refusal = _roles(manifest, found.groups)
    trains = np.isin(manifest.splits, roles.fit)
    watcher.start("probing the texts", 3)
    signals = text_signals(manifest.take(trains), found.groups[trains], watcher.advance)
    return judged(
        Diagnosis(
            data=data or ", ".join(dict.fromkeys(manifest.table["source"])),
            num_memes=len(manifest),
            splits={name: int((manifest.splits == name).sum()) for name in manifest.split_names},
            fit_splits=roles.fit,
            roles=counts,
            unusable=tuple(problems),
            unreadable=tuple(unreadable),
            images=_images(manifest, hashes, {problem.meme_id for problem in unreadable}),
            texts=_texts(manifest),
            duplicates=_duplicates(manifest, found, trains),
            label_tasks=tuple(
                examine_labels(manifest, task, roles.fit, found.groups, signals[task.name])
                for task in manifest.label_tasks
            ),
        ),
        refusal,
    )


def _hashed(
    manifest: Manifest, watcher: Watcher, cache_dir: str | Path | None
) -> tuple[Manifest, NDArray[np.uint64], list[Problem]]:
    """The memes whose image files can be read, their hashes, and a problem for each that can't be decoded."""
    watcher.start("reading images", len(manifest))
    lost: tuple[Problem, ...] = ()
    try:
        manifest.image_digests()
    except ImageError as error:
        lost = error.problems
        bad = {problem.meme_id for problem in lost}
        manifest = manifest.take(np.array([meme_id not in bad for meme_id in manifest.meme_ids], dtype=np.bool_))
        if not len(manifest):
            raise
    hashes, problems = hash_images(
        manifest, cache_dir=cache_dir, progress=lambda num_done, _total: watcher.advance(num_done)
    )
    watcher.advance(len(manifest))
    return manifest, hashes, [*lost, *problems]


def _roles(manifest: Manifest, groups: NDArray[np.int64]) -> tuple[SplitRoles, dict[str, dict[str, int]], str]:
    """Roles by the splits' own names, memes of each as training would have them, and why it can't be done."""
    there = manifest.split_names
    try:
        cut, roles = assign_roles(manifest, groups)
    except DataError as error:
        trains = ("train",) if "train" in there else there
        return SplitRoles(fit=trains), {}, f"{error.message} {error.fix}".strip()
    counts = {role: {name: int((cut.splits == name).sum()) for name in getattr(roles, role)} for role in ROLES}
    known = tuple(name for name in roles.fit if name in there)
    return SplitRoles(fit=known or there), counts, ""


def _images(manifest: Manifest, hashes: NDArray[np.uint64], unreadable: set[str]) -> ImageFindings | None:
    digests, sizes = manifest.image_digests(), {}
    rows = [row for row, meme_id in enumerate(manifest.meme_ids) if digests[row] and meme_id not in unreadable]
    for row in rows:
        path = manifest.image_path(row)
        if path is not None and digests[row] not in sizes:
            with Image.open(path) as image:
                sizes[digests[row]] = image.size
    if not sizes:
        return None
    pixels = np.array(list(sizes.values()))  # [num_distinct, 2]
    kinds, counts = np.unique(pixels, axis=0, return_counts=True)
    width, height = kinds[int(np.argmax(counts))].tolist()
    return ImageFindings(
        num_images=len(rows),
        num_distinct=len(sizes),
        num_blank=int((hashes[rows] == BLANK).sum()),
        widths=_range(pixels[:, 0]),
        heights=_range(pixels[:, 1]),
        common_size=(width, height),
        num_common=int(counts.max()),
    )


def _range(values: NDArray[np.int64]) -> tuple[int, int, int]:
    return int(values.min()), int(np.median(values)), int(values.max())


def _texts(manifest: Manifest) -> TextFindings | None:
    if not manifest.has_texts:
        return None
    missing = np.array([not text.strip() for text in manifest.texts])
    lengths = [len(words(text)) for text in manifest.texts if text.strip()]
    return TextFindings(
        num_missing={name: int(missing[manifest.splits == name].sum()) for name in manifest.split_names},
        median_words=float(np.median(lengths)),
    )


def _duplicates(manifest: Manifest, found: Duplicates, trains: NDArray[np.bool_]) -> dict[str, DuplicateFindings]:
    by_kind = (found.identical, found.near, found.repeated_text, found.groups)
    return {
        kind: _duplicates_of(manifest, groups, trains) for kind, groups in zip(DUPLICATE_KINDS, by_kind, strict=True)
    }


def _duplicates_of(manifest: Manifest, groups: NDArray[np.int64], trains: NDArray[np.bool_]) -> DuplicateFindings:
    sizes = np.bincount(groups)
    splits = np.unique(manifest.splits, return_inverse=True)[1]
    pairs = np.unique(np.stack([groups, splits], axis=1), axis=0)[:, 0]
    crossing = np.flatnonzero(np.bincount(pairs) > 1)
    in_fit = np.zeros(len(sizes), dtype=np.bool_)
    in_fit[groups[trains]] = True
    ids, names = manifest.meme_ids, manifest.splits
    examples = tuple(
        tuple((str(ids[row]), str(names[row])) for row in np.flatnonzero(groups == group))
        for group in crossing[:MAX_EXAMPLES]
    )
    return DuplicateFindings(
        num_groups=int((sizes > 1).sum()),
        num_memes=int(sizes[sizes > 1].sum()),
        num_crossing=len(crossing),
        num_leaking=int((in_fit[groups] & ~trains).sum()),
        examples=examples,
    )
