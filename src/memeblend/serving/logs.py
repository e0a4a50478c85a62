"""Logs as JSON, a line for each event, without what memes say unless that was asked for."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

logger = logging.getLogger("memeblend.serving")


class JsonLines(logging.Formatter):
    """A record as one JSON object.

    Args:
        with_content: whether the messages of exceptions are shown; they may quote what was sent.
    """

    def __init__(self, with_content: bool) -> None:
        super().__init__()
        self.with_content = with_content

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            entry["error"] = type(error).__name__
            entry["at"] = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            if self.with_content:
                entry["error_message"] = str(error)
        # ASCII alone: texts of memes could else command the terminal that shows them, or end a line.
        return json.dumps(entry, default=str)


def log(level: int, event: str, error: BaseException | None = None, **fields: Any) -> None:
    """Write a line: an event in a few words, and its particulars."""
    logger.log(level, event, exc_info=error, extra={"fields": fields})


def configure(with_content: bool) -> None:
    """Send this room's, uvicorn's and asyncio's logs to standard output as JSON lines."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines(with_content))
    for name, level in (("memeblend", logging.INFO), ("uvicorn", logging.WARNING), ("asyncio", logging.WARNING)):
        one = logging.getLogger(name)
        one.handlers, one.propagate = [handler], False
        one.setLevel(level)
