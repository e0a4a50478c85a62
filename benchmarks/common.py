"""What the benchmarks share: the sample made ready, the machine in words, the closing JSON line."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from memeblend.candidates.base import Candidate, FitContext
from memeblend.candidates.making import make_candidate, plan
from memeblend.data.manifest import Manifest
from memeblend.data.sample import sample_manifest
from memeblend.recipe import Recipe
from memeblend.training.batches import BatchedDataset, LengthBatches
from memeblend.training.encoder import make_preprocessor
from memeblend.training.objective import Objective
from memeblend.training.preprocessing import Memes, prepare
from memeblend.training.progress import Silent
from memeblend.training.trainer import mean_score


@dataclass(frozen=True)
class Ready:
    """The sample, cut and decoded.

    Attributes:
        manifest: its memes.
        memes: the same made ready.
        labels: class indices [num_memes, num_label_tasks].
        folder: a temporary folder.
    """

    manifest: Manifest
    memes: Memes
    labels: NDArray[np.int64]
    folder: Path

    def rows(self, split: str) -> NDArray[np.int64]:
        """Rows of a split."""
        return np.flatnonzero(self.manifest.splits == split)


@contextmanager
def sample_ready(recipe: Recipe, num_memes: int) -> Iterator[Ready]:
    """The sample of so many memes, made ready for a recipe's encoder."""
    quiet()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = sample_manifest(folder / "sample", num_memes)
        fit = np.flatnonzero(manifest.splits == "train")
        preprocessor = make_preprocessor(recipe.encoder, [manifest.texts[row] for row in fit])
        labels = np.stack([manifest.labels(task.name) for task in manifest.label_tasks], axis=1)
        yield Ready(manifest, prepare(manifest, preprocessor, cache_dir=folder / "cache"), labels, folder)


def train_all(recipe: Recipe, ready: Ready, run: str) -> dict[str, dict[str, float]]:
    """Train every candidate of a recipe; returns for each its scores on the test split and their mean."""
    done: dict[str, Candidate] = {}
    fit, select, test = (ready.rows(split) for split in ("train", "validation", "test"))
    tasks = ready.manifest.label_tasks
    found = {}
    for one in plan(recipe):
        folder = ready.folder / run / one.name
        folder.mkdir(parents=True)
        candidate = make_candidate(one)
        candidate.fit(
            FitContext(
                recipe=recipe,
                label_tasks=tasks,
                fit=ready.memes.take(fit),
                fit_labels=ready.labels[fit],
                select=ready.memes.take(select),
                select_labels=ready.labels[select],
                seed=recipe.seed,
                folder=folder,
                fitted=done.__getitem__,
                progress=Silent(),
            )
        )
        done[one.name] = candidate
        probabilities = dict(candidate.predict(ready.memes.take(test)))
        found[one.name] = mean_score(tasks, ready.labels[test], probabilities, "weighted_f1")
    return found


def epoch_seconds(
    model: torch.nn.Module, objective: Objective, dataset: BatchedDataset, epoch: int = 0, batch_size: int = 32
) -> float:
    """Seconds that one training epoch takes, batches and optimizer included."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)  # as the Trainer does
    sampler = LengthBatches(dataset.lengths(), batch_size, seed=0)
    sampler.set_epoch(epoch)
    order = list(sampler)
    began = time.perf_counter()
    for start in range(0, len(order), batch_size):
        inputs = dataset.collate(order[start : start + batch_size])
        labels = inputs.pop("labels")
        outputs = model(**inputs, branches=objective.branch_weights)
        objective(outputs.branch_logits, labels)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - began


def quiet() -> None:
    """Keep the libraries' own messages off the screen."""
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def wants_json(description: str | None) -> bool:
    """Whether the command line asks for JSON."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    return bool(parser.parse_args().json)


def conclude(found: Mapping[str, Any], as_json: bool) -> None:
    """Print the findings, with the machine; as one JSON line where that was asked for."""
    machine = {
        "processor": platform.processor() or platform.machine(),
        "num_cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    if as_json:
        print(json.dumps({**found, "machine": machine}))
        return
    for name, value in {**found, **machine}.items():
        print(f"{name:>28}: {value}")
