"""Several manifests as one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from memeblend.data.manifest import COLUMNS, Manifest
from memeblend.errors import DataError, Problem
from memeblend.labels import LabelTask


def combined(manifests: Sequence[Manifest]) -> Manifest:
    """The memes of all manifests, in order, with the label tasks of all; a meme has no label for those of others.

    Args:
        manifests: at least one; image paths become relative to the folder that holds all their roots.

    Raises:
        DataError: an id comes twice, one manifest has images and another none, or a label task has two sets of
            classes; all of it at once.
    """
    if not manifests:
        raise DataError("There are no memes to combine.")
    tasks: dict[str, LabelTask] = {}
    problems = [
        Problem(
            f"label task {task.name}", f"has the classes {', '.join(task.classes)} in one set and others in another"
        )
        for manifest in manifests
        for task in manifest.label_tasks
        if tasks.setdefault(task.name, task) != task
    ]
    ids = pd.concat([manifest.table["meme_id"] for manifest in manifests], ignore_index=True)
    problems += [
        Problem(f"meme {meme_id}", "comes in two sets, or in one set that was given twice", meme_id)
        for meme_id in ids[ids.duplicated()].tolist()
    ]
    without = [_name(manifest) for manifest in manifests if len(manifest) and not manifest.has_images]
    if without and len(without) < sum(len(manifest) > 0 for manifest in manifests):
        problems += [Problem(name, "has no images, though other sets do") for name in without]
    if problems:
        raise DataError(
            "These sets can't be one.",
            problems=problems,
            fix="Give each set once, and a set of your own a name of its own (a column source).",
        )
    root = Path(os.path.commonpath([os.path.realpath(manifest.root) for manifest in manifests]))
    tables = [_with_root(manifest, root) for manifest in manifests]
    columns = [*COLUMNS, *tasks]
    whole = pd.concat([table.reindex(columns=columns) for table in tables], ignore_index=True).astype(object)
    return Manifest(whole, tuple(tasks.values()), root)


def _name(manifest: Manifest) -> str:
    return ", ".join(dict.fromkeys(manifest.table["source"].tolist()))


def _with_root(manifest: Manifest, root: Path) -> pd.DataFrame:
    """The table with image paths relative to a folder above the manifest's own."""
    own = Path(os.path.realpath(manifest.root)).relative_to(root)
    known = {image: (own / image).as_posix() for image in set(manifest.table["image"].tolist()) if image is not None}
    images = pd.Series([known.get(image) for image in manifest.table["image"].tolist()], dtype=object)
    return manifest.table.assign(image=images)
