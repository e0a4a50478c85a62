"""Align fusion of HateCLIPper (Kumar and Nandakumar, NLP for Positive Impact at EMNLP 2022)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import normalize

from memeblend.models.config import MemeConfig
from memeblend.models.encoders import EncoderStates
from memeblend.models.heads import LabelTaskHeads
from memeblend.models.multimodal import MultiModalClassifier


class AlignClassifier(MultiModalClassifier):
    """Element-wise product of projected, L2-normalised text and image features, then an MLP and heads.

    A product holds interactions outright ("glad words on a sad face") where attention or concatenation must first
    find them, so little data goes further. Beyond HateCLIPper, the branches have heads of their own that can be
    supervised, and the product is scaled by its size n: features of unit length have products of about 1/n, too
    small for a layer with a usual initialisation and learning rate to read.
    """

    fusion_reads = "pooled"

    def __init__(self, config: MemeConfig) -> None:
        super().__init__(config)
        size = config.projection_size
        self.text_projection = nn.Sequential(nn.Linear(config.text_width, size), nn.Dropout(config.projection_dropout))
        self.image_projection = nn.Sequential(
            nn.Linear(config.image_width, size), nn.Dropout(config.projection_dropout)
        )
        layers: list[nn.Module] = [nn.Dropout(config.product_dropout)]
        for _ in range(config.num_hidden):
            layers += [nn.Linear(size, size), nn.ReLU(), nn.Dropout(config.hidden_dropout)]
        self.hidden = nn.Sequential(*layers)
        self.fused_heads = LabelTaskHeads(size, config.num_classes(), config.head_dropout)
        self.post_init()

    def fused_state(self, text: EncoderStates, image: EncoderStates, attention_mask: Tensor) -> Tensor:
        """Hidden state [B, n] of the product; reads the pooled states alone. See `MultiModalClassifier.fused_state`."""
        text_features = normalize(self.text_projection(text.pooled), dim=1)  # [B, n]
        image_features = normalize(self.image_projection(image.pooled), dim=1)  # [B, n]
        product = text_features * image_features * self.config.projection_size
        state: Tensor = self.hidden(product)
        return state
