"""Models: encoders with text, image, fusion and align classifiers, each a Hugging Face `PreTrainedModel`.

Notable: importing this room imports neither torch nor transformers, so that its tokenizers can be used without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memeblend.models.factory import build_model, from_branches, load_model, model_class

__all__ = ["build_model", "from_branches", "load_model", "model_class"]


def __getattr__(name: str) -> Any:
    """Import a public name from the factory when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from memeblend.models import factory

    return getattr(factory, name)
