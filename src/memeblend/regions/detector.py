"""The engine that detects objects: a DETR, conditional DETR, RT-DETR or one of their kin from Hugging Face.

Each query of the decoder that is kept becomes a region: its box, the name of its class as tag, the probability of
that class as score, and the decoder's last state of it as feature. Images of one size after preprocessing share a
batch and others do not, so that no padding is needed and no image's regions depend on its neighbours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoModelForObjectDetection, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES

from memeblend.errors import ModelError
from memeblend.models.loading import device, read_config, read_model, weights_digest
from memeblend.regions.boxes import MemeRegions, box_numbers

_FIX = (
    "Give a folder or hub id of a DETR, conditional DETR or RT-DETR in safetensors that needs no timm, for example "
    "PekingU/rtdetr_r18vd, or facebook/detr-resnet-50 in its revision no_timm ('hf download facebook/detr-resnet-50 "
    "--revision no_timm --local-dir FOLDER')."
)


class DetectorEngine:
    """Objects that a detector sees.

    Args:
        model: an object detector of Hugging Face with a query for each object.
        processor: its image processor, not one that needs torchvision.
        max_regions: most regions of an image.
        threshold: least score of a region.
        min_regions: regions of an image even where fewer reach the threshold, best first (as bottom-up attention
            does it, Anderson et al. 2018).

    Raises:
        ValueError: `max_regions` or `min_regions` below 1.
    """

    name = "detector"

    def __init__(
        self,
        model: PreTrainedModel,
        processor: Any,
        *,
        max_regions: int = 50,
        threshold: float = 0.2,
        min_regions: int = 10,
    ) -> None:
        if max_regions < 1 or min_regions < 1:
            raise ValueError(f"max_regions is {max_regions} and min_regions {min_regions}, expected at least 1")
        self._device = device()
        self._model: Any = model.eval().to(self._device)
        self._processor = processor
        self.max_regions, self.threshold, self.min_regions = max_regions, threshold, min(min_regions, max_regions)
        self.classes = {int(number): str(name) for number, name in self._model.config.id2label.items()}
        self._weights = weights_digest(model)
        self.feature_size = int(self._model.config.hidden_size)

    @classmethod
    def load(
        cls, source: str | Path, *, max_regions: int = 50, threshold: float = 0.2, min_regions: int = 10
    ) -> DetectorEngine:
        """The engine of a detector in a folder or on the hub.

        Raises:
            ModelError: the source is no such detector, is cut short, needs a package that is missing, or can't be
                reached.
        """
        local = Path(source).expanduser().is_dir()
        place = str(Path(source).expanduser()) if local else str(source)
        if local:
            kind = read_config(Path(place), "an object detector").get("model_type")
            if kind not in MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES:
                raise ModelError(
                    f"Expected an object detector in '{place}', found model_type {kind!r} in its config.json.",
                    fix=_FIX,
                )
        try:
            model = read_model(cast(type[PreTrainedModel], AutoModelForObjectDetection), place, local=local, fix=_FIX)
            processor = AutoImageProcessor.from_pretrained(place, backend="pil", local_files_only=local)
        except ImportError as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"The detector '{source}' needs a package that is missing: {reason}", fix=_FIX) from error
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"Could not load the image processor of '{source}': {reason}", fix=_FIX) from error
        return cls(model, processor, max_regions=max_regions, threshold=threshold, min_regions=min_regions)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides about its regions."""
        return {
            "engine": self.name,
            "weights": self._weights,
            "classes": {str(number): name for number, name in self.classes.items()},
            "processor": json.loads(self._processor.to_json_string()),
            "max_regions": self.max_regions,
            "threshold": self.threshold,
            "min_regions": self.min_regions,
        }

    @torch.inference_mode()
    def regions(self, images: Sequence[Image.Image]) -> list[MemeRegions]:
        """Regions of RGB images, best first.

        Raises:
            ModelError: the model gives no box or no state for each of its queries.
        """
        inputs = [self._processor(images=[image], return_tensors="pt") for image in images]
        alike: dict[torch.Size, list[int]] = {}
        for position, values in enumerate(inputs):
            alike.setdefault(values["pixel_values"].shape, []).append(position)
        found: dict[int, MemeRegions] = {}
        for positions in alike.values():
            batch = {
                name: torch.cat([inputs[position][name] for position in positions]).to(self._device)
                for name in inputs[positions[0]]
            }
            found.update(zip(positions, self._of_batch(self._model(**batch)), strict=True))
        return [found[position] for position in range(len(images))]

    def _of_batch(self, outputs: Any) -> list[MemeRegions]:
        logits, boxes = outputs.logits.float(), getattr(outputs, "pred_boxes", None)  # [B, Q, classes], [B, Q, 4]
        states = getattr(outputs, "last_hidden_state", None)
        num_queries = logits.shape[1]
        if boxes is None or states is None or states.shape[1] < num_queries or states.shape[2] != self.feature_size:
            kind = type(self._model).__name__
            raise ModelError(f"{kind} gives no box or no last state for each of its queries.", fix=_FIX)
        states = states[:, -num_queries:]  # YOLOS has the image's patches before its queries
        scores, classes = self._scores(logits)
        parts = (boxes.float(), states.float(), scores, classes)
        return [self._of_image(*of_image) for of_image in zip(*(part.cpu() for part in parts), strict=True)]

    def _scores(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Probability and number of each query's likeliest class [B, Q].

        DETR's logits have a last class "no object" and compete; those of its successors stand each for itself.
        """
        if logits.shape[-1] == len(self.classes) + 1:
            return cast(tuple[Tensor, Tensor], logits.softmax(-1)[..., :-1].max(-1))
        return cast(tuple[Tensor, Tensor], logits.sigmoid().max(-1))

    def _of_image(self, boxes: Tensor, states: Tensor, scores: Tensor, classes: Tensor) -> MemeRegions:
        """The regions that are kept; `boxes` are centre and size as shares of the image [Q, 4]."""
        order = torch.argsort(scores, descending=True, stable=True)[: self.max_regions]
        num_kept = max(int((scores[order] > self.threshold).sum()), self.min_regions)
        kept = order[:num_kept]
        centre, size = boxes[kept].double().numpy()[:, :2], boxes[kept].double().numpy()[:, 2:]
        corners = np.clip(np.concatenate([centre - size / 2, centre + size / 2], axis=1), 0, 1)
        return MemeRegions(
            box_numbers(corners),
            states[kept].numpy(),
            [self.classes.get(int(number), "") for number in classes[kept]],
            scores[kept].numpy(),
        )
