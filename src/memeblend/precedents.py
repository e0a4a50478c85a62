"""Precedents of a model: the remembered memes that its `knn` members compare with, looked up and edited.

Nothing is trained: a label corrected or a meme added counts from the next prediction on. Save the model afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memeblend.candidates.base import Candidate
from memeblend.candidates.knn import Knn, Precedent
from memeblend.candidates.making import load_candidate
from memeblend.data.manifest import Manifest
from memeblend.errors import ModelError
from memeblend.labels import MISSING
from memeblend.model import MemeClassifier
from memeblend.training.preprocessing import prepare

_FIX = (
    "Train with a candidate of kind knn and choose it, for example: memeblend ensemble search RUN "
    "--set ensemble.pools={all=['knn-0','tfidf-0']} --set ensemble.pool=all --method all"
)


def nearest(
    model: MemeClassifier, memes: Manifest, k: int, *, label_task: str | None = None, run: Path | None = None
) -> list[list[Precedent]]:
    """The remembered memes that are most like each meme, the most similar first.

    Args:
        model: a model.
        memes: memes to ask about.
        k: most precedents of each.
        label_task: compare as this label task does; see `Knn.precedents`.
        run: the run that the model comes from, whose knn candidate answers where the model has none as a member.

    Raises:
        ModelError: there is no knn candidate.
        DataError: no such label task, or images that can't be decoded.
    """
    ready = prepare(memes, model.preprocessor_, cache_dir=None)
    return _first(model, run).precedents(ready, k, label_task)


def add(model: MemeClassifier, memes: Manifest) -> int:
    """Let a model's knn members remember labelled memes.

    Returns:
        How many memes were added.

    Raises:
        ModelError: no member is of kind knn.
        DataError: ids that are remembered already, or unknown classes; nothing is remembered then.
    """
    ready = prepare(memes, model.preprocessor_, cache_dir=None)
    names = {task.name for task in model.label_tasks_}
    labels = {
        task.name: [None if index == MISSING else task.classes[index] for index in memes.labels(task.name)]
        for task in memes.label_tasks
        if task.name in names
    }
    for member in _members(model):
        member.add(ready, labels)
    return len(memes)


def relabel(model: MemeClassifier, meme_id: str, label_task: str, class_name: str | None) -> None:
    """Give a remembered meme another class, or with None no class, for one label task.

    Raises:
        ModelError: no member is of kind knn.
        DataError: no such meme, label task or class; what comes near is named.
    """
    for member in _members(model):
        member.relabel(meme_id, label_task, class_name)


def remove(model: MemeClassifier, meme_id: str) -> None:
    """Let a model's knn members forget a meme.

    Raises:
        ModelError: no member is of kind knn.
        DataError: no such meme; what comes near is named.
    """
    for member in _members(model):
        member.remove(meme_id)


def _members(model: MemeClassifier) -> Sequence[Knn]:
    found = [candidate for candidate in model.candidates_.values() if isinstance(candidate, Knn)]
    if not found:
        raise ModelError(f"None of this model's members ({', '.join(model.members_)}) is of kind knn.", fix=_FIX)
    return found


def _first(model: MemeClassifier, run: Path | None) -> Knn:
    candidates: list[Candidate] = list(model.candidates_.values())
    if run is not None:
        folders = sorted((run / "stages").glob("knn-*/candidate"))
        candidates += [load_candidate(folder.parent.name, folder) for folder in folders]
    for candidate in candidates:
        if isinstance(candidate, Knn):
            return candidate
    raise ModelError(f"None of this model's members ({', '.join(model.members_)}) is of kind knn.", fix=_FIX)
