"""The course of a search: what to try next, given what has been found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memeblend.recipe.search import Search, Space
from memeblend.tuning.drawing import make_drawer
from memeblend.tuning.halving import Cutoffs, cutoffs
from memeblend.tuning.trials import Trial


@dataclass(frozen=True)
class Asked:
    """A trial to make.

    Attributes:
        number: from 0.
        values: of the searched fields.
        limits: merits below which its trainings end early.
    """

    number: int
    values: Mapping[str, Any]
    limits: Cutoffs


class Course:
    """What to try next; a trial is asked for once, and told of when it has ended.

    Args:
        settings: how to search.
        space: values of each field.
        seed: the draws follow from it.
        folder: holds a folder for each trial; those that have ended there are not asked for again.
    """

    def __init__(self, settings: Search, space: Mapping[str, Space], seed: int, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.trials: dict[int, Trial] = {}
        self._drawer = make_drawer(settings.sampler, space, seed, settings.batch_size)
        self._waiting: list[Asked] = []
        self._batch: list[int] = []
        self._begin_batches()

    @property
    def is_over(self) -> bool:
        """Whether all trials have ended."""
        return self._num_ended == self.settings.num_trials

    @property
    def _num_ended(self) -> int:
        return sum(trial.state != "running" for trial in self.trials.values())

    def next(self) -> Asked | None:
        """A trial to make now; None where others must end first, or all are asked for."""
        return self._waiting.pop(0) if self._waiting else None

    def told(self, number: int, key: str, scores: list[float]) -> None:
        """Takes the metrics so far of a trial under way."""
        trial = self.trials[number]
        self.trials[number] = replace(trial, curves={**trial.curves, key: scores})

    def tell(self, trial: Trial) -> None:
        """Takes an ended trial.

        Raises:
            OutputError: it could not be written.
        """
        trial.write(self.trial_folder(trial.number))
        self.trials[trial.number] = trial
        self._begin_batches()

    def trial_folder(self, number: int) -> Path:
        """Where a trial works."""
        return self.folder / f"{number:03d}"

    def _begin_batches(self) -> None:
        """Draw the next batch when the last has ended, and go on while all of it is there from earlier."""
        while not self._waiting and self._end_batch() and len(self.trials) < self.settings.num_trials:
            earlier = list(self.trials.values())
            limits: Cutoffs = {}
            if self.settings.scheduler == "asha":
                limits = cutoffs(earlier, self.settings.grace, self.settings.reduction)
            count = self.settings.batch_size  # drawn whole, so that more trials later begin with the same
            drawn = self._drawer.draw(count)[: self.settings.num_trials - len(earlier)]
            known = {trial.key for trial in earlier}
            self._batch = list(range(len(earlier), len(earlier) + len(drawn)))
            for number, values in zip(self._batch, drawn, strict=True):
                trial = Trial(number, values, metric=self.settings.metric)
                ended = Trial.read(self.trial_folder(number))
                self.trials[number] = trial if ended is None else ended
                if ended is None and trial.key not in known:
                    self._waiting.append(Asked(number, values, limits))
                known.add(trial.key)

    def _end_batch(self) -> bool:
        """Whether the last batch has ended; then those that repeat others get their results."""
        for number in self._batch:
            trial = self.trials[number]
            first = next(one for one in self.trials.values() if one.key == trial.key)
            if trial.state == "running" and first.state == "running":
                return False
            if trial.state == "running" and first.number != number:
                same = replace(first, number=number, state="repeated", seconds=0.0)
                same.write(self.trial_folder(number))
                self.trials[number] = same
        full = len(self._batch) == self.settings.batch_size
        if self._batch and full:
            self._drawer.learn([self.trials[number] for number in self._batch])
        self._batch = []
        return True


def run_here(course: Course, make: Callable[[Asked], Trial], changed: Callable[[], None]) -> None:
    """Make the trials one after the other in this process.

    Args:
        course: of the search.
        make: makes a trial, whatever becomes of it.
        changed: called when a trial begins or ends.
    """
    while (asked := course.next()) is not None:
        changed()
        course.tell(make(asked))
        changed()
