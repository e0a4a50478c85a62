"""What a report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.decisions import DecisionRule, DecisionSettings
from memeblend.ensemble.cost import CandidateCost
from memeblend.ensemble.selection import EnsembleChoice
from memeblend.errors import PredictionError, Problem
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import LabelTask

ROLES = ("fit", "select", "report")


@dataclass(frozen=True, eq=False)
class ReportInput:
    """The results of a run.

    Attributes:
        title: heading of the report.
        data_name: what the memes are called.
        recipe_name: name of the recipe.
        seed: the recipe's seed; also that of the bootstrap.
        manifest_fingerprint: fingerprint of the memes.
        roles: split names of the roles "fit", "select" and "report".
        label_tasks: the trained label tasks, in the order they are shown.
        tables: a prediction table for every candidate and label task, covering the select and report splits;
            candidates are shown in order of appearance.
        choices: the chosen ensemble of each label task.
        pools: named parts of the candidates, with the best ensemble of each label task.
        expected: for each label task what nested cross-validation says of ways to choose, as plain JSON types
            (`HonestScore.to_dict` by name; under "gain" a paired difference).
        costs: what each candidate costs; those measured elsewhere may be missing.
        rules: how each label task's probabilities become decisions; those left out leave the vote as it is.
        decisions: what the recipe asks of these rules, for each label task; studied beside the other ways to decide.
        class_counts: split -> label task -> class -> number of memes; the fit splits' counts give the baselines.
        curves: candidate -> the Hugging Face Trainer's log: entries with "epoch" and "loss" (training), or
            "eval_weighted_f1" (or another score) on the select split.
        texts: ocr_text by meme_id, for the memes that are shown.
        notes: sentences about what was left out or assumed.
        synthetic: whether the memes were drawn by a program; the report then says so.
        seconds: time that each step took.
        trials: rows of the table of trials, where candidates were searched.

    Raises:
        PredictionError: a label task without a choice, class counts of the fit splits, or tables of all its members.
    """

    title: str
    data_name: str
    recipe_name: str
    seed: int
    manifest_fingerprint: str
    roles: Mapping[str, Sequence[str]]
    label_tasks: Sequence[LabelTask]
    tables: Sequence[PredictionTable]
    choices: Mapping[str, EnsembleChoice]
    class_counts: Mapping[str, Mapping[str, Mapping[str, int]]]
    pools: Mapping[str, Mapping[str, EnsembleChoice]] = field(default_factory=dict)
    expected: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    costs: Mapping[str, CandidateCost] = field(default_factory=dict)
    rules: Mapping[str, DecisionRule] = field(default_factory=dict)
    decisions: Mapping[str, DecisionSettings] = field(default_factory=dict)
    curves: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    synthetic: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)
    trials: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        problems = []
        for task in self.label_tasks:
            where = f"label task '{task.name}'"
            if task.name not in self.choices:
                problems.append(Problem(where, "no ensemble was chosen"))
                continue
            missing = set(self.choices[task.name].members) - set(self.tables_of(task))
            problems += [Problem(where, f"member '{name}' has no prediction table") for name in sorted(missing)]
            if not any(self.class_counts.get(split, {}).get(task.name) for split in self.roles["fit"]):
                problems.append(Problem(where, "no class counts of a fit split"))
        if problems:
            raise PredictionError("A report needs all results of a run:", problems=problems)

    def tables_of(self, task: LabelTask) -> dict[str, PredictionTable]:
        """The candidates' tables of a label task, by candidate name."""
        return {table.candidate: table for table in self.tables if table.label_task.name == task.name}

    def prior(self, task: LabelTask) -> NDArray[np.float64]:
        """Share of each class in the fit splits [num_classes]."""
        counts = [self.class_counts.get(split, {}).get(task.name, {}) for split in self.roles["fit"]]
        totals = np.array([sum(one.get(name, 0) for one in counts) for name in task.classes], dtype=np.float64)
        shares: NDArray[np.float64] = totals / totals.sum()
        return shares
