"""What each stage of the chain adds: label tasks from nothing, from a contrastive encoder, and from harmful memes too;
and what a text encoder of another origin does in its place.

    python benchmarks/chain_study.py --out RUNS --encoder ENCODER [--data ../shared/data] [--sets cm_memes memotion1]
                                     [--seeds 0 1 2] [--limit 0] [--set K=V ...] [--summary]

Each cell (set, way, seed) is a `memeblend fit` of examples/chain.toml in a folder of its own, and is not trained
again: the study can run piecewise, and `--summary` prints what is there as Markdown. ENCODER is what a contrastive
stage makes (`make pretrain-embedded`), the same for all cells. "MiniLM" has all-MiniLM-L6-v2 as text encoder (extra
`minilm`) beside ENCODER's image encoder, trained with a fifth of the learning rate, as what was pre-trained on text
wants. The runs hold predictions of single memes; keep them.

Scores are means over label tasks and seeds on the split that reports; intervals are 95 % bootstrap intervals of these
means over duplicate groups, drawn alike for all cells of a label task, so they hold the seeds fixed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import quiet
from comparing import METRICS, difference, of_tables, with_interval
from memeblend import Manifest, MemeClassifier
from memeblend.evaluation.tables import PredictionTable
from memeblend.files import toml_text

RECIPE = Path(__file__).parents[1] / "examples" / "chain.toml"
MEMEBLEND = [sys.executable, "-c", "from memeblend.cli import main; main()"]
FROM_NOTHING, CONTRASTIVE, BINARY = "from nothing", "contrastive", "contrastive, then harmeme"
MINILM = "MiniLM"
_MINILM_RATE = 1e-4
ENSEMBLE, TFIDF = "ensemble", "tfidf-0"


def main() -> None:
    """Train what is missing, and print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, help="folder of the contrastive encoder")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="+", default=["cm_memes", "memotion1"])
    parser.add_argument("--ways", nargs="+", default=[FROM_NOTHING, CONTRASTIVE, BINARY])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--limit", type=int, default=0, help="a stratified part of so many memes of a set")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="any field of the recipe")
    parser.add_argument("--summary", action="store_true", help="print what is there and train nothing")
    given = parser.parse_args()
    quiet()
    for name in given.sets:
        cells = {
            (way, seed): given.out / f"{name}-{way.replace(', ', '-').replace(' ', '-')}-{seed}"
            for seed in given.seeds
            for way in given.ways
        }
        if not given.summary:
            for (way, seed), folder in cells.items():
                _fit(given, name, way, seed, folder)
        done = {cell: folder for cell, folder in cells.items() if (folder / "report.json").is_file()}
        if done:
            _print(name, {cell: _Cell.read(folder) for cell, folder in done.items()})


