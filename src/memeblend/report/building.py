"""The content of report.json: every number of a report, each with the split and role it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.ensemble.combining import combine
from memeblend.ensemble.selection import EnsembleChoice
from memeblend.evaluation.evaluate import evaluate_table
from memeblend.evaluation.intervals import paired_bootstrap
from memeblend.evaluation.metrics import METRICS, task_means
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import LabelTask, present_probabilities
from memeblend.report.blending import blending_traces
from memeblend.report.choosing import cost_picture, decision_study, pool_scores, weighted_f1_on
from memeblend.report.given import ROLES, ReportInput
from memeblend.report.searching import searches
from memeblend.report.wrong import wrong_memes

FORMAT = 1
CONSTANT_ROW = "best constant"
ENSEMBLE_ROW = "ensemble"
"""Names of the last two rows of the table of models."""
_MAX_POINTS = 200
"""Points kept of a training curve."""


@dataclass(frozen=True, eq=False)
class Judged:
    """One label task with everything that was predicted for it.

    Attributes:
        task: the label task, trained or derived.
        tables: the candidates' tables.
        voted: the chosen ensemble's table by its vote.
        ensemble: the same as its decision rule decides.
        choice: the chosen ensemble (of the label task it derives from, where derived).
        prior: class shares of the fit splits [num_classes].
        derived_from: name of the label task it derives from, or None.
    """

    task: LabelTask
    tables: Mapping[str, PredictionTable]
    voted: PredictionTable
    ensemble: PredictionTable
    choice: EnsembleChoice
    prior: NDArray[np.float64]
    derived_from: str | None = None

    @property
    def members(self) -> list[PredictionTable]:
        """The chosen members' tables."""
        return [self.tables[name] for name in self.choice.members]

    def derived(self) -> Judged:
        """The same for the derived label task `<name>_present`."""
        ensemble = self.ensemble.derived()
        return replace(
            self,
            task=ensemble.label_task,
            tables={name: table.derived() for name, table in self.tables.items()},
            voted=self.voted.derived(),
            ensemble=ensemble,
            prior=present_probabilities(self.prior[None])[0],
            derived_from=self.task.name,
        )


def build_report(given: ReportInput) -> dict[str, Any]:
    """Judge a run.

    Args:
        given: the results of the run.

    Returns:
        The content of report.json, as plain JSON types:
        "title", "data", "recipe", "seed", "manifest_fingerprint", "synthetic", "roles", "notes", "seconds";
        "summary": a sentence for each label task; "label_tasks": by name, derived ones included, with the
        ensemble's judgement (`evaluate_table`), every candidate's scores on the report and select roles, the
        choice of members and their agreement, and of a trained one "expected" (what nested cross-validation says of
        the choice), "pools", "costs" (score against milliseconds) and "decisions" (what other ways to decide would
        gain); "means": the weighted F1 of tasks A, B and C on the report role
        by candidate; "table": models by label tasks for both roles; "class_balance", "curves", "blending" (what was
        estimated of branches: candidate -> quantity -> branch -> epochs and values), "searches" (stage -> its
        trials) and "wrong_memes".

    Raises:
        PredictionError: the tables do not fit together, or a label task has no labels in the report splits.
    """
    judged = _judged(given)
    label_tasks = {one.task.name: _label_task(given, one) for one in judged}
    report_rows = {
        one.task.name: (one.ensemble.of_splits(given.roles["report"]).labelled(), one.members)
        for one in judged
        if one.derived_from is None
    }
    return {
        "format": FORMAT,
        "title": given.title,
        "data": given.data_name,
        "recipe": given.recipe_name,
        "seed": given.seed,
        "manifest_fingerprint": given.manifest_fingerprint,
        "synthetic": given.synthetic,
        "roles": {role: list(given.roles[role]) for role in ROLES},
        "notes": list(given.notes),
        "seconds": {name: float(value) for name, value in given.seconds.items()},
        "summary": [
            {"label_task": name, "sign": entry["sign"], "text": sentence(entry)} for name, entry in label_tasks.items()
        ],
        "label_tasks": label_tasks,
        "means": _means(label_tasks),
        "table": {role: _table(label_tasks, role) for role in ("report", "select")},
        "class_balance": _class_balance(given),
        "curves": {name: curve for name, log in given.curves.items() if (curve := _curve(log))},
        "blending": blending_traces(given.curves),
        "searches": searches(given.trials, given.seed),
        "wrong_memes": wrong_memes(report_rows, given.texts),
    }


