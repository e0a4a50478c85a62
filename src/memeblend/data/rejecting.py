"""Bad rows: refused all at once, or dropped and written down with their reasons."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memeblend.data.rows import Notify, RawMemes
from memeblend.errors import DataError, Problem
from memeblend.files import replacing

_COLUMNS = ("meme_id", "where", "reason", "image")


def drop_bad_rows(raw: RawMemes, path: Path, rejected_to: Path | None, notify: Notify) -> NDArray[np.int64]:
    """Rows without a problem.

    Args:
        raw: the memes and their problems.
        path: the data set, for messages.
        rejected_to: where dropped rows are listed; None refuses them.
        notify: takes one line that counts the dropped rows.

    Raises:
        DataError: there are problems and `rejected_to` is None, or no row is left.
    """
    problems = sorted(raw.problems, key=lambda found: -1 if found.row is None else found.row)
    bad = {found.row for found in problems if found.row is not None}
    keep = np.array([row for row in range(len(raw)) if row not in bad], dtype=np.int64)
    if not problems:
        return keep
    if rejected_to is None:
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise DataError(
            f"'{path}' can't be used as it is: {count}.",
            problems=[found.problem for found in problems],
            fix="Repair these rows, or read with skip_bad (--skip-bad), which drops them and lists them in a file.",
        )
    images = ["" if found.row is None else raw.images[found.row] or "" for found in problems]
    listed = [found.problem for found in problems]
    write_rejected(rejected_to, list(zip(listed, images, strict=True)))
    unparsed = sum(found.row is None for found in problems)
    notify(f"dropped {len(bad) + unparsed} of {len(raw) + unparsed} rows; the reasons are in {rejected_to}")
    if len(keep) == 0:
        raise DataError(f"No row of '{path}' is left after dropping the bad ones.", problems=listed)
    return keep


def write_rejected(path: Path, rejected: Sequence[tuple[Problem, str]], *, append: bool = False) -> None:
    """List dropped rows in a CSV file (meme_id, where, reason, image).

    Args:
        path: the file, replaced as a whole.
        rejected: each problem with the image path of its meme as the data set gives it.
        append: keep what the file lists already.

    Raises:
        OutputError: it could not be written.
    """
    before = path.read_bytes().decode() if append and path.exists() else ""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        stream.write(before)
        writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
        if not before:
            writer.writerow(_COLUMNS)
        writer.writerows((problem.meme_id, problem.where, problem.what, image) for problem, image in rejected)
