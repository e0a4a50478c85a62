"""Any number of memes scored: piece by piece in this process, or by workers of Ray Data."""

from __future__ import annotations

import json
import logging
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from memeblend.data.rows import Notify, log_line
from memeblend.errors import ClusterError, DataError
from memeblend.files import digest
from memeblend.ray_client import carry_out_there, is_far, our_error
from memeblend.ray_session import check_room, need_ray, ray_session
from memeblend.scale.folder import ScoreFolder
from memeblend.scale.planning import Piece, Plan, make_plan
from memeblend.scale.scorer import Scorer, ScoreSettings
from memeblend.training.progress import Progress, Silent

PIECE_ROWS = 2000
"""Rows of a piece where nothing else is asked for: a minute's work or less is lost when a worker is killed."""
_MAX_BLOCKS = 10_000  # tasks that Ray Data keeps books of
_NOTHING_NOW = {"num_now": 0, "seconds": 0.0, "memes_per_second": 0.0, "peak_megabytes": 0}
"""Of a call that finds all done."""


def score(
    source: str | Path,
    model: str | Path,
    out: str | Path,
    *,
    num_workers: int = 0,
    address: str = "",
    piece_rows: int = PIECE_ROWS,
    columns: Mapping[str, str] | None = None,
    allow_outside: bool = False,
    policy: str | Path | None = None,
    progress: Progress | None = None,
    notify: Notify = log_line,
) -> dict[str, Any]:
    """Score memes into a folder of parquet files; memory does not grow with their number.

    Every row of the input is in the output once: with its predictions in `out/predictions`, or with a reason in
    `out/rejected`. The same call goes on where a killed one stopped, with any number of workers.

    Args:
        source: a table (.csv, .tsv, .jsonl, .parquet), a folder with one named `memes`, a folder of .parquet files,
            or a folder of images.
        model: a model folder, a run, or an exported model.
        out: folder to fill; new, empty, or from the same call.
        num_workers: processes that score; 0 scores in this one, without Ray.
        address: a running Ray cluster; "" starts Ray on this machine. Its machines must see all paths.
        piece_rows: rows that are scored together and done again where a worker dies.
        columns: manifest column -> column of the table, where given.
        allow_outside: let image paths leave the folder of the data.
        policy: a policy file to say what is done about each meme.
        progress: who watches.
        notify: takes a line for everything inferred.

    Returns:
        num_memes, num_scored, num_rejected, num_pieces, and of this call num_now, seconds, memes_per_second,
        peak_megabytes (of the largest worker).

    Raises:
        DataError: nothing to score, ids that come twice, fewer memes than workers, or a table changed meanwhile.
        ModelError: the model can't be used.
        PolicyError: the policy can't be used.
        OutputError: `out` holds something else, or can't be written.
        MissingExtraError: workers were asked for, and Ray is not installed.
        ClusterError: no cluster answers, or its workers fail.
    """
    if num_workers < 0 or piece_rows < 1:
        raise DataError(f"{num_workers} workers and pieces of {piece_rows} rows can't be.")
    num_workers = num_workers or int(bool(address))
    if num_workers:
        need_ray("Several workers and clusters")
    progress, out = progress or Silent(), Path(out).absolute()
    if is_far(address):
        work = partial(
            score,
            source,
            model,
            out,
            num_workers=num_workers,
            address="auto",
            piece_rows=piece_rows,
            columns=columns,
            allow_outside=allow_outside,
            policy=policy,
        )
        return carry_out_there(address, work, {"progress": progress, "notify": notify})
    settings, plan = _planned(Path(source), Path(model), out, piece_rows, columns, allow_outside, policy, notify)
    if num_workers:
        settings = replace(settings, num_threads=1, call=uuid.uuid4().hex)
    if plan.num_rows < num_workers:
        raise DataError(f"{plan.num_rows} meme(s) are fewer than {num_workers} workers.", fix="Ask for fewer workers.")
    folder, fingerprint = ScoreFolder(out), digest(plan.fingerprint, settings.model_fingerprint)
    facts = folder.claim(fingerprint)
    if facts is not None:
        return facts | _NOTHING_NOW
    scorer = Scorer(settings)  # before Ray is started: what is wrong with the model is said here
    watch = _Watch(plan, progress)
    left = [piece for piece in plan.pieces if not watch.knew(folder.done(piece.number))]
    if num_workers:
        del scorer
        done = _scored_by_workers(settings, left, num_workers, address)
    else:
        done = (scorer.score(piece) for piece in left)
    for one in done:
        watch.scored(one)
    found = watch.found()
    if found["num_scored"] + found["num_rejected"] != plan.num_rows:
        raise DataError(
            f"'{source}' had {plan.num_rows:,} rows at first, but {found['num_scored'] + found['num_rejected']:,} "
            "were found when they were scored.",
            fix="It must not change meanwhile. Score it into a new folder.",
        )
    folder.finish(fingerprint, found)
    return found


