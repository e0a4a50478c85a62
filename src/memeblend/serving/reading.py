"""The text in images that come without it, read beside the decoders so that other memes do not wait for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from memeblend.data.ocr import OcrSettings, OcrText, TextReader, find_engine
from memeblend.errors import ImageError
from memeblend.serving.logs import log
from memeblend.serving.memes import Upload
from memeblend.serving.settings import ServerSettings

_BLANK_SIDE = 64


class ImageTexts:
    """Reads images one after another, in a thread of its own; nothing that was read is kept.

    Args:
        settings: `ocr` names the engine, `image_limits` say what it may be given.

    Raises:
        DataError: there is no engine of that name, or it can't be used.
        MissingExtraError: it was asked for by name and is not installed.
    """

    def __init__(self, settings: ServerSettings) -> None:
        engine = find_engine(settings.ocr)
        habits = OcrSettings(image_limits=settings.image_limits, time_limit_s=settings.deadline_s)
        self._reader = None if engine is None else TextReader.make(engine, habits, notify=_say)
        self._thread = ThreadPoolExecutor(1, "memeblend-read")

    @property
    def engine(self) -> str | None:
        """Name of the engine; None where texts are not read."""
        return None if self._reader is None else self._reader.engine.name

    async def start(self) -> None:
        """Read a blank image, so that no client waits for models to load."""
        if self._reader is not None:
            blank = np.full((_BLANK_SIDE, _BLANK_SIDE, 3), 255, dtype=np.uint8)
            await asyncio.get_running_loop().run_in_executor(self._thread, self._reader.read, blank)

    async def stop(self) -> None:
        """End the thread once the image that it is at is read."""
        await asyncio.to_thread(partial(self._thread.shutdown, cancel_futures=True))

    async def read(self, image: bytes) -> OcrText | None:
        """The text in an image file; None where texts are not read.

        An image that the engine fails on has no text; that it can be decoded is for others to see.
        """
        if self._reader is None:
            return None
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._reader.read_file, image)
        except ImageError as error:
            log(logging.WARNING, "no text could be read from an image", error)
            return OcrText("", ())

    async def of(self, uploads: Sequence[Upload]) -> list[OcrText | None]:
        """What was read of each upload that came without text; None for the others."""
        return [
            None if upload.has_text or upload.image is None else await self.read(upload.image) for upload in uploads
        ]


def _say(sentence: str) -> None:
    log(logging.WARNING, sentence)
