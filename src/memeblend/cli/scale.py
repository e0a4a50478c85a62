"""What `memeblend predict` and `memeblend pretrain` do with any number of memes and with several workers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memeblend.cli.output import Bars, messages, print_json, quiet_libraries, results
from memeblend.errors import DataError
from memeblend.predictions import SUFFIXES

_SECONDS_BETWEEN_LINES = 30.0


@dataclass(frozen=True)
class ScoreRequest:
    """Options of `memeblend predict` where predictions go to a folder.

    Attributes:
        model: a model folder, a run, or an exported model.
        inputs: one table, or one folder of tables or images.
        text: the texts of single images; none here.
        out: the folder.
        num_workers: processes that score; 0 scores in this one.
        address: a running Ray cluster; "" starts Ray on this machine.
        piece_rows: memes of a part file.
        reader: a layout of data-set folders; none here.
        column: NAME=COLUMN of the table.
        allow_outside: let image paths leave the folder of the data.
        policy: a policy file.
        ocr: engine that reads texts; "auto" and "none" read none here.
    """

    model: Path
    inputs: Sequence[Path]
    text: Sequence[str]
    out: Path | None
    num_workers: int
    address: str
    piece_rows: int
    reader: str
    column: Sequence[str]
    allow_outside: bool
    policy: Path | None
    ocr: str


def is_for_folder(out: Path | None, num_workers: int, address: str) -> bool:
    """Whether predictions are to fill a folder, however many they are."""
    return bool(num_workers or address) or (out is not None and (not out.suffix or out.is_dir()))


def run_score(request: ScoreRequest, json_output: bool) -> None:
    """`memeblend predict --out FOLDER`.

    Raises:
        DataError: options that do not go with a folder; see `memeblend.scale.scoring.score` for more.
    """
    from memeblend.cli.reading import columns_of
    from memeblend.scale.scoring import score

    _check(request)
    assert request.out is not None, "checked above"
    with quiet_libraries(), _Lines() as bars:
        found = score(
            request.inputs[0],
            request.model,
            request.out,
            num_workers=request.num_workers,
            address=request.address,
            piece_rows=request.piece_rows,
            columns=columns_of(request.column),
            allow_outside=request.allow_outside,
            policy=request.policy,
            progress=bars,
            notify=lambda line: messages.print(line, markup=False, soft_wrap=True),
        )
    if json_output:
        print_json(found | {"out": str(request.out)})
        return
    results.print(
        f"{found['num_scored']:,} of {found['num_memes']:,} memes in {request.out / 'predictions'}, "
        f"{found['num_now']:,} of them now, {found['memes_per_second']:,.0f} a second",
        markup=False,
        soft_wrap=True,
    )
    if found["num_rejected"]:
        where = request.out / "rejected"
        results.print(f"{found['num_rejected']:,} could not be scored; why is in {where}", markup=False, soft_wrap=True)


def _check(request: ScoreRequest) -> None:
    wrong = []
    if request.out is None or request.out.suffix in SUFFIXES:
        wrong.append("workers fill a folder: give --out FOLDER")
    if len(request.inputs) != 1 or request.text:
        wrong.append("name one table or one folder, and no --text")
    if request.reader not in ("", "table"):
        wrong.append(f"--reader {request.reader} reads whole data sets; name its table")
    if request.ocr not in ("auto", "none"):
        wrong.append(f"--ocr {request.ocr} reads no texts here; have them read first, by `memeblend ocr`")
    if wrong:
        raise DataError(f"This can't be done: {'; '.join(wrong)}.")


class _Lines(Bars):
    """Where there is no terminal for a bar, a line now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._last = time.monotonic()

    def advance(self, num_done: int, note: str = "") -> None:
        """So many are done."""
        super().advance(num_done, note)
        if not messages.is_terminal and time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            messages.print(f"{num_done:,} done, {note}", markup=False)


def carry_out_pretraining(
    manifests: Sequence[Any], out: Path, settings: Any, num_workers: int, address: str, progress: Bars
) -> dict[str, Any]:
    """Pre-train in this process, or by workers where some are asked for."""
    if not num_workers and not address:
        from memeblend.training.contrastive.work import pretrain

        return pretrain(manifests, out, settings, progress=progress)
    from memeblend.scale.pretraining import pretrain_with_workers

    return pretrain_with_workers(
        manifests, out, settings, num_workers=num_workers or 1, address=address, progress=progress
    )
