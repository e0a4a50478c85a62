"""Images in, their text out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memeblend.data.images import load_image
from memeblend.data.ocr.cache import OcrCache
from memeblend.data.ocr.engines import INSTALL, Engine, find_engine, make_engine
from memeblend.data.ocr.settings import OcrSettings
from memeblend.data.ocr.text import OcrLine, OcrText
from memeblend.data.rows import Notify, log_line
from memeblend.errors import ImageError, MissingExtraError
from memeblend.files import digest

CACHE_FILE = "ocr.sqlite"
"""Name of the cache's file in a cache folder."""

_FORMAT = 1

Source = str | Path | bytes
"""An image file, or the bytes of one."""


@dataclass(frozen=True, eq=False)
class TextReader:
    """Reads the text in images.

    May be used from several threads at once: the engine guards itself (RapidOCR reads one image at a time, Tesseract
    runs beside itself), and so does the cache, which several processes may share.

    Attributes:
        engine: what finds lines.
        settings: what of them is kept.
        cache: what was read before; None keeps nothing.
    """

    engine: Engine
    settings: OcrSettings
    cache: OcrCache | None = None

    @classmethod
    def make(
        cls,
        engine: str = "auto",
        settings: OcrSettings | None = None,
        *,
        cache: str | Path | None = None,
        notify: Notify = log_line,
    ) -> TextReader:
        """A reader, its models loaded.

        Args:
            engine: `auto`, `rapidocr` or `tesseract`.
            settings: None takes `OcrSettings()`.
            cache: an SQLite file; None keeps nothing.
            notify: takes a sentence for what is not as expected: a language or a cache that can't be used.

        Raises:
            DataError: there is no engine of that name, or it can't be used.
            MissingExtraError: it is not installed, or with `auto` none is.
        """
        settings = settings or OcrSettings()
        name = find_engine(engine)
        if name is None:
            raise MissingExtraError("No OCR engine is installed.", fix=INSTALL)
        return cls(
            make_engine(name, settings, notify), settings, OcrCache(cache, notify) if cache is not None else None
        )

    def read(self, pixels: NDArray[np.uint8]) -> OcrText:
        """The text in an RGB image [h, w, 3].

        Raises:
            ImageError: it has more pixels than are allowed, or the engine fails on it.
            ValueError: another shape or type.
        """
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, expected uint8 [h, w, 3]")
        content = hashlib.sha256(repr(pixels.shape).encode())
        content.update(pixels.tobytes())
        return self._composed(content.hexdigest(), lambda: pixels)

    def read_file(self, source: Source) -> OcrText:
        """The text in an image file; one that was read before is not decoded.

        Args:
            source: a file, or the bytes of one.

        Raises:
            ImageError: it can't be decoded safely, or the engine fails on it.
        """
        if not isinstance(source, bytes):
            source = _bytes(Path(source), self.settings.image_limits.max_bytes)
        content = hashlib.sha256(source).hexdigest()
        return self._composed(content, lambda: np.asarray(load_image(source, self.settings.image_limits)))

    def read_many(self, sources: Sequence[Source]) -> Iterator[OcrText | ImageError]:
        """The texts of many image files, in order, one at a time; an error stands where an image can't be read."""
        for source in sources:
            try:
                yield self.read_file(source)
            except ImageError as error:
                yield error

    def close(self) -> None:
        """Close the cache; reading goes on without."""
        if self.cache is not None:
            self.cache.close()

    def _composed(self, content: str, pixels: Callable[[], NDArray[np.uint8]]) -> OcrText:
        key = digest(_FORMAT, self.engine.name, self.engine.version, content)
        lines = self.cache.get(key) if self.cache is not None else None
        if lines is None:
            lines = self._lines(pixels())
            if self.cache is not None:
                self.cache.put(key, lines)
        return OcrText.compose(lines, self.settings)

    def _lines(self, pixels: NDArray[np.uint8]) -> list[OcrLine]:
        height, width = pixels.shape[:2]
        if not height or not width:
            return []
        if height * width > self.settings.image_limits.max_pixels:
            allowed = f"{self.settings.image_limits.max_pixels:,}"
            raise ImageError(f"The image has {height * width:,} pixels, more than the {allowed} that are allowed.")
        return self.engine.lines(pixels)


def _bytes(path: Path, max_bytes: int) -> bytes:
    """At most one byte more than is allowed, which is refused afterwards."""
    try:
        with path.open("rb") as stream:
            return stream.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise ImageError(f"'{path}' can't be read: {getattr(error, 'strerror', None) or error}.") from error
