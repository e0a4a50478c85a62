"""Files that are either whole or not there: atomic writing, content digests.

Every file memeblend writes goes to a temporary name beside its target and takes the real name only when
all of it is on disk, so a killed process or a full disk never leaves a partial file that looks whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memeblend.errors import OutputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path that takes the name `path` when the block ends without an error.

    Raises:
        OutputError: the file could not be written; what was at `path` before is untouched.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        os.close(handle)
    except OSError as error:
        raise OutputError(f"Could not write '{target}': {error.strerror or error}.") from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        raise OutputError(
            f"Could not write '{target}': {error.strerror or error}.",
            fix="What was there before is untouched. Free some space or choose another place, and run it again.",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path, *, marker: str = "") -> Iterator[Path]:
    """A temporary folder that takes the name `path` when the block ends without an error.

    Args:
        path: an existing folder there is replaced as a whole.
        marker: name of a file that tells a folder of ours; a folder without it is only replaced if it is empty.
            "" replaces any.

    Raises:
        OutputError: something else is at `path`, or the folder could not be written; what was at `path` before is
            untouched.
    """
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise OutputError(f"'{target}' is a file, expected the name of a folder.", fix="Choose another name.")
    if marker and target.is_dir() and any(target.iterdir()) and not (target / marker).is_file():
        raise OutputError(
            f"'{target}' holds other files (there is no {marker} in it), so it is not replaced.",
            fix="Choose a new folder.",
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
    except OSError as error:
        raise OutputError(f"Could not write '{target}': {error.strerror or error}.") from error
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        usual_permissions(temporary)
        if target.exists():
            old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".old"))
            target.replace(old / target.name)
            temporary.replace(target)
            shutil.rmtree(old)
        else:
            temporary.replace(target)
    except OSError as error:
        raise OutputError(f"Could not write '{target}': {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def usual_permissions(folder: Path) -> None:
    """Let who may read this user's files read those in a folder, too: safetensors writes some for its owner alone.

    Raises:
        OSError: they can't be changed.
    """
    allowed = 0o666 & ~_umask()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod((path.stat().st_mode & 0o777) | allowed)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically.

    Raises:
        OutputError: it could not be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, data: Any) -> None:
    """Write an indented JSON file atomically.

    Raises:
        OutputError: it could not be written.
    """
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def toml_text(data: Mapping[str, Any]) -> str:
    """Plain data as TOML: tables, arrays of tables, and flat arrays of text, numbers and booleans."""
    return _toml(data, ())


def _toml(table: Mapping[str, Any], path: tuple[str, ...]) -> str:
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping) and not _is_tables(value)}
    lines = [f"{_toml_key(key)} = {_toml_value(value)}\n" for key, value in plain.items()]
    for key, value in table.items():
        inner = (*path, key)
        name = ".".join(_toml_key(part) for part in inner)
        if isinstance(value, Mapping):
            only_tables = value and all(isinstance(part, Mapping) for part in value.values())
            lines.append(("" if only_tables else f"\n[{name}]\n") + _toml(value, inner))
        elif _is_tables(value):
            lines += [f"\n[[{name}]]\n{_toml(entry, inner)}" for entry in value]
    return "".join(lines)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_value(key)


def _toml_value(value: Any) -> str:
    # Text, numbers, booleans and flat arrays are written alike in JSON and TOML, but for one character.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")


def digest(*parts: Any) -> str:
    """A short stable digest of JSON-like values: equal values give equal digests on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal text."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_name(name: str) -> str:
    """A name that came from a user's data, as the name of a file: short, plain, and distinct for distinct names."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name):
        return name
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '_', name)[:40]}~{digest(name)}"
