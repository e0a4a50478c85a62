"""Making the regions of a manifest's memes, once for each distinct image, in a way that survives being killed.

Images are worked on in pieces. A finished piece is a file of its own in `NAME.parts` beside the target; when all
are there, they become the region file at one stroke and the folder goes away. A piece is named by the images in it,
so the same command goes on where it stopped, and gives the same bytes as if it had never stopped.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from memeblend.data.images import load_image
from memeblend.data.manifest import Manifest
from memeblend.errors import DataError, ImageError, ModelError, OutputError, Problem
from memeblend.files import digest, file_digest, write_json
from memeblend.regions.boxes import MemeRegions
from memeblend.regions.engine import RegionEngine
from memeblend.regions.npz import RegionArrays, collect, read_arrays, settings_array, write_arrays

_FORMAT = 1
_PIECE_IMAGES = 256
_SETTINGS = "settings.json"
_NUM_TOP_TAGS = 10


@dataclass(frozen=True)
class RegionSummary:
    """What a region file holds.

    Attributes:
        path: the file.
        engine: the engine's name.
        num_memes: memes with regions, also those with none found.
        num_images: distinct images among them.
        num_regions: regions of all images.
        feature_size: numbers of a feature.
        top_tags: the most frequent tags with their counts, most frequent first.
        unreadable: one problem for each meme that was skipped since its image can't be read.
    """

    path: Path
    engine: str
    num_memes: int
    num_images: int
    num_regions: int
    feature_size: int
    top_tags: tuple[tuple[str, int], ...]
    unreadable: tuple[Problem, ...]


def write_regions(
    manifest: Manifest,
    engine: RegionEngine,
    out_path: str | Path,
    *,
    batch_size: int = 8,
    resume: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> RegionSummary:
    """Make the regions of all memes and write them as a region file (.npz).

    Args:
        manifest: memes with images; those whose image can't be read are skipped and listed in the summary.
        engine: what makes the regions.
        out_path: the file. A finished one by the same engine and settings gives its images' regions again.
        batch_size: images that the engine is given at once.
        resume: go on with what is there of the same engine and settings; what is there of another is then refused.
            False starts anew and replaces it.
        progress: told of images done and of all.

    Raises:
        DataError: the memes have no images, none can be read, or the name does not end in .npz.
        ModelError: the engine gives NaN or infinity.
        OutputError: something of another engine, or not of ours, is in the way, or the file can't be written.
    """
    out = Path(out_path)
    if out.suffix.lower() != ".npz":
        raise DataError(f"Regions are written as .npz, expected such a name, found '{out}'.")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1")
    if not manifest.has_images:
        raise DataError("These memes have no images, so there are no regions.")
    work = _Work(manifest, engine, out, batch_size, progress)
    work.prepare(resume)
    work.make()
    return work.assemble()


class _Work:
    """One call of `write_regions`."""

    def __init__(
        self,
        manifest: Manifest,
        engine: RegionEngine,
        out: Path,
        batch_size: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.engine, self.out, self.batch_size = engine, out, batch_size
        self.settings = {**engine.settings, "format": _FORMAT}
        self.fingerprint = digest(self.settings)
        self.parts = out.with_name(f"{out.name}.parts")
        self.meme_ids: list[str] = manifest.table["meme_id"].tolist()
        self.digests = manifest.image_digests()
        images = manifest.table["image"].tolist()
        self.paths: dict[str, Path] = {}
        for key, image in zip(self.digests, images, strict=True):
            self.paths.setdefault(key, manifest.root / image)
        self.finished: dict[str, tuple[RegionArrays, int]] = {}  # digest -> where its regions are
        self.faults: dict[str, str] = {}
        self.progress = progress

    def prepare(self, resume: bool) -> None:
        """See what is there already, and refuse to mix it with something else."""
        if self.parts.exists():
            found = self._fingerprint_of_parts()
            if found is None and (not self.parts.is_dir() or any(self.parts.iterdir())):
                raise OutputError(f"'{self.parts}' is in the way.", fix="Move it away, or choose another name.")
            if resume and found not in (None, self.fingerprint):
                raise OutputError(
                    f"'{self.parts}' holds unfinished regions by another engine or other settings.",
                    fix="Finish them with the command that began them, choose another name, or delete that folder.",
                )
            if not resume:
                shutil.rmtree(self.parts)
        if self.out.exists() and resume:
            self._take_finished()
        write_json(self.parts / _SETTINGS, {"fingerprint": self.fingerprint, "settings": self.settings})

    def _fingerprint_of_parts(self) -> str | None:
        try:
            data = json.loads((self.parts / _SETTINGS).read_text(encoding="utf-8"))
            return str(data["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _take_finished(self) -> None:
        fix = "Choose another name, or delete it first."
        try:
            arrays = read_arrays(self.out)
        except DataError as error:
            raise OutputError(f"'{self.out}' is in the way, and no region file.", fix=fix) from error
        if arrays.settings.get("fingerprint") != self.fingerprint:
            made_by = arrays.settings.get("engine", "another program")
            raise OutputError(f"'{self.out}' holds regions by {made_by} with other settings.", fix=fix)
        self._register(arrays)

    def _register(self, arrays: RegionArrays) -> None:
        wanted = self.paths.keys()
        self.finished |= {key: (arrays, row) for row, key in enumerate(arrays.image_digests.tolist()) if key in wanted}

    def make(self) -> None:
        """Make what is missing, piece by piece."""
        missing = [key for key in self.paths if key not in self.finished]
        rows = max(1, _PIECE_IMAGES // self.batch_size) * self.batch_size
        num_done = len(self.paths) - len(missing)
        for begin in range(0, len(missing), rows):
            keys = missing[begin : begin + rows]
            place = self.parts / f"{digest(self.batch_size, keys)}.npz"
            arrays = self._read_piece(place)
            if arrays is None:
                self._make_piece(keys, place, num_done)
                arrays = read_arrays(place)
            self._register(arrays)
            self.faults |= arrays.settings["unreadable"]
            num_done += len(keys)
            self._tell(num_done)

    def _read_piece(self, place: Path) -> RegionArrays | None:
        if not place.is_file():
            return None
        try:
            return read_arrays(place)
        except DataError:
            place.unlink()
            return None

    def _make_piece(self, keys: Sequence[str], place: Path, num_done: int) -> None:
        made: dict[str, MemeRegions] = {}
        faults: dict[str, str] = {}
        for begin in range(0, len(keys), self.batch_size):
            images: dict[str, Image.Image] = {}
            for key in keys[begin : begin + self.batch_size]:
                image = self._decode(key)
                if isinstance(image, str):
                    faults[key] = image
                else:
                    images[key] = image
            if images:
                made |= zip(images, self._regions(images), strict=True)
            self._tell(num_done + min(begin + self.batch_size, len(keys)))
        arrays = collect(list(made.values()), self.engine.feature_size)
        ids = np.array(list(made), dtype=np.str_)
        settings = settings_array({"unreadable": faults})
        write_arrays(
            place, {"meme_ids": ids, "image_digests": ids, **arrays, "settings": settings}, [arrays["features"]]
        )

    def _regions(self, images: Mapping[str, Image.Image]) -> list[MemeRegions]:
        found = self.engine.regions(list(images.values()))
        problems = [
            Problem(f"image '{self.paths[key]}'", "its boxes, features or scores hold NaN or infinity")
            for key, one in zip(images, found, strict=True)
            if not all(np.isfinite(values).all() for values in (one.boxes, one.features, one.scores))
        ]
        if problems:
            raise ModelError(
                f"The region engine '{self.engine.name}' does not work: its weights may be broken.", problems=problems
            )
        return found

    def _decode(self, key: str) -> Image.Image | str:
        path = self.paths[key]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of oddities in files that it reads all the same
                image = load_image(path)
            unchanged = file_digest(path) == key
        except ImageError as error:
            return error.message
        except OSError as error:
            return f"'{path}' can't be read: {error.strerror or error}."
        return image if unchanged else f"'{path}' was changed while it was read."

    def _tell(self, num_done: int) -> None:
        if self.progress is not None:
            self.progress(num_done, len(self.paths))

    def assemble(self) -> RegionSummary:
        """Put all pieces into the file and clean up."""
        unreadable = tuple(
            Problem(f"meme {meme_id}", self.faults[key], meme_id)
            for meme_id, key in zip(self.meme_ids, self.digests, strict=True)
            if key in self.faults
        )
        keys = [key for key in self.paths if key in self.finished]
        if not keys:
            shutil.rmtree(self.parts)
            raise DataError("None of the images can be read.", problems=unreadable)
        counts = np.array([arrays.offsets[row + 1] - arrays.offsets[row] for arrays, row in self._places(keys)])
        row_of = {key: row for row, key in enumerate(keys)}
        memes = [(meme, key) for meme, key in zip(self.meme_ids, self.digests, strict=True) if key in row_of]
        tags = [tag for arrays, row in self._places(keys) for tag in arrays.tags[_part(arrays, row)].tolist()]
        dtype = np.result_type(*{arrays.features.dtype for arrays, _ in self._places(keys)})
        whole: dict[str, NDArray[Any]] = {
            "meme_ids": np.array([meme for meme, _ in memes], dtype=np.str_),
            "image_rows": np.array([row_of[key] for _, key in memes], dtype=np.int64),
            "image_digests": np.array(keys, dtype=np.str_),
            "offsets": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            "boxes": np.concatenate([arrays.boxes[_part(arrays, row)] for arrays, row in self._places(keys)]),
            "scores": np.concatenate([arrays.scores[_part(arrays, row)] for arrays, row in self._places(keys)]),
            "tags": np.array(tags, dtype=np.str_),
            "features": np.zeros((0, self.engine.feature_size), dtype=dtype),
            "settings": settings_array({**self.settings, "fingerprint": self.fingerprint}),
        }
        features = (arrays.features[_part(arrays, row)] for arrays, row in self._places(keys))
        write_arrays(self.out, whole, features)
        shutil.rmtree(self.parts)
        named = Counter(tag for tag in tags if tag)
        return RegionSummary(
            path=self.out,
            engine=self.engine.name,
            num_memes=len(memes),
            num_images=len(keys),
            num_regions=int(counts.sum()),
            feature_size=self.engine.feature_size,
            top_tags=tuple(sorted(named.items(), key=lambda item: (-item[1], item[0]))[:_NUM_TOP_TAGS]),
            unreadable=unreadable,
        )

    def _places(self, keys: Sequence[str]) -> Iterator[tuple[RegionArrays, int]]:
        return (self.finished[key] for key in keys)


def _part(arrays: RegionArrays, row: int) -> slice:
    """The regions of an image, by its row."""
    return slice(int(arrays.offsets[row]), int(arrays.offsets[row + 1]))
