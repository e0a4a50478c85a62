"""The model that a server serves: read once, with all that its answers say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memeblend.errors import ModelError
from memeblend.files import file_digest
from memeblend.model import MemeClassifier
from memeblend.serving.batching import Record
from memeblend.serving.memes import DecodedMeme, make_ready

_MARKER = "memeblend.json"
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

    classifier: MemeClassifier
    name: str
    card: str
    folder: Path
    digest: str

    @classmethod
    def load(cls, folder: str | Path) -> ServedModel:
        """Read a model folder, or the model of a run folder, into memory; the folder is not needed afterwards.

        Raises:
            ModelError: it is not a memeblend model, is cut short, was altered, changed while it was read, or
                can't judge memes one by one.
        """
        folder = Path(folder)
        folder = folder / "model" if (folder / "model" / _MARKER).is_file() else folder
        before = _digest(folder)
        classifier = MemeClassifier.load(folder)
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

    @property
    def needs_image(self) -> bool:
        """Whether any member reads images."""
        return any("image" in read for read in self.classifier.reads_.values())

    @property
    def reads_text(self) -> bool:
        """Whether any member reads texts."""
        return any("text" in read for read in self.classifier.reads_.values())

    def predict(self, memes: Sequence[DecodedMeme]) -> list[Record]:
        """A record for each meme, in their order."""
        return self.classifier.predict_prepared(make_ready(memes, self.classifier.preprocessor_)).to_records()


def _check_rules(classifier: MemeClassifier) -> None:
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
        return file_digest(folder / _MARKER)
    except OSError:
        return ""
