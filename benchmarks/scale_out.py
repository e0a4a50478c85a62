"""One worker against two on this machine: scoring by Ray Data, contrastive steps by torch.distributed; kill tests.

Rival of each: the same work by one worker, in the same run, its start not counted. `score_efficiency` and
`train_efficiency` are the rate of two workers over twice the rate of one; 1 is perfect, 0.5 means that the second
worker is of no use. `gathered_loss_max_diff` is the largest difference of a loss or gradient of 2 or 4 workers from
one worker's with the whole batch. `killed_scoring` and `killed_training` say whether nothing was lost.

    python benchmarks/scale_out.py [--json] [--memes 6000] [--steps 12] [--model RUN]

Needs the extra `ray`. Expected, before the first run, on two cores that nothing else wants: scoring 0.85 to 1 (each
worker has a model and a core of its own, and little but memory bandwidth is shared); training 0.75 to 0.95 (besides,
2 MB of gradients and embeddings pass between the workers in every step, and both wait for the slower one);
differences of 1e-6 to 1e-5. Where other work has the cores, neither says anything.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch

from common import conclude, quiet
from memeblend.data.manifest import Manifest
from memeblend.data.sample import sample_manifest
from memeblend.recipe import load_pretraining
from memeblend.recipe.pretraining import Pretraining
from memeblend.scale.folder import ScoreFolder
from memeblend.scale.pretraining import pretrain_with_workers
from memeblend.scale.scoring import score
from memeblend.training.contrastive.pairs import PairBatches, PairDataset, gather
from memeblend.training.contrastive.stepping import PairObjective, backward
from memeblend.training.contrastive.work import pretrain
from memeblend.training.encoder import image_transform, start_with_preprocessor
from memeblend.training.progress import Silent
from memeblend.training.workers import Workers

NUM_DRAWN = 240
PIECE_ROWS = 250
WARM_STEPS = 2
MEMEBLEND = [sys.executable, "-c", "from memeblend.cli import main; main()"]
THREADS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
TRAINING = ("batch_size=64", "chunk_size=0", "num_validation=40", "eval_every=10", "encoder.max_length=24")


def fit(data: Path, run: Path) -> Path:
    """The embedded model, trained just enough: how fast it scores does not depend on what it has learned."""
    settings = ["--set", "copies=1", "--set", "training.num_epochs=1", "--limit", "200"]
    command = [*MEMEBLEND, "fit", str(data), "--out", str(run), *settings]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | THREADS)
    return run


def repeated(data: Path, num_memes: int) -> Path:
    """A table of so many rows over the drawn memes."""
    drawn = pd.read_csv(data / "memes.csv", dtype=str)
    table = drawn.iloc[np.arange(num_memes) % len(drawn)].assign(id=[f"n{number}" for number in range(num_memes)])
    table.to_csv(data / "many.csv", index=False)
    return data / "many.csv"


class Kills(Silent):
    """Kills the worker that does the first piece, once it is done."""

    def __init__(self, out: Path) -> None:
        self.out, self.killed = out, False

    def advance(self, num_done: int, note: str = "") -> None:
        if not self.killed:
            facts = json.loads(next((self.out / "done").iterdir()).read_text(encoding="utf-8"))
            os.kill(int(facts["worker"].rpartition(":")[2]), signal.SIGKILL)
            self.killed = True


def busy_rate(out: Path, num_pieces: int) -> float:
    """Memes a second between the first and the last piece: what starting Ray and reading models took is left out."""
    facts = [ScoreFolder(out).done(number) or {} for number in range(num_pieces)]
    ends = [(out / "done" / f"part-{number:06d}.json").stat().st_mtime for number in range(num_pieces)]
    begins = min(end - one["seconds"] for end, one in zip(ends, facts, strict=True))
    return float(sum(one["num_scored"] for one in facts) / (max(ends) - begins))


def measure_scoring(folder: Path, model: Path, table: Path) -> dict[str, Any]:
    """Rates of one and of two workers, and two of which one is killed."""
    rates, peaks = {}, {}
    for num_workers in (1, 2):
        out = folder / f"scored-{num_workers}"
        found = score(table, model, out, num_workers=num_workers, piece_rows=PIECE_ROWS)
        rates[num_workers] = busy_rate(out, found["num_pieces"])
        peaks[num_workers] = found["peak_megabytes"]
    out = folder / "scored-killed"
    kills = Kills(out)
    score(table, model, out, num_workers=2, piece_rows=PIECE_ROWS, progress=kills)
    ids = pd.read_parquet(out / "predictions", columns=["meme_id"])["meme_id"]
    expected = pd.read_parquet(folder / "scored-1" / "predictions", columns=["meme_id"])["meme_id"]
    return {
        "score_memes_per_second": {str(key): round(value, 1) for key, value in rates.items()},
        "score_efficiency": round(rates[2] / (2 * rates[1]), 3),
        "score_peak_megabytes": peaks[2],
        "killed_scoring": kills.killed and ids.is_unique and set(ids) == set(expected),
    }


def settings_of(num_steps: int) -> Pretraining:
    """The embedded encoder of the recipe `tiny`."""
    return load_pretraining(None, [*TRAINING, f"num_steps={num_steps}"])


def steps(data: Path, rank: int, size: int, num_steps: int, out: Path) -> None:
    """One worker of a group: times its steps and keeps the last loss and gradients."""
    quiet()
    torch.set_num_threads(1)
    meeting = out / f"meeting-{size}"
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    workers, settings = Workers.of_process_group(), settings_of(num_steps + WARM_STEPS)
    manifest = Manifest.read(data, label_tasks=None)
    pairs = gather([manifest], settings.splits, image_transform(settings.encoder), None, Silent())
    torch.manual_seed(0)
    model, preprocessor = start_with_preprocessor(settings.encoder, pairs.texts)
    ids = preprocessor.token_ids(pairs.texts)
    dataset = PairDataset(pairs, np.arange(len(pairs)), ids, preprocessor, settings, workers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    objective = PairObjective(settings.loss, settings.same_pairs)
    items = list(PairBatches(dataset.image, settings))
    first: dict[str, Any] = {}
    for number in range(num_steps + WARM_STEPS):
        if number == WARM_STEPS:
            torch.distributed.barrier()
            began = time.perf_counter()
        batch = dataset.collate(items[number * settings.batch_size : (number + 1) * settings.batch_size])
        loss = backward(model, batch, objective, settings.chunk_size, workers=workers)
        first = first or {
            "loss": loss,
            **{name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None},
        }
        optimizer.step()
        optimizer.zero_grad()
    rate = num_steps * settings.batch_size / (time.perf_counter() - began)
    torch.save({"rate": rate, "first": first}, out / f"steps-{size}-{rank}.pt")
    torch.distributed.destroy_process_group()


def measure_training(folder: Path, data: Path, num_steps: int) -> dict[str, Any]:
    """Pairs a second of one and of two workers, and how far 2 and 4 workers are from one."""
    found = {}
    for size, count in ((1, num_steps), (2, num_steps), (4, 1)):
        command = [sys.executable, __file__, "--steps", str(count), "--steps-of"]
        workers = [
            subprocess.Popen([*command, str(data), str(rank), str(size), str(folder)], env=os.environ | THREADS)
            for rank in range(size)
        ]
        if any(worker.wait() for worker in workers):
            raise SystemExit("a worker failed")
        found[size] = [torch.load(folder / f"steps-{size}-{rank}.pt") for rank in range(size)]
    alone = found[1][0]["first"]
    differences = [
        float((one["first"][name] - value).abs().max())
        for size in (2, 4)
        for one in found[size]
        for name, value in alone.items()
    ]
    rates = {size: min(one["rate"] for one in found[size]) for size in (1, 2)}
    return {
        "train_pairs_per_second": {str(size): round(rate, 1) for size, rate in rates.items()},
        "train_efficiency": round(rates[2] / (2 * rates[1]), 3),
        "gathered_loss_max_diff": max(differences),
    }


def train_with_a_kill(folder: Path, data: Path) -> bool:
    """Whether a training whose worker is killed ends with the loss of one that was left alone."""
    settings, manifest = settings_of(30), Manifest.read(data, label_tasks=None)
    alone = pretrain([manifest], folder / "alone", settings)
    out = folder / "killed"
    killer = subprocess.Popen([sys.executable, __file__, "--kill-trainer", str(out / "training" / "checkpoints")])
    found = pretrain_with_workers([manifest], out, settings, num_workers=2)
    was_killed = killer.wait() == 0
    return was_killed and abs(found["held_back"]["after"]["loss"] - alone["held_back"]["after"]["loss"]) < 1e-3


def kill_trainer(checkpoints: Path) -> None:
    """Wait for a checkpoint, then kill a worker of Ray Train that the process which began this one has started."""
    while not list(checkpoints.glob("checkpoint-*")):
        time.sleep(0.1)
    for process in psutil.Process(os.getppid()).children(recursive=True):
        with suppress(psutil.Error):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                process.kill()
                return
    raise SystemExit("no worker was found")


def measure(num_memes: int, num_steps: int, model: Path | None) -> dict[str, Any]:
    """Everything."""
    quiet()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sample_manifest(folder / "sample", NUM_DRAWN)
        model = model or fit(folder / "sample", folder / "run")
        table = repeated(folder / "sample", num_memes)
        return {
            "rival": "one worker, in the same run",
            "num_memes": num_memes,
            "num_steps": num_steps,
            **measure_training(folder, folder / "sample", num_steps),
            **measure_scoring(folder, model, table),
            "killed_training": train_with_a_kill(folder, folder / "sample"),
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--memes", type=int, default=6000)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--model", type=Path, help="a model folder or a run; by default one is trained")
    parser.add_argument("--steps-of", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--kill-trainer", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.kill_trainer:
        kill_trainer(given.kill_trainer)
        return
    if given.steps_of:
        data, rank, size, out = given.steps_of
        steps(Path(data), int(rank), int(size), given.steps, Path(out))
        return
    conclude(measure(given.memes, given.steps, given.model), given.json)


if __name__ == "__main__":
    main()
