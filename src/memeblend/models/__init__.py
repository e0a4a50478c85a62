"""Models: CLIP encoders with text, image, fusion and align classifiers, each a Hugging Face `PreTrainedModel`."""

from memeblend.models.factory import build_model, from_branches, load_model, model_class

__all__ = ["build_model", "from_branches", "load_model", "model_class"]
