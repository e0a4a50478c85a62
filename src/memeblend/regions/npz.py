"""Region files of our own: an uncompressed .npz whose arrays stay on disk.

| array | what |
|---|---|
| `meme_ids` | text [num_memes] |
| `image_rows` | int64 [num_memes], the image of each meme; left out where meme i has image i |
| `offsets` | int64 [num_images + 1]; the regions of image i are those from offsets[i] up to offsets[i + 1] |
| `boxes` | float32 [num_regions, 6]: x1, y1, x2, y2, w, h as shares of the image |
| `features` | float16 or float32 [num_regions, feature_size] |
| `scores` | float32 [num_regions]; left out: 1 |
| `tags` | text [num_regions]; left out: "" |
| `settings` | JSON text: what made the file |
| `image_digests` | text [num_images], SHA-256 of each image file |

The last two are written by `memeblend regions`; a file from elsewhere needs neither. An image that many memes share
is stored once. NumPy maps no array inside an archive, so the members are found here by their place in the zip.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.errors import DataError
from memeblend.files import replacing
from memeblend.regions.boxes import BOX_SIZE, MemeRegions

_NEEDED = ("meme_ids", "offsets", "boxes", "features")
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_DATE = (1980, 1, 1, 0, 0, 0)  # the same regions give the same bytes


@dataclass(frozen=True, eq=False)
class RegionArrays:
    """The arrays of a region file, as the table in the module's head describes them; `features` may be on disk."""

    meme_ids: NDArray[np.str_]
    image_rows: NDArray[np.int64]
    offsets: NDArray[np.int64]
    boxes: NDArray[np.float32]
    features: NDArray[Any]
    scores: NDArray[np.float32]
    tags: NDArray[np.str_]
    settings: dict[str, Any]
    image_digests: NDArray[np.str_]

    @property
    def feature_size(self) -> int:
        """Numbers of a feature."""
        return int(self.features.shape[1])

    def image(self, row: int) -> MemeRegions:
        """The regions of an image, by its row, in their order in the file."""
        part = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        return MemeRegions(
            np.array(self.boxes[part], dtype=np.float32),
            np.array(self.features[part], dtype=np.float32),
            self.tags[part].tolist(),
            np.array(self.scores[part], dtype=np.float32),
        )


def collect(regions: Sequence[MemeRegions], feature_size: int, dtype: Any = np.float16) -> dict[str, NDArray[Any]]:
    """Regions of some images as the arrays `offsets`, `boxes`, `features`, `scores` and `tags`.

    Features that float16 can't hold make all of them float32.
    """
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in regions])]).astype(np.int64)
    empty = np.zeros(0, np.float32)
    features = np.concatenate([one.features for one in regions] or [empty.reshape(0, feature_size)])
    if dtype == np.float16 and np.abs(features).max(initial=0) > np.finfo(np.float16).max:
        dtype = np.float32
    return {
        "offsets": offsets,
        "boxes": np.concatenate([one.boxes for one in regions] or [empty.reshape(0, BOX_SIZE)]),
        "features": features.astype(dtype),
        "scores": np.concatenate([one.scores for one in regions] or [empty]),
        "tags": np.array([tag for one in regions for tag in one.tags], dtype=np.str_),
    }


def write_regions_file(path: str | Path, regions: Mapping[str, MemeRegions], feature_size: int) -> None:
    """Write regions made elsewhere, by meme_id, as a region file.

    Args:
        path: the file; its name should end in .npz.
        regions: each meme's regions; none at all is allowed for a meme.
        feature_size: numbers of a feature.

    Raises:
        OutputError: it could not be written.
    """
    arrays = collect(list(regions.values()), feature_size, np.float32)
    write_arrays(path, {"meme_ids": np.array(list(regions), dtype=np.str_), **arrays}, [arrays["features"]])


def write_arrays(path: str | Path, arrays: Mapping[str, NDArray[Any]], features: Iterable[NDArray[Any]]) -> None:
    """Write a region file atomically, features piece by piece.

    Args:
        path: the file.
        arrays: every array but `features` is written as it is; of `features` only dtype and width are read.
        features: the pieces of `features`, in order.

    Raises:
        OutputError: it could not be written.
    """
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            pieces = features if name == "features" else [array]
            num_rows = len(arrays["boxes"]) if name == "features" else 0
            shape = (num_rows, array.shape[1]) if name == "features" else array.shape
            header = {
                "descr": np.lib.format.dtype_to_descr(array.dtype),
                "fortran_order": False,
                "shape": shape,
            }
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _DATE), "w", force_zip64=True) as stream:
                np.lib.format.write_array_header_1_0(stream, header)
                for piece in pieces:
                    stream.write(np.ascontiguousarray(piece, dtype=array.dtype).tobytes())


