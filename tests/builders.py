"""Helpers that write made-up data sets: drawn pictures, invented words."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from memeblend.data.manifest import Manifest
from memeblend.labels import MEMOTION_LABEL_TASKS, LabelTask

MEMOTION1_COLUMNS = {
    "sentiment": ("overall_sentiment", ("very_negative", "neutral", "very_positive", "negative", "positive")),
    "humorous": ("humour", ("not_funny", "funny", "very_funny", "hilarious")),
    "sarcastic": ("sarcasm", ("not_sarcastic", "general", "twisted_meaning", "very_twisted")),
    "offensive": ("offensive", ("not_offensive", "slight", "very_offensive", "hateful_offensive")),
    "motivational": ("motivational", ("not_motivational", "motivational")),
}
"""Label task -> column of Memotion 1 and the words in it."""


def draw_image(path: Path, seed: int, size: tuple[int, int] = (20, 16)) -> Path:
    """Write a small picture that no other seed gives: smooth blocks of colour, so that JPEG keeps it."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def write_csv(
    path: Path, rows: Sequence[Mapping[str, Any]], *, delimiter: str = ",", columns: Sequence[str] | None = None
) -> Path:
    """Write rows as a delimited table; the columns are those of the first row if not given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns or list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as one JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_memotion1(folder: Path, num_memes: int = 10, *, splits: Sequence[str] = ("train", "validation")) -> Path:
    """Write a data set in the layout of Memotion 1; no `splits.csv` if no splits are named."""
    rows = []
    for number in range(num_memes):
        name = f"image_{number}.jpg"
        draw_image(folder / "images" / name, number)
        row = {"": number, "image_name": name, "text_ocr": f"OCR {number}", "text_corrected": f"words {number}"}
        row |= {column: words[number % len(words)] for column, words in MEMOTION1_COLUMNS.values()}
        rows.append(row)
    write_csv(folder / "labels.csv", rows)
    if splits:
        given = [{"image_name": row["image_name"], "split": splits[i % len(splits)]} for i, row in enumerate(rows)]
        write_csv(folder / "splits.csv", given)
    return folder


def write_memotion3(folder: Path, num_memes: int = 8, *, splits: Sequence[str] = ("train", "val")) -> Path:
    """Write a data set in the layout of Memotion 3, with that many memes a split."""
    sarcasm = ("not_sarcastic", "little_sarcastic", "very_sarcastic", "extremely_sarcastic")
    for part, split in enumerate(splits):
        rows = []
        for number in range(num_memes):
            draw_image(folder / "image" / split / f"{number}.jpg", 1000 * part + number)
            words = {key: values[number % len(values)] for key, (_, values) in MEMOTION1_COLUMNS.items()}
            row = {"id": number, "image_url": f"https://example.org/{number}.jpg", "humour": words["humorous"]}
            row |= {"sarcastic": sarcasm[number % 4], "offensive": words["offensive"]}
            row |= {"motivational": words["motivational"], "overall": words["sentiment"], "ocr": f"bolo {number}"}
            rows.append(row)
        write_csv(folder / f"{split}.csv", rows, delimiter="\t")
    return folder


def write_hateful_memes(folder: Path, num_memes: int = 6, *, splits: Sequence[str] = ("train", "dev")) -> Path:
    """Write a data set in the layout of Hateful Memes, with that many memes a split."""
    for part, split in enumerate(splits):
        rows = []
        for number in range(num_memes):
            name = f"{part}{number:04d}"
            draw_image(folder / "img" / f"{name}.png", 100 * part + number)
            rows.append({"id": name, "img": f"img/{name}.png", "label": number % 2, "text": f"words {name}"})
        write_jsonl(folder / f"{split}.jsonl", rows)
    return folder


def write_harmeme(folder: Path, num_memes: int = 6, *, splits: Sequence[str] = ("train", "val")) -> Path:
    """Write a data set in the layout of HarMeme, with that many memes a split."""
    labels = (["not harmful"], ["somewhat harmful", "individual"], ["very harmful", "society"])
    for part, split in enumerate(splits):
        rows = []
        for number in range(num_memes):
            name = f"meme_{part}_{number}"
            draw_image(folder / "images" / f"{name}.png", 100 * part + number)
            rows.append(
                {"id": name, "image": f"{name}.png", "labels": labels[number % 3], "text": f"line {number}\nend\n"}
            )
        write_jsonl(folder / f"{split}.jsonl", rows)
    return folder


def write_table(folder: Path, num_memes: int = 6, *, name: str = "memes.csv") -> Path:
    """Write a folder with one table (id, image, text, split, mood, level) and its images; returns the folder."""
    rows = []
    for number in range(num_memes):
        draw_image(folder / "images" / f"{number}.png", number)
        rows.append(
            {
                "id": f"{number:03d}",
                "image": f"images/{number}.png",
                "text": f"text {number}",
                "split": "train" if number < num_memes / 2 else "validation",
                "mood": ("good", "bad", "mixed")[number % 3],
                "rude": ("non-rude", "rude")[number % 2],
            }
        )
    if name.endswith(".jsonl"):
        write_jsonl(folder / name, rows)
    else:
        write_csv(folder / name, rows, delimiter="\t" if name.endswith(".tsv") else ",")
    return folder


def make_manifest(
    folder: Path,
    num_memes: int = 12,
    *,
    splits: Sequence[str] = ("train", "train", "validation"),
    label_tasks: Sequence[LabelTask] = MEMOTION_LABEL_TASKS,
    images: bool = True,
) -> Manifest:
    """A manifest with drawn images below `folder`; splits and classes come in turn.

    Args:
        folder: becomes the root.
        num_memes: number of memes.
        splits: split names in turn.
        label_tasks: each gets its classes in turn.
        images: whether the memes have images.
    """
    turns = range(num_memes)
    if images:
        for number in turns:
            draw_image(folder / f"{number}.png", number)
    table = pd.DataFrame(
        {
            "meme_id": [f"made/{splits[i % len(splits)]}/{i}" for i in turns],
            "image": [f"{i}.png" if images else None for i in turns],
            "ocr_text": [f"when number {i} says hello" for i in turns],
            "split": [splits[i % len(splits)] for i in turns],
            "source": "made",
        }
        | {task.name: [task.classes[i % task.num_classes] for i in turns] for task in label_tasks}
    )
    return Manifest(table, tuple(label_tasks), folder)
