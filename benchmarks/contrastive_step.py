"""A template-aware contrastive step against open_clip's, on ImgFlip memes where they are, else on drawn ones.

One model, data, batches and optimizer. Ours: each distinct image of a batch encoded once, same-image pairs left out of
the loss, texts padded to others of their length. Plain: the same step with the image of every pair encoded. The rival:
open_clip's loss and training step, written out here in the same torch, since open_clip itself needs torchvision: every
image encoded, whole padding, all other pairs as negatives, logit scale clamped. Half of the templates are shown with
their text drawn on in both (`--rendered`, 0 as the paper has them); making batches ready is timed in neither.

Prints `ratio_distinct` = plain step time over ours, `ratio_open_clip` = the rival's over ours, `batch_size`, and
the recall of held-back pairs after `--seconds` of each one's steps. `memory` holds the growth of the peak memory in MiB
of a step of 64 pairs, of `--large` at once, and of `--large` with gradient caching in parts of 64, each in a process
of its own on drawn memes.

    python benchmarks/contrastive_step.py [--data DATA] [--seconds 120] [--rendered 0] [--json]
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from common import conclude, quiet
from memeblend.data.manifest import Manifest
from memeblend.data.sample import sample_manifest
from memeblend.models.pair import image_embeds, text_embeds
from memeblend.recipe import Pretraining, load_pretraining
from memeblend.training.contrastive.pairs import PairBatches, PairDataset, gather
from memeblend.training.contrastive.stepping import PairObjective, backward
from memeblend.training.contrastive.validation import Validation
from memeblend.training.encoder import image_transform, start_with_preprocessor
from memeblend.training.progress import Silent

EXAMPLE = Path(__file__).parents[1] / "examples" / "pretrain-embedded.toml"
NUM_TIMED = 5
Step = Callable[[Any, dict[str, Tensor]], object]


@dataclass(frozen=True)
class Ready:
    """What all contestants share.

    Attributes:
        settings: of the embedded encoder.
        model: to be copied.
        dataset: pairs to fit.
        validation: pairs held back.
    """

    settings: Pretraining
    model: Any
    dataset: PairDataset
    validation: Validation

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """The batches of a training."""
        items: list[tuple[int, int]] = []
        for item in PairBatches(self.dataset.image, self.settings):
            items.append(item)
            if len(items) == self.settings.batch_size:
                yield self.dataset.collate(items)
                items = []


def make_ready(data: Path | None, folder: Path, *changes: str) -> Ready:
    """ImgFlip memes, or the drawn sample, and the embedded encoder at random."""
    settings = load_pretraining(EXAMPLE, ['splits=["train"]', *changes])
    manifest = sample_manifest(folder / "sample", 1200) if data is None else Manifest.read(data, label_tasks=None)
    pairs = gather([manifest], settings.splits, image_transform(settings.encoder), folder / "cache", Silent())
    fit, held_back = pairs.cut(settings.num_validation, settings.seed)
    torch.manual_seed(0)
    model, preprocessor = start_with_preprocessor(settings.encoder, pairs.texts)
    ids = preprocessor.token_ids(pairs.texts)
    dataset = PairDataset(pairs, fit, ids, preprocessor, settings)
    return Ready(settings, model, dataset, Validation(pairs, held_back, ids, preprocessor, settings))


def ours(model: Any, batch: dict[str, Tensor]) -> object:
    """The template-aware step."""
    return backward(model, batch, PairObjective("clip", "mask"))


def plain(model: Any, batch: dict[str, Tensor]) -> object:
    """The same with the image of every pair encoded."""
    index = batch["image_index"]
    every = {"pixel_values": batch["pixel_values"][index], "image_index": torch.arange(len(index))}
    return backward(model, batch | every, PairObjective("clip", "mask"))


def open_clip(model: Any, batch: dict[str, Tensor]) -> object:
    """open_clip's step for one machine: encode all, normalise, ClipLoss, backward."""
    image = normalize(image_embeds(model, batch["pixel_values"][batch["image_index"]]), dim=-1)
    text = normalize(text_embeds(model, batch["input_ids"], batch["attention_mask"]), dim=-1)
    per_image = model.logit_scale.exp() * image @ text.T
    labels = torch.arange(len(text))
    loss = (cross_entropy(per_image, labels) + cross_entropy(per_image.T, labels)) / 2
    loss.backward()
    return loss


