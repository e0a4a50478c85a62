"""The model: an ensemble for each label task, from `fit` to a folder that predicts."""

from memeblend.model.classifier import MemeClassifier

__all__ = ["MemeClassifier"]
