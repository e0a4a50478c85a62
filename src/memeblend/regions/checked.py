"""What was found in a region file, kept in the cache folder for as long as the file does not change."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from memeblend.data.cache import default_cache_dir
from memeblend.errors import OutputError
from memeblend.files import digest, write_json

_FORMAT = 1
_EDGE = 64 * 2**10


def stamp(path: Path) -> str:
    """Tells a file from an altered one without reading it all: place, size, time of change, both ends.

    Raises:
        OSError: it can't be read.
    """
    status = path.stat()
    with path.open("rb") as stream:
        head = stream.read(_EDGE)
        stream.seek(max(0, status.st_size - _EDGE))
        ends = hashlib.sha256(head + stream.read(_EDGE)).hexdigest()
    return digest(_FORMAT, str(path.resolve()), status.st_size, status.st_mtime_ns, ends)


def recall(key: str) -> Any:
    """What was kept under a stamp; None if nothing was."""
    try:
        return json.loads(_place(key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def keep(key: str, found: Any) -> None:
    """Keep what was found; a cache folder that can't be written costs only the time to check again."""
    try:
        write_json(_place(key), found)
    except OutputError as error:
        logging.getLogger(__name__).info("%s", error)


def _place(key: str) -> Path:
    return default_cache_dir() / "regions" / f"{key}.json"
