"""Decoded images on disk: each distinct image is decoded and fitted once, by its content.

A cache folder holds, per transform, a number of *shards*: .npy files of records (SHA-256 of the image file,
pixels). A shard is written once, whole, and never changed. So processes may fill one cache at the same time
(at worst an image is decoded twice), and a killed one loses at most the shard it was working on.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.data.images import ImageTransform, load_image
from memeblend.data.manifest import Manifest
from memeblend.errors import DataError, ImageError, Problem
from memeblend.files import digest, file_digest, replacing

Progress = Callable[[int, int], None]
"""Takes the number of images done and the number of all."""

_FORMAT = 1
_SHARD_BYTES = 32 * 2**20


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
            fix="Repair these images, or read with skip_bad (--skip-bad), which drops their memes.",
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
        self.folder = root / "images" / digest(_FORMAT, transform.to_dict())
        self.record = np.dtype([("digest", np.uint8, (32,)), ("pixels", np.uint8, (transform.size, transform.size, 3))])
        self.shard_rows = max(1, _SHARD_BYTES // self.record.itemsize)

    def fill(self, manifest: Manifest, progress: Progress | None) -> list[Problem]:
        """Decode what is missing; returns a problem per meme whose image can't be."""
        if not manifest.has_images:
            raise DataError("These memes have no images.", fix="Use candidates that read text alone.")
        digests = manifest.image_digests()
        images = manifest.table["image"].tolist()
        first = {key: manifest.root / image for key, image in zip(reversed(digests), reversed(images), strict=True)}
        missing = sorted(first.keys() - self.known())
        count = _Count(progress, len(missing))
        faults: dict[str, str] = {}
        for start in range(0, len(missing), self.shard_rows):
            faults |= self._write_shard(missing[start : start + self.shard_rows], first, count)
        return [
            Problem(f"meme {meme_id}", faults[key], meme_id)
            for meme_id, key in zip(manifest.table["meme_id"].tolist(), digests, strict=True)
            if key in faults
        ]

    def known(self) -> set[str]:
        """Digests of the images that the shards hold."""
        return {key for shard in self._shards() for key in _keys(shard)}

    def gather(self, digests: list[str]) -> NDArray[np.uint8]:
        """Pixels of the images with these digests [num_memes, size, size, 3].

        Raises:
            DataError: the cache lost one of them since it was filled.
        """
        rows_of = _rows_of(digests)
        pixels = np.empty((len(digests), self.transform.size, self.transform.size, 3), dtype=np.uint8)
        for shard in self._shards():
            for position, key in enumerate(_keys(shard)):
                rows = rows_of.pop(key, None)
                if rows is not None:
                    pixels[rows] = shard["pixels"][position]
        if rows_of:
            raise DataError(f"The cache '{self.folder}' was changed while it was read.", fix="Run it again.")
        return pixels

    def _shards(self) -> Iterator[NDArray[Any]]:
        """Every shard, mapped into memory; one that is damaged is removed, so its images are decoded anew."""
        for path in sorted(self.folder.glob("*.npy")):
            try:
                shard: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
                if shard.dtype != self.record or shard.ndim != 1:
                    raise ValueError("not a shard of this cache")
            except FileNotFoundError:
                continue
            except (ValueError, EOFError):
                path.unlink(missing_ok=True)
                continue
            yield shard

    def _write_shard(self, keys: list[str], paths: dict[str, Path], progress: _Count) -> dict[str, str]:
        """Decode images into a new shard; returns digest -> reason for those that can't be."""
        shard = np.empty(len(keys), dtype=self.record)
        faults: dict[str, str] = {}
        kept: list[int] = []
        with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
            warnings.simplefilter("ignore")  # Pillow warns of oddities in files that it reads all the same
            decoded = pool.map(self._decode, keys, (paths[key] for key in keys))
            for position, (key, result) in enumerate(zip(keys, decoded, strict=True)):
                if isinstance(result, str):
                    faults[key] = result
                else:
                    shard[position] = (np.frombuffer(bytes.fromhex(key), np.uint8), result)
                    kept.append(position)
                progress.step()
        if kept:
            with (
                replacing(self.folder / f"{digest([keys[position] for position in kept])}.npy") as temporary,
                temporary.open("wb") as stream,
            ):
                np.save(stream, shard if len(kept) == len(keys) else shard[kept], allow_pickle=False)
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


def _keys(shard: NDArray[Any]) -> list[str]:
    return [row.tobytes().hex() for row in np.ascontiguousarray(shard["digest"])]


def _rows_of(digests: Iterable[str]) -> dict[str, list[int]]:
    rows_of: dict[str, list[int]] = {}
    for row, key in enumerate(digests):
        rows_of.setdefault(key, []).append(row)
    return rows_of