def settings_array(settings: Mapping[str, Any]) -> NDArray[np.str_]:
    """Settings as the array that a region file keeps them in."""
    return np.array(json.dumps(settings, sort_keys=True), dtype=np.str_)


def read_arrays(path: Path) -> RegionArrays:
    """The arrays of a region file, `features` and `boxes` mapped. Shapes are checked; values are not.

    Raises:
        DataError: it is no such file, is cut short, compressed, or its arrays don't fit each other.
    """
    found = _members(path)
    absent = [name for name in _NEEDED if name not in found]
    if absent:
        raise DataError(
            f"'{path}' is no region file: it lacks the array(s) {', '.join(absent)}; "
            f"it has {', '.join(found) or 'none'}."
        )
    num_memes, num_images = found["meme_ids"].size, found["offsets"].size - 1
    num_regions = found["boxes"].shape[0] if found["boxes"].ndim else 0
    arrays: dict[str, NDArray[Any]] = {
        "image_rows": np.arange(num_memes, dtype=np.int64),
        "scores": np.ones(num_regions, dtype=np.float32),
        "tags": np.zeros(num_regions, dtype="<U1"),
        "settings": np.array("{}"),
        "image_digests": np.array([""] * max(0, num_images)),
        **found,
    }
    faults = _misfits(arrays, num_memes, num_images, num_regions)
    if faults:
        raise DataError(f"'{path}' is no region file: " + "; ".join(faults) + ".")
    in_memory = {name: np.array(arrays[name]) for name in ("meme_ids", "image_rows", "offsets", "image_digests")}
    try:
        settings = json.loads(str(arrays["settings"]))
    except ValueError as error:
        raise DataError(f"'{path}' is no region file: its settings are not JSON ({error}).") from error
    return RegionArrays(
        boxes=arrays["boxes"],
        features=arrays["features"],
        scores=arrays["scores"],
        tags=arrays["tags"],
        settings=settings if isinstance(settings, dict) else {},
        **in_memory,
    )


def _misfits(arrays: Mapping[str, NDArray[Any]], num_memes: int, num_images: int, num_regions: int) -> list[str]:
    """What is wrong with kinds and shapes."""
    expected = {
        "meme_ids": ("U", (num_memes,)),
        "image_rows": ("iu", (num_memes,)),
        "offsets": ("iu", (num_images + 1,)),
        "boxes": ("f", (num_regions, BOX_SIZE)),
        "scores": ("f", (num_regions,)),
        "tags": ("U", (num_regions,)),
        "settings": ("U", ()),
        "image_digests": ("U", (num_images,)),
    }
    faults = [
        f"{name} is {arrays[name].dtype} {list(arrays[name].shape)}, expected {_KINDS[kinds]} {list(shape)}"
        for name, (kinds, shape) in expected.items()
        if arrays[name].dtype.kind not in kinds or arrays[name].shape != shape
    ]
    features = arrays["features"]
    if features.ndim != 2 or len(features) != num_regions or features.dtype not in (np.float16, np.float32):
        faults.append(
            f"features is {features.dtype} {list(features.shape)}, "
            f"expected float16 or float32 [{num_regions}, feature_size]"
        )
    return faults


_KINDS = {"U": "text", "iu": "whole numbers", "f": "floating point"}


def _members(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz by name, each mapped from its place in the file."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
            compressed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
            if compressed:
                raise DataError(
                    f"'{path}' is compressed ({', '.join(compressed)}), so it can't be mapped into memory.",
                    fix="Write it with numpy.savez instead of numpy.savez_compressed.",
                )
            return {entry.filename.removesuffix(".npy"): _member(path, stream, entry) for entry in entries}
    except (OSError, zipfile.BadZipFile, ValueError, struct.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(
            f"The region file '{path}' can't be read: {reason}.", fix="It is missing, cut short or no .npz."
        ) from error


def _member(path: Path, stream: Any, entry: zipfile.ZipInfo) -> NDArray[Any]:
    stream.seek(entry.header_offset)
    magic, name_length, extra_length = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
    if magic != b"PK\x03\x04":
        raise ValueError(f"'{entry.filename}' is not where the archive says")
    stream.seek(name_length + extra_length, 1)
    begin = stream.tell()
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError(f"'{entry.filename}' holds Python objects, which are never loaded")
    num_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if stream.tell() - begin + num_bytes != entry.file_size:
        raise ValueError(f"'{entry.filename}' has not the number of bytes that its shape needs")
    if num_bytes == 0:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", stream.tell(), shape, "F" if fortran else "C")
