"""A red team's findings held against a budget: pass, fail, or can't tell.

A limit is failed where the whole 95 % interval lies above it, passed where the whole interval lies below or on it, and
can't be told where it lies between. So a small set of memes neither fails by bad luck nor passes for being small. A
perturbation that was not tried, or can't be, is neither; nor is a limit that nothing was held against.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from memeblend.errors import MemeblendError, Problem
from memeblend.policy.budget import Budget
from memeblend.redteam.fairness import NameProbe
from memeblend.redteam.grid import Cell, near_words, perturbation_names
from memeblend.redteam.measuring import Outcome

Verdict = Literal["pass", "fail", "unsure"]


@dataclass(frozen=True)
class Check:
    """One finding against its limit.

    Attributes:
        what: "flip rate", "score drop", "evasion rate" or "name gap".
        where: the cell, or the way to group names.
        label_task: the label task; "" where nothing was measured.
        value: what was found; None where nothing was measured.
        interval: its 95 % interval.
        limit: what the budget allows.
        verdict: "pass", "fail" or "unsure".
    """

    what: str
    where: str
    label_task: str
    value: float | None
    interval: tuple[float, float]
    limit: float
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self) | {"interval": list(self.interval)}


@dataclass(frozen=True)
class Judgement:
    """All checks of a budget.

    Attributes:
        checks: the checks.
        strict: whether what can't be told fails.
    """

    checks: tuple[Check, ...]
    strict: bool

    def number(self, verdict: Verdict) -> int:
        """How many checks ended so."""
        return sum(check.verdict == verdict for check in self.checks)

    @property
    def verdict(self) -> Verdict:
        """ "fail" where any check failed (or, if strict, can't be told), "unsure" where any can't be told."""
        if self.number("fail") or (self.strict and self.number("unsure")):
            return "fail"
        return "unsure" if self.number("unsure") else "pass"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "verdict": self.verdict,
            "strict": self.strict,
            "num_pass": self.number("pass"),
            "num_fail": self.number("fail"),
            "num_unsure": self.number("unsure"),
            "checks": [check.to_dict() for check in self.checks],
        }


def check_budget(budget: Budget, label_tasks: Sequence[str]) -> None:
    """Refuse a budget that names what there is not.

    Args:
        budget: the budget.
        label_tasks: names of all label tasks of the model, derived ones included.

    Raises:
        MemeblendError: perturbations, severities or label tasks that there are not; all listed, with near names.
    """
    problems = []
    for name in budget.cells:
        perturbation, at, severity = name.partition("@")
        if perturbation not in perturbation_names():
            problems.append(Problem(f"cells.{name}", near_words(perturbation, perturbation_names())))
        elif at and severity not in ("1", "2", "3"):
            problems.append(Problem(f"cells.{name}", f"severity '{severity}', expected 1, 2 or 3"))
    problems += [
        Problem(f"label_tasks, {name}", near_words(name, label_tasks))
        for name in budget.label_tasks
        if name not in label_tasks
    ]
    if problems:
        raise MemeblendError(
            "The budget names what there is not:",
            problems=problems,
            fix=f"Perturbations are {', '.join(perturbation_names())}; label tasks are {', '.join(label_tasks)}.",
        )


def judge(
    budget: Budget,
    cells: Sequence[tuple[Cell, Mapping[str, Outcome]]],
    names: NameProbe | None,
    label_tasks: Sequence[str],
) -> Judgement:
    """Hold findings against a budget.

    Args:
        budget: the budget, which `check_budget` let pass.
        cells: the cells that were tried, each with what it did to each label task; nothing where it can't apply.
        names: what swapping names showed; None where it was not tried.
        label_tasks: the trained label tasks, which are held to a budget that names none.
    """
    held = list(budget.label_tasks or label_tasks)
    checks: list[Check] = []
    for cell, found in cells:
        for name in held if found else ():
            checks += _of_cell(budget, cell, name, found[name])
    if budget.max_name_gap is not None:
        checks += _of_names(budget.max_name_gap, names, held)
    there = {check.what for check in checks}
    checks += [
        Check(what, where, "", None, (0.0, 1.0), limit, "unsure")
        for what, where, limit in _general_limits(budget)
        if limit is not None and what not in there
    ]
    tried = {name for cell, found in cells if found for name in (cell.name, cell.perturbation.name)}
    checks += [
        Check("flip rate", name, "", None, (0.0, 1.0), limit, "unsure")
        for name, limit in budget.cells.items()
        if name not in tried
    ]
    return Judgement(tuple(checks), budget.strict)


def _of_cell(budget: Budget, cell: Cell, label_task: str, found: Outcome) -> Iterator[Check]:
    flips = budget.cells.get(cell.name, budget.cells.get(cell.perturbation.name, budget.max_flip_rate))
    if flips is not None:
        yield _check("flip rate", cell.name, label_task, found.flips.value, found.flips.interval, flips)
    if budget.max_evasion_rate is not None and found.evasions is not None:
        rate = found.evasions
        yield _check("evasion rate", cell.name, label_task, rate.value, rate.interval, budget.max_evasion_rate)
    if budget.max_score_drop is not None:
        scored = found.scores.get("weighted_f1")
        interval = (-1.0, 1.0)
        if scored is not None:
            interval = (-scored.change.interval[1], -scored.change.interval[0])
            if not found.flips.num:  # resamples are all alike and would claim to be sure; a drop needs flips
                interval = found.flips.interval
        drop = None if scored is None else -scored.change.difference
        yield _check("score drop", cell.name, label_task, drop, interval, budget.max_score_drop)


def _general_limits(budget: Budget) -> Iterator[tuple[str, str, float | None]]:
    """What a limit is of, where it holds, and the limit."""
    yield "flip rate", "every cell", budget.max_flip_rate
    yield "score drop", "every cell", budget.max_score_drop
    yield "evasion rate", "every cell", budget.max_evasion_rate
    yield "name gap", "names", budget.max_name_gap


def _of_names(limit: float, names: NameProbe | None, label_tasks: Sequence[str]) -> Iterator[Check]:
    of_tasks = {} if names is None else names.label_tasks
    for label_task in label_tasks:
        for by, grouping in of_tasks.get(label_task, {}).items():
            yield _check("name gap", by, label_task, grouping.gap.value, grouping.gap.interval, limit)


def _check(
    what: str, where: str, label_task: str, value: float | None, interval: tuple[float, float], limit: float
) -> Check:
    low, high = interval
    verdict: Verdict = "fail" if low > limit else "pass" if high <= limit else "unsure"
    return Check(what, where, label_task, value, interval, limit, "unsure" if value is None else verdict)
