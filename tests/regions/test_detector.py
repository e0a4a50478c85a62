"""Detectors of four families with random weights: what Hugging Face's own post-processing finds, and more."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from region_files import CLASSES, DETECTORS, save_detector
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from clip_checkpoint import save_clip
from memeblend.errors import ModelError
from memeblend.regions.detector import DetectorEngine

SIZES = ((60, 40), (40, 60), (60, 40), (31, 57))


def images():
    random = np.random.default_rng(0)
    blocks = [random.integers(0, 256, (4, 5, 3), dtype=np.uint8) for _ in SIZES]
    return [Image.fromarray(block).resize(size) for block, size in zip(blocks, SIZES, strict=True)]


@pytest.fixture(scope="module", params=sorted(DETECTORS))
def folder(request, tmp_path_factory):
    return save_detector(tmp_path_factory.mktemp("hub") / request.param, request.param)


def test_regions_are_what_hugging_face_finds(folder):
    engine = DetectorEngine.load(folder, max_regions=12, min_regions=12)
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    model = AutoModelForObjectDetection.from_pretrained(folder).eval()
    for image, found in zip(images(), engine.regions(images()), strict=True):
        with torch.inference_mode():
            outputs = model(**processor(images=[image], return_tensors="pt"))
        width, height = image.size
        (theirs,) = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=[(height, width)])
        best = int(theirs["scores"].argmax())
        scale = np.array([width, height, width, height])
        expected = np.clip(theirs["boxes"][best].numpy() / scale, 0, 1)
        np.testing.assert_allclose(found.boxes[0, :4], expected, atol=1e-5)
        np.testing.assert_allclose(found.scores[0], theirs["scores"][best], rtol=1e-5)
        assert found.tags[0] == CLASSES[int(theirs["labels"][best])]
        states = outputs.last_hidden_state[0, -12:].numpy()
        for feature in found.features:  # each query's state once, in another order
            assert np.isclose(states, feature, atol=1e-5).all(axis=1).sum() == 1


def test_regions_are_well_formed_and_sorted(folder):
    engine = DetectorEngine.load(folder, max_regions=7, threshold=0.0)
    for found in engine.regions(images()):
        assert len(found) == 7
        assert found.features.shape == (7, engine.feature_size)
        assert (np.diff(found.scores) <= 0).all()
        assert len(set(found.scores.tolist())) > 1
        x1, y1, x2, y2, width, height = found.boxes.T
        assert ((found.boxes >= 0) & (found.boxes <= 1)).all()
        np.testing.assert_allclose(width, x2 - x1, atol=1e-6)
        np.testing.assert_allclose(height, y2 - y1, atol=1e-6)
        assert set(found.tags) <= set(CLASSES.values())


def test_an_image_has_the_same_regions_alone_and_in_a_batch(folder):
    engine = DetectorEngine.load(folder)
    together = engine.regions(images())
    for image, found in zip(images(), together, strict=True):
        (alone,) = engine.regions([image])
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=1e-5)
        np.testing.assert_allclose(found.features, alone.features, atol=1e-4)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-5)
        assert found.tags == alone.tags


def test_the_threshold_and_the_least_number_of_regions(folder):
    (everything,) = DetectorEngine.load(folder, min_regions=12).regions(images()[:1])
    cut = float(everything.scores[4:6].mean())
    assert everything.scores[4] > cut > everything.scores[5]
    (above,) = DetectorEngine.load(folder, threshold=cut, min_regions=1).regions(images()[:1])
    np.testing.assert_array_equal(above.features, everything.features[:5])
    (least,) = DetectorEngine.load(folder, threshold=1.0, min_regions=3).regions(images()[:1])
    np.testing.assert_array_equal(least.features, everything.features[:3])
    (most,) = DetectorEngine.load(folder, threshold=1.0, min_regions=9, max_regions=2).regions(images()[:1])
    assert len(most) == 2


@pytest.fixture(scope="module")
def detr(tmp_path_factory):
    return save_detector(tmp_path_factory.mktemp("hub") / "detr", "detr")


def test_a_fixed_pad_size_comes_with_a_mask_and_lets_sizes_share_a_batch(detr):
    settings = json.loads((detr / "preprocessor_config.json").read_text())
    processor = AutoImageProcessor.from_pretrained(
        detr, backend="pil", **settings | {"pad_size": {"height": 128, "width": 128}}
    )
    engine = DetectorEngine(AutoModelForObjectDetection.from_pretrained(detr), processor, min_regions=12)
    masks = processor(images=images()[:1], return_tensors="pt")["pixel_mask"]
    assert masks.shape == (1, 128, 128)
    assert 0 < masks.sum() < 128 * 128
    for image, found in zip(images(), engine.regions(images()), strict=True):
        (alone,) = engine.regions([image])
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=1e-5)
        np.testing.assert_allclose(found.features, alone.features, atol=1e-4)


def test_settings_tell_detectors_apart(detr, tmp_path):
    engine = DetectorEngine.load(detr)
    assert DetectorEngine.load(detr).settings == engine.settings
    assert json.loads(json.dumps(engine.settings)) == engine.settings
    others = [
        DetectorEngine.load(save_detector(tmp_path / "other", "detr", seed=1)),
        DetectorEngine.load(detr, threshold=0.5),
        DetectorEngine.load(detr, max_regions=5),
        DetectorEngine.load(detr, min_regions=5),
    ]
    assert all(other.settings != engine.settings for other in others)


@pytest.mark.parametrize("numbers", [{"max_regions": 0}, {"min_regions": 0}])
def test_less_than_one_region_is_refused(detr, numbers):
    with pytest.raises(ValueError, match="expected at least 1"):
        DetectorEngine.load(detr, **numbers)


def test_what_is_no_detector_is_refused(detr, tmp_path):
    with pytest.raises(ModelError, match=r"config\.json"):
        DetectorEngine.load(tmp_path)
    with pytest.raises(ModelError, match=r"Expected an object detector .* found model_type 'clip'"):
        DetectorEngine.load(save_clip(tmp_path / "clip"))
    bare = save_detector(tmp_path / "bare", "detr")
    (bare / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match="image processor"):
        DetectorEngine.load(bare)
    (bare / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="Could not load"):
        DetectorEngine.load(bare)


def test_a_detector_on_a_timm_backbone_names_one_that_works(tmp_path):
    folder = save_detector(tmp_path / "timm", "detr")
    config = json.loads((folder / "config.json").read_text())
    config |= {"use_timm_backbone": True, "backbone": "resnet50", "backbone_config": None}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="timm") as caught:
        DetectorEngine.load(folder)
    assert "no_timm" in caught.value.fix
