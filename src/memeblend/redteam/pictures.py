"""Perturbations of an image's pixels [H, W, 3] before it is fitted into the encoders' square.

Each takes uint8 pixels, a strength and a generator, and gives uint8 pixels. Lengths are in units of the shorter side,
so that a strength means the same for every size. JPEG, blur and noise have the strengths of ImageNet-C (Hendrycks &
Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR 2019), which are
meant for sides of about 224 pixels.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

Pixels = NDArray[np.uint8]

_SIDE = 224
"""The side that the strengths of ImageNet-C are meant for."""
_CAPTIONS = ("when you see it", "meanwhile", "posted by a friend", "only on mondays", "sound on", "wait for it")
"""Neutral words, which should change no decision."""
_MIN_FONT = 6
_JPEG_SIDE = 65_500


def jpeg(pixels: Pixels, quality: float, rng: np.random.Generator) -> Pixels:
    """Compressed as JPEG and decoded again; what is too long for JPEG stays as it is. Nothing is drawn."""
    if max(pixels.shape) > _JPEG_SIDE:
        return pixels
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=round(quality))
    with Image.open(stream) as image:
        return np.array(image.convert("RGB"), dtype=np.uint8)


def blur(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Gaussian blur; sigma in pixels of a side of 224. Nothing is drawn."""
    radius = sigma * min(pixels.shape[:2]) / _SIDE
    return np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def noise(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Gaussian noise with this standard deviation of values in [0, 1].

    Its grains are as large as pixels of a side of 224 are; finer ones would vanish when the image is made smaller.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, _SIDE / min(height, width))
    grains = (max(1, round(height * scale)), max(1, round(width * scale)))
    drawn = rng.standard_normal((*grains, 3), dtype=np.float32)
    rows = np.arange(height) * grains[0] // height
    columns = np.arange(width) * grains[1] // width
    noisy: NDArray[np.float32] = pixels + 255 * sigma * drawn[rows[:, None], columns]
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def crop(pixels: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """This share of height and width cut off, divided at random between both sides."""
    kept = []
    for side, drawn in zip(pixels.shape[:2], rng.random(2), strict=True):
        lost = min(side - 1, round(share * side))
        first = round(lost * drawn)
        kept.append(slice(first, first + side - lost))
    return pixels[kept[0], kept[1]].copy()


def border(pixels: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """A frame of one colour, so many shorter sides wide."""
    width = max(1, round(share * min(pixels.shape[:2])))
    colour = rng.integers(0, 256, 3)
    framed = np.empty((pixels.shape[0] + 2 * width, pixels.shape[1] + 2 * width, 3), dtype=np.uint8)
    framed[:] = colour
    framed[width:-width, width:-width] = pixels
    return framed


def recaption(pixels: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """A white bar with a neutral caption over the lowest part of the image, this share of its height.

    The ocr_text stays: what is tested is whether the image's own reading of words can be misled.
    """
    words = _CAPTIONS[int(rng.integers(len(_CAPTIONS)))]
    height, width = pixels.shape[:2]
    bar = max(1, round(share * height))
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, height - bar, width, height), fill="white")
    size = float(max(_MIN_FONT, round(0.6 * bar)))
    font = ImageFont.load_default(size)
    if font.getlength(words) > width:
        font = ImageFont.load_default(max(_MIN_FONT, size * width / font.getlength(words)))
    draw.text((width / 2, height - bar / 2), words, fill="black", font=font, anchor="mm")
    return np.array(image)


def colour(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Saturation less by this share (1 is grey), brightness more or less by 0.4 of it, hue turned by up to 0.1 of it
    of the circle."""
    brighter, turned = rng.random(2)
    hue, saturation, value = Image.fromarray(pixels).convert("HSV").split()
    turn = round(25.6 * strength * turned)  # 256 values are the circle
    hue = hue.point([(level + turn) % 256 for level in range(256)])
    image = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    image = ImageEnhance.Color(image).enhance(1 - strength)
    return np.array(ImageEnhance.Brightness(image).enhance(1 + 0.4 * strength * (1 if brighter < 0.5 else -1)))
