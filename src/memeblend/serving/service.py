"""From uploads to the model's records: limits, decoding, batches, deadlines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

from memeblend.data.ocr import OcrText
from memeblend.errors import ImageError, Problem
from memeblend.onnx_engine.sessions import num_cores
from memeblend.serving.batching import Batcher, Record
from memeblend.serving.logs import log
from memeblend.serving.memes import DecodedMeme, Upload, blank_memes, decode
from memeblend.serving.metrics import Metrics
from memeblend.serving.policies import Policies
from memeblend.serving.reading import ImageTexts
from memeblend.serving.refusals import Refusal
from memeblend.serving.served import ServedModel
from memeblend.serving.settings import ServerSettings

_DECODERS = 4
_STUCK_DEADLINES = 2
_T = TypeVar("_T")


class Service:
    """A model at work.

    Args:
        model: what is served.
        settings: limits and habits.

    Raises:
        DataError: there is no such OCR engine, or it can't be used.
        MissingExtraError: it is not installed.
        PolicyError: the policy can't be read or used with this model.
    """

    def __init__(self, model: ServedModel, settings: ServerSettings) -> None:
        self.model = model
        self.settings = settings
        self.policies = Policies(model.classifier.label_tasks_, model.classifier.validation_, settings)
        self.texts = ImageTexts(settings)
        self.metrics = Metrics(model.name, lambda: self.batcher.num_places_taken)
        streams = settings.streams
        self.batcher = Batcher(
            model.predict,
            max_batch=settings.max_batch,
            max_wait_s=settings.max_wait_s,
            max_queue=settings.max_queue,
            observer=self,
            prepare_thread=lambda: model.classifier.set_num_threads(streams.num_threads),
            num_streams=streams.num_streams,
        )
        self._decoders = ThreadPoolExecutor(min(_DECODERS, num_cores()), "memeblend-decode")

    def batch_done(self, num_memes: int, seconds: float, waited: Sequence[float]) -> None:
        """Count a batch."""
        self.metrics.batch_done(num_memes, seconds, waited)

    def batch_failed(self, error: Exception) -> None:
        """Count and log a failure of the model."""
        self.metrics.batch_failed()
        log(logging.ERROR, "the model failed", error)

    async def start(self) -> None:
        """Start the model's thread and have it read a smallest and a largest batch, so that no client waits for that.

        Raises:
            Exception: the model fails on these.
        """
        self.batcher.start()
        await self.texts.start()
        transform = self.model.classifier.preprocessor_.transform
        for num_memes in (1, self.settings.max_batch):
            await self.batcher.classify(blank_memes(num_memes, transform))

    async def stop(self) -> None:
        """Answer what was taken, then end all threads."""
        await self.batcher.stop()
        await self.texts.stop()
        self._decoders.shutdown(cancel_futures=True)

    def fault(self) -> str:
        """Why no meme would be answered now; "" when all is well."""
        return self.batcher.fault(_STUCK_DEADLINES * self.settings.deadline_s)

    async def in_decoder(self, work: Callable[[], _T]) -> _T:
        """Run something in the threads that decode, so that the event loop goes on."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work)

    async def classify(self, uploads: Sequence[Upload]) -> list[Record]:
        """What the model says of each upload, in their order.

        Where the server has OCR and a meme came without text, its record also says `ocr_text` and `ocr`.

        Raises:
            Refusal: images are missing or can't be decoded (422), the queue is full (429), the deadline has passed
                (504).
        """
        self._check_images(uploads)
        with self.batcher.places(len(uploads)):
            try:
                async with asyncio.timeout(self.settings.deadline_s):
                    return await self._records(uploads)
            except TimeoutError:
                late = f"The request was not answered within {self.settings.deadline_s:g} s."
                raise Refusal(504, "deadline", late, retry_after_s=1) from None

    async def read_text(self, upload: Upload) -> OcrText | None:
        """The text in an upload's image, whether or not it came with one; None where texts are not read.

        Raises:
            Refusal: the image can't be decoded (422), the queue is full (429), the deadline has passed (504).
        """
        if upload.image is None or self.texts.engine is None:
            return None
        with self.batcher.places(1):
            try:
                async with asyncio.timeout(self.settings.deadline_s):
                    await self._decoded([upload])
                    return await self.texts.read(upload.image)
            except TimeoutError:
                late = f"The text was not read within {self.settings.deadline_s:g} s."
                raise Refusal(504, "deadline", late, retry_after_s=1) from None

    async def _records(self, uploads: Sequence[Upload]) -> list[Record]:
        decoded = await self._decoded(uploads)
        if not self.model.reads_text:
            return await self.batcher.classify(decoded)
        found = await self.texts.of(uploads)
        memes = [
            meme if read is None else replace(meme, text=read.text) for meme, read in zip(decoded, found, strict=True)
        ]
        records = await self.batcher.classify(memes)
        for record, read in zip(records, found, strict=True):
            if read is not None:
                confidence = round(read.confidence, 4)
                record |= {"ocr_text": read.text, "ocr": {"engine": self.texts.engine, "confidence": confidence}}
        return records

    def _check_images(self, uploads: Sequence[Upload]) -> None:
        if not self.model.needs_image:
            return
        readers = ", ".join(name for name, read in self.model.classifier.reads_.items() if "image" in read)
        without = [
            Problem(upload.where, f"is missing, but the model's members {readers} read images")
            for upload in uploads
            if upload.image is None
        ]
        if without:
            raise Refusal(422, "image_missing", "Some memes lack what the model reads.", problems=without)

    async def _decoded(self, uploads: Sequence[Upload]) -> list[DecodedMeme]:
        transform, limits = self.model.classifier.preprocessor_.transform, self.settings.image_limits

        def attempt(upload: Upload) -> DecodedMeme | Problem:
            try:
                return decode(upload, transform, limits)
            except ImageError as error:
                return Problem(upload.where, error.message)

        found = await asyncio.gather(*(self.in_decoder(partial(attempt, upload)) for upload in uploads))
        problems = [one for one in found if isinstance(one, Problem)]
        if problems:
            raise Refusal(422, "bad_image", "Some images can't be read.", problems=problems)
        return [one for one in found if isinstance(one, DecodedMeme)]
