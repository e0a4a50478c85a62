"""Hateful Memes (Kiela et al. 2020): `<split>.jsonl` and `img/`.

The challenge ran in two phases, so development and test memes come in a `seen` and an `unseen` file that overlap. As in
the paper both are one split, merged on the id: `validation` is dev_seen and dev_unseen, `test` likewise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memeblend.data.label_values import HATEFUL, add_labels
from memeblend.data.paths import entry
from memeblend.data.readers.expecting import refuse_incomplete
from memeblend.data.readers.mmf import HATEFUL_WORDS
from memeblend.data.rows import RawMemes, ReadRequest, namespaced
from memeblend.data.tables import read_json_lines, scalar_text

_DATASET = "hateful_memes"
_FILES = {
    "train": ("train.jsonl",),
    "validation": ("dev_seen.jsonl", "dev_unseen.jsonl"),
    "test": ("test_seen.jsonl", "test_unseen.jsonl"),
}
_IMAGES = "img"
_KEYS = ("img", "label", "text")


def recognises(folder: Path) -> bool:
    """Whether a folder has the layout of Hateful Memes in both phases: two of its four later files tell."""
    there = [entry(folder, name) is not None for split in ("validation", "test") for name in _FILES[split]]
    return entry(folder, _IMAGES) is not None and sum(there) >= 2


def missing(folder: Path) -> list[str]:
    """The parts of the set that a folder lacks."""
    return [name for name, path in _parts(folder).items() if path is None]


def read(folder: Path, request: ReadRequest) -> RawMemes:
    """Read Hateful Memes. A label may be absent in the test files.

    Raises:
        DataError: a part of the set is missing, or a file can't be read.
    """
    refuse_incomplete(_DATASET, folder, missing(folder))
    found = _parts(folder)
    raw = RawMemes(folder)
    rows: list[dict[str, Any]] = []
    split_of: dict[str, str] = {}
    for split, files in _FILES.items():
        before: dict[str, int] = {}
        for name in files:
            path = found[name]
            assert path is not None, "missing files were refused above"
            before |= _add_file(raw, rows, path, split, before, split_of)
    images = found[_IMAGES]
    assert images is not None, "missing folders were refused above"
    raw.images = [_in_folder(images.name, image) for image in raw.images]
    add_labels(raw, HATEFUL, [_word(row.get("label")) for row in rows], "label", HATEFUL_WORDS)
    for row, split in enumerate(raw.splits):
        if raw.labels[HATEFUL.name][row] is None and split != "test" and rows[row].get("label") is None:
            raw.report_label(row, "has no label, which only test memes may lack", "label")
    return raw


def _parts(folder: Path) -> dict[str, Path | None]:
    names = [name for files in _FILES.values() for name in files]
    return {name: entry(folder, name) for name in (*names, _IMAGES)}


def _add_file(
    raw: RawMemes,
    rows: list[dict[str, Any]],
    path: Path,
    split: str,
    before: dict[str, int],
    split_of: dict[str, str],
) -> dict[str, int]:
    """Add the memes of a file but those that an earlier file of the split has; id -> row of those added."""
    objects, numbers, problems = read_json_lines(path)
    raw.report_unparsed(problems)
    added: dict[str, int] = {}
    for value, number in zip(objects, numbers, strict=True):
        name = (scalar_text(value.get("id")) or "").strip()
        key = name.lstrip("0") or name  # one file writes 1235, another "01235"
        where = f"{path.name} line {number}"
        if name and key in before:
            _merge(raw, rows, before[key], value, where)
            continue
        rows.append(value)
        image, text = value.get("img"), value.get("text")
        raw.ids.append(namespaced(_DATASET, split, name))
        raw.images.append(image.strip() if isinstance(image, str) else None)
        raw.texts.append(text if isinstance(text, str) else "")
        raw.splits.append(split)
        raw.sources.append(_DATASET)
        raw.where.append(where)
        _check(raw, value, name)
        if name and split_of.setdefault(key, split) != split:
            raw.report(len(raw) - 1, f"the id '{name}' is also in the split {split_of[key]}", "id")
        added.setdefault(key, len(raw) - 1)
    return added


def _check(raw: RawMemes, value: dict[str, Any], name: str) -> None:
    row = len(raw) - 1
    if not name:
        raw.report(row, "has no id", "id")
    for key, what in (("img", "an image path"), ("text", "a text")):
        if value.get(key) is not None and not isinstance(value[key], str):
            raw.report(row, f"holds {value[key]!r}, expected {what}", key)


def _merge(raw: RawMemes, rows: list[dict[str, Any]], row: int, value: dict[str, Any], where: str) -> None:
    """Take a meme that comes in a second file: the same but that one may lack the label."""
    kept = rows[row]
    for key in _KEYS:
        if kept.get(key) is None:
            kept[key] = value.get(key)
        elif value.get(key) not in (None, kept[key]):
            raw.report(row, f"{where} says otherwise: {value[key]!r}, here {kept[key]!r}", key)


def _in_folder(name: str, image: str | None) -> str | None:
    """A row's image where the folder of images is: its name's case varies between copies, the rows' does not."""
    first, _, rest = (image or "").partition("/")
    return f"{name}/{rest}" if rest and first.casefold() == _IMAGES else image


def _word(value: Any) -> str | None:
    return None if value is None else scalar_text(value)
