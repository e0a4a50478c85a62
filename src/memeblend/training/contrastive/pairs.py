"""Pairs of image and text from manifests: gathered, cut into fit and validation, made into batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from memeblend.data.cache import cached_images, unreadable_images
from memeblend.data.images import ImageTransform, load_image
from memeblend.data.manifest import Manifest
from memeblend.data.rendering import CaptionDrawer, top_and_bottom
from memeblend.errors import DataError
from memeblend.losses.contrastive import fitting_pairs
from memeblend.recipe.pretraining import Pretraining
from memeblend.training.preprocessing import Preprocessor
from memeblend.training.progress import Progress
from memeblend.training.workers import ALONE, Workers

SHARE_HELD_BACK = 5  # at most one in so many pairs validates
_TEMPLATE_SIDE = 2  # templates are kept at this multiple of the encoder's side, to draw on


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of image and text; images and texts are told apart by content.

    Attributes:
        texts: distinct texts.
        pixels: distinct images [num_images, S, S, 3].
        paths: a file of each distinct image.
        text: number of each pair's text [num_pairs].
        image: number of each pair's image [num_pairs].
        sources: data set of each pair.
        skipped: reason -> how many memes gave no pair.
    """

    texts: list[str]
    pixels: NDArray[np.uint8]
    paths: list[Path]
    text: NDArray[np.int64]
    image: NDArray[np.int64]
    sources: NDArray[np.str_]
    skipped: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.text)

    def templates(self, least_texts: int) -> NDArray[np.bool_]:
        """Which images [num_images] come with at least so many distinct texts."""
        distinct = np.unique(np.stack([self.image, self.text], axis=1), axis=0)
        return np.bincount(distinct[:, 0], minlength=len(self.pixels)) >= least_texts

    def cut(self, num_validation: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows to fit and rows to validate; all pairs of a text go to one side.

        A text of more pairs than are wanted is not held back, nor the last two texts: what is left would be too little.
        """
        wanted = max(1, min(num_validation, len(self) // SHARE_HELD_BACK))
        order = np.random.default_rng((seed, 1)).permutation(len(self.texts))
        counts = np.bincount(self.text, minlength=len(self.texts))
        rare = order[counts[order] <= max(wanted, counts.min())]
        num_texts = int(np.searchsorted(np.cumsum(counts[rare]), wanted) + 1)
        held_back = np.zeros(len(self.texts), dtype=bool)
        held_back[rare[: min(num_texts, max(1, len(self.texts) - 2))]] = True
        return np.flatnonzero(~held_back[self.text]), np.flatnonzero(held_back[self.text])


def gather(
    manifests: Sequence[Manifest],
    splits: Sequence[str],
    transform: ImageTransform,
    cache_dir: Path | None,
    progress: Progress,
) -> Pairs:
    """The pairs of all memes of these splits that have a text and an image that can be decoded.

    Args:
        manifests: the memes.
        splits: names of the splits that are used.
        transform: how an image becomes a square.
        cache_dir: where decoded images are kept; None takes the default folder.
        progress: told of images decoded.

    Raises:
        DataError: no pair is left, or the pairs have but one image or one text.
    """
    skipped: Counter[str] = Counter()
    texts: dict[str, int] = {}
    images = _Images({}, [], [])
    rows: list[tuple[int, int, str]] = []
    for manifest in manifests:
        used = _usable(manifest, splits, skipped)
        digests = used.image_digests()
        images.add(used, digests, transform, cache_dir, progress)
        for text, digest, source in zip(used.texts, digests, used.table["source"], strict=True):
            if digest not in images.numbers:
                skipped["image can't be decoded"] += 1
                continue
            rows.append((texts.setdefault(" ".join(text.split()), len(texts)), images.numbers[digest], source))
    if len(texts) < 2 or len(images.paths) < 2:
        raise DataError(
            f"Pre-training needs pairs with at least two images and two texts, found {len(images.paths)} image(s) and "
            f"{len(texts)} text(s) in the splits {', '.join(splits)}.",
            fix="Contrast needs something to tell apart. Add memes, or name their splits: --set splits=[...]",
        )
    numbers = np.array([row[:2] for row in rows], dtype=np.int64)
    sources = np.array([source for _, _, source in rows])
    pixels = np.concatenate(images.pixels)
    return Pairs(list(texts), pixels, images.paths, numbers[:, 0].copy(), numbers[:, 1].copy(), sources, dict(skipped))


@dataclass
class _Images:
    """Distinct images of several manifests.

    Attributes:
        numbers: number of each by its digest.
        paths: a file of each.
        pixels: parts of their pixels [num_images, S, S, 3].
    """

    numbers: dict[str, int]
    paths: list[Path]
    pixels: list[NDArray[np.uint8]]

    def add(
        self,
        manifest: Manifest,
        digests: list[str],
        transform: ImageTransform,
        cache_dir: Path | None,
        progress: Progress,
    ) -> None:
        """Decode the images that are new; those that can't be decoded are left out."""
        new = {digest: row for row, digest in reversed(list(enumerate(digests))) if digest not in self.numbers}
        if not new:
            return
        distinct = manifest.take(sorted(new.values()))
        progress.start(f"images of {distinct.table['source'].iloc[0]}", len(distinct))
        problems = unreadable_images(distinct, transform, cache_dir, lambda done, total: progress.advance(done))
        faulty = {problem.meme_id for problem in problems}
        readable = distinct.take([row for row, name in enumerate(distinct.meme_ids) if name not in faulty])
        if not len(readable):
            return
        for row, digest in enumerate(readable.image_digests()):
            self.numbers[digest] = len(self.numbers)
            self.paths.append(_path(readable, row))
        self.pixels.append(cached_images(readable, transform, cache_dir))


def _usable(manifest: Manifest, splits: Sequence[str], skipped: Counter[str]) -> Manifest:
    """The memes of these splits that have text and image; the others are counted."""
    inside = np.isin(manifest.splits, list(splits))
    has_text = np.array([bool(text.strip()) for text in manifest.texts], dtype=bool)
    has_image = manifest.table["image"].notna().to_numpy()
    skipped["other split"] += int((~inside).sum())
    skipped["no text"] += int((inside & ~has_text).sum())
    skipped["no image"] += int((inside & has_text & ~has_image).sum())
    for reason in [reason for reason, count in skipped.items() if not count]:
        del skipped[reason]
    return manifest.take(inside & has_text & has_image)


def _path(manifest: Manifest, row: int) -> Path:
    path = manifest.image_path(row)
    assert path is not None, "memes without image were left out"
    return path


class PairDataset(Dataset[tuple[int, int]]):
    """Some of the pairs; an item is (row, step), a batch is built from items at once.

    Args:
        pairs: all pairs.
        rows: which of them.
        token_ids: of each distinct text.
        preprocessor: normalises pixels and pads texts.
        settings: say which templates are shown with their text, drawn anew in every step.
        workers: who makes a batch together.
    """

    def __init__(
        self,
        pairs: Pairs,
        rows: NDArray[np.int64],
        token_ids: list[list[int]],
        preprocessor: Preprocessor,
        settings: Pretraining,
        workers: Workers = ALONE,
    ) -> None:
        self.pairs = pairs
        self.workers = workers
        self.text = pairs.text[rows]
        self.image = pairs.image[rows]
        self.token_ids = token_ids
        self.preprocessor = preprocessor
        self.settings = settings
        drawn = settings.rendering.share > 0
        self._drawer = CaptionDrawer(settings.rendering.font) if drawn else None
        templates = pairs.templates(settings.rendering.template_texts)
        self._blanks: dict[int, Image.Image] = {}
        if drawn:
            side = _TEMPLATE_SIDE * preprocessor.transform.size
            self._blanks = {int(number): _reduced(pairs.paths[number], side) for number in np.flatnonzero(templates)}

    def __len__(self) -> int:
        return len(self.text)

    def __getitem__(self, item: tuple[int, int]) -> tuple[int, int]:
        return item

    def collate(self, items: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """A batch of B pairs, of which b with M distinct images are this worker's part, the shortest texts first.

        Returns:
            input_ids and attention_mask [b, T], pixel_values [M, 3, S, S], image_index [b] (the row of pixel_values
            that is a pair's image), fits [B, B] (see `fitting_pairs`; the parts of all workers, one after the other).
        """
        items = sorted(items, key=lambda item: len(self.token_ids[self.text[item[0]]]))
        parts = self.workers.parts(items)
        batch = self._part(parts[self.workers.rank])
        everyone = [item for part in parts for item in part]
        rows = np.array([row for row, _ in everyone], dtype=np.int64)
        shows_text = torch.tensor([self._random_if_drawn(row, step) is not None for row, step in everyone])
        text, image = torch.from_numpy(self.text[rows]), torch.from_numpy(self.image[rows])
        return batch | {"fits": fitting_pairs(text, image, shows_text)}

    def _part(self, items: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        rows = np.array([row for row, _ in items], dtype=np.int64)
        drawn = [self._drawn(row, step) for row, step in items]
        shown: list[NDArray[np.uint8]] = []
        index: list[int] = []
        blank: dict[int, int] = {}
        for number, picture in zip(self.image[rows].tolist(), drawn, strict=True):
            if picture is None and number in blank:
                index.append(blank[number])
                continue
            if picture is None:
                blank[number] = len(shown)
            index.append(len(shown))
            shown.append(self.pairs.pixels[number] if picture is None else picture)
        input_ids, attention_mask = self.preprocessor.pad([self.token_ids[number] for number in self.text[rows]])
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "pixel_values": self.preprocessor.pixel_values(np.stack(shown)),
            "image_index": torch.tensor(index),
        }

    def _drawn(self, row: int, step: int) -> NDArray[np.uint8] | None:
        """The pair's template with its text on it, or None where it is shown as it is."""
        random = self._random_if_drawn(row, step)
        if random is None or self._drawer is None:
            return None
        text, template = self.pairs.texts[self.text[row]], self._blanks[int(self.image[row])]
        return self.preprocessor.transform.apply(self._drawer.draw(template, top_and_bottom(text, random)))

    def _random_if_drawn(self, row: int, step: int) -> np.random.Generator | None:
        """What the drawing of a pair is drawn from, or None where its image is shown as it is."""
        if self._drawer is None or int(self.image[row]) not in self._blanks:
            return None
        random = np.random.default_rng((self.settings.seed, 3, step, row))
        if random.random() >= self.settings.rendering.share:
            return None
        # A template on which nothing can be drawn stays blank, so it fits its other texts as any blank one does.
        return random if self._drawer.shows(self.pairs.texts[self.text[row]]) else None


def _reduced(path: Path, side: int) -> Image.Image:
    """An image no larger than `side` either way, its proportions kept; small ones are enlarged, so that letters fit."""
    image = load_image(path)
    scale = side / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


class PairBatches(Sampler[tuple[int, int]]):
    """Every step's batch, from (seed, step) alone: the loader cuts the flat order every `batch_size` items.

    Pairs come in random order, all once before any comes again. With a share of hard negatives, that many pairs of a
    batch are drawn from the images of the others.

    Args:
        image: number of each pair's image [num_pairs].
        settings: batch_size, hard_share, num_steps and seed.
    """

    def __init__(self, image: NDArray[np.int64], settings: Pretraining) -> None:
        self.image = image
        self.num_steps = settings.num_steps
        self.batch_size = settings.batch_size
        self.num_hard = round(settings.hard_share * settings.batch_size)
        self.seed = settings.seed

    def __len__(self) -> int:
        return self.num_steps * self.batch_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, order = -1, np.empty(0, dtype=np.int64)
        num_drawn = self.batch_size - self.num_hard
        for step in range(self.num_steps):
            rows = np.empty(0, dtype=np.int64)
            while len(rows) < num_drawn:
                needed, start = divmod(step * num_drawn + len(rows), len(self.image))
                if needed != epoch:
                    epoch, order = needed, np.random.default_rng((self.seed, 2, needed)).permutation(len(self.image))
                rows = np.concatenate([rows, order[start : start + num_drawn - len(rows)]])
            rows = np.concatenate([rows, self._hard(rows, step)])
            yield from ((row, step) for row in rows.tolist())

    @cached_property
    def _by_image(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Rows in order of their images, the place of each row in that order, and where each image's begin."""
        order = np.argsort(self.image, kind="stable")
        return order, np.argsort(order), np.concatenate([[0], np.cumsum(np.bincount(self.image))])

    def _hard(self, rows: NDArray[np.int64], step: int) -> NDArray[np.int64]:
        """Other pairs of these pairs' images; any pairs where no image has another one."""
        random = np.random.default_rng((self.seed, 4, step))
        order, places, begins = self._by_image
        counts = begins[self.image[rows] + 1] - begins[self.image[rows]]
        shared = rows[counts > 1]
        if not len(shared):
            return random.integers(0, len(self.image), self.num_hard)
        begun = random.choice(shared, self.num_hard)
        start, end = begins[self.image[begun]], begins[self.image[begun] + 1]
        # Never the pair itself, which would be no negative at all: on from it, around its image's other pairs.
        steps = random.integers(1, end - start)
        chosen: NDArray[np.int64] = order[start + (places[begun] - start + steps) % (end - start)]
        return chosen
