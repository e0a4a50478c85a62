"""Dynamic micro-batching: memes of many requests are read by the model together, in one or more threads of its own.

A meme waits at most `max_wait_s` for others while the model is idle; while it is busy, the next batch gathers by
itself. Places are bounded: a request takes one for each of its memes before anything is decoded and gives them back
when it is answered, so what is waiting can't grow beyond what is allowed.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from memeblend.serving.memes import DecodedMeme
from memeblend.serving.refusals import Refusal

Record = dict[str, Any]
"""What a model says of a meme, an element of `Predictions.to_records`."""

_SECONDS_A_MEME_AT_FIRST = 0.05
_SMOOTHING = 0.2


class BatchObserver(Protocol):
    """Who is told of batches."""

    def batch_done(self, num_memes: int, seconds: float, waited: Sequence[float]) -> None:
        """A batch was read; `waited` are the seconds that its memes waited for it."""

    def batch_failed(self, error: Exception) -> None:
        """The model failed on a batch, or on a meme alone."""


@dataclass(eq=False)
class _Job:
    """A request's memes on their way through the model."""

    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[list[Record]]
    records: list[Record | None]
    num_open: int
    error: Exception | None = None
    abandoned: bool = False

    def settle(self) -> None:
        """Hand the result over; runs in the event loop."""
        if self.done.done():
            return
        if self.error is not None:
            self.done.set_exception(self.error)
        else:
            self.done.set_result([record for record in self.records if record is not None])


