"""Perturbations of images: sizes and values by hand, and what holds for every image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from memeblend.redteam import pictures
from memeblend.redteam.grid import PERTURBATIONS, Cell

IMAGE_CELLS = [Cell(one, severity) for one in PERTURBATIONS if one.change_image for severity in (1, 2, 3)]
images = st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(3)).flatmap(lambda shape: arrays(np.uint8, shape))


def rng(seed=0):
    return np.random.default_rng(seed)


def smooth(height=60, width=80):
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 3, columns * 2, rows + columns], axis=2).astype(np.uint8)


def test_sizes_by_hand():
    pixels = smooth(10, 20)
    cropped = pictures.crop(pixels, 0.2, rng())
    assert cropped.shape == (8, 16, 3)
    assert pictures.border(pixels, 0.1, rng()).shape == (12, 22, 3)
    assert (pictures.border(pixels, 0.1, rng())[1:-1, 1:-1] == pixels).all()


def test_a_crop_is_a_part_of_the_image():
    pixels = np.arange(10 * 20 * 3, dtype=np.uint8).reshape(10, 20, 3)
    cropped = pictures.crop(pixels, 0.5, rng(3))
    places = [
        (top, left)
        for top in range(6)
        for left in range(11)
        if (pixels[top : top + 5, left : left + 10] == cropped).all()
    ]
    assert places


def test_full_strength_of_colour_is_grey():
    grey = pictures.colour(smooth(), 1.0, rng()).astype(int)
    assert np.ptp(grey, axis=2).max() == 0


def test_a_bar_hides_the_lowest_part_alone():
    pixels = smooth()
    changed = pictures.recaption(pixels, 0.25, rng())
    assert (changed[:45] == pixels[:45]).all()
    assert (changed[46, 0] == 255).all()
    assert (changed[46:] < 128).any()  # the words


def test_noise_has_the_deviation_asked_for():
    pixels = np.full((100, 100, 3), 128, dtype=np.uint8)
    noisy = pictures.noise(pixels, 0.1, rng()).astype(float)
    assert noisy.std() == pytest.approx(25.5, rel=0.05)


def test_noise_of_a_large_image_survives_being_made_smaller():
    pixels = np.full((896, 896, 3), 128, dtype=np.uint8)
    noisy = pictures.noise(pixels, 0.1, rng()).reshape(224, 4, 224, 4, 3).mean(axis=(1, 3))
    assert noisy.std() == pytest.approx(25.5, rel=0.05)


def test_what_is_too_long_for_jpeg_stays():
    strip = np.zeros((1, 65_501, 3), dtype=np.uint8)
    assert pictures.jpeg(strip, 25, rng()) is strip


@pytest.mark.parametrize("name", ["jpeg", "blur", "noise", "colour"])
def test_higher_severities_move_pixels_further(name):
    perturbation = next(one for one in PERTURBATIONS if one.name == name)
    pixels = smooth(224, 224) // 3 + 60
    moved = [
        np.abs(Cell(perturbation, severity).change_image(pixels, "m", 0).astype(int) - pixels).mean()
        for severity in (1, 2, 3)
    ]
    assert 0 < moved[0] < moved[1] < moved[2]


@pytest.mark.parametrize("cell", IMAGE_CELLS, ids=lambda cell: cell.name)
@settings(max_examples=15)
@given(pixels=images)
def test_every_image_becomes_an_image_and_stays_itself(cell, pixels):
    before = pixels.copy()
    changed = cell.change_image(pixels, "meme", 0)
    assert changed.dtype == np.uint8
    assert changed.ndim == 3
    assert changed.shape[2] == 3
    assert min(changed.shape) >= 1
    assert (pixels == before).all()
    assert np.array_equal(changed, cell.change_image(pixels, "meme", 0))
