"""What readers say of a folder that lacks parts of its data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memeblend.data.sets import SETS
from memeblend.errors import DataError, Problem


def refuse_incomplete(name: str, folder: Path, absent: Sequence[str]) -> None:
    """Refuse a data set of which parts are missing.

    Args:
        name: of the data set.
        folder: where it should be.
        absent: the parts that are not there.

    Raises:
        DataError: there are such parts; it names them, the layout, and where to ask.
    """
    if not absent:
        return
    known = SETS[name]
    layout = "\n".join(f"  {line}" for line in known.layout)
    raise DataError(
        f"'{folder}' is not the whole data set {name}: {len(absent)} part(s) missing.",
        problems=[Problem(part, "is not there") for part in absent],
        fix=f"{known.title} lies like this:\n{layout}\nWhere to get it: {known.ask}",
    )
