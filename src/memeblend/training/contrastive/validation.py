"""What an encoder is worth on pairs that were held back: the loss in batches of a fixed size, and retrieval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from memeblend.evaluation.retrieval import RECALL_AT, retrieval_scores
from memeblend.losses.contrastive import fitting_pairs
from memeblend.models.pair import image_embeds, text_embeds
from memeblend.recipe.pretraining import Pretraining
from memeblend.training.contrastive.pairs import Pairs
from memeblend.training.contrastive.stepping import PairObjective
from memeblend.training.preprocessing import Preprocessor

_ENCODED_AT_ONCE = 128
_EVERYTHING = ""


class Validation:
    """Pairs to validate on; templates are shown blank. Each distinct text and image is encoded once.

    Args:
        pairs: all pairs.
        rows: those held back.
        token_ids: of each distinct text.
        preprocessor: normalises pixels and pads texts.
        settings: the loss and the size of the batches it is taken in.
    """

    def __init__(
        self,
        pairs: Pairs,
        rows: NDArray[np.int64],
        token_ids: list[list[int]],
        preprocessor: Preprocessor,
        settings: Pretraining,
    ) -> None:
        texts, self.text = np.unique(pairs.text[rows], return_inverse=True)
        images, self.image = np.unique(pairs.image[rows], return_inverse=True)
        self.token_ids = [token_ids[number] for number in texts]
        self.pixels = pairs.pixels[images]
        self.sources = pairs.sources[rows]
        self.preprocessor = preprocessor
        self.objective = PairObjective(settings.loss, settings.same_pairs)
        size = settings.validation_batch_size
        order = np.random.default_rng((settings.seed, 5)).permutation(len(rows))
        whole = max(1, len(rows) // size)  # a smaller last batch would have a smaller loss
        self.batches = [order[start * size : (start + 1) * size] for start in range(whole)]

    @torch.inference_mode()
    def scores(self, model: Any) -> dict[str, float]:
        """The validation loss and recalls.

        Returns:
            "loss", and "image_recall@k" and "text_recall@k" over all pairs; where there are several data sets, also
            "<source>/image_recall@k" and so on within each.
        """
        was_training = model.training
        model.eval()
        text = self._encoded(len(self.token_ids), lambda part: self._texts(model, part))
        image = self._encoded(len(self.pixels), lambda part: self._images(model, part))
        model.train(was_training)
        found = {"loss": self._loss(model, text, image)}
        sources = np.unique(self.sources).tolist()
        for source in [_EVERYTHING, *(sources if len(sources) > 1 else [])]:
            inside = np.ones(len(self.sources), dtype=bool) if source == _EVERYTHING else self.sources == source
            scores = self._recalls(text, image, inside)
            found |= {f"{source}/{name}" if source else name: value for name, value in scores.items()}
        return found

    def chance(self) -> dict[str, float]:
        """The recalls of an encoder that finds everything equally similar."""
        texts, images = np.zeros((len(self.token_ids), 1)), np.zeros((len(self.pixels), 1))
        return retrieval_scores(texts, images, np.stack([self.text, self.image], axis=1), RECALL_AT)

    def _recalls(self, text: Tensor, image: Tensor, inside: NDArray[np.bool_]) -> dict[str, float]:
        texts, text_index = np.unique(self.text[inside], return_inverse=True)
        images, image_index = np.unique(self.image[inside], return_inverse=True)
        pairs = np.stack([text_index, image_index], axis=1)
        return retrieval_scores(
            normalize(text[texts]).cpu().numpy(), normalize(image[images]).cpu().numpy(), pairs, RECALL_AT
        )

    def _loss(self, model: Any, text: Tensor, image: Tensor) -> float:
        losses = []
        for rows in self.batches:
            of_text = torch.from_numpy(self.text[rows])
            of_image = torch.from_numpy(self.image[rows])
            fits = fitting_pairs(of_text, of_image, torch.zeros(len(rows), dtype=torch.bool)).to(text.device)
            loss = self.objective(model, text[of_text], image, of_image.to(text.device), fits)
            losses.append(float(loss))
        return float(np.mean(losses))

    def _encoded(self, total: int, encode: Callable[[NDArray[np.int64]], Tensor]) -> Tensor:
        starts = range(0, total, _ENCODED_AT_ONCE)
        return torch.cat([encode(np.arange(start, min(start + _ENCODED_AT_ONCE, total))) for start in starts]).float()

    def _texts(self, model: Any, part: NDArray[np.int64]) -> Tensor:
        device = next(model.parameters()).device
        input_ids, attention_mask = self.preprocessor.pad([self.token_ids[number] for number in part])
        return text_embeds(model, input_ids.to(device), attention_mask.to(device))

    def _images(self, model: Any, part: NDArray[np.int64]) -> Tensor:
        device = next(model.parameters()).device
        return image_embeds(model, self.preprocessor.pixel_values(self.pixels[part]).to(device))
