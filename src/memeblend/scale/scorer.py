"""Scoring a piece: the same code in one process and in every worker of a cluster."""

from __future__ import annotations

import os
import resource
import socket
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from memeblend.data.images import ImageTransform, load_image
from memeblend.data.paths import check_images
from memeblend.data.rows import RawMemes
from memeblend.errors import ClusterError, ImageError, ModelError, Problem
from memeblend.files import digest, file_digest
from memeblend.model.ensembles import EnsembleClassifier
from memeblend.model.folder import FILE, model_folder
from memeblend.onnx_engine.folder import FILE as EXPORT_FILE
from memeblend.onnx_engine.folder import is_export
from memeblend.policy import Policy
from memeblend.predictions import Predictions
from memeblend.scale.folder import ScoreFolder
from memeblend.scale.planning import Layout, Piece
from memeblend.training.preprocessing import Memes

_AT_ONCE = 256
"""Memes that are in memory at a time, whatever the size of a piece."""
MOST_ATTEMPTS = 4
"""Workers that may die over a piece: memes that kill whoever reads them are not tried for ever."""


@dataclass(frozen=True)
class ScoreSettings:
    """What a worker needs to know; small, and the same on every machine.

    Attributes:
        model: folder of the model or of its export.
        out: folder that is filled.
        layout: how rows become memes.
        policy: a policy file; None without one.
        allow_outside: whether image paths may leave the root.
        num_threads: threads of the model; 0 takes its own default.
        call: tells this call of `score` from others that worked on the folder; "" counts no attempts.
    """

    model: Path
    out: Path
    layout: Layout
    policy: Path | None = None
    allow_outside: bool = False
    num_threads: int = 0
    call: str = ""

    @property
    def model_fingerprint(self) -> str:
        """Digest of the model's description, which holds the digests of all its files, and of the policy.

        Raises:
            ModelError: there is no model.
        """
        folder = model_folder(self.model)
        facts = folder / (EXPORT_FILE if is_export(folder) else FILE)
        if not facts.is_file():
            raise ModelError(f"Expected a memeblend model in '{folder}', but there is no {facts.name}.")
        return digest(file_digest(facts), "" if self.policy is None else file_digest(self.policy), self.allow_outside)


