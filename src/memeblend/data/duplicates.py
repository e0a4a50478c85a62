"""Memes that are the same or nearly so: they must not be on both sides of a split.

Three things join two memes into a duplicate group: byte-identical images, images whose perceptual hashes are
close, and the same text. Groups are the connected components of all three.

The perceptual hash is the pHash of Zauner, "Implementation and benchmarking of perceptual image hash functions"
(2010): which of the 64 lowest frequencies of a 32 x 32 grey copy (without those that are constant along an axis)
lie above their median. Half of the bits are always set, so distances are even.

How close is near? Measured on Memotion 1, CM-Off-Meme and HarMeme (9,672 memes), with the share of pairs at each
distance whose texts agree (difflib ratio above .7): on Memotion 1 1.00 at distance 0, .70 at 2, .21 at 4, .04 at 6;
on HarMeme .90, .95, .88, .54. From 6 on, pairs are mostly one template under different words, and groups begin to
grow by templates. Hence 4. It still finds (300 images of Memotion 1, 300 of HarMeme) copies at half the size 1.00 /
.99, as JPEG of quality 15 .99 / .99, with a watermark drawn on .86 / .96, but with 2 % cut off each side only .26 /
.35: a cropped copy is found by its text or not at all.
"""

from __future__ import annotations

import hashlib
import itertools
import unicodedata
import warnings
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from memeblend.data.cache import Progress, default_cache_dir
from memeblend.data.images import load_image
from memeblend.data.manifest import Manifest
from memeblend.errors import ImageError, OutputError, Problem
from memeblend.files import file_digest, replacing

NEAR_DISTANCE = 4
"""Images whose hashes differ in at most so many of 64 bits are near-duplicates."""
MIN_WORDS = 3
"""Shorter texts ("null", "coronavirus", a watermark) repeat by chance and join nobody."""

NO_HASH = np.uint64(0)
"""Hash of an image that is missing, unreadable, or varies along one axis only; it is near no other."""
BLANK = np.uint64(2**64 - 1)
"""Hash of an image of one colour. It says nothing, so sharing it joins nobody, not even byte for byte."""

