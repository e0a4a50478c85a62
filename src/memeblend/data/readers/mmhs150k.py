"""MMHS150K (Gomez et al. 2020): tweets with pictures, each labelled by three annotators.

`ocr_text` is the text in the picture (`img_txt/<id>.json`), "" where none was found; the tweet's own words are not in
the meme and are not read. `hate_type` is what most annotators saw; where all differ the label is missing, and the tweet
is listed.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from memeblend.data.label_values import HATE_TYPE, add_labels, class_words
from memeblend.data.paths import entry
from memeblend.data.readers.expecting import refuse_incomplete
from memeblend.data.rows import RawMemes, ReadRequest, namespaced
from memeblend.data.tables import read_json
from memeblend.errors import DataError, Problem

_DATASET = "mmhs150k"
_LABELS = "MMHS150K_GT.json"
_PARTS = (_LABELS, "img_resized", "img_txt", "splits")
_SPLITS = {"train": "train_ids.txt", "validation": "val_ids.txt", "test": "test_ids.txt"}


def recognises(folder: Path) -> bool:
    """Whether a folder has the layout of MMHS150K."""
    return entry(folder, _LABELS) is not None


def missing(folder: Path) -> list[str]:
    """The parts of the set that a folder lacks."""
    absent = [name for name in _PARTS if entry(folder, name) is None]
    splits = entry(folder, "splits")
    if splits is not None:
        absent += [f"splits/{name}" for name in _SPLITS.values() if entry(splits, name) is None]
    return absent


def read(folder: Path, request: ReadRequest) -> RawMemes:
    """Read MMHS150K.

    Raises:
        DataError: a part of the set is missing, or its labels can't be read.
    """
    refuse_incomplete(_DATASET, folder, missing(folder))
    labels, images, texts, splits_folder = (path for name in _PARTS if (path := entry(folder, name)) is not None)
    lists = {split: entry(splits_folder, name) for split, name in _SPLITS.items()}
    tweets = read_json(labels)
    if not isinstance(tweets, dict):
        raise DataError(f"'{labels}' should hold a JSON object of tweets by their ids.")
    raw = RawMemes(folder)
    splits = _splits(raw, {split: path for split, path in lists.items() if path is not None}, tweets)
    with_text = {path.stem for path in texts.iterdir() if path.suffix == ".json"}
    for name in tweets:
        split = splits.get(name, "")
        raw.ids.append(namespaced(_DATASET, split, name))
        raw.images.append(f"{images.name}/{name}.jpg")
        raw.where.append(f"{labels.name} tweet {name}")
        raw.splits.append(split)
        raw.sources.append(_DATASET)
        raw.texts.append("")
        if not split:
            raw.report(len(raw) - 1, "is in none of the lists in splits/")
        if name in with_text:
            raw.texts[-1] = _text(raw, texts / f"{name}.json")
    _add_hate_types(raw, list(tweets.values()), request)
    request.notify(f"{_DATASET}: {sum(map(bool, raw.texts))} of {len(raw)} tweets have a text in their picture")
    return raw


def _splits(raw: RawMemes, lists: dict[str, Path], tweets: dict[str, Any]) -> dict[str, str]:
    """Tweet id -> split name; ids that are unknown or in two lists are noted."""
    splits: dict[str, str] = {}
    problems = []
    for split, path in lists.items():
        try:
            names = path.read_text(encoding="utf-8-sig").split()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"'{path}' can't be read: {error}.") from error
        for number, name in enumerate(names, start=1):
            if name not in tweets:
                problems.append(Problem(f"{path.name} id {number}", f"'{name}' is not in {_LABELS}"))
            elif splits.setdefault(name, split) != split:
                problems.append(Problem(f"{path.name} id {number}", f"'{name}' is in the split {splits[name]} already"))
    raw.report_unparsed(problems)
    return splits


def _text(raw: RawMemes, path: Path) -> str:
    row = len(raw) - 1
    try:
        found = read_json(path)
    except DataError as error:
        raw.report(row, f"its text can't be read: {error.message}")
        return ""
    text = found.get("img_text") if isinstance(found, dict) else None
    if not isinstance(text, str):
        raw.report(row, f"{path.parent.name}/{path.name} has no text img_text")
        return ""
    return text.strip()


def _add_hate_types(raw: RawMemes, tweets: list[Any], request: ReadRequest) -> None:
    names: list[str | None] = []
    num_ties = 0
    for row, tweet in enumerate(tweets):
        labels = tweet.get("labels") if isinstance(tweet, dict) else None
        allowed = range(HATE_TYPE.num_classes)
        if not isinstance(labels, list) or not all(type(label) is int and label in allowed for label in labels):
            what = f"holds {labels!r}, expected a list of whole numbers from 0 to {HATE_TYPE.num_classes - 1}"
            raw.report_label(row, what, "labels")
            names.append(None)
            continue
        name = _majority(labels)
        names.append(name)
        if name is None:
            num_ties += 1
            seen = ", ".join(HATE_TYPE.classes[label] for label in labels)
            raw.listed.append(Problem(raw.where[row], f"tie of the annotators, no hate_type: {seen}", raw.ids[row]))
    add_labels(raw, HATE_TYPE, names, "labels", class_words(HATE_TYPE))
    if num_ties:
        request.notify(f"{_DATASET}: {num_ties} tweet(s) on which the annotators tie have no hate_type")


def _majority(labels: list[int]) -> str | None:
    """The class that more annotators chose than any other; None if there is none."""
    counts = Counter(labels).most_common(2)
    if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
        return None
    return HATE_TYPE.classes[counts[0][0]]
