"""Workers of one training, each a process: `python gloo_workers.py WHAT NUM_WORKERS FOLDER [MORE ...]`.

Every worker writes what it found to FOLDER/<rank>.pt.
"""

from __future__ import annotations

import os
import sys
import traceback
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from memeblend.data.manifest import Manifest
from memeblend.training.contrastive.pairs import PairDataset, gather
from memeblend.training.contrastive.stepping import PairObjective, backward
from memeblend.training.contrastive.work import pretrain
from memeblend.training.encoder import image_transform, start_with_preprocessor
from memeblend.training.progress import Silent
from memeblend.training.workers import Workers
from pair_memes import small
from shared_training import steps, train_all, without_dropout

CASES = (
    ("clip", "mask", 0),
    ("clip", "mask", 3),
    ("clip", "multiple", 2),
    ("clip", "plain", 0),
    ("sigmoid", "mask", 0),
    ("sigmoid", "plain", 3),
)
NUM_PAIRS = 11  # 2 and 4 workers get parts of different sizes


def step(manifest, workers: Workers, loss: str, same_pairs: str, chunk_size: int):
    """Loss and gradients of one batch."""
    recipe = small(f"loss={loss}", f"same_pairs={same_pairs}", "rendering.share=0.5", "hard_share=0.25")
    pairs = gather([manifest], recipe.splits, image_transform(recipe.encoder), None, Silent())
    torch.manual_seed(5)
    model, preprocessor = start_with_preprocessor(recipe.encoder, pairs.texts)
    ids = preprocessor.token_ids(pairs.texts)
    data = PairDataset(pairs, np.arange(len(pairs)), ids, preprocessor, recipe, workers)
    rows = np.random.default_rng(0).permutation(len(pairs))[:NUM_PAIRS]
    batch = data.collate([(row, 3) for row in rows.tolist()])
    found = backward(model, batch, PairObjective(loss, same_pairs), chunk_size, workers=workers)
    return found, {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


def gathering(workers: Workers):
    """Rows of different numbers, and the gradients of losses that differ from worker to worker."""
    values = torch.full((workers.rank + 1, 2), float(workers.rank + 1), requires_grad=True)
    gathered = workers.gather(values)
    (gathered.sum() * (workers.rank + 1)).backward()
    return gathered.detach(), values.grad


def erring(workers: Workers):
    """The message of an error that the first worker alone makes."""

    def make():
        raise ValueError("of the first")

    try:
        workers.from_first(make)
    except ValueError as error:
        return str(error)
    return ""


def work(what: str, rank: int, size: int, folder: Path) -> None:
    """One worker."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size, timeout=timedelta(seconds=60)
    )
    workers = Workers.of_process_group()
    if what in ("shared", "train"):
        torch.set_num_threads(1)
        without_dropout()
        shared = {case: steps(case, workers, folder) for case in sys.argv[4:]} if what == "shared" else None
        torch.save(shared or train_all(workers, folder, *sys.argv[4:]), folder / f"{rank}.pt")
        dist.destroy_process_group()
        return
    manifest = Manifest.read(folder / "memes.csv", label_tasks=None)
    if what == "steps":
        found = [step(manifest, workers, *case) for case in CASES]
    elif what == "gather":
        found = [gathering(workers), workers.counts(rank), workers.from_first(lambda: rank), erring(workers)]
    else:
        found = pretrain([manifest], folder / "encoder", small("hard_share=0.25"), workers=workers)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


def main() -> int:
    """Fork the workers: what was imported is theirs already."""
    what, size, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])  # more of them are read by `work`
    children = []
    for rank in range(size):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work(what, rank, size, folder)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


if __name__ == "__main__":
    sys.exit(main())
