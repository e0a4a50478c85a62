"""`OnnxClassifier`: an exported model that predicts and evaluates without torch and transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memeblend.errors import ModelError
from memeblend.model.ensembles import EnsembleClassifier
from memeblend.onnx_engine.folder import FILE, read_export
from memeblend.onnx_engine.members import Graphs, load_member
from memeblend.onnx_engine.sessions import default_threads
from memeblend.training.preprocessing import Preprocessor


class OnnxClassifier(EnsembleClassifier):
    """What `export_onnx` wrote, ready to predict; see `MemeClassifier` for the attributes of both.

    Attributes:
        export_: how it was exported, and what the check against the model found.
    """

    export_: dict[str, Any]
    _graphs: Graphs

    @classmethod
    def load(cls, folder: str | Path, *, num_threads: int = 0) -> OnnxClassifier:
        """Read an exported model.

        Args:
            folder: what `export_onnx` wrote.
            num_threads: threads that the work is spread over; 0 takes OMP_NUM_THREADS, or every core.

        Raises:
            ModelError: it is no exported model, is of another version, is cut short or was altered.
            MissingExtraError: onnxruntime is not installed.
        """
        folder = Path(folder)
        state = read_export(folder)
        model = cls()
        try:
            preprocessor = Preprocessor.load_light(folder / "preprocessor")
            model._graphs = Graphs(num_threads or default_threads(), preprocessor.transform.size)
            names = [str(name) for name in state["candidates"]]
            members = {name: load_member(name, folder / "candidates" / name, model._graphs) for name in names}
            model._read_state(state, folder, preprocessor, members)
            model.export_ = dict(state["export"])
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelError(f"'{folder / FILE}' is not what memeblend wrote: {error}.") from error
        return model

    @property
    def num_threads_(self) -> int:
        """Threads that the members' work is spread over."""
        return self._graphs.num_threads

    def set_num_threads(self, num_threads: int) -> None:
        """Spread the members' work over so many threads; another number than before reads the graphs again.

        Raises:
            ModelError: the folder is not there any more.
        """
        self._graphs.set_num_threads(num_threads)
