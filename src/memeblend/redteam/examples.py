"""The worst examples: memes whose decision flipped with the largest loss of confidence."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from PIL import Image

from memeblend.data.images import load_image
from memeblend.data.manifest import Manifest
from memeblend.predictions import Predictions
from memeblend.redteam.asking import Answer
from memeblend.redteam.grid import Cell
from memeblend.report.wrong import shortened

_THUMBNAIL = (320, 320)


@dataclass(frozen=True)
class Example:
    """A decision that flipped.

    Attributes:
        row: of the meme in the manifest.
        meme_id: the meme.
        cell: what was done to it.
        label_task: the label task.
        before: the class decided for before.
        after: the class decided for afterwards.
        probability_before: of the class `before`, before.
        probability_after: of that same class afterwards.
        text_before: its ocr_text, shortened and fit to print.
        text_after: the same, changed.
        pictures: PNG thumbnails: the image, and the changed one where the cell changes images.
    """

    row: int
    meme_id: str
    cell: Cell
    label_task: str
    before: str
    after: str
    probability_before: float
    probability_after: float
    text_before: str
    text_after: str
    pictures: tuple[bytes, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, without pictures."""
        names = ("meme_id", "label_task", "before", "after", "probability_before", "probability_after")
        texts = {name: getattr(self, name) for name in ("text_before", "text_after")}
        return {name: getattr(self, name) for name in names} | {"cell": self.cell.name} | texts


@dataclass(frozen=True)
class _Flip:
    loss: float
    row: int
    cell: Cell
    label_task: str


def worst_examples(
    clean: Predictions,
    cells: Sequence[tuple[Cell, Answer]],
    label_tasks: Sequence[str],
    manifest: Manifest,
    *,
    seed: int,
    most: int,
) -> list[Example]:
    """Flips with the largest loss of the probability that their first class had.

    Perturbations take turns, each with its own worst, since a strong one would otherwise fill the whole list; of one
    duplicate group there is one example.

    Args:
        clean: decisions on the memes as they are.
        cells: the cells with the decisions on what they changed.
        label_tasks: the label tasks to look at.
        manifest: the memes.
        seed: that the cells were drawn with.
        most: most examples.
    """
    ranked: dict[str, list[_Flip]] = {}
    for cell, answer in cells:
        for name in label_tasks:
            ranked.setdefault(cell.perturbation.name, []).extend(_flips(clean, cell, answer, name))
    for flips in ranked.values():
        flips.sort(key=lambda flip: (-flip.loss, flip.row, flip.cell.severity, flip.label_task))
    groups = clean.tables[label_tasks[0]].groups
    kept: dict[int, _Flip] = {}
    for turn in zip_longest(*ranked.values()):
        for flip in turn:
            if flip is not None and len(kept) < most:
                kept.setdefault(int(groups[flip.row]), flip)
        if len(kept) == most:
            break
    answers: Mapping[str, Answer] = {cell.name: answer for cell, answer in cells}
    return [_example(flip, clean, answers[flip.cell.name].predictions, manifest, seed) for flip in kept.values()]


def _flips(clean: Predictions, cell: Cell, answer: Answer, label_task: str) -> Iterator[_Flip]:
    before, after = clean.tables[label_task], answer.predictions.tables[label_task]
    for row in np.flatnonzero(before.predicted != after.predicted).tolist():
        decided = before.predicted[row]
        loss = float(before.probabilities[row, decided] - after.probabilities[row, decided])
        yield _Flip(loss, row, cell, label_task)


def _example(flip: _Flip, clean: Predictions, changed: Predictions, manifest: Manifest, seed: int) -> Example:
    before, after = clean.tables[flip.label_task], changed.tables[flip.label_task]
    decided, classes = before.predicted[flip.row], before.label_task.classes
    meme_id, text = str(before.meme_ids[flip.row]), manifest.texts[flip.row]
    return Example(
        flip.row,
        meme_id,
        flip.cell,
        flip.label_task,
        classes[decided],
        classes[after.predicted[flip.row]],
        float(before.probabilities[flip.row, decided]),
        float(after.probabilities[flip.row, decided]),
        shortened(text),
        shortened(flip.cell.change_text(text, meme_id, seed)),
        tuple(_pictures(flip, meme_id, manifest, seed)),
    )


def _pictures(flip: _Flip, meme_id: str, manifest: Manifest, seed: int) -> Iterator[bytes]:
    path = manifest.image_path(flip.row)
    if path is None:
        return
    image = load_image(path)
    yield _thumbnail(image)
    if flip.cell.perturbation.changes == "image":
        yield _thumbnail(Image.fromarray(flip.cell.change_image(np.array(image), meme_id, seed)))


def _thumbnail(image: Image.Image) -> bytes:
    small = image.copy()
    small.thumbnail(_THUMBNAIL)
    stream = io.BytesIO()
    small.save(stream, "PNG")
    return stream.getvalue()