def optimise(model: Any) -> Callable[[], None]:
    """One step of AdamW with the logit scale clamped, the same for all."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.1, betas=(0.9, 0.98), eps=1e-6)

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            model.logit_scale.clamp_(0, np.log(100))

    return step


def step_seconds(ready: Ready, steps: dict[str, Step]) -> dict[str, float]:
    """Median processor time of each one's step; in turns on the same batches, so that other work hits all alike."""
    models = {name: copy.deepcopy(ready.model).train() for name in steps}
    optimisers = {name: optimise(model) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number, batch in zip(range(NUM_TIMED + 1), ready.batches(), strict=False):
        for name, step in steps.items():
            began = time.process_time()
            step(models[name], batch)
            optimisers[name]()
            if number:  # the first warms up
                seconds[name].append(time.process_time() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def recalls(ready: Ready, step: Step, budget: float) -> dict[str, float]:
    """Held-back recalls after so many seconds of processor time in steps, and how many steps these were."""
    model = copy.deepcopy(ready.model).train()
    update = optimise(model)
    spent, num_steps = 0.0, 0
    for batch in ready.batches():
        began = time.process_time()
        step(model, batch)
        update()
        spent += time.process_time() - began
        num_steps += 1
        if spent >= budget:
            break
    return {"num_steps": num_steps} | {name: round(value, 4) for name, value in ready.validation.scores(model).items()}


def peak_growth(folder: Path, batch_size: int, chunk_size: int) -> float:
    """MiB that this process grows by at most in a step on drawn memes, each with an image of its own."""
    ready = make_ready(None, folder, f"batch_size={batch_size}", f"chunk_size={chunk_size}", "rendering.share=0")
    batch = next(ready.batches())
    two = ready.dataset.collate([(0, 0), (1, 0)])
    backward(ready.model.train(), two, PairObjective("clip", "mask"))  # so that room for gradients is there
    gc.collect()
    before, highest, done = _resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.002):
            highest = max(highest, _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    backward(ready.model, batch, PairObjective("clip", "mask"), chunk_size, nullcontext)
    done.set()
    watcher.join()
    return round((highest - before) / 2**20, 1)


def _resident() -> int:
    """Bytes of this process in memory now; the operating system's own peak also counts what came before."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Time, train, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with imgflip575k; MEMEBLEND_DATA without it")
    parser.add_argument("--seconds", type=float, default=120, help="processor time of each one's training; 0: none")
    parser.add_argument("--rendered", type=float, default=0.0, help="share of templates shown with their text")
    parser.add_argument("--large", type=int, default=1024, help="large batch of the memory measurement; 0: none")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--peak", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    quiet()
    torch.set_num_threads(1)  # several also use processor time while they wait for each other
    root = options.data or (Path(os.environ["MEMEBLEND_DATA"]) if "MEMEBLEND_DATA" in os.environ else None)
    data = None if root is None else root / "imgflip575k"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.peak:
            print(json.dumps(peak_growth(folder, *options.peak)))
            return
        ready = make_ready(data, folder, f"rendering.share={options.rendered}")
        seconds = step_seconds(ready, {"ours": ours, "plain": plain, "open_clip": open_clip})
        found: dict[str, Any] = {
            "data": "the drawn sample" if data is None else "imgflip575k",
            "rival": "open_clip's loss and step, written out in the same torch",
            "batch_size": ready.settings.batch_size,
            "rendered": options.rendered,
            "step_seconds": {name: round(value, 3) for name, value in seconds.items()},
            "ratio_distinct": round(seconds["plain"] / seconds["ours"], 2),
            "ratio_open_clip": round(seconds["open_clip"] / seconds["ours"], 2),
        }
        if options.seconds:
            found["recalls"] = recalls(ready, ours, options.seconds)
            found["recalls_open_clip"] = recalls(ready, open_clip, options.seconds)
    if options.large:
        found["memory"] = {
            f"{size} in parts of {chunk}" if chunk else f"{size} at once": _peak(size, chunk)
            for size, chunk in ((64, 0), (options.large, 0), (options.large, 64))
        }
    conclude(found, options.json)


def _peak(batch_size: int, chunk_size: int) -> float:
    command = [sys.executable, __file__, "--peak", str(batch_size), str(chunk_size)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
