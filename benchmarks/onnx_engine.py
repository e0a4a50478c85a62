"""Exported models beside torch: memes a second for batches of 1 and 32, one cold `predict`, memory.

The model is that of `memeblend demo` (one member of each kind, all of them serving), or --model. Memes are random ones
in memory, so neither side decodes; torch and onnxruntime get the same number of threads and take turns in each round,
of which the median counts. With one thread, seconds are those of the processor, so that other work on the machine
matters little; with more they are those of the clock. Prints for full precision and int8: `onnx_ratio_1`,
`onnx_ratio_32`, `int8_ratio_1`, `int8_ratio_32` = torch seconds / onnx seconds; `predict`: seconds of the processor and
the clock, and megabytes, of whole processes of `memeblend predict` with each engine; `largest_difference`,
`int8_agreement`, `int8_largest_difference`, and `int8_batch_difference`: how far int8 says something else of a meme in
company than alone.

    python benchmarks/onnx_engine.py [--model MODEL] [--threads N] [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import conclude, quiet
from memeblend import MemeClassifier
from memeblend.data.sample import sample_manifest
from memeblend.model.ensembles import EnsembleClassifier
from memeblend.onnx_engine.checking import random_memes
from memeblend.onnx_engine.classifier import OnnxClassifier
from memeblend.onnx_engine.exporting import export_onnx
from memeblend.recipe import load_recipe
from memeblend.training.preprocessing import Memes

NUM_SAMPLE, ROUNDS, MEMES_A_ROUND = 400, 7, 64
SETTINGS = ("copies=1", "training.num_epochs=1", "ensemble.method=all")
COLD = """
import resource, sys, time
from memeblend.cli import main
try:
    main(sys.argv[1:])
finally:
    print(time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def seconds(model: EnsembleClassifier, memes: Memes, batch_size: int) -> float:
    """Seconds that the model takes for some memes, batch by batch."""
    now = time.process_time if model.num_threads_ == 1 else time.perf_counter
    parts = [memes.take(np.arange(start, start + batch_size)) for start in range(0, len(memes), batch_size)]
    began = now()
    for part in parts:
        model.predict_prepared(part)
    return now() - began


def in_turns(models: dict[str, EnsembleClassifier], memes: Memes, batch_size: int, rounds: int) -> dict[str, float]:
    """Memes a second of each model, the median of the rounds."""
    taken: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds + 1):
        for name, model in models.items():
            taken[name].append(seconds(model, memes, batch_size))
    return {name: len(memes) / statistics.median(found[1:]) for name, found in taken.items()}


def cold(folders: dict[str, Path], image: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds and megabytes of a process that predicts one meme with each engine, medians."""
    taken: dict[str, list[tuple[float, ...]]] = {name: [] for name in folders}
    for _ in range(rounds + 1):
        for name, folder in folders.items():
            command = [sys.executable, "-c", COLD, "predict", str(folder), str(image), "--text", "a lovely day"]
            began = time.perf_counter()
            done = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True)
            cpu, kilobytes = map(float, done.stdout.splitlines()[-1].split())
            taken[name].append((cpu, time.perf_counter() - began, kilobytes / 1024))
    shown = ("processor_seconds", "clock_seconds", "megabytes")
    return {
        name: {what: round(statistics.median(one[at] for one in found[1:]), 2) for at, what in enumerate(shown)}
        for name, found in taken.items()
    }


def batch_difference(model: EnsembleClassifier, memes: Memes) -> float:
    """Largest difference of a probability between memes read together and each alone."""
    together = model.predict_prepared(memes).tables
    found = 0.0
    for row in range(len(memes)):
        alone = model.predict_prepared(memes.take(np.array([row]))).tables
        for name, table in together.items():
            found = max(found, float(np.abs(table.probabilities[row] - alone[name].probabilities[0]).max()))
    return found


def measure(model_folder: Path, image: Path, folder: Path, num_threads: int, rounds: int) -> dict[str, Any]:
    """Everything that is printed."""
    full = export_onnx(model_folder, folder / "onnx")
    small = export_onnx(model_folder, folder / "int8", int8=True)
    torch.set_num_threads(num_threads)
    models: dict[str, EnsembleClassifier] = {
        "torch": MemeClassifier.load(model_folder),
        "onnx": OnnxClassifier.load(folder / "onnx", num_threads=num_threads),
        "int8": OnnxClassifier.load(folder / "int8", num_threads=num_threads),
    }
    memes = random_memes(models["torch"].preprocessor_, MEMES_A_ROUND, seed=1)
    found: dict[str, Any] = {"members": len(models["torch"].members_), "num_threads": num_threads}
    for batch_size in (1, 32):
        speeds = in_turns(models, memes, batch_size, rounds)
        found[f"memes_per_second_{batch_size}"] = {name: round(speed, 1) for name, speed in speeds.items()}
        for name in ("onnx", "int8"):
            found[f"{name}_ratio_{batch_size}"] = round(speeds[name] / speeds["torch"], 2)
    found["predict"] = cold({"torch": model_folder, "onnx": folder / "onnx", "int8": folder / "int8"}, image, rounds)
    found["largest_difference"] = full["check"]["largest_difference"]
    found["int8_agreement"] = small["check"]["int8"]["agreement"]
    found["int8_largest_difference"] = round(small["check"]["int8"]["largest_difference"], 4)
    found["int8_batch_difference"] = round(batch_difference(models["int8"], memes), 4)
    found["graph_megabytes"] = {"onnx": round(full["num_bytes"] / 1e6, 1), "int8": round(small["num_bytes"] / 1e6, 1)}
    return found


def main() -> None:
    """Train unless a model is given, export, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder or a run with grid regions at most")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "1")))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    given = parser.parse_args()
    quiet()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = sample_manifest(folder / "sample", NUM_SAMPLE if given.model is None else 60)
        model_folder = given.model
        if model_folder is None:
            MemeClassifier(load_recipe("tiny", SETTINGS), out=folder / "run").fit(manifest)
            model_folder = folder / "run"
        image = next((folder / "sample" / "images").iterdir())
        conclude(measure(model_folder, image, folder, given.threads, given.rounds), given.json)


if __name__ == "__main__":
    main()
