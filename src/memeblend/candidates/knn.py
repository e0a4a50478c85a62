"""`knn`: precedents. The nearest labelled memes vote, and each answer can name them.

Its memory can be edited without training: a label corrected, a meme added or taken out counts at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.candidates.base import FitContext
from memeblend.candidates.states import FeatureCandidate, States, near
from memeblend.errors import DataError, Problem
from memeblend.labels import MISSING, LabelTask
from memeblend.recipe.candidates import KnnCandidate
from memeblend.training.preprocessing import Memes

_ROWS = 256  # memes compared with the whole index at once


@dataclass(frozen=True)
class Precedent:
    """A remembered meme that is like the one asked about.

    Attributes:
        meme_id: which.
        similarity: cosine of their states, -1 to 1.
        labels: its class by label task; None where it has none.
    """

    meme_id: str
    similarity: float
    labels: dict[str, str | None]


class Knn(FeatureCandidate[KnnCandidate]):
    """Nearest neighbours by cosine; a neighbour of cosine c votes for its class with exp(c / temperature).

    States of several features are each scaled to length one, so their cosine is the mean of the features' own. Each
    label task asks the `num_neighbors` nearest memes that have a label for it; where no remembered meme has one, the
    answer is the share of each class among the memes it was fitted to. In a recipe with joint = false each label
    task has states, and so neighbours, of its own.

    The vote weighted by exp(c / temperature) is that of Wu et al. (2018, "Unsupervised Feature Learning via
    Non-Parametric Instance Discrimination", section 3.4).

    Attributes:
        meme_ids: the remembered memes.
        labels: class indices [num_memes, num_label_tasks], -1 where missing.
    """

    kind = "knn"
    spec_class = KnnCandidate
    meme_ids: list[str]
    labels: NDArray[np.int64]

    def _learn(self, context: FitContext, states: States) -> None:
        self.meme_ids = list(context.fit.meme_ids)
        self.labels = context.fit_labels.copy()
        self._index = _directions(states)
        self._priors = [
            _shares(context.fit_labels[:, column], task.num_classes) for column, task in enumerate(self.label_tasks)
        ]

    def _probabilities(self, states: States, task: LabelTask) -> NDArray[np.float64]:
        column = self._column(task.name)
        space = states.space(task.name)
        asked = _directions(states)[space]
        found = np.tile(self._priors[column], (len(asked), 1))
        known = np.flatnonzero(self.labels[:, column] != MISSING)
        if not len(known):
            return found
        index, classes = self._index[space][known], self.labels[known, column]
        for start in range(0, len(asked), _ROWS):
            part = slice(start, start + _ROWS)
            nearest, cosines = _nearest(asked[part] @ index.T, self.spec.num_neighbors)
            weights = np.exp((cosines - cosines[:, :1]) / self.spec.temperature)  # relative to the nearest
            votes = np.zeros_like(found[part])
            np.add.at(votes, (np.arange(len(votes))[:, None], classes[nearest]), weights)
            found[part] = votes / votes.sum(axis=1, keepdims=True)
        return found

    def precedents(self, memes: Memes, k: int, label_task: str | None = None) -> list[list[Precedent]]:
        """The remembered memes that are most like each meme, the most similar first.

        Args:
            memes: memes to ask about; one that is remembered itself finds itself first.
            k: most precedents of each; fewer where fewer are remembered.
            label_task: compare as this label task does and give only memes that have a label for it (the first
                `num_neighbors` of them are those that vote); when left out, all remembered memes, by their mean
                cosine over the label tasks' states.

        Raises:
            DataError: no such label task.
            ValueError: `k` is below 1.
        """
        if k < 1:
            raise ValueError(f"k is {k}, expected at least 1")
        states = self.reader.read(memes)
        asked = _directions(states)
        spaces = list(asked) if label_task is None else [states.space(self._named(label_task).name)]
        rows = np.arange(len(self.meme_ids))
        if label_task is not None:
            rows = np.flatnonzero(self.labels[:, self._column(label_task)] != MISSING)
        cosines = sum(
            (asked[space] @ self._index[space][rows].T for space in spaces), np.zeros((len(memes), len(rows)))
        )
        nearest, similarities = _nearest(cosines / len(spaces), k)
        return [
            [
                Precedent(self.meme_ids[row], float(cosine), self._classes(row))
                for row, cosine in zip(rows[found], values, strict=True)
            ]
            for found, values in zip(nearest, similarities, strict=True)
        ]

    def relabel(self, meme_id: str, label_task: str, class_name: str | None) -> None:
        """Give a remembered meme another class, or with None no class, for one label task.

        Raises:
            DataError: no such meme, label task or class; what comes near is named.
        """
        row, task = self._row(meme_id), self._named(label_task)
        self.labels[row, self._column(label_task)] = self._class_index(task, class_name)

    def add(self, memes: Memes, labels: Mapping[str, Sequence[str | None]]) -> None:
        """Remember more memes.

        Args:
            memes: the memes, with ids of their own.
            labels: for each label task the class of each meme, None where it has none; label tasks may be left out.

        Raises:
            DataError: an id that is remembered already, an unknown label task or class, or another number of labels
                than of memes; all of it at once, and nothing is remembered then.
        """
        problems = self._problems(memes, labels)
        if problems:
            raise DataError(f"Candidate '{self.name}' can't remember these memes:", problems=problems)
        rows = np.full((len(memes), len(self.label_tasks)), MISSING, dtype=np.int64)
        for name, classes in labels.items():
            task = self._named(name)
            rows[:, self._column(name)] = [self._class_index(task, one) for one in classes]
        new = _directions(self.reader.read(memes))
        self._index = {space: np.concatenate([index, new[space]]) for space, index in self._index.items()}
        self.labels = np.concatenate([self.labels, rows])
        self.meme_ids += memes.meme_ids

    def remove(self, meme_id: str) -> None:
        """Forget a meme.

        Raises:
            DataError: no such meme; what comes near is named.
        """
        row = self._row(meme_id)
        del self.meme_ids[row]
        self.labels = np.delete(self.labels, row, axis=0)
        self._index = {space: np.delete(index, row, axis=0) for space, index in self._index.items()}

    def save_memory(self, folder: Path) -> None:
        """Write what is remembered into a folder that `save` wrote, and leave the encoders there as they are."""
        self._save_learned(folder)

    def _problems(self, memes: Memes, labels: Mapping[str, Sequence[str | None]]) -> list[Problem]:
        known: set[str] = set(self.meme_ids)
        problems = []
        for meme_id in memes.meme_ids:
            if meme_id in known:
                problems.append(Problem("meme_ids", "is remembered already; remove it first", meme_id))
            known.add(meme_id)
        for name, classes in labels.items():
            where = f"label task {name}"
            try:
                task = self._named(name)
            except DataError as error:
                problems.append(Problem(where, f"{error.message} {error.fix}"))
                continue
            if len(classes) != len(memes):
                problems.append(Problem(where, f"{len(classes)} labels for {len(memes)} memes"))
            unknown = sorted({one for one in classes if one is not None} - set(task.classes))
            problems += [Problem(where, f"no class '{one}'. {near(one, task.classes)}") for one in unknown]
        return problems

    def _row(self, meme_id: str) -> int:
        try:
            return self.meme_ids.index(meme_id)
        except ValueError:
            raise DataError(
                f"Candidate '{self.name}' remembers no meme '{meme_id}'.", fix=near(meme_id, self.meme_ids)
            ) from None

    def _named(self, label_task: str) -> LabelTask:
        names = {task.name: task for task in self.label_tasks}
        if label_task not in names:
            raise DataError(f"Candidate '{self.name}' has no label task '{label_task}'.", fix=near(label_task, names))
        return names[label_task]

    def _column(self, label_task: str) -> int:
        return [task.name for task in self.label_tasks].index(label_task)

    def _class_index(self, task: LabelTask, class_name: str | None) -> int:
        if class_name is None:
            return MISSING
        if class_name not in task.classes:
            raise DataError(
                f"Label task '{task.name}' has no class '{class_name}'.", fix=near(class_name, task.classes)
            )
        return task.index(class_name)

    def _classes(self, row: int) -> dict[str, str | None]:
        return {
            task.name: None if index == MISSING else task.classes[index]
            for task, index in zip(self.label_tasks, self.labels[row], strict=True)
        }

    def _settings(self) -> dict[str, Any]:
        return {"meme_ids": self.meme_ids, "spaces": list(self._index), "priors": [p.tolist() for p in self._priors]}

    def _tensors(self) -> dict[str, NDArray[Any]]:
        index = {f"index.{position}": states for position, states in enumerate(self._index.values())}
        return {"labels": self.labels, **index}

    def _restore(self, settings: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
        self.meme_ids = [str(meme_id) for meme_id in settings["meme_ids"]]
        self.labels = tensors["labels"]
        self._index = {space: tensors[f"index.{position}"] for position, space in enumerate(settings["spaces"])}
        self._priors = [np.array(prior) for prior in settings["priors"]]
        sizes = {len(self.meme_ids), len(self.labels), *(len(index) for index in self._index.values())}
        if len(sizes) > 1:
            raise ValueError("its memes, labels and states differ in number")


def _directions(states: States) -> dict[str, NDArray[np.float32]]:
    """For each space, vectors [num_memes, d] of length one whose dot product is the mean cosine of their parts."""
    directions: dict[str, NDArray[np.float32]] = {}
    for space, parts in states.parts.items():
        scaled = [part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in parts]
        directions[space] = (np.concatenate(scaled, axis=1) / len(parts) ** 0.5).astype(np.float32)
    return directions


def _nearest(cosines: NDArray[np.floating[Any]], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Columns [num_asked, k] of the largest cosines, largest first and of equals the first, and these cosines."""
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(cosines, order, axis=1).astype(np.float64)


def _shares(labels: NDArray[np.int64], num_classes: int) -> NDArray[np.float64]:
    """Share [num_classes] of each class among the labels that are there."""
    counts = np.bincount(labels[labels != MISSING], minlength=num_classes)
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares
