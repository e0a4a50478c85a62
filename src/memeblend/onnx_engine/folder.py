"""The folder of an exported model: its file of facts, and which graphs a member is made of.

memeblend-onnx.json    the model's facts, how it was exported, what the check found, digests of all files
preprocessor/          tokenizer and image settings, as in the model
candidates/NAME/       a member: its graphs and `graphs.json`, or its own files where it needs no torch
validation/, README.md, recipe.toml    as in the model
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memeblend.errors import ModelError
from memeblend.files import write_json
from memeblend.model.folder import EXPORT_FILE, read_facts

FILE = EXPORT_FILE
FORMAT = 1
TOKENIZER = "tokenizer"
_GRAPHS = "graphs.json"


def is_export(folder: str | Path) -> bool:
    """Whether a folder holds an exported model."""
    return (Path(folder) / FILE).is_file()


def read_export(folder: Path) -> dict[str, Any]:
    """The facts of an exported model, its files checked.

    Raises:
        ModelError: it is not there, was exported by another version, or files are missing or altered; all are listed.
    """
    if not is_export(folder):
        raise ModelError(
            f"Expected an exported model in '{folder}', but there is no {FILE}.",
            fix="Export a model with: memeblend export MODEL --format onnx --out FOLDER",
        )
    return read_facts(folder, FILE, FORMAT, what="exported model", again="Copy the folder or export the model again.")


@dataclass(frozen=True)
class GraphFile:
    """A graph on disk.

    Attributes:
        file: its name in the member's folder.
        outputs: what its outputs are, in order: label tasks, or features.
    """

    file: str
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class MemberFiles:
    """The graphs of a member.

    Attributes:
        reads: of "text" and "image", what they read.
        graphs: the graphs; for pooled states by the space that they are of.
        max_length: longest text in tokens where the member has a tokenizer of its own, in the folder `TOKENIZER`; 0
            where it shares the model's.
    """

    reads: tuple[str, ...]
    graphs: Mapping[str, tuple[GraphFile, ...]]
    max_length: int = 0

    def write(self, folder: Path) -> None:
        """Write into the member's folder.

        Raises:
            OutputError: it could not be written.
        """
        graphs = {
            space: [{"file": graph.file, "outputs": list(graph.outputs)} for graph in found]
            for space, found in self.graphs.items()
        }
        write_json(folder / _GRAPHS, {"reads": list(self.reads), "max_length": self.max_length, "graphs": graphs})

    @classmethod
    def there(cls, folder: Path) -> bool:
        """Whether a folder has graphs."""
        return (folder / _GRAPHS).is_file()

    @classmethod
    def read(cls, folder: Path) -> MemberFiles:
        """The inverse of `write`.

        Raises:
            ModelError: it is not what was written.
        """
        try:
            found = json.loads((folder / _GRAPHS).read_text(encoding="utf-8"))
            graphs = {
                str(space): tuple(GraphFile(Path(one["file"]).name, tuple(one["outputs"])) for one in of_space)
                for space, of_space in found["graphs"].items()
            }
            return cls(tuple(found["reads"]), graphs, int(found["max_length"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ModelError(f"'{folder / _GRAPHS}' could not be read: {error}.") from error