_SIDE = 32
_BLANK_DEVIATION = 1.0  # standard deviation of the grey copy, in 256 levels
_FLAT_DEVIATION = 0.5  # the same, of what the hashed frequencies alone make of it
_THREADS = 4
_RECORD = np.dtype([("digest", np.uint8, (32,)), ("hash", np.uint64)])
_CACHE_FILE = Path("hashes", "phash-1.npy")  # another number when the hash changes


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Which memes belong together, and why. Each array holds a group number per meme [num_memes].

    Attributes:
        identical: by byte-identical images.
        near: by close perceptual hashes (so nearly all identical images as well).
        repeated_text: by the same words.
        groups: by any of these, directly or through others.
    """

    identical: NDArray[np.int64]
    near: NDArray[np.int64]
    repeated_text: NDArray[np.int64]
    groups: NDArray[np.int64]


def duplicate_groups(
    manifest: Manifest, *, cache_dir: str | Path | None = None, progress: Progress | None = None
) -> NDArray[np.int64]:
    """Number of the duplicate group of each meme [num_memes], counted from 0 in order of their first memes.

    Images that can't be decoded are compared byte for byte only; who needs their pixels will refuse them.

    Args:
        manifest: the memes.
        cache_dir: where hashes are kept; None takes `default_cache_dir()`.
        progress: told of images hashed, not of those found in the cache.

    Raises:
        ImageError: image files that can't be read at all.
    """
    hashes, _ = hash_images(manifest, cache_dir=cache_dir, progress=progress)
    return find_duplicates(manifest, hashes).groups


def perceptual_hashes(
    manifest: Manifest, progress: Progress | None = None, *, cache_dir: str | Path | None = None
) -> NDArray[np.uint64]:
    """Perceptual hash of each meme's image [num_memes]; `NO_HASH` and `BLANK` where an image has none that tells.

    Arguments as for `duplicate_groups`.

    Raises:
        ImageError: images that can't be read or decoded, all at once.
    """
    hashes, problems = hash_images(manifest, cache_dir=cache_dir, progress=progress)
    if problems:
        raise ImageError(f"{len(problems)} image(s) can't be decoded.", problems=problems)
    return hashes


def hash_images(
    manifest: Manifest, *, cache_dir: str | Path | None = None, progress: Progress | None = None
) -> tuple[NDArray[np.uint64], list[Problem]]:
    """Perceptual hash of each meme's image [num_memes], and a problem per meme whose image can't be decoded.

    Arguments as for `duplicate_groups`.

    Raises:
        ImageError: image files that can't be read at all.
    """
    digests = manifest.image_digests()
    images = manifest.table["image"].tolist()
    paths = {key: manifest.root / image for key, image in zip(digests, images, strict=True) if image is not None}
    cache = (default_cache_dir() if cache_dir is None else Path(cache_dir)) / _CACHE_FILE
    known = _read_cache(cache)
    missing = sorted(paths.keys() - known.keys())
    made, faults = _hash_files({key: paths[key] for key in missing}, progress)
    known |= made
    if made:
        with suppress(OutputError):  # without a cache the next call only takes longer
            _write_cache(cache, known)
    hashes = np.array([known.get(key, NO_HASH) for key in digests], dtype=np.uint64)
    problems = [
        Problem(f"meme {meme_id}", faults[key], meme_id)
        for meme_id, key in zip(manifest.table["meme_id"].tolist(), digests, strict=True)
        if key in faults
    ]
    return hashes, problems


def image_hash(image: Image.Image) -> np.uint64:
    """Perceptual hash of an RGB image: 64 bits, or `NO_HASH` or `BLANK` if it has too little to tell."""
    small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, dtype=np.float64)  # [32, 32]
    if grey.std() < _BLANK_DEVIATION:
        return BLANK
    lowest = dctn(grey, norm="ortho")[1:9, 1:9].ravel()  # [64]
    if np.linalg.norm(lowest) / _SIDE < _FLAT_DEVIATION:
        return NO_HASH
    upper_half = lowest > np.sort(lowest)[31]  # above the median
    return np.uint64(np.packbits(upper_half).view(np.uint64)[0])


def find_duplicates(manifest: Manifest, hashes: NDArray[np.uint64]) -> Duplicates:
    """Duplicates of each kind.

    Args:
        manifest: the memes.
        hashes: perceptual hash of each image [num_memes], from `hash_images`.
    """
    blank = hashes == BLANK
    digests = manifest.image_digests()
    identical = _by_key([None if not key or blank[row] else key for row, key in enumerate(digests)])
    near = _by_hash(hashes)
    repeated_text = _by_key([_text_key(text) for text in manifest.texts])
    return Duplicates(identical, near, repeated_text, _joined(identical, near, repeated_text))


def words(text: str) -> list[str]:
    """The words of a text without case and punctuation."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_LETTERS).split()


class _Letters(dict[int, int]):
    """For `str.translate`: letters, digits and marks stay, all else becomes a blank; decided once per character."""

    def __missing__(self, code: int) -> int:
        # Marks belong to letters: without them the vowels of Hindi would be lost.
        kept = chr(code).isalnum() or unicodedata.category(chr(code)).startswith("M")
        self[code] = code if kept else ord(" ")
        return self[code]


_LETTERS = _Letters()


def _text_key(text: str) -> str | None:
    """What repeated texts have in common; None for a text of fewer than `MIN_WORDS` words."""
    found = words(text)
    return " ".join(found) if len(found) >= MIN_WORDS else None


