"""What each way of blending, and each switch of the fusion, is worth: the fused branch's scores over several seeds.

    python benchmarks/blending_study.py --out cells.jsonl [--sets sample DATA/cm_memes DATA/harmeme] [--seeds 0 1 2 3 4]
                                        [--ways none uniform ...] [--minutes 30] [--summary]

Each cell (set, seed, way) trains one small fusion from the encoder, appends one line to the file, and is not trained
again: the study can run piecewise, and `--summary` prints what is there as Markdown. The file holds predictions of
single memes; keep it to yourself.

All cells of a set report on the same memes; the seed draws those that select and everything in training. "best
constant" is, for each seed, the constant with the best score on the select role. Scores are means over label tasks and
seeds; intervals are 95 % bootstrap intervals of these means over duplicate groups of the memes that report, drawn alike
for all cells, so they hold the seeds fixed. The gap is the score on the fit role less that on the report role. Seconds
are of processor time, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import quiet
from comparing import METRICS, difference, resampled_means, with_interval
from memeblend.candidates.base import FitContext
from memeblend.candidates.neural import Neural
from memeblend.data.cache import default_cache_dir
from memeblend.data.duplicates import duplicate_groups
from memeblend.data.manifest import Manifest
from memeblend.data.sample import sample_manifest
from memeblend.data.splits import assign_roles
from memeblend.labels import MISSING
from memeblend.recipe import load_recipe
from memeblend.recipe.candidates import FusionCandidate
from memeblend.training.encoder import make_preprocessor
from memeblend.training.preprocessing import prepare
from memeblend.training.progress import Silent
from memeblend.training.trainer import mean_score

NUM_MEMES = 1200
SMALL = (
    "encoder.tiny.hidden_size=64",
    "encoder.tiny.text_layers=1",
    "encoder.tiny.image_layers=2",
    "encoder.tiny.image_size=64",
)
TRAINING = {"num_epochs": 8, "learning_rate": 1e-3, "batch_size": 32, "patience": 0, "token_dropout": 0.2}
BASE = {"kind": "fusion", "start": "encoder", "num_blocks": 2, "num_heads": 4, "residual": True, "norm": True}
CONSTANTS = {
    "constant .3 .3 .4 (paper)": (0.3, 0.3, 0.4),
    "constant .1 .1 .8": (0.1, 0.1, 0.8),
    "constant .6 .1 .3": (0.6, 0.1, 0.3),
    "constant .1 .6 .3": (0.1, 0.6, 0.3),
}
"""Weights of text, image and fused: about the corners of what the paper's released code searches."""
PLAIN = {"residual": False, "norm": False}
WAYS: Mapping[str, Mapping[str, Any]] = {
    "none": {"blending": "none"},
    "uniform": {"blending": "uniform"},
    **{
        name: {"blending": "fixed", "blend_weights": dict(zip(("text", "image", "fused"), weights, strict=True))}
        for name, weights in CONSTANTS.items()
    },
    "offline": {"blending": "offline"},
    "online": {"blending": "online"},
    "OGM-GE": {"blending": "ogm_ge"},
    "modality dropout": {"blending": "modality_dropout"},
    "none, no residual": {"blending": "none", "residual": False},
    "none, no norm": {"blending": "none", "norm": False},
    "none, neither": {"blending": "none", **PLAIN},
    "none, BOS": {"blending": "none", "text_state": "bos"},
    "none, 1 block": {"blending": "none", "num_blocks": 1},
    "none, 6 blocks": {"blending": "none", "num_blocks": 6},
    "none, 6 blocks, neither (paper)": {"blending": "none", "num_blocks": 6, **PLAIN},
}
"""What each changes of BASE; the switches are compared with "none"."""


def main() -> None:
    """Train what is missing, or print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["sample"], help='"sample", or folders of data sets')
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--minutes", type=float, default=0.0, help="begin no cell after so many; 0 sets no limit")
    parser.add_argument("--summary", action="store_true", help="print what is there and train nothing")
    given = parser.parse_args()
    quiet()
    if not given.summary:
        _train(given)
    _summarise(_lines(given.out))


def _train(given: argparse.Namespace) -> None:
    began = time.monotonic()
    done = {(line["set"], line["seed"], line["way"]) for line in _lines(given.out)}
    for where in given.sets:
        name = Path(where).name
        for seed in given.seeds:
            missing = [way for way in given.ways if (name, seed, way) not in done]
            with tempfile.TemporaryDirectory() as folder:
                cell = _Cells(where, seed, Path(folder)) if missing else None
                for way in missing:
                    if given.minutes and time.monotonic() - began > 60 * given.minutes:
                        return
                    assert cell is not None, "made where something is missing"
                    line = {"set": name, "seed": seed, "way": way} | cell.trained(way)
                    with given.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
                    print(f"{name} seed {seed} {way}: {line['report']['weighted_f1']:.3f}, {line['seconds']:.0f} s")


def _lines(path: Path) -> list[dict[str, Any]]:
    """What is in the file; a line that was cut short when it was written is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


