"""The model: an ensemble for each label task, from `fit` to a folder that predicts.

Notable: importing this room imports neither torch nor transformers; `MemeClassifier` does when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memeblend.model.classifier import MemeClassifier

__all__ = ["MemeClassifier"]


def __getattr__(name: str) -> Any:
    """Import `MemeClassifier` when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from memeblend.model import classifier

    return getattr(classifier, name)
