"""What the commands show: progress on standard error, results on standard output."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table

messages = Console(stderr=True, highlight=False)
results = Console(highlight=False)
if not results.is_terminal:
    results.width = 120  # a file or a pipe has no width; 80 would cut tables


class Bars:
    """A progress bar with the time left, drawn on standard error; plain lines where that is no terminal."""

    def __init__(self) -> None:
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=messages,
            transient=False,
        )
        self._bar: TaskID | None = None
        self._label = ""
        self._note = ""

    def __enter__(self) -> Bars:
        if messages.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._bars.stop()

    def _end(self) -> None:
        if self._bar is None:
            return
        if messages.is_terminal:
            task = self._bars.tasks[-1]
            self._bars.update(self._bar, total=task.completed, refresh=True)
            self._bars.stop_task(self._bar)
        else:
            messages.print(f"{self._label}: done" + (f" ({self._note})" if self._note else ""), markup=False)
        self._bar = None

    def pause(self) -> None:
        """Leave the screen to others until the next piece of work begins."""
        self._end()
        if not messages.is_terminal:
            return
        self._bars.stop()
        for task in list(self._bars.task_ids):
            self._bars.remove_task(task)

    def start(self, label: str, total: int) -> None:
        """A piece of work begins."""
        self._end()
        if messages.is_terminal:
            self._bars.start()
        self._label, self._note = label, ""
        self._bar = self._bars.add_task(escape(label), total=total, note="")
        if not messages.is_terminal:
            messages.print(f"{label} ...", markup=False)

    def advance(self, num_done: int, note: str = "") -> None:
        """So many steps of it are done."""
        self._note = note or self._note
        if self._bar is not None:
            self._bars.update(self._bar, completed=num_done, note=self._note)

    def say(self, text: str) -> None:
        """A sentence worth keeping."""
        messages.print(text, markup=False)


@contextmanager
def quiet_libraries(*, transformers: bool = True) -> Iterator[None]:
    """Keep libraries' own chatter (load reports, bars, advice for developers) off the screen.

    Args:
        transformers: whether transformers is used; otherwise it is not imported.
    """
    import warnings

    if transformers:
        from transformers.utils import logging as transformers_logging

        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def print_json(data: Any) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n")


def scores_table(evaluation: dict[str, Any]) -> Table:
    """A table of an evaluation: a row for each label task, scores beside their baselines."""
    table = Table()
    for name in ("label task", "weighted F1", "95 % interval", "macro F1", "majority", "best constant", "chance"):
        table.add_column(name, justify="left" if name == "label task" else "right")
    table.add_column("told from a constant?")
    for name, found in evaluation["label_tasks"].items():
        low, high = found["interval"]
        baselines = found["baselines"]
        sign = found["against_best_constant"]["interval"]
        told = "yes" if sign[0] > 0 else "no, worse" if sign[1] < 0 else "no"
        table.add_row(
            escape(name),
            f"{found['weighted_f1']:.3f}",
            f"[{low:.3f}, {high:.3f}]",
            f"{found['macro_f1']:.3f}",
            *(f"{baselines[key]:.3f}" for key in ("majority", "best_constant", "chance")),
            told,
            style="dim" if name.endswith("_present") else None,
        )
    return table


def candidates_table(candidates: dict[str, dict[str, float]]) -> Table:
    """Weighted F1 of each candidate (rows) on each label task (columns); the best of a column is bold."""
    table = Table()
    table.add_column("candidate")
    for name in candidates:
        table.add_column(escape(name), justify="right")
    best = {name: max(scores.values()) for name, scores in candidates.items()}
    for candidate in next(iter(candidates.values())):
        cells = []
        for name, scores in candidates.items():
            text = f"{scores[candidate]:.3f}"
            cells.append(f"[bold]{text}[/]" if scores[candidate] == best[name] else text)
        table.add_row(candidate, *cells)
    return table
