"""Cached against uncached epochs: images decoded once and kept as bytes, against decoding them every epoch.

The rival is the same training with the same batches, each image opened, decoded and resized by Pillow when its
batch is built. Prints `ratio` = uncached seconds over cached seconds an epoch, the median of five pairs.

    python benchmarks/cached_epochs.py [--json]
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from torch import Tensor

from common import conclude, epoch_seconds, sample_ready, wants_json
from memeblend.data.images import load_image
from memeblend.models import build_model
from memeblend.models.config import MemeConfig
from memeblend.recipe import load_recipe
from memeblend.recipe.parts import CrossEntropy
from memeblend.training.batches import MemeDataset
from memeblend.training.encoder import start_encoders
from memeblend.training.objective import make_objective
from memeblend.training.preprocessing import Memes

NUM_MEMES, PAIRS = 600, 5


@dataclass(frozen=True, eq=False)
class UncachedMemes(Memes):
    """Memes whose images are decoded whenever a batch asks for them."""

    def batch(self, rows: Sequence[int], *, text: bool, image: bool, token_dropout: float = 0.0) -> dict[str, Tensor]:
        """As `Memes.batch`, from the files."""
        inputs = super().batch(rows, text=text, image=False, token_dropout=token_dropout)
        transform = self.preprocessor.transform
        paths = [path for row in rows if (path := self.paths[row]) is not None]
        pixels = np.stack([transform.apply(load_image(path)) for path in paths])
        return inputs | {"pixel_values": self.preprocessor.pixel_values(pixels)}


def main() -> None:
    """Time both."""
    as_json = wants_json(__doc__)
    recipe = load_recipe("tiny")
    with sample_ready(recipe, NUM_MEMES) as ready:
        tasks = ready.manifest.label_tasks
        uncached = UncachedMemes(**{field.name: getattr(ready.memes, field.name) for field in fields(ready.memes)})
        datasets = [MemeDataset(memes, ready.labels, text=False, image=True) for memes in (ready.memes, uncached)]
        clip = start_encoders(recipe.encoder, ready.memes.preprocessor)
        model = build_model("image", MemeConfig(clip.config, tasks), clip).train()
        objective = make_objective(tasks, {task.name: CrossEntropy() for task in tasks}, ready.labels, {"image": 1.0})
        pairs = [
            [epoch_seconds(model, objective, dataset, epoch) for dataset in datasets] for epoch in range(PAIRS + 1)
        ][1:]  # the first warms up
    found = {
        "rival": "decoding with Pillow in every epoch",
        "num_memes": NUM_MEMES,
        "cached_seconds": round(statistics.median(pair[0] for pair in pairs), 3),
        "uncached_seconds": round(statistics.median(pair[1] for pair in pairs), 3),
        "ratio": round(statistics.median(pair[1] / pair[0] for pair in pairs), 2),
    }
    conclude(found, as_json)


if __name__ == "__main__":
    main()
