"""The card of a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memeblend.files import write_text
from memeblend.model.folder import CARD
from memeblend.report.card import model_card


def write_card(folder: Path, state: Mapping[str, Any], *, exported: bool = False) -> None:
    """Write the card into a folder.

    Args:
        folder: of a model, or of an exported one.
        state: the folder's facts; see `model_card`.
        exported: which of both.

    Raises:
        OutputError: it could not be written.
    """
    write_text(folder / CARD, model_card(state, exported=exported))
