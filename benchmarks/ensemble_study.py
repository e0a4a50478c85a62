"""What each candidate kind and each way to choose an ensemble is worth on a real set, over several seeds.

    python benchmarks/ensemble_study.py DATA --out FOLDER [--seeds 0 1 2] [--recipe examples/study.toml]

Fits the recipe once a seed (a fit that is there already is not repeated), then chooses in every way from the same
prediction tables. Nothing is tuned on the splits that report. Scores are weighted F1, means over the seeds; the
intervals are 95 % bootstrap intervals of these means over duplicate groups of the memes that report, drawn alike for
all seeds, so they hold the seeds fixed. Prints Markdown, and one JSON object as the last line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import quiet
from memeblend.data.cache import default_cache_dir
from memeblend.data.manifest import Manifest
from memeblend.ensemble.combining import combine
from memeblend.ensemble.honest import HonestScore, Procedure, expected_scores_by_method
from memeblend.ensemble.selection import SearchSettings, search
from memeblend.evaluation.intervals import percentile_interval, resampled_scores
from memeblend.evaluation.tables import PredictionTable
from memeblend.recipe import load_recipe
from memeblend.run import Run, carry_out
from memeblend.training.progress import Silent

TFIDF = "tfidf-0"
ENSEMBLES: Mapping[str, tuple[str, SearchSettings]] = {
    "Ensemble-1, maximum (paper)": ("Ensemble-1", SearchSettings()),
    "Ensemble-2, maximum (paper)": ("Ensemble-2", SearchSettings()),
    "best single": ("tiny", SearchSettings(method="best_single")),
    "exhaustive, maximum": ("tiny", SearchSettings()),
    "exhaustive, one standard error": ("tiny", SearchSettings(rule="one_standard_error")),
    "exhaustive soft, maximum": ("tiny", SearchSettings(voting="soft")),
    "exhaustive soft, one standard error": ("tiny", SearchSettings(voting="soft", rule="one_standard_error")),
    "greedy soft, maximum": ("tiny", SearchSettings(voting="soft", method="greedy")),
    "best three, soft": ("tiny", SearchSettings(voting="soft", method="top_k")),
    "all, majority": ("tiny", SearchSettings(method="all")),
    "all, soft": ("tiny", SearchSettings(voting="soft", method="all")),
    "all, weighted": ("tiny", SearchSettings(voting="weighted", method="all")),
    "all, rank": ("tiny", SearchSettings(voting="rank", method="all")),
}
"""Ways to choose: the pool of the recipe that is offered, and how."""


@dataclass(frozen=True)
class Scored:
    """One way on the memes that report, over the seeds.

    Attributes:
        tables: its table for each seed, on the splits that report.
        selected_on: score where it chose, for each seed; None for what was not chosen.
        honest: what nested cross-validation said, for each seed.
        members: what was chosen, for each seed.
    """

    tables: Sequence[PredictionTable]
    selected_on: Sequence[float] | None = None
    honest: Sequence[HonestScore] = ()
    members: Sequence[tuple[str, ...]] = ()


def main() -> None:
    """Fit, choose, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipe", default=str(Path(__file__).parents[1] / "examples" / "study.toml"))
    parser.add_argument("--limit", type=int, default=0, help="a stratified part of so many memes")
    given = parser.parse_args()
    quiet()
    runs = [_fitted(given.data, given.out / f"seed{seed}", given.recipe, seed, given.limit) for seed in given.seeds]
    found = {task.name: _studied(runs, task.name) for task in runs[0].manifest.label_tasks}
    for task, rows in found.items():
        _print(task, rows, runs)
    print(json.dumps({"data": given.data.name, "seeds": given.seeds, "label_tasks": found}))


def _fitted(data: Path, out: Path, recipe: str, seed: int, limit: int) -> Run:
    manifest = Manifest.read(data)
    if limit:
        manifest = manifest.limit(limit, 0)
    made = load_recipe(recipe, [f"seed={seed}"])
    if (out / "run.json").is_file():
        return Run.load(out)
    return carry_out(manifest, made, out, cache_dir=default_cache_dir(), progress=Silent())


