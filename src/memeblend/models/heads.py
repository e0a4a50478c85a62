"""Classifier heads: "all classifiers have the same structure" (paper section 3)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class ClassifierHead(nn.Module):
    """Linear(d, d), dropout, Linear(d, K); no activation.

    Args:
        width: d, size of the features.
        num_classes: K.
        dropout: dropout between the two layers.
    """

    def __init__(self, width: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, K] of features [B, d]."""
        logits: Tensor = self.output(self.dropout(self.dense(features)))
        return logits


class LabelTaskHeads(nn.Module):
    """A head for each label task on the same features, so that one encoder pass serves them all.

    Heads are kept by position: a label task may be called "keys" or "a.b", which PyTorch refuses as a module name.

    Args:
        width: size of the features.
        num_classes: number of classes of each label task, in order.
        dropout: dropout inside each head.
    """

    def __init__(self, width: int, num_classes: Mapping[str, int], dropout: float) -> None:
        super().__init__()
        self.names = tuple(num_classes)
        self.heads = nn.ModuleList(ClassifierHead(width, number, dropout) for number in num_classes.values())

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """For each label task, logits [B, num_classes] of features [B, d]."""
        return {name: head(features) for name, head in zip(self.names, self.heads, strict=True)}
