"""Explanations on a server: one at a time, in a thread of their own, so that predictions go on beside them.

An explanation asks the members about a hundred variants of a meme and may run dozens of backward passes, seconds that
no batch should wait for. Whatever it hooks into the model it hooks for its own thread alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from memeblend.data.images import load_image
from memeblend.errors import DataError, ImageError, Problem
from memeblend.serving.memes import Upload
from memeblend.serving.refusals import Refusal
from memeblend.serving.schemas import ExplainAnswer, ExplainRequest, FittedOut
from memeblend.serving.service import Service

if TYPE_CHECKING:
    from memeblend.explain.explained import ExplainedModel

MAX_WAITING = 8
"""Most explanations that are taken in and not answered yet."""


class Explainer:
    """Explains memes one after another.

    Args:
        service: whose model, limits and decoders are used.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.num_places_taken = 0
        self._thread = ThreadPoolExecutor(1, "memeblend-explain")

    @property
    def available(self) -> bool:
        """Whether the model can be explained: only one whose members are at hand can, not an exported one."""
        return hasattr(self.service.model.classifier, "candidates_")

    @property
    def gradients(self) -> bool:
        """Whether integrated gradients are to be had."""
        return self.available and find_spec("captum") is not None

    async def stop(self) -> None:
        """End the thread once the explanation that it is at is done."""
        await asyncio.to_thread(partial(self._thread.shutdown, cancel_futures=True))

    async def explain(self, asked: ExplainRequest, upload: Upload) -> ExplainAnswer:
        """Explain what the model decides on a meme.

        Raises:
            Refusal: there is nothing to explain it with (501), no such label task or class, no image for members that
                read images, or one that can't be decoded (422), too many are waiting (429), or the deadline has
                passed (504).
        """
        if not self.available:
            raise Refusal(501, "no_explanations", "This server's engine predicts only; a torch engine can explain.")
        settings = self.service.settings
        with self._place():
            try:
                async with asyncio.timeout(settings.deadline_s):
                    (read,) = await self.service.texts.of([upload])
                    text = upload.text if read is None else read.text
                    work = partial(self._explained, asked, upload, text)
                    return await asyncio.get_running_loop().run_in_executor(self._thread, work)
            except TimeoutError:
                late = f"The explanation was not ready within {settings.deadline_s:g} s."
                raise Refusal(504, "deadline", late, retry_after_s=1) from None

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self.num_places_taken >= MAX_WAITING:
            raise Refusal(429, "queue_full", f"{MAX_WAITING} explanations are waiting already.", retry_after_s=5)
        self.num_places_taken += 1
        try:
            yield
        finally:
            self.num_places_taken -= 1

    def _explained(self, asked: ExplainRequest, upload: Upload, text: str) -> ExplainAnswer:
        # Loads torch, which a server of an exported model never does.
        from memeblend.explain.explaining import explain

        model = self.service.model
        cheap = asked.cheap or not self.gradients
        try:
            image = None if upload.image is None else load_image(upload.image, self.service.settings.image_limits)
        except ImageError as error:
            raise Refusal(
                422, "bad_image", "The image can't be read.", problems=[Problem(upload.where, error.message)]
            ) from error
        try:
            found = explain(
                cast("ExplainedModel", model.classifier),  # `available` was asked before
                image,
                text,
                label_task=asked.label_task,
                class_name=asked.class_name,
                cheap=cheap,
            )
        except DataError as error:
            raise Refusal(422, "not_explainable", " ".join([error.message, error.fix]).strip()) from error
        transform = model.classifier.preprocessor_.transform
        fitted: dict[str, Any] = transform.to_dict()
        return ExplainAnswer(
            model=model.name,
            cheap=cheap,
            fitted=None if image is None else FittedOut(**fitted),
            explanation=found.to_dict(),
        )
