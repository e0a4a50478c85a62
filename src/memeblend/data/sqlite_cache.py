"""Texts by key on disk: one SQLite file that several threads and processes may use at once.

What is wrong with the file never gives a wrong text: a broken one is set aside and made anew. Where none can be had,
work goes on without, or stops if what would be lost was dear.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from memeblend.errors import OutputError

_WAIT_S = 30.0
_KEYS_AT_ONCE = 500


class SqliteCache:
    """Values by key, both text.

    Args:
        path: the SQLite file; its folder is made.
        what: the cache in words, for messages: "OCR cache".
        columns: names of the table, of its key and of its value.
        without: how work goes on where the cache can't be used ("texts are read without it"); "" lets it raise.
        notify: takes a sentence where the file is made anew or left alone.

    Raises:
        OutputError: the file can't be used, and `without` is "". Later calls may raise it too.
    """

    def __init__(
        self,
        path: str | Path,
        what: str,
        columns: tuple[str, str, str],
        *,
        without: str,
        notify: Callable[[str], None],
    ) -> None:
        self.path = Path(path)
        self._what, self._without, self._notify = what, without, notify
        self._table, self._key, self._value = columns
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        with self._lock:
            self._open()

    def find(self, keys: Iterable[str]) -> dict[str, str]:
        """The values of those keys that are known."""
        found: dict[str, str] = {}
        wanted = list(keys)
        for start in range(0, len(wanted), _KEYS_AT_ONCE):
            found.update(self._run(partial(self._select, wanted[start : start + _KEYS_AT_ONCE])))
        return found

    def _select(self, keys: list[str], connection: sqlite3.Connection) -> list[tuple[str, str]]:
        marks = ", ".join("?" * len(keys))
        statement = f"SELECT {self._key}, {self._value} FROM {self._table} WHERE {self._key} IN ({marks})"
        return connection.execute(statement, keys).fetchall()

    def keep(self, values: Mapping[str, str]) -> None:
        """Keep values; all of them are on disk when this returns."""
        statement = f"INSERT OR REPLACE INTO {self._table} VALUES (?, ?)"
        pairs = list(values.items())
        self._run(lambda connection: connection.executemany(statement, pairs).fetchall())

    def close(self) -> None:
        """Close the file; afterwards nothing is found or kept."""
        with self._lock:
            self._drop_connection()

    def _run(self, work: Callable[[sqlite3.Connection], list[tuple[str, str]]]) -> list[tuple[str, str]]:
        with self._lock:
            for attempt in ("first", "again"):
                if self._connection is None:
                    return []
                try:
                    with self._connection:
                        return work(self._connection)
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
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self._table} "
                f"({self._key} TEXT PRIMARY KEY, {self._value} TEXT NOT NULL) WITHOUT ROWID"
            )
        except BaseException:
            connection.close()
            raise
        return connection

    def _rebuild(self, error: Exception) -> None:
        self._drop_connection()
        aside = self.path.with_name(self.path.name + ".broken")
        self._notify(
            f"The {self._what} '{self.path}' is broken ({error}); it is set aside as {aside.name} and made anew."
        )
        try:
            self.path.replace(aside)
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            self._connection = self._connect()
        except (OSError, sqlite3.Error) as second:
            self._give_up(second)

    def _give_up(self, error: Exception) -> None:
        self._drop_connection()
        told = f"The {self._what} '{self.path}' can't be used ({error})"
        if not self._without:
            raise OutputError(
                f"{told}.", fix="Free some space, or set MEMEBLEND_CACHE to a folder that can be written."
            )
        self._notify(f"{told}; {self._without}.")

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
