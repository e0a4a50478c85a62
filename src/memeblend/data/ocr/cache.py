"""What engines have read, on disk: one SQLite file that several processes may use at once.

The file is a cache, so nothing that is wrong with it stops a reading: a broken one is set aside and made anew, and
where none can be had, reading goes on without.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from memeblend.data.ocr.text import OcrLine

_WAIT_S = 30.0
_SCHEMA = "CREATE TABLE IF NOT EXISTS readings (key TEXT PRIMARY KEY, lines TEXT NOT NULL) WITHOUT ROWID"


class OcrCache:
    """Lines by key. May be used from several threads.

    Args:
        path: the SQLite file; its folder is made.
        notify: takes a sentence where the file is made anew or left alone.
    """

    def __init__(self, path: str | Path, notify: Callable[[str], None]) -> None:
        self.path = Path(path)
        self._notify = notify
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        with self._lock:
            self._open()

    def get(self, key: str) -> list[OcrLine] | None:
        """The lines of a key, None where they are not known."""
        rows = self._run("SELECT lines FROM readings WHERE key = ?", (key,))
        if not rows:
            return None
        try:
            return [OcrLine.from_list(line) for line in json.loads(rows[0][0])]
        except (TypeError, ValueError):
            return None  # written by something else; it is read anew and replaced

    def put(self, key: str, lines: Sequence[OcrLine]) -> None:
        """Keep the lines of a key."""
        text = json.dumps([line.to_list() for line in lines], ensure_ascii=False)
        self._run("INSERT OR REPLACE INTO readings VALUES (?, ?)", (key, text))

    def close(self) -> None:
        """Close the file; afterwards nothing is found or kept."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _run(self, statement: str, values: tuple[str, ...]) -> list[tuple[str]]:
        with self._lock:
            for attempt in ("first", "again"):
                if self._connection is None:
                    return []
                try:
                    with self._connection:
                        return self._connection.execute(statement, values).fetchall()
                except sqlite3.OperationalError as error:  # locked for long, a full disk, taken away
                    self._give_up(error)
                except sqlite3.DatabaseError as error:
                    self._rebuild(error)
                    if attempt == "again":
                        self._give_up(error)
        return []

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._connect()
        except sqlite3.OperationalError as error:
            self._give_up(error)
        except sqlite3.DatabaseError as error:
            self._rebuild(error)
        except OSError as error:
            self._give_up(error)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_WAIT_S, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def _rebuild(self, error: Exception) -> None:
        self._drop_connection()
        aside = self.path.with_name(self.path.name + ".broken")
        self._notify(f"The OCR cache '{self.path}' is broken ({error}); it is set aside as {aside.name} and made anew.")
        try:
            self.path.replace(aside)
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            self._connection = self._connect()
        except (OSError, sqlite3.Error) as second:
            self._give_up(second)

    def _give_up(self, error: Exception) -> None:
        self._drop_connection()
        self._notify(f"The OCR cache '{self.path}' can't be used ({error}); texts are read without it.")

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
