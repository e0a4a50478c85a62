"""Graphs in onnxruntime: opened with errors that say what to do, run in batches, the same answer every time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.errors import MissingExtraError, ModelError

BATCH = 64
"""Most memes that a graph reads at once, as many as torch does."""


_AGAIN = "Export the model again; where memory is short, predict fewer memes at once."


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def default_threads() -> int:
    """Threads that a graph's work is spread over: OMP_NUM_THREADS as torch has it, else one for each core."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else num_cores()


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Graph:
    """A graph ready to run.

    Args:
        path: the .onnx file.
        num_threads: threads that its work is spread over.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ModelError: the file is no graph that it can run.
    """

    def __init__(self, path: Path, num_threads: int) -> None:
        self.path = path
        self.open(num_threads)

    def open(self, num_threads: int) -> None:
        """Read the file again, for another number of threads; errors as in the constructor."""
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3  # errors, which are raised as well
        # A member's threads that spin while they wait would take the cores from the next member's.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = runtime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a dozen exceptions without a common base
            raise ModelError(
                f"onnxruntime can't run '{self.path}': {_first_line(error)}",
                fix="Export the model again, with the onnxruntime that is to run it.",
            ) from error
        self._inputs = {one.name: one.shape for one in self._session.get_inputs()}
        self.num_outputs = len(self._session.get_outputs())

    @property
    def image_size(self) -> int | None:
        """Side of the images that it reads; None where it reads none, or says nothing of their size."""
        shape = self._inputs.get("pixel_values", ())
        return shape[-1] if shape and isinstance(shape[-1], int) else None

    def run(self, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Its outputs for the inputs that it names; others are left aside.

        Raises:
            ModelError: it fails on them, or names an input that there is not.
        """
        missing = sorted(set(self._inputs) - set(inputs))
        if missing:
            raise ModelError(f"'{self.path}' reads {', '.join(missing)}, which its member does not give.", fix=_AGAIN)
        try:
            found: list[NDArray[Any]] = self._session.run(None, {name: inputs[name] for name in self._inputs})
        except Exception as error:  # as above
            raise ModelError(f"onnxruntime failed on '{self.path}': {_first_line(error)}", fix=_AGAIN) from error
        return found


def in_batches(lengths: Sequence[int], run: Callable[[list[int]], list[NDArray[Any]]]) -> list[NDArray[Any]]:
    """Run rows in batches of about one length, which need little padding, and put the results in order.

    Args:
        lengths: of each row; not empty.
        run: gives the outputs [B, ...] for some rows.
    """
    order = np.argsort(np.array(lengths), kind="stable")
    parts = [run(order[start : start + BATCH].tolist()) for start in range(0, len(order), BATCH)]
    back = np.argsort(order, kind="stable")
    return [np.concatenate(column)[back] for column in zip(*parts, strict=True)]


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            "An exported model needs the package onnxruntime, which is not installed.",
            fix='Install the extra: pip install "memeblend[onnx]"',
        ) from error
    return onnxruntime
