"""The model asked about every meme as it is and as every cell changes it.

Memes come in small chunks: each image is decoded once and forgotten with its chunk, what is kept are probabilities.
A member is asked anew only where something that it reads was changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from memeblend.data.images import load_image
from memeblend.data.manifest import Manifest
from memeblend.model import MemeClassifier
from memeblend.model.voting import decide
from memeblend.predictions import Predictions
from memeblend.redteam.grid import Cell, Input, Settings
from memeblend.redteam.names import GENDERS, GROUPS, NAMES_BY_GROUP, Gender, drawn_place, with_name
from memeblend.training.preprocessing import Memes
from memeblend.training.progress import Progress

CHUNK = 16
"""Memes at a time; each is there once as it is and once for every cell."""

Said = dict[str, dict[str, NDArray[np.float64]]]
"""Class probabilities [num_memes, num_classes] by member and label task."""
Pieces = Sequence[tuple[str, NDArray[np.int64]]]
"""Names of forms and which memes of the chunk they change."""


@dataclass(frozen=True)
class NameVariant:
    """The memes with names of a group and gender."""

    group: str
    gender: Gender

    @property
    def name(self) -> str:
        """As "hindu, female"."""
        return f"{self.group}, {self.gender}"

    def change_text(self, text: str, meme_id: str, seed: int) -> str:
        """A meme's text with a name."""
        return with_name(text, NAMES_BY_GROUP[self.group][self.gender][drawn_place(meme_id, seed)])