def _fit(given: argparse.Namespace, name: str, way: str, seed: int, folder: Path) -> None:
    """Train a cell, or go on with it."""
    if (folder / "report.json").is_file():
        return
    given.out.mkdir(parents=True, exist_ok=True)
    recipe = given.out / f"{folder.name}.toml"
    recipe.write_text(toml_text(_recipe(given, way)), encoding="utf-8")
    settings = [f"seed={seed}", *given.settings]
    command = [*MEMEBLEND, "fit", str(given.data / name), "--recipe", str(recipe), "--out", str(folder)]
    command += ["--limit", str(given.limit)] if given.limit else []
    for setting in settings:
        command += ["--set", setting]
    print(f"{name}, {way}, seed {seed} ...", file=sys.stderr, flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the cell in {folder} failed:\n{done.stderr}")


def _recipe(given: argparse.Namespace, way: str) -> dict[str, Any]:
    """The chain from the stage on that a way begins with."""
    recipe = tomllib.loads(RECIPE.read_text(encoding="utf-8"))
    stages = recipe["pretraining"]
    del stages["contrast"]  # which has made the encoder
    recipe["encoder"]["source"] = "tiny" if way == FROM_NOTHING else str(given.encoder.resolve())
    stages["harm"]["data"] = [str((given.data / "harmeme").resolve())]
    if way != BINARY:
        del stages["harm"]
        for candidate in recipe["candidates"]:
            if candidate.get("start") == "harm":
                candidate["start"] = "encoder"
    if way == MINILM:
        recipe["encoder"] |= {"source": "pair", "pair": {"text": "minilm", "image": str(given.encoder.resolve())}}
        for candidate in recipe["candidates"]:
            if candidate["kind"] in ("text", "fusion"):
                candidate.setdefault("training", {})["learning_rate"] = _MINILM_RATE
    return recipe


@dataclass(frozen=True)
class _Cell:
    """What a run says on its split that reports.

    Attributes:
        tables: of each label task, and there of each candidate and of the ensemble.
        constants: weighted F1 of the best constant, mean over the label tasks.
    """

    tables: Mapping[str, Mapping[str, PredictionTable]]
    constant: float

    @classmethod
    def read(cls, run: Path) -> _Cell:
        """The tables of a finished run."""
        report = json.loads((run / "report.json").read_text(encoding="utf-8"))
        splits, names = report["roles"]["report"], list(report["seconds"])
        manifest = Manifest.read(run / "manifest.parquet")
        part = manifest.take(np.isin(manifest.splits, splits))
        voted = MemeClassifier.load(run).predict_tables(part).tables
        tables: dict[str, dict[str, PredictionTable]] = {}
        trained = {task: found for task, found in report["label_tasks"].items() if not found["derived_from"]}
        for task in trained:
            found = {
                name: PredictionTable.read(run / "predictions" / f"{name}.{task}.parquet").of_splits(splits)
                for name in names
            }
            reference = next(iter(found.values()))
            tables[task] = found | {ENSEMBLE: voted[task].with_truth_of(reference)}
        constants = [task["ensemble"]["baselines"]["best_constant"] for task in trained.values()]
        return cls(tables, float(np.mean(constants)))


def _print(name: str, cells: Mapping[tuple[str, int], _Cell]) -> None:
    scores = {
        (way, seed, candidate): of_tables({task: found[candidate] for task, found in cell.tables.items()})
        for (way, seed), cell in cells.items()
        for candidate in next(iter(cell.tables.values()))
    }
    ways = list(dict.fromkeys(way for way, _, _ in scores))
    candidates = list(dict.fromkeys(candidate for _, _, candidate in scores))
    constant = np.mean([cell.constant for cell in cells.values()])
    print(f"\n### {name}: best constant {constant:.3f} weighted F1\n")
    print("| candidate | way | seeds | weighted F1 | macro F1 | against from nothing | against tfidf |")
    print("|---|---|---|---|---|---|---|")
    for candidate in candidates:
        for way in ways if candidate != TFIDF else ways[:1]:
            seeds = [seed for other, seed, one in scores if (other, one) == (way, candidate)]
            mine = [scores[way, seed, candidate] for seed in seeds]
            shown = [with_interval([one[:, index] for one in mine]) for index in range(len(METRICS))]
            others = ((FROM_NOTHING, candidate), (way, TFIDF))
            shown += [_against(scores, (way, candidate), other, seeds) for other in others]
            print(f"| {candidate} | {way} | {len(seeds)} | {' | '.join(shown)} |")


def _against(
    scores: Mapping[tuple[str, int, str], NDArray[np.float64]],
    this: tuple[str, str],
    other: tuple[str, str],
    seeds: Sequence[int],
) -> str:
    """The difference in weighted F1 of one way and candidate to another; "" to itself, or where that is not there."""
    mine, others = ([(way, seed, candidate) for seed in seeds] for way, candidate in (this, other))
    if this == other or not all(key in scores for key in others):
        return ""
    return difference([scores[key][:, 0] for key in mine], [scores[key][:, 0] for key in others])


if __name__ == "__main__":
    main()
