"""Reading weights from Hugging Face's layout: float32, safetensors only, no progress bars, nothing left out.

Also where models run, and how one is told from another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers.utils import logging

from memeblend.errors import ModelError


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keeps Hugging Face from drawing progress bars over ours for every file it reads or writes."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def read_config(folder: Path, what: str) -> dict[str, Any]:
    """The content of a folder's `config.json`.

    Args:
        folder: a model's folder.
        what: what was expected there, for the message.

    Raises:
        ModelError: it is missing, or is not a JSON object.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not JSON ({error})"
        raise ModelError(f"Expected {what} in '{folder}', but '{path.name}' can't be read: {reason}.") from error
    if not isinstance(config, dict):
        raise ModelError(f"Expected {what} in '{folder}', but '{path.name}' holds no JSON object.")
    return config


def read_model(kind: Any, source: str, *, local: bool, fix: str, may_lack: str = "") -> Any:
    """A model with every one of its weights.

    Args:
        kind: class of the model, or one of Hugging Face's Auto classes.
        source: folder or hub id.
        local: whether the network is left alone.
        fix: what the user can do when it fails.
        may_lack: weights whose names begin so may be missing, and are random then; "" allows none.

    Raises:
        ModelError: it can't be read, or lacks weights.
    """
    try:
        with no_progress_bars():
            model, info = _from_pretrained(kind, source, local)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"Could not load {kind.__name__} from '{source}': {lines[0].rstrip('.')}.", fix=fix) from error
    missing = sorted(name for name in info["missing_keys"] if not may_lack or not name.startswith(may_lack))
    if missing:
        raise ModelError(
            f"{kind.__name__} in '{source}' lacks {len(missing)} of its weights, first of them '{missing[0]}'.", fix=fix
        )
    # Tensors read from a file lie there at any address, for which the CPU picks kernels that round otherwise; in
    # memory of their own they predict to the bit what the saved model did.
    for value in model.parameters():
        value.data = value.data.clone()
    return model


def _from_pretrained(kind: Any, source: str, local: bool) -> Any:
    return kind.from_pretrained(
        source, dtype=torch.float32, use_safetensors=True, output_loading_info=True, local_files_only=local
    )


def device() -> torch.device:
    """Where engines run: a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def weights_digest(model: nn.Module) -> str:
    """Digest of a model's weights, wherever they were read from."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]
