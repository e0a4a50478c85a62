"""The embedded sample: synthetic memes drawn anew from a seed, so that a newcomer needs no data.

Nothing here is real: pictures, words and labels all follow from `sample_facts`. Scores on the sample show that
the machinery works and what multi-modality is about; they say nothing of real memes.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from memeblend.data.manifest import Manifest
from memeblend.data.sample_drawing import draw
from memeblend.data.sample_facts import MemeFacts, deal_facts, labels_of
from memeblend.data.sample_text import compose
from memeblend.errors import DataError
from memeblend.files import replacing_folder
from memeblend.labels import MEMOTION_LABEL_TASKS

SOURCE = "memeblend_sample"
"""Source of every meme of the sample, by which reports know that the memes are synthetic."""

DEFAULT_NUM_MEMES = 1200
MIN_NUM_MEMES = 20
LABEL_NOISE = 0.05
"""Share of the labels of every label task that are replaced by another class."""

_SPLIT_SHARES = {"train": 0.7, "validation": 0.12, "test": 0.18}
_NUM_TRIES = 100
_JPEG_QUALITY = 88
_COLUMNS = ("id", "image", "text", "split", "source", *(task.name for task in MEMOTION_LABEL_TASKS))


@dataclass(frozen=True)
class SampleMeme:
    """One meme of the sample, before its picture is drawn.

    Attributes:
        name: its id; the picture is `images/<name>.jpg`.
        split: train, validation or test.
        facts: what it is drawn from.
        lines: the words at the upper and the lower edge.
        labels: label task name -> class name, label noise included.
    """

    name: str
    split: str
    facts: MemeFacts
    lines: tuple[str, str]
    labels: dict[str, str]


def write_sample(
    folder: str | Path,
    num_memes: int = DEFAULT_NUM_MEMES,
    seed: int = 0,
    progress: Callable[[int], None] = lambda num_drawn: None,
) -> Path:
    """Draw the sample and write it as a data-set folder: `memes.csv` and `images/`.

    The same arguments give the same bytes (for one version of Pillow). An existing folder is replaced as a
    whole, and only once the new one is complete.

    Args:
        folder: where to.
        num_memes: how many memes, split 70 : 12 : 18 into train, validation and test.
        seed: of all that is left to chance.
        progress: called with the number of memes drawn, after each.

    Returns:
        The folder.

    Raises:
        DataError: fewer than `MIN_NUM_MEMES` memes.
        OutputError: the folder could not be written.
    """
    memes = sample_memes(num_memes, seed)
    folder = Path(folder)
    with replacing_folder(folder, marker="memes.csv") as temporary:
        (temporary / "images").mkdir()
        with (temporary / "memes.csv").open("w", encoding="utf-8", newline="") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(_COLUMNS)
            for num_drawn, meme in enumerate(memes, start=1):
                image = f"images/{meme.name}.jpg"
                picture = draw(meme.facts, meme.lines, random.Random(f"{seed} {meme.name}"))
                picture.save(temporary / image, quality=_JPEG_QUALITY)
                meme_id = f"{SOURCE}/{meme.split}/{meme.name}"
                table.writerow([meme_id, image, " ".join(meme.lines), meme.split, SOURCE, *meme.labels.values()])
                progress(num_drawn)
    return folder


def sample_manifest(
    folder: str | Path,
    num_memes: int = DEFAULT_NUM_MEMES,
    seed: int = 0,
    progress: Callable[[int], None] = lambda num_drawn: None,
) -> Manifest:
    """Draw the sample into a folder (see `write_sample`) and read it with the Memotion label tasks."""
    write_sample(folder, num_memes, seed, progress)
    return Manifest.read(folder, label_tasks=MEMOTION_LABEL_TASKS)


def sample_memes(num_memes: int = DEFAULT_NUM_MEMES, seed: int = 0) -> Iterator[SampleMeme]:
    """The memes of the sample with the facts behind them, in the order of `memes.csv`; no picture is drawn.

    Raises:
        DataError: fewer than `MIN_NUM_MEMES` memes.
    """
    if num_memes < MIN_NUM_MEMES:
        raise DataError(
            f"The sample was asked for {num_memes} memes, expected at least {MIN_NUM_MEMES}.",
            fix=f"Ask for {MIN_NUM_MEMES} memes or more, so that each split gets some.",
        )
    return _generate(num_memes, random.Random(f"memeblend sample {seed}"))


def _generate(num_memes: int, rng: random.Random) -> Iterator[SampleMeme]:
    seen: set[tuple[str, str]] = set()
    ends = [round(num_memes * share) for share in (_SPLIT_SHARES["train"], 1 - _SPLIT_SHARES["test"])]
    sizes = (ends[0], ends[1] - ends[0], num_memes - ends[1])
    number = 0
    for split, size in zip(_SPLIT_SHARES, sizes, strict=True):
        for facts in deal_facts(size, rng):
            number += 1
            lines = _new_lines(facts, seen, rng)
            yield SampleMeme(f"{number:05d}", split, facts, lines, _with_noise(labels_of(facts), rng))


def _new_lines(facts: MemeFacts, seen: set[tuple[str, str]], rng: random.Random) -> tuple[str, str]:
    # Repeated words would tie memes of different splits together; a sample too large for that may repeat.
    for _ in range(_NUM_TRIES):
        lines = compose(facts, rng)
        if lines not in seen:
            break
    seen.add(lines)
    return lines


def _with_noise(labels: dict[str, str], rng: random.Random) -> dict[str, str]:
    return {
        task.name: rng.choice([name for name in task.classes if name != labels[task.name]])
        if rng.random() < LABEL_NOISE
        else labels[task.name]
        for task in MEMOTION_LABEL_TASKS
    }