NAME_VARIANTS = tuple(NameVariant(group, gender) for group in GROUPS for gender in GENDERS)


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model says of the memes in one form.

    Attributes:
        predictions: its predictions.
        changed: whether the form differs from the meme as the members read it [num_memes].
    """

    predictions: Predictions
    changed: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Answers:
    """Everything the model was asked.

    Attributes:
        clean: of the memes as they are.
        cells: of each cell that can apply, by the cell's name.
        names: of each group of names, by the variant's name; empty where names were not tried.
    """

    clean: Predictions
    cells: Mapping[str, Answer]
    names: Mapping[str, Answer]


class Asker:
    """Puts the memes of a manifest to a model in many forms.

    Args:
        model: the model.
        manifest: the memes; images that can be decoded where a member reads images.
        groups: duplicate group of each meme [num_memes].
        settings: what to try.
    """

    def __init__(
        self, model: MemeClassifier, manifest: Manifest, groups: NDArray[np.int64], settings: Settings
    ) -> None:
        self.model, self.manifest, self.groups, self.settings = model, manifest, groups, settings
        self.meme_ids, self.texts = manifest.meme_ids.tolist(), manifest.texts
        self.reads = {what for read in model.reads_.values() for what in read}
        self.cells = [cell for cell in settings.cells if not self.why_not(cell.perturbation.changes)]
        self.text_cells: list[Cell | NameVariant] = [c for c in self.cells if c.perturbation.changes == "text"]
        if settings.probes_names and not self.why_not("text", even_empty=True):
            self.text_cells += NAME_VARIANTS
        self.image_cells = [cell for cell in self.cells if cell.perturbation.changes == "image"]

    def why_not(self, changes: Input, *, even_empty: bool = False) -> str:
        """Why changing texts, or images, tells nothing about this model and these memes; "" where it does.

        Args:
            changes: what is changed.
            even_empty: whether empty texts can be changed.
        """
        if changes not in self.reads:
            return f"no member reads {changes}s"
        if changes == "text" and not even_empty and not self.manifest.has_texts:
            return "these memes have no text"
        return ""

    def ask(self, progress: Progress) -> Answers:
        """Ask about all memes in all forms."""
        total = len(self.manifest)
        progress.start(f"asking about {total} memes in {1 + len(self.text_cells) + len(self.image_cells)} forms", total)
        forms = [*self.text_cells, *self.image_cells]
        said: dict[str, list[Said]] = {"": [], **{form.name: [] for form in forms}}
        changed: dict[str, list[NDArray[np.bool_]]] = {form.name: [] for form in forms}
        for start in range(0, total, CHUNK):
            rows = np.arange(start, min(start + CHUNK, total))
            self._ask_chunk(rows, said, changed)
            progress.advance(int(rows[-1]) + 1)
        clean = self._decided(said[""])
        answers = {
            form.name: Answer(self._decided(said[form.name]), np.concatenate(changed[form.name])) for form in forms
        }
        return Answers(
            clean,
            {cell.name: answers[cell.name] for cell in self.cells},
            {one.name: answers[one.name] for one in self.text_cells if isinstance(one, NameVariant)},
        )

    def _ask_chunk(
        self, rows: NDArray[np.int64], said: dict[str, list[Said]], changed: dict[str, list[NDArray[np.bool_]]]
    ) -> None:
        ids, texts = [self.meme_ids[row] for row in rows], [self.texts[row] for row in rows]
        images, altered = self._images(rows, ids)
        memes = Memes(
            texts, images, self.model.preprocessor_, ids, [self.manifest.image_path(int(row)) for row in rows]
        )
        clean: Said = {name: dict(one.predict(memes)) for name, one in self.model.candidates_.items()}
        said[""].append(clean)
        seed = self.settings.seed
        by_text = {
            form.name: [form.change_text(text, meme_id, seed) for text, meme_id in zip(texts, ids, strict=True)]
            for form in self.text_cells
        }
        masks = {
            name: np.array([new != old for new, old in zip(made, texts, strict=True)]) for name, made in by_text.items()
        }
        self._ask_changed("text", memes, clean, masks, partial(_with_texts, memes, by_text), said)
        for name, mask in masks.items():
            changed[name].append(mask)
        if images is not None:
            masks = {name: (made != images).any(axis=(1, 2, 3)) for name, made in altered.items()}
            self._ask_changed("image", memes, clean, masks, partial(_with_images, memes, altered), said)
            for name, mask in masks.items():
                changed[name].append(mask)

    def _ask_changed(
        self,
        what: Input,
        memes: Memes,
        clean: Said,
        masks: Mapping[str, NDArray[np.bool_]],
        make: Callable[[Pieces], Memes],
        said: dict[str, list[Said]],
    ) -> None:
        """Ask the members that read what was changed about what was changed, all forms at once."""
        pieces = [(name, np.flatnonzero(mask)) for name, mask in masks.items() if mask.any()]
        mine = {name: {member: dict(tasks) for member, tasks in clean.items()} for name in masks}
        for member, candidate in self.model.candidates_.items():
            if not pieces or what not in self.model.reads_[member]:
                continue
            for label_task, found in candidate.predict(make(pieces)).items():
                start = 0
                for name, rows in pieces:
                    probabilities = clean[member][label_task].copy()
                    probabilities[rows] = found[start : start + len(rows)]
                    mine[name][member][label_task] = probabilities
                    start += len(rows)
        for name, one in mine.items():
            said[name].append(one)

    def _images(
        self, rows: NDArray[np.int64], ids: Sequence[str]
    ) -> tuple[NDArray[np.uint8] | None, dict[str, NDArray[np.uint8]]]:
        """The chunk's images as the members read them [num_rows, S, S, 3], and those of each image cell."""
        if "image" not in self.reads:
            return None, {}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = list(pool.map(self._forms_of_image, rows.tolist(), ids))
        names = [cell.name for cell in self.image_cells]
        altered = {name: np.stack([forms[place + 1] for forms in found]) for place, name in enumerate(names)}
        return np.stack([forms[0] for forms in found]), altered

    def _forms_of_image(self, row: int, meme_id: str) -> list[NDArray[np.uint8]]:
        transform = self.model.preprocessor_.transform
        path = self.manifest.image_path(row)
        assert path is not None, "memes without images were refused"
        image = load_image(path)
        pixels = np.array(image)
        changed = (cell.change_image(pixels, meme_id, self.settings.seed) for cell in self.image_cells)
        return [transform.apply(image), *(transform.apply(Image.fromarray(one)) for one in changed)]

    def _decided(self, chunks: Sequence[Said]) -> Predictions:
        """The ensembles' decisions on all memes at once, as `MemeClassifier.predict_tables` makes them."""
        probabilities = {
            member: {task: np.concatenate([chunk[member][task] for chunk in chunks]) for task in tasks}
            for member, tasks in chunks[0].items()
        }
        return decide(
            self.model.label_tasks_,
            probabilities,
            self.model.choices_,
            self.model.rules_,
            self.meme_ids,
            splits=self.manifest.splits,
            groups=self.groups,
            labels={task.name: self.manifest.labels(task.name) for task in self.manifest.label_tasks},
            fingerprint=self.manifest.fingerprint,
        )


def _with_texts(memes: Memes, texts: Mapping[str, list[str]], pieces: Pieces) -> Memes:
    taken = memes.take(np.concatenate([rows for _, rows in pieces]))
    return replace(taken, texts=[texts[name][row] for name, rows in pieces for row in rows])


def _with_images(memes: Memes, images: Mapping[str, NDArray[np.uint8]], pieces: Pieces) -> Memes:
    taken = memes.take(np.concatenate([rows for _, rows in pieces]))
    return replace(taken, images=np.concatenate([images[name][rows] for name, rows in pieces]))