class _Cells:
    """A data set with the roles that one seed draws, on which any way can be trained."""

    def __init__(self, where: str, seed: int, folder: Path) -> None:
        self.folder = folder
        self.recipe = load_recipe("tiny", [f"seed={seed}", *SMALL])
        manifest = sample_manifest(folder / "sample", NUM_MEMES) if where == "sample" else Manifest.read(where)
        if len(manifest) > NUM_MEMES:
            manifest = manifest.limit(NUM_MEMES, 0)
        cache_dir = folder / "cache" if where == "sample" else default_cache_dir()
        self.groups = duplicate_groups(manifest, cache_dir=cache_dir)
        self.manifest, roles = assign_roles(manifest, self.groups, seed=seed)
        splits = {role: np.isin(self.manifest.splits, getattr(roles, role)) for role in ("fit", "select", "report")}
        self.rows = {role: np.flatnonzero(mask) for role, mask in splits.items()}
        texts = [self.manifest.texts[row] for row in self.rows["fit"]]
        self.memes = prepare(self.manifest, make_preprocessor(self.recipe.encoder, texts), cache_dir=cache_dir)
        self.tasks = self.manifest.label_tasks
        self.labels = np.stack([self.manifest.labels(task.name) for task in self.tasks], axis=1)

    def trained(self, way: str) -> dict[str, Any]:
        """Scores by role, and on the report role all that is needed to resample them."""
        spec = FusionCandidate.model_validate({**BASE, **WAYS[way], "training": TRAINING})
        candidate = Neural("fusion-0", spec)
        folder = self.folder / way
        folder.mkdir()
        fit, select, report = (self.rows[role] for role in ("fit", "select", "report"))
        began = time.process_time()
        candidate.fit(
            FitContext(
                recipe=self.recipe,
                label_tasks=self.tasks,
                fit=self.memes.take(fit),
                fit_labels=self.labels[fit],
                select=self.memes.take(select),
                select_labels=self.labels[select],
                seed=self.recipe.seed,
                folder=folder,
                fitted=lambda name: candidate,
                progress=Silent(),
                fit_groups=self.groups[fit],
            )
        )
        seconds = time.process_time() - began
        found: dict[str, Any] = {"seconds": round(seconds, 1), "blend_weights": _last_weights(folder)}
        for role, rows in self.rows.items():
            probabilities = dict(candidate.predict(self.memes.take(rows)))
            found[role] = {
                metric: mean_score(self.tasks, self.labels[rows], probabilities, metric)[metric] for metric in METRICS
            } | {"log_loss": _log_loss(self.labels[rows], probabilities, [task.name for task in self.tasks])}
            if role == "report":
                found["predicted"] = {name: one.argmax(axis=1).tolist() for name, one in probabilities.items()}
        found["truth"] = {task.name: self.labels[report, column].tolist() for column, task in enumerate(self.tasks)}
        found["num_classes"] = {task.name: task.num_classes for task in self.tasks}
        found["groups"] = self.groups[report].tolist()
        return found


def _last_weights(folder: Path) -> dict[str, float]:
    """The last estimated weights of the branches; empty where nothing was estimated."""
    found: dict[str, float] = {}
    for path in folder.glob("training/*/metrics.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            found |= {
                key.partition("/")[2]: round(value, 4)
                for key, value in json.loads(line).items()
                if key.startswith("blend_weight/")
            }
    return found


def _log_loss(labels: NDArray[np.int64], probabilities: Mapping[str, NDArray[Any]], tasks: Sequence[str]) -> float:
    """Mean over label tasks of the mean cross-entropy of labelled memes."""
    means = []
    for column, name in enumerate(tasks):
        known = np.flatnonzero(labels[:, column] != MISSING)
        if len(known):
            said = probabilities[name][known, labels[known, column]]
            means.append(float(-np.log(np.maximum(said, 1e-12)).mean()))
    return float(np.mean(means))


def _summarise(lines: Sequence[dict[str, Any]]) -> None:
    for name in dict.fromkeys(line["set"] for line in lines):
        by_way: dict[str, dict[int, dict[str, Any]]] = {}
        for line in lines:
            if line["set"] == name:
                by_way.setdefault(line["way"], {})[line["seed"]] = line
        constants = [by_way[way] for way in CONSTANTS if way in by_way]
        if constants:
            seeds = set.intersection(*map(set, constants))
            best = {seed: max((one[seed] for one in constants), key=_on_select) for seed in sorted(seeds)}
            by_way["best constant"] = best
        _print(name, {way: cells for way, cells in by_way.items() if cells})


def _on_select(line: Mapping[str, Any]) -> float:
    return float(line["select"]["weighted_f1"])


def _print(name: str, by_way: Mapping[str, Mapping[int, dict[str, Any]]]) -> None:
    scores = {way: {seed: _scores(line) for seed, line in cells.items()} for way, cells in by_way.items()}
    print(f"\n### {name}\n")
    print(
        "| way | seeds | weighted F1 | macro F1 | against none | gap F1 | gap log loss | text/image/fused | seconds |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for way, cells in by_way.items():
        columns = [with_interval([one[:, index] for one in scores[way].values()]) for index in range(len(METRICS))]
        shared = sorted(set(cells) & set(by_way.get("none", {})))
        pair = ([scores[one][seed][:, 0] for seed in shared] for one in (way, "none"))
        against = "" if not shared or way == "none" else difference(*pair)
        fit, report = (
            {key: np.mean([line[role][key] for line in cells.values()]) for key in ("weighted_f1", "log_loss")}
            for role in ("fit", "report")
        )
        weights = [line["blend_weights"] for line in cells.values() if line["blend_weights"]]
        shown = "/".join(f"{np.mean([one[b] for one in weights]):.2f}" for b in ("text", "image", "fused") if weights)
        seconds = np.mean([line["seconds"] for line in cells.values()])
        print(
            f"| {way} | {len(cells)} | {columns[0]} | {columns[1]} | {against} | "
            f"{fit['weighted_f1'] - report['weighted_f1']:+.3f} | {report['log_loss'] - fit['log_loss']:+.3f} | "
            f"{shown} | {seconds:.0f} |"
        )


def _scores(line: Mapping[str, Any]) -> NDArray[np.float64]:
    return resampled_means(line["truth"], line["predicted"], line["num_classes"], line["groups"])


if __name__ == "__main__":
    main()