def _judged(given: ReportInput) -> list[Judged]:
    """Every label task, derived ones behind the one they derive from."""
    found = []
    for task in given.label_tasks:
        tables, choice = given.tables_of(task), given.choices[task.name]
        voted = combine(list(tables.values()), choice)
        ensemble = given.rules[task.name].apply(voted) if task.name in given.rules else voted
        one = Judged(task, tables, voted, ensemble, choice, given.prior(task))
        found += [one, one.derived()] if task.intensity else [one]
    return found


def _label_task(given: ReportInput, one: Judged) -> dict[str, Any]:
    report, select = list(given.roles["report"]), list(given.roles["select"])
    select_scores = {name: weighted_f1_on(table, select) for name, table in one.tables.items()}
    ensemble = evaluate_table(one.ensemble, report, one.prior, seed=given.seed)
    ensemble["select_weighted_f1"] = weighted_f1_on(one.ensemble, select)
    found: dict[str, Any] = {
        "kind": one.task.kind,
        "classes": list(one.task.classes),
        "derived_from": one.derived_from,
        "sign": _sign(ensemble),
        "scored_on": {"role": "report", "splits": report, "num_memes": ensemble["num_memes"]},
        "ensemble": ensemble,
        "members": _members(one, report, given.roles),
        "against_best_member": _against_best_member(one, report, select_scores, given.seed),
        "best_constant_on_select": _best_constant_on(one.ensemble, select),
        "candidates": {
            name: _candidate(evaluate_table(table, report, one.prior, seed=given.seed), select_scores[name])
            for name, table in one.tables.items()
        },
    }
    if one.derived_from is None:
        found |= {
            "expected": given.expected.get(one.task.name),
            "pools": pool_scores(given, one.task, one.tables),
            "costs": cost_picture(given, one.choice, one.tables),
            "decisions": decision_study(given, one.task, one.voted),
        }
    return found


def _candidate(found: dict[str, Any], select_score: float | None) -> dict[str, Any]:
    kept = {name: found[name] for name in (*METRICS, "interval", "told_from_constant")}
    return kept | {"select_weighted_f1": select_score}


def _best_constant_on(table: PredictionTable, splits: Sequence[str]) -> float | None:
    constants = [
        weighted_f1_on(replace(table, decisions=np.full(len(table), index)), splits)
        for index in range(table.label_task.num_classes)
    ]
    return max((score for score in constants if score is not None), default=None)


