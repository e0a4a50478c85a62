"""The folder that a scoring fills, piece by piece.

scoring.json                     what is scored with what, and once all is done the counts
predictions/part-000000.parquet  a row for each meme of piece 0 that could be scored
rejected/part-000000.parquet     the others (meme_id, where, reason, image); only where there are any
done/part-000000.json            written last: piece 0 is whole
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memeblend.errors import OutputError
from memeblend.files import replacing, write_json

FACTS = "scoring.json"
"""What is scored with what."""
_FORMAT = 1
_REJECTED = pa.schema([(name, pa.string()) for name in ("meme_id", "where", "reason", "image")])


class ScoreFolder:
    """A folder of predictions.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def claim(self, fingerprint: str) -> dict[str, Any] | None:
        """Make the folder that of this scoring.

        Returns:
            Its facts where it is finished, else None.

        Raises:
            OutputError: it holds something else, or can't be written.
        """
        facts = self.facts()
        if facts is None and self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise OutputError(f"'{self.path}' holds something else already.", fix="Choose a new folder.")
        if facts is not None and facts["fingerprint"] != fingerprint:
            raise OutputError(
                f"'{self.path}' holds predictions of other memes, of another model, or cut otherwise.",
                fix="Go on with the same command as before, choose a new folder, or delete this one.",
            )
        if facts is None:
            write_json(self.path / FACTS, {"format": _FORMAT, "fingerprint": fingerprint})
        return facts if facts is not None and "num_memes" in facts else None

    def facts(self) -> dict[str, Any] | None:
        """What `scoring.json` holds; None where there is none.

        Raises:
            OutputError: it is not what was written.
        """
        path = self.path / FACTS
        if not path.is_file():
            return None
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            if facts["format"] != _FORMAT or not isinstance(facts["fingerprint"], str):
                raise ValueError("another format")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(f"'{path}' can't be read: {error}.", fix="Choose a new folder.") from error
        return dict(facts)

    def finish(self, fingerprint: str, facts: Mapping[str, Any]) -> None:
        """Say that all is done.

        Raises:
            OutputError: it could not be written.
        """
        write_json(self.path / FACTS, {"format": _FORMAT, "fingerprint": fingerprint, **facts})

    def done(self, number: int) -> dict[str, Any] | None:
        """What was said of a piece when it was whole; None while it is not."""
        try:
            found = json.loads(self._path("done", number, "json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return dict(found) if isinstance(found, dict) else None

    def attempt(self, number: int, call: str) -> int:
        """Note that a piece is begun.

        Args:
            number: of the piece.
            call: who counts; the attempts of others do not.

        Returns:
            How often it was begun by then.

        Raises:
            OutputError: it could not be noted.
        """
        path = self._attempts(call) / str(number)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as stream:
                stream.write(b".")
                return stream.tell()
        except OSError as error:
            raise OutputError(f"'{path}' could not be written: {error.strerror or error}.") from error

    def forget_attempts(self, call: str) -> None:
        """Remove what was noted of attempts."""
        shutil.rmtree(self._attempts(call), ignore_errors=True)

    def _attempts(self, call: str) -> Path:
        return self.path / f".attempts-{call}"

    def mark_done(self, number: int, facts: Mapping[str, Any]) -> None:
        """Say that a piece is whole.

        Raises:
            OutputError: it could not be written.
        """
        write_json(self._path("done", number, "json"), dict(facts))

    @contextmanager
    def predictions(self, number: int) -> Iterator[Path]:
        """A temporary path that becomes a piece's predictions when the block ends without an error.

        Raises:
            OutputError: they could not be written.
        """
        with replacing(self._path("predictions", number, "parquet")) as temporary:
            yield temporary

    def write_rejected(self, number: int, rows: list[dict[str, str]]) -> None:
        """List a piece's rows that could not be scored: meme_id, where, reason, image.

        Raises:
            OutputError: they could not be written.
        """
        with replacing(self._path("rejected", number, "parquet")) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, schema=_REJECTED), temporary)

    def forget(self, number: int) -> None:
        """Remove what a piece left before it was whole."""
        for kind in ("predictions", "rejected"):
            self._path(kind, number, "parquet").unlink(missing_ok=True)

    def _path(self, kind: str, number: int, suffix: str) -> Path:
        return self.path / kind / f"part-{number:06d}.{suffix}"