def _planned(
    source: Path,
    model: Path,
    out: Path,
    piece_rows: int,
    columns: Mapping[str, str] | None,
    allow_outside: bool,
    policy: str | Path | None,
    notify: Notify,
) -> tuple[ScoreSettings, Plan]:
    """What to do. Paths are made absolute, since workers may run elsewhere."""
    scratch = next(folder for folder in (out, *out.parents) if folder.is_dir())
    plan = make_plan(source.absolute(), piece_rows, columns or {}, scratch, notify)
    where = None if policy is None else Path(policy).absolute()
    return ScoreSettings(model.absolute(), out, plan.layout, where, allow_outside), plan


class _Watch:
    """Counts what is done and tells the progress how fast it goes."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        self.plan = plan
        self.progress = progress
        self.num_scored = self.num_rejected = self.num_now = self.peak = 0
        self.began = time.monotonic()
        progress.start(f"scoring {plan.num_rows:,} memes", plan.num_rows)

    def knew(self, done: Mapping[str, Any] | None) -> bool:
        """Count a piece of an earlier call; returns whether it is one."""
        if done is not None:
            self._count(done)
        return done is not None

    def scored(self, done: Mapping[str, Any]) -> None:
        """Count a piece of this call."""
        self.num_now += self._count(done)
        self.peak = max(self.peak, int(done["peak_megabytes"]))
        rate = self.num_now / max(time.monotonic() - self.began, 1e-9)
        num_done = self.num_scored + self.num_rejected
        left = _duration((self.plan.num_rows - num_done) / max(rate, 1e-9))
        self.progress.advance(num_done, f"{rate:,.0f} memes a second, {left} left")

    def _count(self, done: Mapping[str, Any]) -> int:
        self.num_scored += int(done["num_scored"])
        self.num_rejected += int(done["num_rejected"])
        return int(done["num_scored"]) + int(done["num_rejected"])

    def found(self) -> dict[str, Any]:
        """The counts."""
        seconds = time.monotonic() - self.began
        return {
            "num_memes": self.plan.num_rows,
            "num_scored": self.num_scored,
            "num_rejected": self.num_rejected,
            "num_pieces": len(self.plan.pieces),
            "num_now": self.num_now,
            "seconds": round(seconds, 1),
            "memes_per_second": round(self.num_now / max(seconds, 1e-9), 1),
            "peak_megabytes": self.peak,
        }


def _duration(seconds: float) -> str:
    """A time as a person says it."""
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} seconds"


class _Worker:
    """What Ray Data keeps alive in each of its processes: a model. Pieces come as JSON."""

    def __init__(self, settings: ScoreSettings) -> None:
        self.scorer = Scorer(settings)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        found = [self.scorer.score(Piece.from_dict(json.loads(piece))) for piece in batch["piece"]]
        return {name: [one[name] for one in found] for name in found[0]}


def _scored_by_workers(
    settings: ScoreSettings, pieces: Sequence[Piece], num_workers: int, address: str
) -> Iterator[dict[str, Any]]:
    """What was said of each piece, as they become done. A piece whose worker dies is scored by another one.

    Raises:
        ClusterError: no cluster answers, or workers fail for a reason that is none of ours.
    """
    if not pieces:
        return
    with ExitStack() as stack:
        stack.callback(ScoreFolder(settings.out).forget_attempts, settings.call)
        stack.enter_context(ray_session(num_workers, address))
        import ray
        from ray.exceptions import RayError

        check_room(1)
        # Ray Data sets the level of its own logger anew; this one says only that its bars are off, as they shall be.
        logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of its own settings
            context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        # Pieces travel as rows: what actors are made with would be lost with the process that made it.
        items = [{"piece": json.dumps(piece.to_dict())} for piece in pieces]
        dataset = ray.data.from_items(items, override_num_blocks=min(len(items), _MAX_BLOCKS)).map_batches(
            _Worker,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(num_workers, len(pieces))),
            num_cpus=1,
            fn_constructor_args=(settings,),
        )
        try:
            yield from dataset.iter_rows()
        except RayError as error:
            ours = our_error(error)
            if ours is not None:
                raise ours from error
            last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise ClusterError(
                f"The workers failed: {last[0]}", fix="The same command goes on; without --num-workers it says more."
            ) from error