def _members(one: Judged, report: Sequence[str], roles: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The choice, and how the members' votes fell on the report role."""
    decided = one.ensemble.of_splits(report).predicted
    votes = np.stack([table.aligned_to(one.ensemble).of_splits(report).predicted for table in one.members])
    with_ensemble = votes == decided  # [num_members, num_memes]
    num_for = with_ensemble.sum(axis=0)
    per_class = (votes[:, :, None] == np.arange(one.task.num_classes)).sum(axis=0)
    tied = (per_class == per_class.max(axis=1, keepdims=True)).sum(axis=1) > 1
    return one.choice.to_dict() | {
        "selected_on_role": _role_of(one.choice.selected_on, roles),
        "agreement": {
            name: float(share) for name, share in zip(one.choice.members, with_ensemble.mean(axis=1), strict=True)
        },
        "unanimous": float((num_for == len(votes)).mean()),
        "decided_by_tie_break": float(tied.mean()),
    }


def _role_of(splits: Sequence[str], roles: Mapping[str, Sequence[str]]) -> str:
    """The role that these splits have; "report" wins, since a choice that saw it is optimistic."""
    for role in ("report", "select", "fit"):
        if set(splits) & set(roles[role]):
            return role
    return "none"


def _against_best_member(
    one: Judged, report: Sequence[str], select_scores: Mapping[str, float | None], seed: int
) -> dict[str, Any]:
    """The ensemble against the member with the best score on the select role (the first by name among equals)."""
    best = min(one.choice.members, key=lambda name: (-(select_scores[name] or 0.0), name))
    ensemble = one.ensemble.of_splits(report)
    found = paired_bootstrap(
        ensemble.labels,
        ensemble.predicted,
        one.tables[best].aligned_to(one.ensemble).of_splits(report).predicted,
        ensemble.groups,
        one.task.num_classes,
        seed=seed,
    )
    return {"member": best, "sign": found.sign} | found.to_dict()


def _sign(ensemble: Mapping[str, Any]) -> int:
    """1 where the ensemble is told from a constant, -1 where it is worse than one, else 0."""
    low, high = ensemble["against_best_constant"]["interval"]
    return 1 if low > 0 else -1 if high < 0 else 0


def sentence(entry: Mapping[str, Any]) -> str:
    """The verdict on one label task in a few plain sentences, naming split and role."""
    scored, members, against = entry["scored_on"], entry["members"], entry["against_best_member"]
    where = f"{', '.join(scored['splits'])} (role report, {scored['num_memes']:,} memes)"
    words = f"Weighted F1 on {where}: {entry['ensemble']['verdict']}"
    names = members["members"]
    if len(names) == 1:
        words += f" The chosen ensemble is {names[0]} alone."
    else:
        low, high = against["interval"]
        gap = f"difference {against['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
        outcome = {1: "beats", 0: "cannot be told from", -1: "is worse than"}[against["sign"]]
        words += f" The vote of {len(names)} members {outcome} its best member alone, {against['member']} ({gap})."
    if members["selected_on_role"] == "report":
        words += " The members were chosen on these very memes, so this score is optimistic."
    return words


def _means(label_tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Weighted F1 of tasks A, B and C on the report role, by candidate, ensemble and best constant; without entries
    where the label tasks are others."""
    names = dict.fromkeys(name for entry in label_tasks.values() for name in entry["candidates"])
    rows: dict[str, dict[str, dict[str, float]]] = {
        candidate: {
            task: entry["candidates"][candidate]
            for task, entry in label_tasks.items()
            if candidate in entry["candidates"]
        }
        for candidate in names
    }
    rows["ensemble"] = {task: entry["ensemble"] for task, entry in label_tasks.items()}
    rows["best_constant"] = {
        task: {"weighted_f1": entry["ensemble"]["baselines"]["best_constant"]} for task, entry in label_tasks.items()
    }
    return {name: task_means(by_task) for name, by_task in rows.items()}


def _table(label_tasks: Mapping[str, Mapping[str, Any]], role: str) -> dict[str, Any]:
    """Models by trained label tasks, laid out like the paper's table 4: ensemble and best constant close it."""
    trained = {name: entry for name, entry in label_tasks.items() if entry["derived_from"] is None}
    key = "weighted_f1" if role == "report" else "select_weighted_f1"
    candidates = dict.fromkeys(name for entry in trained.values() for name in entry["candidates"])
    rows = [
        {"model": name, "scores": [entry["candidates"].get(name, {}).get(key) for entry in trained.values()]}
        for name in candidates
    ]
    pools = dict.fromkeys(name for entry in trained.values() for name in entry["pools"])
    rows += [{"model": name, "scores": [entry["pools"][name][key] for entry in trained.values()]} for name in pools]
    rows.append({"model": ENSEMBLE_ROW, "scores": [entry["ensemble"][key] for entry in trained.values()]})
    constants = [
        entry["ensemble"]["baselines"]["best_constant"] if role == "report" else entry["best_constant_on_select"]
        for entry in trained.values()
    ]
    rows.append({"model": CONSTANT_ROW, "scores": constants})
    return {"role": role, "metric": "weighted_f1", "columns": list(trained), "rows": rows}


def _class_balance(given: ReportInput) -> dict[str, dict[str, Any]]:
    """Label task -> split -> its role and class counts, for the splits that have a role."""
    role_of = {split: role for role in ROLES for split in given.roles[role]}
    return {
        task.name: {
            split: {"role": role, "counts": {name: int(counts.get(name, 0)) for name in task.classes}}
            for split, role in role_of.items()
            if (counts := given.class_counts.get(split, {}).get(task.name))
        }
        for task in given.label_tasks
    }


def _curve(log: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """A Trainer's log as one point an epoch: "epoch", "train_loss" and the scores on the select split."""
    points: dict[float, dict[str, float]] = {}
    for entry in log:
        found = {"train_loss": entry["loss"]} if "loss" in entry else {}
        found |= {metric: entry[f"eval_{metric}"] for metric in METRICS if f"eval_{metric}" in entry}
        if found:
            points.setdefault(float(entry["epoch"]), {}).update({name: float(value) for name, value in found.items()})
    ordered = [{"epoch": epoch} | points[epoch] for epoch in sorted(points)]
    step = -(-len(ordered) // _MAX_POINTS) or 1
    return ordered[::step]
