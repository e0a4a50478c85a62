"""`RedTeamReport`: what a red team found, as JSON, Markdown, a page, or a folder of all three."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memeblend.files import write_json, write_text
from memeblend.redteam.examples import Example
from memeblend.redteam.fairness import NameProbe
from memeblend.redteam.grid import Cell, Settings
from memeblend.redteam.judging import Judgement
from memeblend.redteam.measuring import Outcome

FORMAT = 1


@dataclass(frozen=True)
class CellReport:
    """A cell and what it did.

    Attributes:
        cell: the cell.
        why_not: why it can't apply to this model and these memes; "" where it does.
        num_changed: memes that it really changed, as the members read them.
        label_tasks: what it did to each label task, derived ones included; empty where it can't apply.
    """

    cell: Cell
    why_not: str
    num_changed: int
    label_tasks: Mapping[str, Outcome]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "name": self.cell.name,
            "perturbation": self.cell.perturbation.name,
            "severity": self.cell.severity,
            "changes": self.cell.perturbation.changes,
            "summary": self.cell.perturbation.summary,
            "strength": self.cell.strength_words,
            "applies": not self.why_not,
            "why_not": self.why_not,
            "num_changed": self.num_changed,
            "label_tasks": {name: outcome.to_dict() for name, outcome in self.label_tasks.items()},
        }


@dataclass(frozen=True)
class RedTeamReport:
    """What a red team found.

    Attributes:
        settings: what was tried.
        about: the memes and the model: num_memes, num_groups, num_seen (trained or chose the model), splits,
            fingerprint, label_tasks (the trained ones), reads, policy (whether verdicts were watched).
        clean: scores of the memes as they are, by label task.
        cells: every cell that was asked for.
        names: what swapping names showed; None where it was not tried or nothing can be compared.
        examples: the worst flips.
        judgement: the findings against the budget; None without one.
    """

    settings: Settings
    about: Mapping[str, Any]
    clean: Mapping[str, Mapping[str, float]]
    cells: tuple[CellReport, ...]
    names: NameProbe | None
    examples: tuple[Example, ...]
    judgement: Judgement | None

    @property
    def passed(self) -> bool:
        """Whether no limit of the budget was failed; true without a budget."""
        return self.judgement is None or self.judgement.verdict != "fail"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, which `report.json` holds."""
        return {
            "format": FORMAT,
            "seed": self.settings.seed,
            "severities": sorted(set(self.settings.severities)),
            **self.about,
            "clean": {name: dict(scores) for name, scores in self.clean.items()},
            "cells": [cell.to_dict() for cell in self.cells],
            "names": None if self.names is None else self.names.to_dict(),
            "examples": [example.to_dict() for example in self.examples],
            "budget": None if self.judgement is None else self.judgement.to_dict(),
            "passed": self.passed,
        }

    def to_markdown(self) -> str:
        """The report for a terminal or a pull request."""
        from memeblend.redteam.page import rendered

        return rendered(self, "redteam.md.j2")

    def to_html(self) -> str:
        """One self-contained page without a script."""
        from memeblend.redteam.page import rendered

        return rendered(self, "redteam.html.j2")

    def write(self, folder: str | Path) -> None:
        """Write report.json, report.md and report.html into a folder.

        Raises:
            OutputError: a file could not be written.
        """
        folder = Path(folder)
        texts = {"report.md": self.to_markdown(), "report.html": self.to_html()}
        write_json(folder / "report.json", self.to_dict())
        for name, text in texts.items():
            write_text(folder / name, text)
