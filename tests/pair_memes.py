"""Memes to pre-train on: a template with many texts, pictures of their own; settings that take seconds."""

from __future__ import annotations

from pathlib import Path

from builders import draw_image, write_csv
from memeblend.data.manifest import Manifest
from memeblend.recipe import Pretraining, load_pretraining

SMALL = (
    "encoder.max_length=12",
    "encoder.tiny.hidden_size=16",
    "encoder.tiny.text_layers=1",
    "encoder.tiny.image_layers=1",
    "encoder.tiny.num_heads=2",
    "encoder.tiny.image_size=16",
    "encoder.tiny.patch_size=8",
    "encoder.tiny.vocab_size=300",
    "encoder.pair.projection_size=16",
    "batch_size=8",
    "num_steps=6",
    "eval_every=2",
    "num_validation=6",
    "validation_batch_size=4",
    "learning_rate=1e-3",
)


def small(*settings: str) -> Pretraining:
    """Small settings with overrides."""
    return load_pretraining(None, [*SMALL, *settings])


def meme_rows(folder: Path, num_template: int = 24, num_own: int = 16) -> list[dict[str, str]]:
    """Rows: one blank template with many texts, then pictures with a text each; the pictures are written."""
    draw_image(folder / "template.png", 999, (24, 20))
    rows = [
        {"id": f"t{i}", "image": "template.png", "text": f"when number {i} arrives", "split": "train"}
        for i in range(num_template)
    ]
    for i in range(num_own):
        draw_image(folder / f"{i}.png", i)
        rows.append({"id": f"p{i}", "image": f"{i}.png", "text": f"picture of kind {i}", "split": "train"})
    return rows


def read(folder: Path, rows: list[dict[str, str]]) -> Manifest:
    """The manifest of these rows."""
    return Manifest.read(write_csv(folder / "memes.csv", rows), label_tasks=None)


def memes(folder: Path) -> Manifest:
    """The manifest of `meme_rows`."""
    return read(folder, meme_rows(folder))
