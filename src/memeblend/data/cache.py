"""Decoded images on disk: each distinct image is decoded and fitted once, by its content.

A cache folder holds, per transform, a store of pixels by the SHA-256 of the image file; see `memeblend.data.shards`.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memeblend.data.images import ImageTransform, load_image
from memeblend.data.manifest import Manifest
from memeblend.data.shards import SHARD_BYTES, ShardStore
from memeblend.errors import DataError, ImageError, Problem
from memeblend.files import digest, file_digest

Progress = Callable[[int, int], None]
"""Takes the number of images done and the number of all."""

_FORMAT = 2


def default_cache_dir() -> Path:
    """`$MEMEBLEND_CACHE`, else `$XDG_CACHE_HOME/memeblend`, else `~/.cache/memeblend`."""
    own = os.environ.get("MEMEBLEND_CACHE")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "memeblend"


def cached_images(
    manifest: Manifest,
    transform: ImageTransform,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """Pixels of every meme's image [num_memes, size, size, 3], decoding only what the cache lacks.

    Args:
        manifest: memes with images.
        transform: how an image becomes a square.
        cache_dir: the cache folder; None takes `default_cache_dir()`.
        progress: told of images decoded, not of those found in the cache.

    Raises:
        DataError: the memes have no images.
        ImageError: images that can't be decoded, all at once.
        OutputError: the cache can't be written.
    """
    cache = _ImageCache(cache_dir, transform)
    problems = cache.fill(manifest, progress)
    if problems:
        raise ImageError(
            f"{len(problems)} image(s) can't be decoded.",
            problems=problems,
            fix="Repair these images, or leave their memes out (`fit` does with --skip-bad, in Python skip_bad).",
        )
    return cache.gather(manifest.image_digests())


def decoded_images(
    manifest: Manifest, transform: ImageTransform, progress: Progress | None = None
) -> NDArray[np.uint8]:
    """As `cached_images`, but nothing is kept: for memes that come by once.

    Raises:
        DataError: the memes have no images.
        ImageError: images that can't be decoded, all at once.
    """
    with tempfile.TemporaryDirectory(prefix="memeblend-") as folder:
        return cached_images(manifest, transform, folder, progress)


def unreadable_images(
    manifest: Manifest,
    transform: ImageTransform,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> list[Problem]:
    """One problem per meme whose image can't be decoded; the other images are in the cache afterwards.

    `Manifest.reject` takes these problems. Arguments and errors otherwise as for `cached_images`.
    """
    return _ImageCache(cache_dir, transform).fill(manifest, progress)


class _ImageCache:
    """The shards of one transform."""

    def __init__(self, cache_dir: str | Path | None, transform: ImageTransform) -> None:
        self.transform = transform
        root = default_cache_dir() if cache_dir is None else Path(cache_dir)
        shape = (transform.size, transform.size, 3)
        self.store = ShardStore(root / "images" / digest(_FORMAT, transform.to_dict()), np.uint8, shape)
        self.shard_rows = max(1, SHARD_BYTES // (3 * transform.size**2))

    def fill(self, manifest: Manifest, progress: Progress | None) -> list[Problem]:
        """Decode what is missing; returns a problem per meme whose image can't be."""
        if not manifest.has_images:
            raise DataError("These memes have no images.", fix="Use candidates that read text alone.")
        digests = manifest.image_digests()
        images = manifest.table["image"].tolist()
        first = {key: manifest.root / image for key, image in zip(reversed(digests), reversed(images), strict=True)}
        missing = sorted(first.keys() - self.store.known())
        count = _Count(progress, len(missing))
        faults: dict[str, str] = {}
        for start in range(0, len(missing), self.shard_rows):
            faults |= self._write_shard(missing[start : start + self.shard_rows], first, count)
        return [
            Problem(f"meme {meme_id}", faults[key], meme_id)
            for meme_id, key in zip(manifest.table["meme_id"].tolist(), digests, strict=True)
            if key in faults
        ]

    def gather(self, digests: list[str]) -> NDArray[np.uint8]:
        """Pixels of the images with these digests [num_memes, size, size, 3].

        Raises:
            DataError: the cache lost one of them since it was filled.
        """
        found = self.store.find_all(digests)
        pixels = np.empty((len(digests), *self.store.shape), dtype=np.uint8)
        for row, key in enumerate(digests):
            pixels[row] = found[key][0]
        return pixels

    def _write_shard(self, keys: list[str], paths: dict[str, Path], progress: _Count) -> dict[str, str]:
        """Decode images into a new shard; returns digest -> reason for those that can't be."""
        pixels = np.empty((len(keys), *self.store.shape), dtype=np.uint8)
        faults: dict[str, str] = {}
        kept: list[str] = []
        with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
            warnings.simplefilter("ignore")  # Pillow warns of oddities in files that it reads all the same
            decoded = pool.map(self._decode, keys, (paths[key] for key in keys))
            for key, result in zip(keys, decoded, strict=True):
                if isinstance(result, str):
                    faults[key] = result
                else:
                    pixels[len(kept)] = result
                    kept.append(key)
                progress.step()
        if kept:
            self.store.write(kept, [1] * len(kept), pixels[: len(kept)])
        return faults

    def _decode(self, key: str, path: Path) -> NDArray[np.uint8] | str:
        try:
            pixels = self.transform.apply(load_image(path))
            # Hashed again, or a file replaced in between would stay under the wrong digest for good.
            unchanged = file_digest(path) == key
        except ImageError as error:
            return error.message
        except OSError as error:
            return f"'{path}' can't be read: {error.strerror or error}."
        return pixels if unchanged else f"'{path}' was changed while it was read."


class _Count:
    """Counts images for a progress callback."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.done, self.total = progress, 0, total

    def step(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)
