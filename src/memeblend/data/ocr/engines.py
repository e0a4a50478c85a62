"""The engines behind one small interface, and which of them are there."""

from __future__ import annotations

import importlib.util
import shutil
import threading
from collections.abc import Callable
from importlib import metadata
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from memeblend.data.ocr.settings import OcrSettings
from memeblend.data.ocr.text import OcrLine
from memeblend.errors import DataError, ImageError, MissingExtraError

ENGINES = ("rapidocr", "tesseract")
"""In the order in which `auto` takes them."""

INSTALL = 'Install the extra: pip install "memeblend[ocr]" (or the program tesseract).'
_EXTRA_MODULES = ("rapidocr", "onnxruntime")
# Text of memes is large: a longer side than this shows the detector nothing more, and bounds its time and memory.
_DETECTOR_SIDE = 960
_READABLE_SIDE = 736
_MAX_LINES = 200
_MAX_RATIO = 24


class Engine(Protocol):
    """Finds lines of text.

    Attributes:
        name: one of `ENGINES`, or any other name for an engine of one's own.
        version: says with `name` what would find the same lines; caches go by it.
    """

    name: str
    version: str

    def lines(self, pixels: NDArray[np.uint8]) -> list[OcrLine]:
        """The lines of an RGB image [h, w, 3], in any order. May be called from several threads.

        Raises:
            ImageError: the engine fails on it, or takes too long.
        """
        ...


def available(engine: str = "rapidocr") -> bool:
    """Whether an engine is installed; finding out imports nothing heavy.

    Raises:
        DataError: there is no engine of that name.
    """
    match engine:
        case "rapidocr":
            return all(importlib.util.find_spec(name) is not None for name in _EXTRA_MODULES)
        case "tesseract":
            return shutil.which("tesseract") is not None
        case _:
            raise DataError(
                f"There is no OCR engine '{engine}'.",
                fix=f"Engines are {', '.join(ENGINES)}; auto takes what is there.",
            )


def find_engine(engine: str = "auto") -> str | None:
    """The engine to use: `auto` takes the first of `ENGINES` that is installed, None where none is; `none` none.

    Raises:
        DataError: there is no engine of that name.
        MissingExtraError: it was asked for by name and is not installed.
    """
    if engine == "none":
        return None
    if engine == "auto":
        return next((name for name in ENGINES if available(name)), None)
    if not available(engine):
        fix = INSTALL if engine == "rapidocr" else "Install it, on Debian: apt install tesseract-ocr tesseract-ocr-hin"
        raise MissingExtraError(f"OCR with {engine} needs {engine}, which is not installed.", fix=fix)
    return engine


def make_engine(engine: str, settings: OcrSettings, notify: Callable[[str], None]) -> Engine:
    """The engine of that name, ready to read.

    Raises:
        DataError: there is no engine of that name, or it can't be used.
        MissingExtraError: it is not installed.
    """
    if find_engine(engine) == "rapidocr":
        return RapidEngine(settings)
    from memeblend.data.ocr.tesseract import TesseractEngine

    return TesseractEngine.start(settings, notify)


class RapidEngine:
    """RapidOCR's packaged PP-OCR models on onnxruntime.

    Its models are not re-entrant, so calls from several threads wait for each other.

    Args:
        settings: `threads` is used.

    Raises:
        MissingExtraError: the extra `ocr` is not installed, or one of its libraries can't be loaded.
    """

    name = "rapidocr"

    def __init__(self, settings: OcrSettings) -> None:
        try:
            from rapidocr import RapidOCR
        except ImportError as error:
            raise MissingExtraError(f"OCR with rapidocr can't be used: {error}.", fix=INSTALL) from error
        self.version = metadata.version("rapidocr")
        self._lock = threading.Lock()
        threads = settings.threads
        self._model: Callable[[Any], Any] = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.text_score": 0.0,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                "Det.limit_type": "max",
                "Det.limit_side_len": _DETECTOR_SIDE,
                "Det.max_candidates": _MAX_LINES,
            }
        )

    def lines(self, pixels: NDArray[np.uint8]) -> list[OcrLine]:
        """See `Engine.lines`."""
        fitted, scale = fit_for_reading(pixels)
        try:
            with self._lock:
                found = self._model(np.ascontiguousarray(fitted[:, :, ::-1]))  # it reads BGR, as OpenCV does
        except Exception as error:  # it and OpenCV raise nearly anything
            raise ImageError(f"No text can be read from the image: {type(error).__name__}: {error}.") from error
        if found.boxes is None or found.txts is None:
            return []
        lines = []
        for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True):
            (left, top), (right, bottom) = (np.asarray(corners).min(axis=0), np.asarray(corners).max(axis=0))
            box = (float(left / scale), float(top / scale), float(right / scale), float(bottom / scale))
            lines.append(OcrLine(str(text), float(score), box))
        return lines


def fit_for_reading(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """An image as a detector of text wants it: small ones enlarged, thin strips widened with their last pixels.

    Args:
        pixels: RGB [h, w, 3].

    Returns:
        The image and its scale. Pixels are only added to the right and below, so that places stay places.
    """
    height, width = pixels.shape[:2]
    least = -(-max(height, width) // _MAX_RATIO)
    if min(height, width) < least:
        extra = ((0, max(0, least - height)), (0, max(0, least - width)), (0, 0))
        pixels = np.pad(pixels, extra, mode="edge")
        height, width = pixels.shape[:2]
    scale = min(_READABLE_SIDE / min(height, width), _DETECTOR_SIDE / max(height, width))
    if scale <= 1:
        return pixels, 1.0
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)), scale