class Scorer:
    """A model that fills a folder, piece by piece.

    Args:
        settings: what is needed to know.

    Raises:
        ModelError: the model can't be read, or can't judge memes piece by piece.
        PolicyError: the policy can't be used.
    """

    def __init__(self, settings: ScoreSettings) -> None:
        self.settings = settings
        self.folder = ScoreFolder(settings.out)
        self.model = _load(settings.model)
        if settings.num_threads:
            self.model.set_num_threads(settings.num_threads)
        check_rules(self.model)
        self.reads_images = any("image" in reads for reads in self.model.reads_.values())
        policy = settings.policy
        self.policy = None if policy is None else Policy.read(policy, self.model.label_tasks_)

    def score(self, piece: Piece) -> dict[str, Any]:
        """Score a piece, unless that was done before.

        Returns:
            num_scored, num_rejected, seconds, worker (host:process) and peak_megabytes of its memory.

        Raises:
            DataError: the table changed since it was planned.
            ClusterError: workers keep dying over this piece.
            OutputError: the folder can't be written.
        """
        done = self.folder.done(piece.number)
        if done is not None:
            return done
        self._attempt(piece)
        began = time.monotonic()
        self.folder.forget(piece.number)
        raw = self.settings.layout.memes(piece)
        rejected = [_rejected(problem.problem, "") for problem in raw.problems if problem.row is None]
        raw.problems = [problem for problem in raw.problems if problem.row is not None]
        self._check(raw)
        reasons = {problem.row: problem.problem for problem in reversed(raw.problems)}
        rejected += [
            _rejected(reasons[row], raw.images[row]) for row in sorted(row for row in reasons if row is not None)
        ]
        good = [row for row in range(len(raw)) if row not in reasons]
        unreadable = self._write(piece.number, raw, good)
        rejected += unreadable
        if rejected:
            self.folder.write_rejected(piece.number, rejected)
        facts = {
            "num_scored": len(good) - len(unreadable),
            "num_rejected": len(rejected),
            "seconds": round(time.monotonic() - began, 3),
            "worker": f"{socket.gethostname()}:{os.getpid()}",
            "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }
        self.folder.mark_done(piece.number, facts)
        return facts

    def _attempt(self, piece: Piece) -> None:
        """Ray gives a piece whose worker died to another one, again and again."""
        if self.settings.call and self.folder.attempt(piece.number, self.settings.call) > MOST_ATTEMPTS:
            raise ClusterError(
                f"{MOST_ATTEMPTS} workers died one after the other over piece {piece.number} of '{piece.path}' "
                f"({piece.size} rows from row {piece.first} on).",
                fix="A meme there may crash or exhaust whatever reads it. Find it without --num-workers and with few "
                "--piece-rows, or give workers more memory.",
            )

    def _check(self, raw: RawMemes) -> None:
        """Note what keeps memes from being scored; images that no member reads are of no interest."""
        if not self.reads_images:
            raw.images = [None] * len(raw)
            return
        named = [bool(image) for image in raw.images]
        if any(named):
            check_images(raw, allow_outside=self.settings.allow_outside)
            return
        for row in range(len(raw)):
            raw.report(row, "names no image, but the model reads images")

    def _write(self, number: int, raw: RawMemes, rows: Sequence[int]) -> list[dict[str, str]]:
        """Write the predictions of these rows; returns those whose images can't be decoded."""
        unreadable: list[dict[str, str]] = []
        parts = (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))
        tables = self._tables(raw, parts, unreadable)
        first = next(tables, None)
        if first is None:
            return unreadable
        with self.folder.predictions(number) as path, pq.ParquetWriter(path, first.schema) as writer:
            writer.write_table(first)
            for table in tables:
                writer.write_table(table)
        return unreadable

    def _tables(
        self, raw: RawMemes, parts: Iterator[Sequence[int]], unreadable: list[dict[str, str]]
    ) -> Iterator[pa.Table]:
        for rows in parts:
            images: NDArray[np.uint8] | None = None
            if self.reads_images:
                rows, images = self._decoded(raw, rows, unreadable)
            if rows:
                yield _table(self._predicted(raw, rows, images))

    def _decoded(
        self, raw: RawMemes, rows: Sequence[int], unreadable: list[dict[str, str]]
    ) -> tuple[list[int], NDArray[np.uint8]]:
        """Those of the rows whose images can be decoded, and their pixels [num_rows, S, S, 3]."""
        transform = self.model.preprocessor_.transform
        paths = [raw.root / (raw.images[row] or "") for row in rows]
        with warnings.catch_warnings(), ThreadPoolExecutor(self.settings.num_threads or os.cpu_count()) as pool:
            warnings.simplefilter("ignore")  # Pillow warns of oddities in files that it reads all the same
            found = list(pool.map(lambda path: _pixels(path, transform), paths))
        kept = []
        for row, pixels in zip(rows, found, strict=True):
            if isinstance(pixels, str):
                unreadable.append(_rejected(Problem(raw.where[row], pixels, raw.ids[row]), raw.images[row]))
            else:
                kept.append(row)
        good = [pixels for pixels in found if not isinstance(pixels, str)]
        return kept, np.stack(good) if good else np.empty((0, transform.size, transform.size, 3), np.uint8)

    def _predicted(self, raw: RawMemes, rows: Sequence[int], images: NDArray[np.uint8] | None) -> Predictions:
        memes = Memes(
            texts=[raw.texts[row] for row in rows],
            images=images,
            preprocessor=self.model.preprocessor_,
            meme_ids=[raw.ids[row] for row in rows],
            paths=[None if images is None else raw.root / (raw.images[row] or "") for row in rows],
        )
        predictions = self.model.predict_prepared(memes)
        return (
            predictions if self.policy is None else replace(predictions, policy=self.policy.decide(predictions.tables))
        )


def check_rules(model: EnsembleClassifier) -> None:
    """What is said of a meme must not depend on whose memes are read with it.

    Raises:
        ModelError: a decision rule estimates class shares from the memes of a table.
    """
    estimated = [name for name, rule in model.rules_.items() if rule.serving_prior == "estimated"]
    if estimated:
        raise ModelError(
            f"The model estimates the class shares of {', '.join(estimated)} from all memes of a table, but here they "
            "come piece by piece.",
            fix="Use predict on whole tables, or fit the decision rule with shares that are known.",
        )


def _load(folder: Path) -> EnsembleClassifier:
    folder = model_folder(folder)
    if is_export(folder):
        from memeblend.onnx_engine.classifier import OnnxClassifier

        return OnnxClassifier.load(folder)
    from memeblend.model import MemeClassifier

    return MemeClassifier.load(folder)


def _pixels(path: Path, transform: ImageTransform) -> NDArray[np.uint8] | str:
    """Pixels of an image, or why it can't be decoded."""
    try:
        return transform.apply(load_image(path))
    except ImageError as error:
        return error.message


def _table(predictions: Predictions) -> pa.Table:
    table = pa.Table.from_pandas(predictions.to_frame(), preserve_index=False)
    for position, column in enumerate(table.schema):
        if pa.types.is_null(column.type):  # intervals of a policy, where none of these memes has one
            table = table.set_column(position, column.name, table.column(position).cast(pa.float64()))
    return table.replace_schema_metadata(None)


def _rejected(problem: Problem, image: str | None) -> dict[str, str]:
    return {"meme_id": problem.meme_id, "where": problem.where, "reason": problem.what, "image": image or ""}
