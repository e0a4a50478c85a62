"""The memes that a model is given: told apart, checked for what its members read, and which of them are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from memeblend.candidates.base import Member
from memeblend.data.manifest import Manifest
from memeblend.errors import DataError, Problem
from memeblend.files import digest
from memeblend.labels import PRESENT_SUFFIX


def meme_digests(manifest: Manifest) -> NDArray[np.str_]:
    """A digest of each meme's text and image [num_memes], by which it is known again under any id."""
    pairs = zip(manifest.texts, manifest.image_digests(), strict=True)
    return np.array([digest(text, image) for text, image in pairs], dtype=np.str_)


def check_inputs(meme_ids: Sequence[str], have_image: Sequence[bool], candidates: Mapping[str, Member]) -> None:
    """Refuse memes that lack what a member reads.

    Args:
        meme_ids: id of each meme.
        have_image: whether each meme has an image.
        candidates: the members by name.

    Raises:
        DataError: there are no memes, or a member reads images and some have none; all of them listed.
    """
    if not meme_ids:
        raise DataError("There are no memes to predict.")
    need_images = sorted(name for name, candidate in candidates.items() if candidate.needs_image)
    without = [meme_id for meme_id, has_image in zip(meme_ids, have_image, strict=True) if not has_image]
    if need_images and without:
        raise DataError(
            f"The model's members {', '.join(need_images)} read images, but {len(without)} meme(s) have none:",
            problems=[Problem(meme_id, "has no image", meme_id) for meme_id in without],
            fix="Give these memes their images, or train a model on memes without images.",
        )


def splits_to_evaluate(manifest: Manifest, split: str, report: Sequence[str]) -> tuple[list[str], str]:
    """Names of the splits to score, and what to call them together."""
    there = list(manifest.split_names)
    if split == "all":
        return there, split
    wanted = [split] if split in there else [name for name in split.split("+") if name]
    if not split:
        wanted = [name for name in report if name in there] or there
    if not set(wanted) <= set(there):
        known = ", ".join([*there, "all"])
        raise DataError(f"There is no split '{split}' here.", fix=f"Splits of this data: {known}.")
    return wanted, "+".join(wanted)


def prior_of(name: str, priors: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Class prior of a label task; of a derived one absent and present."""
    if name in priors:
        return priors[name]
    levels = priors[name.removesuffix(PRESENT_SUFFIX)]
    return np.array([levels[0], levels[1:].sum()])
