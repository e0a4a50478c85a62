"""MMF-style data sets: a `<split>.jsonl` per split and images in `images/` or `img/`.

Memes as in Hateful Memes (Kiela et al. 2020) have the keys id, img, label (0 or 1) and text; HarMeme (Pramanick et
al. 2021) has id, image, labels (how harmful, then whom it targets) and text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from memeblend.data.label_values import HARM, HARM_TARGET, HATEFUL, add_labels, class_words, label_key
from memeblend.data.paths import below, image_folder
from memeblend.data.rows import RawMemes, ReadRequest, namespaced, split_name
from memeblend.data.tables import read_json_lines, scalar_text
from memeblend.errors import DataError

HATEFUL_WORDS = {"0": "not_hateful", "1": "hateful", "not_hateful": "not_hateful", "hateful": "hateful"}
"""Label of Hateful Memes, a number or a word -> class name."""
_IMAGE_KEYS = ("img", "image")
_SPLIT_ORDER = ("train", "validation", "test")


def recognises(folder: Path) -> bool:
    """Whether a folder holds <split>.jsonl files beside images/ or img/."""
    return any(folder.glob("*.jsonl")) and any((folder / name).is_dir() for name in ("images", "img"))


def recognises_file(path: Path) -> bool:
    """Whether a .jsonl file has rows as MMF writes them, rather than a plain table's."""
    if path.suffix.lower() != ".jsonl" or not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8-sig") as stream:
            row = json.loads(next((line for line in stream if line.strip()), ""))
    except (OSError, ValueError):
        return False
    return isinstance(row, dict) and (isinstance(row.get("labels"), list) or ("img" in row and "id" in row))


def read(path: Path, request: ReadRequest) -> RawMemes:
    """Read a folder of <split>.jsonl files, or one such file. The file's name is the split's name.

    Raises:
        DataError: a file can't be read.
    """
    files = [path] if path.is_file() else sorted(path.glob("*.jsonl"), key=_split_order)
    if not files:
        raise DataError(f"'{path}' has no <split>.jsonl file.")
    root = path.parent if path.is_file() else path
    raw = RawMemes(root)
    rows: list[dict[str, Any]] = []
    for file in files:
        rows += _add_split(raw, file, root.absolute().name)
    raw.images = below(image_folder(root, raw.images), raw.images)
    _add_hateful(raw, rows)
    _add_harm(raw, rows)
    return raw


def _split_order(path: Path) -> tuple[int, str]:
    split = split_name(path.stem)
    return (_SPLIT_ORDER.index(split) if split in _SPLIT_ORDER else len(_SPLIT_ORDER)), path.stem


def _add_split(raw: RawMemes, path: Path, dataset: str) -> list[dict[str, Any]]:
    objects, numbers, problems = read_json_lines(path)
    split = split_name(path.stem)
    raw.report_unparsed(problems)
    for row, number in zip(objects, numbers, strict=True):
        identifier = (scalar_text(row.get("id")) or "").strip()
        image = next((row[key] for key in _IMAGE_KEYS if row.get(key)), None)
        raw.ids.append(namespaced(dataset, split, identifier))
        raw.images.append(image.strip() if isinstance(image, str) else None)
        text = row.get("text")
        raw.texts.append(text if isinstance(text, str) else "")
        raw.splits.append(split)
        raw.sources.append(dataset)
        raw.where.append(f"{path.name} line {number}")
        position = len(raw) - 1
        if not identifier:
            raw.report(position, "has no id", "id")
        if text is not None and not isinstance(text, str):
            raw.report(position, f"holds {text!r}, expected a text", "text")
        if image is not None and not isinstance(image, str):
            raw.report(position, f"holds {image!r}, expected an image path", "img")
    return objects


def _add_hateful(raw: RawMemes, rows: list[dict[str, Any]]) -> None:
    if any("label" in row for row in rows):
        add_labels(raw, HATEFUL, [_word(row.get("label")) for row in rows], "label", HATEFUL_WORDS)


def _add_harm(raw: RawMemes, rows: list[dict[str, Any]]) -> None:
    if not any("labels" in row for row in rows):
        return
    levels: list[str | None] = []
    targets: list[str | None] = []
    for position, row in enumerate(rows):
        labels = row.get("labels")
        labels = [] if labels is None else labels
        if not isinstance(labels, list) or len(labels) > 2:
            raw.report_label(position, f"holds {labels!r}, expected a list of a harm level and a target", "labels")
            labels = []
        level, target = ([_word(label) for label in labels] + [None, None])[:2]
        if target is not None and (level is None or label_key(level) == "not_harmful"):
            raw.report_label(position, f"names the target '{target}' of a meme that is not harmful", "labels")
            target = None
        levels.append(level)
        targets.append(target)
    for task, values in ((HARM, levels), (HARM_TARGET, targets)):
        if task is HARM or any(values):
            add_labels(raw, task, values, "labels", class_words(task))


def _word(value: Any) -> str | None:
    return None if value is None else scalar_text(value)