@dataclass(eq=False)
class _Waiting:
    """One meme of a job."""

    meme: DecodedMeme
    job: _Job
    position: int
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Gathers memes into batches and has the model read them.

    Args:
        predict: reads a batch; called in the worker threads alone, in all of them at a time.
        max_batch: most memes of a batch.
        max_wait_s: how long the first meme of a batch waits for others.
        max_queue: most memes that have a place at a time.
        observer: who is told of batches.
        prepare_thread: called once in each worker thread before its first batch.
        num_streams: batches that are read at a time.
    """

    def __init__(
        self,
        predict: Callable[[Sequence[DecodedMeme]], list[Record]],
        *,
        max_batch: int,
        max_wait_s: float,
        max_queue: int,
        observer: BatchObserver,
        prepare_thread: Callable[[], None] = lambda: None,
        num_streams: int = 1,
    ) -> None:
        self.predict = predict
        self.max_batch = max_batch
        self.max_wait_s = max_wait_s
        self.max_queue = max_queue
        self.observer = observer
        self.prepare_thread = prepare_thread
        self.num_places_taken = 0
        self._waiting: deque[_Waiting] = deque()
        self._open: set[_Job] = set()
        self._changed = threading.Condition()
        self._stopping = False
        self._broken: Exception | None = None
        self._seconds_a_meme = _SECONDS_A_MEME_AT_FIRST
        self._busy_since: dict[int, float] = {}
        self._threads = [
            threading.Thread(target=self._work, args=(stream,), name=f"memeblend-model-{stream}", daemon=True)
            for stream in range(num_streams)
        ]

    def start(self) -> None:
        """Start the worker threads."""
        for thread in self._threads:
            thread.start()

    async def stop(self) -> None:
        """Take nothing more, answer what was taken, then end the worker threads."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def fault(self, stuck_after_s: float) -> str:
        """Why no meme would be answered now, in a sentence; "" when all is well."""
        if self._stopping:
            return "The server is stopping."
        if self._broken is not None or not all(thread.is_alive() for thread in self._threads):
            return "The model's thread has ended."
        now = time.monotonic()
        if any(now - since > stuck_after_s for since in list(self._busy_since.values())):
            return f"The model has been busy with one batch for more than {stuck_after_s:g} s."
        return ""

    @contextmanager
    def places(self, num_memes: int) -> Iterator[None]:
        """Hold a place for each meme of a request; used in the event loop alone.

        Raises:
            Refusal: all places are taken (429), or the server is stopping (503).
        """
        if self._stopping:
            raise Refusal(503, "stopping", "The server is stopping.", retry_after_s=1)
        if self.num_places_taken + num_memes > self.max_queue:
            raise Refusal(
                429,
                "queue_full",
                f"{self.num_places_taken} memes are waiting already and {self.max_queue} may; try again later.",
                retry_after_s=max(1, math.ceil(self.num_places_taken * self._seconds_a_meme / len(self._threads))),
            )
        self.num_places_taken += num_memes
        try:
            yield
        finally:
            self.num_places_taken -= num_memes

    async def classify(self, memes: Sequence[DecodedMeme]) -> list[Record]:
        """What the model says of each meme, in their order.

        When the waiting task is cancelled, memes that no batch has taken yet are dropped.

        Raises:
            Refusal: the server is stopping, or its model's thread has ended (503).
            Exception: whatever the model raised on one of these memes alone, or what has ended its thread.
        """
        loop = asyncio.get_running_loop()
        job = _Job(loop, loop.create_future(), [None] * len(memes), len(memes))
        with self._changed:
            if self._stopping:
                raise Refusal(503, "stopping", "The server is stopping.", retry_after_s=1)
            if self._broken is not None:
                raise Refusal(503, "broken", "The model's thread has ended; the server has to be started again.")
            self._open.add(job)
            self._waiting.extend(_Waiting(meme, job, position) for position, meme in enumerate(memes))
            self._changed.notify()
        try:
            return await job.done
        finally:
            job.abandoned = True
            with self._changed:
                self._open.discard(job)

    def _work(self, stream: int) -> None:
        try:
            self._read_all(stream)
        except Exception as error:
            self._break(error)

    def _break(self, error: Exception) -> None:
        """Answer all who wait for a thread that ends though nobody told it to."""
        with self._changed:
            self._broken = error
            jobs = list(self._open)
            self._waiting.clear()
        for job in jobs:
            job.error = job.error or error
            _hand_over(job.loop, [job])
        self.observer.batch_failed(error)

    def _read_all(self, stream: int) -> None:
        self.prepare_thread()
        while self._broken is None and (batch := self._gather()) is not None:
            if batch:
                self._busy_since[stream] = time.monotonic()
                self._read(batch)
                del self._busy_since[stream]

    def _gather(self) -> list[_Waiting] | None:
        """The next batch, without memes that nobody waits for any more; None when there will be no other."""
        with self._changed:
            while not self._waiting and not self._stopping:
                self._changed.wait()
            if not self._waiting:
                return None
            closes = self._waiting[0].since + self.max_wait_s
            while len(self._waiting) < self.max_batch and not self._stopping:
                left = closes - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            batch: list[_Waiting] = []
            while self._waiting and len(batch) < self.max_batch:
                one = self._waiting.popleft()
                if not one.job.abandoned:
                    batch.append(one)
            if self._waiting:  # more than a batch came at once, and one idle stream was woken
                self._changed.notify()
            return batch

    def _read(self, batch: list[_Waiting]) -> None:
        """Have a batch read and hand over the jobs that this completes."""
        began = time.monotonic()
        outcomes = self._outcomes([one.meme for one in batch])
        seconds = time.monotonic() - began
        self._seconds_a_meme += _SMOOTHING * (seconds / len(batch) - self._seconds_a_meme)
        complete: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        for one, outcome in zip(batch, outcomes, strict=True):
            job = one.job
            if isinstance(outcome, Exception):
                job.error = job.error or outcome
            else:
                job.records[one.position] = outcome
            job.num_open -= 1
            if job.num_open == 0:
                complete.setdefault(job.loop, []).append(job)
        self.observer.batch_done(len(batch), seconds, [began - one.since for one in batch])
        for loop, jobs in complete.items():
            _hand_over(loop, jobs)

    def _outcomes(self, memes: list[DecodedMeme]) -> list[Record | Exception]:
        """A record or an error for each meme; one that the model can't bear does not spoil the others'."""
        try:
            found = self.predict(memes)
            if len(found) != len(memes):
                raise RuntimeError(f"the model gave {len(found)} records for {len(memes)} memes")
            return list(found)
        except Exception as error:
            self.observer.batch_failed(error)
            if len(memes) == 1:
                return [error]
            return [outcome for meme in memes for outcome in self._outcomes([meme])]


def _hand_over(loop: asyncio.AbstractEventLoop, jobs: list[_Job]) -> None:
    def settle_all() -> None:
        for job in jobs:
            job.settle()

    try:
        loop.call_soon_threadsafe(settle_all)
    except RuntimeError:
        return  # the loop was closed under us: nobody is left to be answered
