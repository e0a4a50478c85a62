"""Members of an exported model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.candidates.base import Member
from memeblend.candidates.logistic import softmax
from memeblend.candidates.making import candidate_class
from memeblend.candidates.states import STATES, FeatureCandidate, States
from memeblend.errors import ModelError
from memeblend.models.tokenizer import SavedTokenizer
from memeblend.onnx_engine.folder import TOKENIZER, GraphFile, MemberFiles
from memeblend.onnx_engine.sessions import Graph, in_batches
from memeblend.training.preprocessing import Memes
from memeblend.training.progress import Progress


class Graphs:
    """Opens the graphs of a model's members, and keeps hold of them all.

    Args:
        num_threads: threads that the work of each is spread over.
        image_size: side of the images that the model's preprocessor makes.
    """

    def __init__(self, num_threads: int, image_size: int) -> None:
        self.num_threads = num_threads
        self._image_size = image_size
        self._graphs: list[Graph] = []

    def open(self, folder: Path, files: tuple[GraphFile, ...]) -> list[tuple[Graph, tuple[str, ...]]]:
        """Graphs of a member's folder with what their outputs are.

        Raises:
            ModelError: a file is no graph that can be run, or is of another model than the files beside it.
        """
        opened = [(Graph(folder / one.file, self.num_threads), one.outputs) for one in files]
        for graph, outputs in opened:
            if graph.num_outputs != len(outputs) or graph.image_size not in (None, self._image_size):
                raise ModelError(
                    f"'{graph.path}' does not fit its model: expected {len(outputs)} output(s) and images of "
                    f"{self._image_size} pixels a side, found {graph.num_outputs} and {graph.image_size or 'none'}.",
                    fix="Copy the folder or export the model again.",
                )
        self._graphs += [graph for graph, _ in opened]
        return opened

    def set_num_threads(self, num_threads: int) -> None:
        """Spread the work over another number of threads, which means to read the graphs again.

        Raises:
            ModelError: the files are not there any more.
        """
        if num_threads != self.num_threads:
            for graph in self._graphs:
                graph.open(num_threads)
            self.num_threads = num_threads


class GraphMember:
    """A neural member: graphs from texts and images to the logits of label tasks.

    Args:
        folder: the member's folder.
        graphs: opens them.

    Raises:
        ModelError: something is missing or cut short.
    """

    def __init__(self, folder: Path, graphs: Graphs) -> None:
        files = MemberFiles.read(folder)
        self.needs_text, self.needs_image = "text" in files.reads, "image" in files.reads
        self._max_length = files.max_length
        self._tokenizer = SavedTokenizer.load(folder / TOKENIZER) if files.max_length else None
        self._graphs = [pair for of_space in files.graphs.values() for pair in graphs.open(folder, of_space)]

    def predict(self, memes: Memes) -> Mapping[str, NDArray[np.float64]]:
        """Softmax of the logits, in double precision."""
        if self._tokenizer is not None:
            own = replace(memes.preprocessor, tokenizer=self._tokenizer, max_length=self._max_length)
            memes = replace(memes, preprocessor=own)
        found: dict[str, NDArray[np.float64]] = {}
        for graph, label_tasks in self._graphs:
            logits = _run(graph, memes, text=self.needs_text, image=self.needs_image)
            found |= {
                name: softmax(values.astype(np.float64)) for name, values in zip(label_tasks, logits, strict=True)
            }
        return found


class GraphReader:
    """Gives pooled states, as `StateReader` does; see `memeblend.candidates.states.Reader`.

    Args:
        folder: folder of the graphs.
        graphs: opens them.

    Raises:
        ModelError: something is missing or cut short.
    """

    def __init__(self, folder: Path, graphs: Graphs) -> None:
        self._spaces = {
            space: graphs.open(folder, of_space) for space, of_space in MemberFiles.read(folder).graphs.items()
        }

    def read(self, memes: Memes, label: str = "", progress: Progress | None = None) -> States:
        """States of memes, in their order; so quick that nobody is told of progress."""
        parts: dict[str, tuple[NDArray[np.float32], ...]] = {}
        for space, graphs in self._spaces.items():
            found: list[NDArray[np.float32]] = []
            for graph, (feature,) in graphs:
                found += _run(graph, memes, text=feature != "image", image=feature != "text")
            parts[space] = tuple(found)
        return States(parts)

    def save(self, folder: Path) -> None:
        """Not done: an export is copied as a whole."""
        raise ModelError("A member of an exported model can't be saved.", fix="Copy the export, or save the model.")


def load_member(name: str, folder: Path, graphs: Graphs) -> Member:
    """A member of an exported model.

    Args:
        name: the member's name.
        folder: its folder.
        graphs: opens its graphs.

    Raises:
        ModelError: something is missing or cut short.
    """
    if MemberFiles.there(folder):
        return GraphMember(folder, graphs)
    found = candidate_class(name, folder)
    if issubclass(found, FeatureCandidate):
        return found.load(name, folder, GraphReader(folder / STATES, graphs))
    return found.load(name, folder)


def _run(graph: Graph, memes: Memes, *, text: bool, image: bool) -> list[NDArray[Any]]:
    lengths = [len(ids) for ids in memes.token_ids] if text else [0] * len(memes)
    return in_batches(lengths, lambda rows: graph.run(memes.arrays(rows, text=text, image=image)))
