"""Region files of every layout, written as others write them, and detectors with random weights."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    ConditionalDetrConfig,
    ConditionalDetrForObjectDetection,
    DetrConfig,
    DetrForObjectDetection,
    PreTrainedModel,
    ResNetConfig,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrResNetConfig,
    YolosConfig,
    YolosForObjectDetection,
)

from memeblend.regions.boxes import MemeRegions, box_numbers

CLASSES = {0: "N/A", 1: "person", 2: "dog", 3: "traffic light", 4: "cat"}


def encoded(values: Any, dtype: str = "<f4") -> str:
    """Base64 of an array's bytes."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode()


def random_regions(num_regions: int, feature_size: int, seed: int = 0) -> MemeRegions:
    """Regions with whole boxes, as good as any."""
    random = np.random.default_rng(seed)
    ends = np.sort(random.uniform(0, 1, (num_regions, 2, 2)), axis=1)  # [n, begin and end, x and y]
    return MemeRegions(
        box_numbers(ends.reshape(num_regions, 4)),
        random.normal(size=(num_regions, feature_size)).astype(np.float32),
        [CLASSES[1 + number % 4] for number in range(num_regions)],
        np.sort(random.uniform(0.1, 1, num_regions).astype(np.float32))[::-1].copy(),
    )


def bottom_up_fields(
    meme_id: str, regions: MemeRegions, size: tuple[int, int] = (640, 480), *, appended: bool = False
) -> list[str]:
    """id, w, h, num_boxes, boxes, features of bottom-up attention."""
    width, height = size
    features = np.concatenate([regions.features, regions.boxes], axis=1) if appended else regions.features
    corners = regions.boxes[:, :4] * np.array([width, height, width, height])
    return [meme_id, str(width), str(height), str(len(regions)), encoded(corners), encoded(features)]


def lxmert_fields(meme_id: str, regions: MemeRegions, ids: Sequence[int], size: tuple[int, int]) -> list[str]:
    """The ten columns of LXMERT."""
    plain = bottom_up_fields(meme_id, regions, size)
    objects, scores = encoded(ids, "<i8"), encoded(regions.scores)
    return [meme_id, str(size[1]), str(size[0]), objects, scores, objects, scores, *plain[3:]]


def labels_json(regions: MemeRegions) -> str:
    """What Oscar's label file says of a meme."""
    pairs = zip(regions.tags, regions.scores.tolist(), strict=True)
    return json.dumps([{"class": tag, "conf": score} for tag, score in pairs])


def write_tsv(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    """Rows as a TSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def assert_same(found: MemeRegions, expected: MemeRegions, tolerance: float = 1e-6) -> None:
    """Both hold the same regions."""
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=tolerance)
    np.testing.assert_array_equal(found.features, expected.features)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.tags == expected.tags
    for array in (found.boxes, found.features, found.scores):
        assert array.dtype == np.float32


def _resnet() -> ResNetConfig:
    sizes: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
    return ResNetConfig(**sizes, layer_type="basic", out_features=["stage4"])


_TRANSFORMER: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "num_queries": 12,
    "id2label": CLASSES,
}
_NORMALISED = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "do_normalize": True}


def _detr() -> tuple[PreTrainedModel, dict[str, Any]]:
    config = DetrConfig(use_timm_backbone=False, backbone=None, backbone_config=_resnet(), **_TRANSFORMER)
    processor = {"image_processor_type": "DetrImageProcessor", "size": {"shortest_edge": 48, "longest_edge": 96}}
    return DetrForObjectDetection(config), processor | _NORMALISED


def _conditional_detr() -> tuple[PreTrainedModel, dict[str, Any]]:
    config = ConditionalDetrConfig(use_timm_backbone=False, backbone=None, backbone_config=_resnet(), **_TRANSFORMER)
    processor = {"feature_extractor_type": "ConditionalDetrFeatureExtractor", "size": 48, "max_size": 96}
    return ConditionalDetrForObjectDetection(config), processor | _NORMALISED


def _rt_detr() -> tuple[PreTrainedModel, dict[str, Any]]:
    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_hidden_dim=16,
        encoder_in_channels=[8, 16, 16],
        decoder_in_channels=[16, 16, 16],
        num_denoising=0,
        **_TRANSFORMER,
    )
    processor = {"image_processor_type": "RTDetrImageProcessor", "size": {"height": 64, "width": 64}}
    return RTDetrForObjectDetection(config), processor | {"do_normalize": False, "do_pad": False}


def _yolos() -> tuple[PreTrainedModel, dict[str, Any]]:
    config = YolosConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[64, 96],
        patch_size=16,
        num_detection_tokens=12,
        id2label=CLASSES,
    )
    processor = {"image_processor_type": "YolosImageProcessor", "size": {"shortest_edge": 48, "longest_edge": 96}}
    return YolosForObjectDetection(config), processor | _NORMALISED


DETECTORS = {"detr": _detr, "conditional_detr": _conditional_detr, "rt_detr": _rt_detr, "yolos": _yolos}


def save_detector(folder: Path, kind: str, seed: int = 0) -> Path:
    """A small detector with random weights, as the hub lays it out."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, processor = DETECTORS[kind]()
        for value in model.parameters():  # the libraries' own starts give all queries nearly one score
            value.data += 0.2 * torch.randn_like(value)
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return folder