def _studied(runs: Sequence[Run], task: str) -> dict[str, dict[str, Any]]:
    """Every candidate and every way to choose, by name."""
    ways = {name: _candidate(runs, name, task) for name in runs[0].tables}
    ways |= {name: _chosen(runs, task, *how) for name, how in ENSEMBLES.items()}
    baseline = ways[TFIDF]
    return {name: _judged(way, baseline) for name, way in ways.items()}


def _candidate(runs: Sequence[Run], name: str, task: str) -> Scored:
    return Scored([run.tables[name][task].of_splits(run.roles.report).labelled() for run in runs])


def _chosen(runs: Sequence[Run], task: str, pool: str, settings: SearchSettings) -> Scored:
    tables, selected, honest, members = [], [], [], []
    for run in runs:
        offered = [run.tables[name][task] for name in run.recipe.ensemble.pools[pool]]
        seen = [table.of_splits(run.roles.select) for table in offered]
        how = replace(settings, seed=run.recipe.seed)
        choice = search(seen, how)
        procedure = Procedure(_searching(how), combine)
        honest.append(expected_scores_by_method(seen, {"it": procedure}, seed=run.recipe.seed).by_procedure["it"])
        tables.append(combine(offered, choice).of_splits(run.roles.report).labelled())
        selected.append(choice.score)
        members.append(choice.members)
    return Scored(tables, selected, honest, members)


def _searching(settings: SearchSettings) -> Callable[[Sequence[PredictionTable]], Any]:
    return lambda tables: search(tables, settings)


def _judged(way: Scored, baseline: Scored) -> dict[str, Any]:
    """Mean score over the seeds on the memes that report, its interval, and the paired difference to tfidf."""
    draws = [
        _draws(table, [table.predicted, other.predicted])
        for table, other in zip(way.tables, baseline.tables, strict=True)
    ]
    points = np.mean([point for point, _ in draws], axis=0)
    resampled = np.mean([each for _, each in draws], axis=0)
    found: dict[str, Any] = {
        "report": float(points[0]),
        "interval": list(percentile_interval(resampled[:, 0])),
        "against_tfidf": float(points[0] - points[1]),
        "against_tfidf_interval": list(percentile_interval(resampled[:, 0] - resampled[:, 1])),
    }
    if way.selected_on is not None:
        expected = [score.expected for score in way.honest if score.expected is not None]
        found |= {
            "selected_on": float(np.mean(way.selected_on)),
            "expected": float(np.mean(expected)),
            "expected_standard_error": float(np.mean([score.standard_error for score in way.honest])),
            "num_members": [len(members) for members in way.members],
            "members": [list(members) for members in way.members],
        }
    return found


def _draws(table: PredictionTable, predicted: Sequence[NDArray[np.int64]]) -> tuple[Any, NDArray[np.float64]]:
    """Scores of some predictions, and the same on resamples of the duplicate groups."""
    from sklearn.metrics import f1_score

    points = [f1_score(table.labels, one, average="weighted", zero_division=0) for one in predicted]
    return points, resampled_scores(table.labels, list(predicted), table.groups, table.label_task.num_classes, seed=0)


def _print(task: str, rows: Mapping[str, Mapping[str, Any]], runs: Sequence[Run]) -> None:
    table = runs[0].tables[TFIDF][task]
    num = [len(table.of_splits(names).labelled()) for names in (runs[0].roles.select, runs[0].roles.report)]
    print(f"\n### {task}: {num[0]} memes choose, {num[1]} report\n")
    print("| model | selected on | to expect | report | 95 % interval | against tfidf-0 | members |")
    print("|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        chosen = f"{row['selected_on']:.3f} | {row['expected']:.3f}" if "expected" in row else " | "
        members = " / ".join(map(str, row.get("num_members", [])))
        low, high = row["interval"]
        less, more = row["against_tfidf_interval"]
        print(
            f"| {name} | {chosen} | {row['report']:.3f} | [{low:.3f}, {high:.3f}] | "
            f"{row['against_tfidf']:+.3f} [{less:+.3f}, {more:+.3f}] | {members} |"
        )


if __name__ == "__main__":
    main()
