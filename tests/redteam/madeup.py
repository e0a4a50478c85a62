"""A model whose decisions can be worked out by hand, and memes for it."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
from PIL import Image

from memeblend import Manifest, MemeClassifier
from memeblend.data.images import ImageTransform
from memeblend.decisions import DecisionRule
from memeblend.ensemble.selection import EnsembleChoice
from memeblend.labels import LabelTask

RUDE = LabelTask("rude", "binary", ("no", "yes"))
BRIGHT = LabelTask("bright", "ordinal", ("dark", "dim", "light"), intensity=True)
TOPIC = LabelTask("topic", "nominal", ("a", "b"))


@dataclass
class Reader:
    """Says rude with 0.9 iff the text holds "hate" (0.95 if it also holds "Jamal"); counts what it is asked."""

    needs_text = True
    needs_image = False
    asked: int = 0

    def predict(self, memes):
        self.asked += len(memes)
        rude = np.array([0.9 if "hate" in text else 0.2 for text in memes.texts])
        rude += [0.05 if "Jamal" in text else 0.0 for text in memes.texts]
        return {"rude": np.stack([1 - rude, rude], axis=1), "topic": np.full((len(memes), 2), 0.5)}


@dataclass
class Viewer:
    """Says light, dim or dark by the mean of the pixels."""

    needs_text = False
    needs_image = True
    asked: int = 0

    def predict(self, memes):
        self.asked += len(memes)
        means = memes.images.mean(axis=(1, 2, 3))
        levels = (means > 80).astype(int) + (means > 160)
        return {"bright": np.eye(3)[levels] * 0.7 + 0.1}


def model_of(*label_tasks, rule=None):
    """A fitted model: `rude` and `topic` by the text alone, `bright` by the image alone."""
    members = {"reader": Reader(), "viewer": Viewer()}
    by_task = {"rude": "reader", "topic": "reader", "bright": "viewer"}
    kept = {by_task[task.name]: members[by_task[task.name]] for task in label_tasks}
    model = MemeClassifier()
    model._set_state(
        label_tasks,
        {t.name: EnsembleChoice(t.name, (by_task[t.name],), "weighted_f1", 1.0, ("v",), 9, 1) for t in label_tasks},
        {t.name: DecisionRule(t) for t in label_tasks},
        {t.name: np.full(t.num_classes, 1 / t.num_classes) for t in label_tasks},
        {"fit": ("train",), "select": ("validation",), "report": ("test",)},
        SimpleNamespace(transform=ImageTransform(8, "letterbox")),
        kept,
        {},
    )
    model.seen_ = np.array([], dtype=np.str_)
    return model


def memes_of(folder, texts, *, colours=None, labels=None, split="test"):
    """A manifest of these texts, each with a picture of one grey, and labels of `rude`."""
    table = {
        "meme_id": [f"made/{row}" for row in range(len(texts))],
        "image": [None] * len(texts),
        "ocr_text": texts,
        "split": [split] * len(texts),
        "source": ["made"] * len(texts),
    }
    for row, colour in enumerate(colours or ()):
        pixels = np.full((12, 16, 3), colour, dtype=np.uint8)
        pixels[0, row % 16] = (row * 9) % 256  # no two files alike
        Image.fromarray(pixels).save(folder / f"{row}.png")
        table["image"][row] = f"{row}.png"
    if labels is not None:
        table["rude"] = labels
    return Manifest(pd.DataFrame(table), () if labels is None else (RUDE,), folder)
