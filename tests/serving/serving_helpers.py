"""A small model, clients for it, and images that are none."""

from __future__ import annotations

import base64
import contextlib
import io
import struct
import threading
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

from fastapi.testclient import TestClient
from PIL import Image

from memeblend import MemeClassifier
from memeblend.serving.app import create_app
from memeblend.serving.running import listen, make_server
from memeblend.serving.served import ServedModel
from memeblend.serving.settings import ServerSettings
from small_runs import small_data, small_recipe

OWN = "http://localhost:8000"
"""The origin of the page of `client_of`'s server."""


@dataclass(frozen=True)
class Fitted:
    """A fitted model: its data set and its folder."""

    data: Path
    folder: Path

    def served(self) -> ServedModel:
        return ServedModel.load(self.folder)

    def image(self, number: int = 0) -> bytes:
        return (self.data / "pictures" / f"{number}.png").read_bytes()


def fit_small(folder: Path, kinds: tuple[str, ...]) -> Fitted:
    recipe = small_recipe("ensemble.method=all")
    kept = tuple(candidate for candidate in recipe.candidates if candidate.kind in kinds)
    data = small_data(folder / "data")
    MemeClassifier(recipe.model_copy(update={"candidates": kept}), out=folder / "run").fit(data)
    return Fitted(data, folder / "run" / "model")


@contextlib.contextmanager
def client_of(model, **settings):
    """A client of a server of this model, in the same process."""
    with TestClient(create_app(model, ServerSettings(**settings)), base_url=OWN) as client:
        yield client


@contextlib.contextmanager
def live(model, **settings):
    """A server of this model that listens on a free port; gives its address and the server."""
    limits = ServerSettings(**settings)
    listener = listen("127.0.0.1", 0, limits)
    address = listener.getsockname()[:2]
    server = make_server(create_app(model, limits), limits)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        until(lambda: server.started)
        yield address, server
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def until(true, seconds=20):
    """Wait for something to become true."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.01)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png_that_announces(width: int, height: int) -> bytes:
    """A PNG of one colour; kilobytes for hundreds of megapixels, of which at most 256 are really there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)  # one bit a pixel
    rows = zlib.compress(bytes(min((width // 8 + 2) * height, 2**25)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def half_a_jpeg() -> bytes:
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(whole, "JPEG")
    return whole.getvalue()[: whole.tell() // 2]