def near_pairs(hashes: NDArray[np.uint64], max_distance: int = NEAR_DISTANCE) -> NDArray[np.int64]:
    """Pairs of positions [num_pairs, 2] whose hashes differ in at most `max_distance` bits.

    Cut into `max_distance` + 1 bands of bits, two such hashes agree in at least one band (multi-index hashing;
    Norouzi, Punjani & Fleet, 2012). So only hashes that agree in a band are compared.

    Args:
        hashes: distinct hashes [num_hashes].
        max_distance: the largest Hamming distance.
    """
    num_bands = max_distance + 1
    found = [np.empty((0, 2), dtype=np.int64)]
    for band in range(num_bands):
        # Every num_bands-th bit: neighbouring frequencies go together, so bands of neighbours would be lopsided.
        keys = hashes & np.uint64(sum(1 << bit for bit in range(band, 64, num_bands)))
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.arange(len(keys))
        for step in itertools.count(1):
            first = first[first + step < len(keys)]
            first = first[keys[first] == keys[first + step]]
            if not len(first):
                break
            pairs = np.stack([order[first], order[first + step]], axis=1)
            found.append(pairs[_bit_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]) <= max_distance])
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _bit_count(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Number of bits set; NumPy has this only from 2.0 on."""
    v = values
    v = v - ((v >> np.uint64(1)) & np.uint64(0x5555555555555555))
    v = (v & np.uint64(0x3333333333333333)) + ((v >> np.uint64(2)) & np.uint64(0x3333333333333333))
    v = (v + (v >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return ((v * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.int64)


def _by_key(keys: Sequence[Hashable | None]) -> NDArray[np.int64]:
    """Equal keys are one group; those without a key are alone."""
    whole = [("", row) if key is None else key for row, key in enumerate(keys)]
    number = {key: position for position, key in enumerate(dict.fromkeys(whole))}
    return np.array([number[key] for key in whole], dtype=np.int64)


def _by_hash(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    telling = (hashes != NO_HASH) & (hashes != BLANK)
    distinct, position = np.unique(hashes[telling], return_inverse=True)
    group = _components(len(distinct), near_pairs(distinct))
    keys: list[int | None] = [None] * len(hashes)
    for row, number in zip(np.flatnonzero(telling), group[position], strict=True):
        keys[row] = int(number)
    return _by_key(keys)


def _joined(*partitions: NDArray[np.int64]) -> NDArray[np.int64]:
    """The finest partition in which every group of these stays whole."""
    rows = np.arange(len(partitions[0]))
    edges = []
    for groups in partitions:
        first = np.unique(groups, return_index=True)[1]
        edges.append(np.stack([rows, first[groups]], axis=1))
    return _components(len(rows), np.concatenate(edges))


def _components(num_nodes: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Connected component of each node, numbered in order of their first nodes."""
    graph = coo_matrix((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), (num_nodes, num_nodes))
    numbered: NDArray[np.int64] = pd.factorize(connected_components(graph, directed=False)[1])[0].astype(np.int64)
    return numbered


def _hash_files(paths: dict[str, Path], progress: Progress | None) -> tuple[dict[str, np.uint64], dict[str, str]]:
    """Hashes by digest, and what is wrong with those that have none."""
    made: dict[str, np.uint64] = {}
    faults: dict[str, str] = {}
    with warnings.catch_warnings(), ThreadPoolExecutor(_THREADS) as pool:
        warnings.simplefilter("ignore")  # Pillow warns of oddities in files that it reads all the same
        results = pool.map(_hash_file, paths.values(), paths)
        for num_done, (key, result) in enumerate(zip(paths, results, strict=True), start=1):
            if isinstance(result, str):
                faults[key] = result
            else:
                made[key] = result
            if progress is not None:
                progress(num_done, len(paths))
    return made, faults


def _hash_file(path: Path, key: str) -> np.uint64 | str:
    try:
        value = image_hash(load_image(path))
        # Hashed again, or a file replaced in between would stay under the wrong digest for good.
        unchanged = file_digest(path) == key
    except ImageError as error:
        return error.message
    except OSError as error:
        return f"'{path}' can't be read: {error.strerror or error}."
    return value if unchanged else f"'{path}' was changed while it was read."


def _read_cache(path: Path) -> dict[str, np.uint64]:
    """Digest -> hash; empty if there is no cache, or one that is damaged."""
    try:
        records: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return {}
    if records.dtype != _RECORD or records.ndim != 1:
        return {}
    text = np.ascontiguousarray(records["digest"]).tobytes().hex()
    return {text[64 * row : 64 * row + 64]: value for row, value in enumerate(records["hash"])}


def _write_cache(path: Path, hashes: dict[str, np.uint64]) -> None:
    records = np.empty(len(hashes), dtype=_RECORD)
    keys = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint8)
    records["digest"] = keys.reshape(-1, hashlib.sha256().digest_size)
    records["hash"] = np.fromiter(hashes.values(), dtype=np.uint64, count=len(hashes))
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, records, allow_pickle=False)
