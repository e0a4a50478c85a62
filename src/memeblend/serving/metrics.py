"""What a server counts, in Prometheus' text format, in a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters and histograms of one server.

    Args:
        model: name of the model that is served.
        queue: gives the number of memes that are taken in and not answered yet.
    """

    def __init__(self, model: str, queue: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "memeblend"}
        self.requests = Counter("requests", "Requests answered.", ["path", "status"], **own)
        self.request_seconds = Histogram(
            "request_seconds", "From a request's headers to the end of its answer.", ["path"], buckets=_SECONDS, **own
        )
        self.rejects = Counter("rejects", "Requests that were not served, by reason.", ["reason"], **own)
        self.memes = Counter("memes", "Memes that the model read.", **own)
        self.batch_size = Histogram("batch_size", "Memes that the model read at once.", buckets=_SIZES, **own)
        self.batch_seconds = Histogram("batch_seconds", "Time of the model for a batch.", buckets=_SECONDS, **own)
        self.wait_seconds = Histogram("wait_seconds", "Time a meme waits for its batch.", buckets=_SECONDS, **own)
        self.failures = Counter("model_failures", "Batches on which the model failed.", **own)
        Gauge("queue_memes", "Memes taken in and not answered yet.", **own).set_function(queue)
        Gauge("model_info", "The model that is served.", ["model"], **own).labels(model).set(1)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def batch_done(self, num_memes: int, seconds: float, waited: Sequence[float]) -> None:
        """Count a batch."""
        self.memes.inc(num_memes)
        self.batch_size.observe(num_memes)
        self.batch_seconds.observe(seconds)
        for one in waited:
            self.wait_seconds.observe(one)

    def batch_failed(self) -> None:
        """Count a failure of the model."""
        self.failures.inc()

    def request_done(self, path: str, status: int, seconds: float, reason: str) -> None:
        """Count a request; `reason` is the code of a refusal, "" for one that was served."""
        self.requests.labels(path, str(status)).inc()
        self.request_seconds.labels(path).observe(seconds)
        if reason:
            self.rejects.labels(reason).inc()

    def text(self) -> bytes:
        """Everything counted, in Prometheus' text format."""
        return generate_latest(self.registry)
