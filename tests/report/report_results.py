"""A small run's results, with names and texts as hostile as strangers make them."""

from __future__ import annotations

from typing import Any

import numpy as np

from memeblend.ensemble import search
from memeblend.evaluation import PredictionTable
from memeblend.labels import SARCASTIC, SENTIMENT, LabelTask

HOSTILE = "</td><script>alert('x')</script> | **bold** [link](javascript:alert(1)) $\\frac{1}{2}$ \u202e मौसम 😂"
TOPIC = LabelTask("topic", "nominal", ("cats", HOSTILE, "$x_1^{$"))
NAMES = ("text-0", "fusion-0", "tfidf-0")
SKILLS = {"text-0": 1.0, "fusion-0": 1.6, "tfidf-0": 0.4}


def results(num_memes: int = 120, seed: int = 0, tasks: tuple[LabelTask, ...] = (SENTIMENT, SARCASTIC, TOPIC)) -> Any:
    """Arguments of a ReportInput: half the memes select, half report; memes 2k and 2k + 1 are near-duplicates."""
    rng = np.random.default_rng(seed)
    splits = np.where(np.arange(num_memes) < num_memes // 2, "dev", "test")
    ids = np.array([f"set/{split}/{row}" for row, split in enumerate(splits)])
    tables, choices = [], {}
    counts: dict[str, dict[str, dict[str, int]]] = {"train": {}, "dev": {}, "test": {}}
    for task in tasks:
        labels = rng.integers(0, task.num_classes, num_memes)
        labels[rng.random(num_memes) < 0.05] = -1
        counts["train"][task.name] = {name: 10 * (index + 1) for index, name in enumerate(task.classes)}
        for split in ("dev", "test"):
            there = labels[splits == split]
            counts[split][task.name] = {name: int((there == index).sum()) for index, name in enumerate(task.classes)}
        of_task = []
        for name in NAMES:
            scores = rng.normal(size=(num_memes, task.num_classes))
            known = labels >= 0
            scores[np.flatnonzero(known), labels[known]] += SKILLS[name]
            probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
            of_task.append(
                PredictionTable(name, task, ids, splits, np.arange(num_memes) // 2, labels, probabilities, "f00d")
            )
        choices[task.name] = search([table.of_splits(["dev"]) for table in of_task])
        tables += of_task
    log = [
        entry
        for epoch in (1.0, 2.0)
        for entry in ({"epoch": epoch, "loss": 1 / epoch}, {"epoch": epoch, "eval_weighted_f1": 0.2 * epoch})
    ]
    return {
        "title": f"Report {HOSTILE}",
        "data_name": HOSTILE,
        "recipe_name": "tiny",
        "seed": 0,
        "manifest_fingerprint": "f00d",
        "roles": {"fit": ("train",), "select": ("dev",), "report": ("test",)},
        "label_tasks": tasks,
        "tables": tables,
        "choices": choices,
        "class_counts": counts,
        "curves": {"text-0": [*log, {"epoch": 2.0, "train_loss": 0.7, "train_runtime": 1.0}], "fusion-0": log},
        "texts": {str(meme_id): HOSTILE for meme_id in ids},
        "notes": [HOSTILE],
        "synthetic": True,
        "seconds": {"text-0": 1.5},
    }
