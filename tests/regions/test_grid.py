"""Patch states as regions: boxes and means by hand."""

import numpy as np
import pytest
import torch
from PIL import Image

from clip_checkpoint import save_clip
from memeblend.errors import ModelError
from memeblend.models.encoders import image_states
from memeblend.models.pair import load_encoders
from memeblend.regions.grid import grid_regions
from memeblend.regions.grid_engine import GridEngine


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("hub") / "clip")


def test_four_patches_are_the_quarters_row_by_row_without_the_class_token():
    states = torch.arange(2 * 5 * 3, dtype=torch.float32).reshape(2, 5, 3)
    features, boxes = grid_regions(states)
    torch.testing.assert_close(features, states[:, 1:])
    quarters = [
        [0, 0, 0.5, 0.5, 0.5, 0.5],
        [0.5, 0, 1, 0.5, 0.5, 0.5],
        [0, 0.5, 0.5, 1, 0.5, 0.5],
        [0.5, 0.5, 1, 1, 0.5, 0.5],
    ]
    torch.testing.assert_close(boxes, torch.tensor([quarters, quarters]))


def test_a_finer_grid_is_averaged_to_at_most_so_many_regions():
    states = torch.randn(1, 17, 2, generator=torch.Generator().manual_seed(0))
    features, boxes = grid_regions(states, max_regions=8)
    assert boxes[0].tolist() == [
        [0, 0, 0.5, 0.5, 0.5, 0.5],
        [0.5, 0, 1, 0.5, 0.5, 0.5],
        [0, 0.5, 0.5, 1, 0.5, 0.5],
        [0.5, 0.5, 1, 1, 0.5, 0.5],
    ]
    top_left = states[0, [1, 2, 5, 6]].mean(0)
    torch.testing.assert_close(features[0, 0], top_left)
    torch.testing.assert_close(grid_regions(states, max_regions=16)[0], states[:, 1:])


def test_cells_of_a_grid_that_does_not_divide_say_which_patches_they_average():
    states = torch.randn(1, 10, 1, generator=torch.Generator().manual_seed(0))
    features, boxes = grid_regions(states, max_regions=4)
    third = 1 / 3
    torch.testing.assert_close(boxes[0, 1], torch.tensor([third, 0, 1, 2 * third, 2 * third, 2 * third]))
    torch.testing.assert_close(features[0, 1], states[0, [2, 3, 5, 6]].mean(0))


@pytest.mark.parametrize("num_tokens", [1, 4, 7])
def test_patches_that_form_no_square_are_refused(num_tokens):
    with pytest.raises(ModelError, match="no square grid"):
        grid_regions(torch.zeros(1, num_tokens, 2))


def test_max_regions_below_one_is_refused():
    with pytest.raises(ValueError, match="max_regions is 0"):
        grid_regions(torch.zeros(1, 5, 2), max_regions=0)


def test_regions_are_the_states_of_the_encoder(checkpoint):
    engine = GridEngine.load(checkpoint, fit="crop")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    (found,) = engine.regions([image])
    clip = load_encoders(checkpoint).eval()
    from transformers import CLIPImageProcessorPil

    pixels = CLIPImageProcessorPil.from_pretrained(checkpoint)(image, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        expected = image_states(clip.vision_model, pixels).tokens[0, 1:].numpy()
    np.testing.assert_allclose(found.features, expected, atol=1e-4)
    assert found.features.shape == (4, engine.feature_size)
    assert found.tags == [""] * 4
    assert found.scores.tolist() == [1.0] * 4


def test_boxes_are_shares_of_the_image_and_padding_is_no_region(checkpoint):
    wide = Image.new("RGB", (64, 16))  # letterboxed into 32 x 32: 32 x 8 pixels in the middle, rows 12 to 20
    (found,) = GridEngine.load(checkpoint).regions([wide])
    assert found.boxes.tolist() == [
        [0, 0, 0.5, 0.5, 0.5, 0.5],
        [0.5, 0, 1, 0.5, 0.5, 0.5],
        [0, 0.5, 0.5, 1, 0.5, 0.5],
        [0.5, 0.5, 1, 1, 0.5, 0.5],
    ]
    (cropped,) = GridEngine.load(checkpoint, fit="crop").regions([wide])  # the middle 16 of 64 columns
    assert cropped.boxes[0].tolist() == [0.375, 0, 0.5, 0.5, 0.125, 0.5]
    assert cropped.boxes[3].tolist() == [0.5, 0.5, 0.625, 1, 0.125, 0.5]


def test_cells_of_padding_alone_are_left_out(tmp_path):
    folder = save_clip(tmp_path / "clip", image_size=64)  # 4 x 4 patches
    (found,) = GridEngine.load(folder).regions([Image.new("RGB", (64, 16))])  # rows 24 to 40 of 64
    assert len(found) == 8
    assert found.boxes[:, 1].tolist() == [0.0] * 4 + [0.5] * 4
    assert found.boxes[:, 0].tolist() == [0, 0.25, 0.5, 0.75] * 2


def test_settings_tell_engines_apart(checkpoint, tmp_path):
    same, other = GridEngine.load(checkpoint), GridEngine.load(save_clip(tmp_path / "other", seed=1))
    assert GridEngine.load(checkpoint).settings == same.settings
    assert other.settings != same.settings
    assert GridEngine.load(checkpoint, max_regions=3).settings != same.settings


def test_a_folder_without_a_clip_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"config\.json"):
        GridEngine.load(tmp_path)
