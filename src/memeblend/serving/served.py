"""The model that a server serves: read once, with all that its answers say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from memeblend.errors import ModelError
from memeblend.files import file_digest
from memeblend.model.ensembles import EnsembleClassifier
from memeblend.model.folder import FILE, model_folder
from memeblend.onnx_engine.classifier import OnnxClassifier
from memeblend.onnx_engine.folder import FILE as EXPORT_FILE
from memeblend.onnx_engine.folder import is_export
from memeblend.serving.batching import Record
from memeblend.serving.memes import DecodedMeme, make_ready
from memeblend.serving.streams import Streams

Engine = Literal["auto", "torch", "onnx"]
"""What runs a model: what its folder is for, or one of them and nothing else."""

_CARD = "README.md"
_SHOWN_DIGITS = 12


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model in memory.

    Attributes:
        classifier: the model.
        name: what answers call it; follows from its content, so another model has another name.
        card: its model card, in Markdown.
        folder: where it was read.
        digest: digest of its description, which holds the digests of all its files.
    """

    classifier: EnsembleClassifier
    name: str
    card: str
    folder: Path
    digest: str

    @classmethod
    def load(cls, folder: str | Path, engine: Engine = "auto", *, num_threads: int = 0) -> ServedModel:
        """Read a model folder, the model of a run folder, or an exported model into memory.

        The folder is not needed afterwards.

        Args:
            folder: what is served.
            engine: "torch" refuses exported models, "onnx" all others; "onnx" imports neither torch nor transformers.
            num_threads: threads that an exported model gets from the start, so that its graphs are read once; 0 takes
                what a server of default settings asks for.

        Raises:
            ModelError: it is not a memeblend model or not for that engine, is cut short, was altered, changed while
                it was read, or can't judge memes one by one.
            MissingExtraError: it is an exported model, and onnxruntime is not installed.
        """
        folder = model_folder(folder)
        before = _digest(folder)
        classifier = _loaded(folder, engine, num_threads)
        try:
            card = (folder / _CARD).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ModelError(f"The model card in '{folder}' can't be read: {error}.") from error
        _check_rules(classifier)
        if not before or _digest(folder) != before:
            raise ModelError(f"The model in '{folder}' was changed while it was read.", fix="Start the server again.")
        return cls(classifier, f"memeblend-{before[:_SHOWN_DIGITS]}", card, folder, before)

    @property
    def folder_changed(self) -> bool:
        """Whether the folder holds something else by now."""
        return _digest(self.folder) != self.digest

    @cached_property
    def needs_image(self) -> bool:
        """Whether any member reads images."""
        return any("image" in read for read in self.classifier.reads_.values())

    @cached_property
    def reads_text(self) -> bool:
        """Whether any member reads texts."""
        return any("text" in read for read in self.classifier.reads_.values())

    def predict(self, memes: Sequence[DecodedMeme]) -> list[Record]:
        """A record for each meme, in their order."""
        return self.classifier.predict_prepared(make_ready(memes, self.classifier.preprocessor_)).to_records()


def _loaded(folder: Path, engine: Engine, num_threads: int) -> EnsembleClassifier:
    if is_export(folder):
        if engine == "torch":
            raise ModelError(f"'{folder}' is an exported model, which torch can't run.", fix="Use the engine onnx.")
        return OnnxClassifier.load(folder, num_threads=num_threads or Streams.of().num_threads)
    if engine == "onnx":
        raise ModelError(
            f"'{folder}' is not an exported model.",
            fix="Export one with: memeblend export MODEL --format onnx --out FOLDER",
        )
    from memeblend.model import MemeClassifier

    return MemeClassifier.load(folder)


def _check_rules(classifier: EnsembleClassifier) -> None:
    """What is said of a meme must not depend on whose memes are read with it.

    Raises:
        ModelError: a decision rule estimates class shares from the memes of a table.
    """
    estimated = [name for name, rule in classifier.rules_.items() if rule.serving_prior == "estimated"]
    if estimated:
        raise ModelError(
            f"The model estimates the class shares of {', '.join(estimated)} from all memes of a table, but a server "
            "gets its memes one by one.",
            fix="Use predict on whole tables, or fit the decision rule with shares that are known.",
        )


def _digest(folder: Path) -> str:
    """Digest of a model's description, "" where there is none."""
    try:
        return file_digest(folder / (EXPORT_FILE if is_export(folder) else FILE))
    except OSError:
        return ""
