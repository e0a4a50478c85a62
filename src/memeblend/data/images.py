"""Image files to pixels: safely decoded to RGB, then fitted into a square.

What reaches a decoder is limited by bytes and by the pixels that the header announces, and only formats that
memes come in are tried (Pillow can also run PostScript). Memes carry their text at the edges, which a centre
crop cuts off; so an image can be fitted as a whole (`letterbox`) or as CLIP does it (`crop`).
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from memeblend.errors import ImageError

ImageFit = Literal["letterbox", "crop"]

_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
_MID_GREY = 128
_MAX_RATIO = 32
_MAX_SCANS = 100
"""A progressive JPEG has some ten; each is a pass over all pixels, and thousands of empty ones fit into kilobytes."""
_JPEG_BEGINS = b"\xff\xd8"
_TILE_SIDES = (322, 323)
_JPEG_MARKER = re.compile(rb"\xff+([\x02-\xcf\xd8-\xfe])")
_END, _SCAN, _WITHOUT_LENGTH = 0xD9, 0xDA, 0xD8
_SCAN_BEGINS = b"\xff\xda"


@dataclass(frozen=True)
class ImageLimits:
    """What an image may be before it is decoded.

    Attributes:
        max_bytes: size of the file.
        max_pixels: width times height.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 50_000_000


_DEFAULT_LIMITS = ImageLimits()


def load_image(source: str | Path | bytes, limits: ImageLimits = _DEFAULT_LIMITS) -> Image.Image:
    """Decode an image to RGB: the first frame, turned as its EXIF says, transparency laid on white.

    Args:
        source: a file, or the bytes of one.
        limits: what is refused before decoding.

    Raises:
        ImageError: the file is missing, too large, truncated, corrupt, or no image.
    """
    name = "The image" if isinstance(source, bytes) else f"'{source}'"
    data = source if isinstance(source, bytes) else _read(Path(source), name, limits)
    if len(data) > limits.max_bytes:
        raise ImageError(f"{name} has {len(data):,} bytes, more than the {limits.max_bytes:,} that are allowed.")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            pixels = image.width * image.height
            if pixels <= limits.max_pixels:
                _check_work(image, data, name, limits)
                image.load()
                return _rgb(_upright(image))
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} announces far more than {limits.max_pixels:,} pixels, which is refused.") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image that can be read ({', '.join(_FORMATS)}).") from error
    except Exception as error:  # decoders raise nearly anything on broken files
        raise ImageError(f"{name} is truncated or corrupt: {error}.") from error
    raise ImageError(f"{name} has {pixels:,} pixels, more than the {limits.max_pixels:,} that are allowed.")


def _check_work(image: Image.Image, data: bytes, name: str, limits: ImageLimits) -> None:
    """Refuse what takes far more time or memory than its pixels do.

    Raises:
        ImageError: a JPEG of very many scans, or a TIFF whose tiles are larger than an image may be.
    """
    if data.startswith(_JPEG_BEGINS) and _num_scans(data) > _MAX_SCANS:
        raise ImageError(f"{name} has more than {_MAX_SCANS} scans, as no picture needs.")
    if image.format == "TIFF":
        across, down = (int(image.tag_v2.get(side, 0)) for side in _TILE_SIDES)  # type: ignore[attr-defined]
        if across * down > limits.max_pixels:
            raise ImageError(f"{name} has tiles of {across * down:,} pixels, more than the image may have.")


def _num_scans(data: bytes) -> int:
    """How often a JPEG goes over its pixels at most; counts no further than one beyond what is allowed."""
    likely = data.count(_SCAN_BEGINS)
    if likely <= _MAX_SCANS:
        return likely  # which is quick, and there are no scans that it misses
    place, number = len(_JPEG_BEGINS), 0
    while number <= _MAX_SCANS and (found := _JPEG_MARKER.search(data, place)):
        marker, place = found[1][0], found.end()
        if marker == _END:
            break
        if marker != _WITHOUT_LENGTH:
            place += int.from_bytes(data[place : place + 2], "big")
        number += marker == _SCAN
    return number


def _read(path: Path, name: str, limits: ImageLimits) -> bytes:
    try:
        if not path.is_file():
            raise ImageError(f"{name} is not a file." if path.exists() else f"There is no file {name}.")
        with path.open("rb") as stream:
            return stream.read(limits.max_bytes + 1)
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} can't be read: {getattr(error, 'strerror', None) or error}.") from error


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says; as it is if the EXIF data are broken."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a picture with broken metadata is still a picture
        return image


def _rgb(image: Image.Image) -> Image.Image:
    """RGB from any mode. 16 bits keep their upper eight; floating point is stretched from its own range."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image.copy()
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray((np.clip(values, 0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        span = values.max() - values.min()
        grey = (values - values.min()) * (255 / span if span > 0 else 0)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


@dataclass(frozen=True)
class ImageTransform:
    """Fits an RGB image into a square of `size` pixels, bicubic.

    Attributes:
        size: side of the square, in pixels.
        fit: `letterbox` shows the whole image on mid grey; `crop` scales the shorter side to `size` and takes
            the middle, which equals transformers' `CLIPImageProcessorPil` before rescaling and normalising.

    Raises:
        ValueError: a size below 1 or an unknown fit.
    """

    size: int
    fit: ImageFit

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"image size is {self.size}, expected at least 1")
        if self.fit not in get_args(ImageFit):
            raise ValueError(f"image fit is '{self.fit}', expected letterbox or crop")

    def apply(self, image: Image.Image) -> NDArray[np.uint8]:
        """Pixels of an RGB image [size, size, 3]."""
        fitted = self._letterbox(image) if self.fit == "letterbox" else self._crop(image)
        return np.array(fitted, dtype=np.uint8)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; `from_dict` is the inverse."""
        return {"size": self.size, "fit": self.fit}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ImageTransform:
        """The inverse of `to_dict`."""
        return cls(int(data["size"]), data["fit"])

    def _letterbox(self, image: Image.Image) -> Image.Image:
        scale = self.size / max(image.size)
        width, height = (max(1, min(self.size, round(side * scale))) for side in image.size)
        square = Image.new("RGB", (self.size, self.size), (_MID_GREY,) * 3)
        resized = image.resize((width, height), Image.Resampling.BICUBIC)
        square.paste(resized, ((self.size - width) // 2, (self.size - height) // 2))
        return square

    def _crop(self, image: Image.Image) -> Image.Image:
        short, long = sorted(image.size)
        scaled = [int(self.size * side / short) for side in image.size]
        left, top = ((side - self.size) // 2 for side in scaled)
        box = (left, top, left + self.size, top + self.size)
        if long <= _MAX_RATIO * short:
            return image.resize((scaled[0], scaled[1]), Image.Resampling.BICUBIC).crop(box)
        # Resized as a whole, a strip of 1 x 40,000 would become millions of pixels long; so only what the crop
        # keeps is resized, which equals the above but for rounding.
        across, down = (side / new for side, new in zip(image.size, scaled, strict=True))
        kept = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
        return image.resize((self.size, self.size), Image.Resampling.BICUBIC, box=kept)
