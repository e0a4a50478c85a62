"""memeblend: train, judge, explain and serve multi-modal meme classifiers.

Notable: importing this package imports neither torch nor transformers; `MemeClassifier` does when first used.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memeblend.data.manifest import Manifest
    from memeblend.labels import LabelTask
    from memeblend.model import MemeClassifier
    from memeblend.recipe import Recipe, load_recipe

__all__ = ["LabelTask", "Manifest", "MemeClassifier", "Recipe", "__version__", "load_recipe"]

__version__ = version("memeblend")

_HOMES = {
    "LabelTask": "memeblend.labels",
    "Manifest": "memeblend.data.manifest",
    "MemeClassifier": "memeblend.model",
    "Recipe": "memeblend.recipe",
    "load_recipe": "memeblend.recipe",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'memeblend' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
