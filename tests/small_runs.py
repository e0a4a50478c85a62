"""A made-up data set and settings so small that a whole run takes seconds."""

from __future__ import annotations

from pathlib import Path

from builders import draw_image, write_csv
from memeblend.recipe import Recipe, load_recipe

SETTINGS = [
    "copies=1",
    "encoder.max_length=12",
    "encoder.tiny.hidden_size=16",
    "encoder.tiny.text_layers=1",
    "encoder.tiny.image_layers=1",
    "encoder.tiny.num_heads=2",
    "encoder.tiny.image_size=16",
    "encoder.tiny.patch_size=8",
    "encoder.tiny.vocab_size=300",
    "training.num_epochs=2",
    "training.batch_size=16",
    "candidates.text.lstm_hidden_size=8",
    "candidates.fusion.num_heads=2",
    "candidates.fusion.num_blocks=1",
    "candidates.align.projection_size=16",
    "candidates.oscar.hidden_size=16",
    "candidates.oscar.num_layers=1",
    "candidates.oscar.num_heads=2",
    "candidates.boosting.num_trees=10",
    *(f"candidates.{kind}.training.num_epochs=2" for kind in ("fusion", "align", "oscar")),
]
CHAINED = """
[encoder]
source = "contrast"
max_length = 12
[encoder.tiny]
hidden_size = 16
text_layers = 1
image_layers = 1
num_heads = 2
image_size = 16
patch_size = 8
vocab_size = 300

[training]
num_epochs = 1
batch_size = 16
"""
"""Of a recipe whose encoder is made by a contrastive stage; more of `training` may follow."""
SMALL = Path(__file__).parent / "small.toml"
STUDY = Path(__file__).parents[1] / "examples" / "study.toml"
"""Every candidate kind in every form."""
WORDS = {"bad": ("awful", "terrible", "sad"), "good": ("lovely", "great", "happy")}
SPLITS = ("train",) * 6 + ("validation",) * 2 + ("test",) * 2


def small_recipe(*settings: str) -> Recipe:
    """The neural kinds and tfidf, small."""
    return load_recipe(SMALL, settings)


def every_kind_recipe(*settings: str) -> Recipe:
    """Every candidate kind in every form, small."""
    prompts = "{mood = {bad = ['sad'], good = ['happy']}, level = {0 = ['no'], 1 = ['few'], 2 = ['all']}}"
    # The usual prompts are longer than these texts may be, and would be cut to the same words.
    return load_recipe(STUDY, [*SETTINGS, f"candidates.zeroshot.prompts={prompts}", *settings])


def small_rows(folder: Path, num_memes: int = 60) -> list[dict[str, str]]:
    """Rows of memes whose mood follows from their words; their pictures are written to the folder."""
    rows = []
    for number in range(num_memes):
        mood = ("bad", "good")[number % 2]
        image = f"pictures/{number}.png"
        draw_image(folder / image, number)
        rows.append(
            {
                "id": f"m{number}",
                "image": image,
                "text": f"{WORDS[mood][number % 3]} {mood} thing number {number}",
                "split": SPLITS[number // 2 % len(SPLITS)],
                "mood": mood,
                "level": str(number // 2 % 3),
            }
        )
    return rows


def small_data(folder: Path, num_memes: int = 60) -> Path:
    """Write the data set as a folder with `memes.csv`; label tasks mood (binary) and level (ordinal)."""
    rows = small_rows(folder, num_memes)
    write_csv(folder / "memes.csv", rows)
    return folder
