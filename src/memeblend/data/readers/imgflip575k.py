"""ImgFlip575K: captions in `memes/<template>.json`, blank templates in `templates/img/`, below `dataset/` or not.

A meme is a caption, its boxes joined by a blank, with the picture of its template. The set names no splits; the paper
holds 2,000 of 575,948 captions back without saying which, so here those with the lowest digests are `test`, in that
proportion. A caption keeps its place among others of other templates, and mostly in a part of the set.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from memeblend.data.paths import entry
from memeblend.data.readers.expecting import refuse_incomplete
from memeblend.data.rows import RawMemes, ReadRequest, namespaced
from memeblend.data.sets import SETS
from memeblend.data.tables import read_json, scalar_text
from memeblend.errors import DataError, Problem

_DATASET = "imgflip575k"
_PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".webp")


def recognises(folder: Path) -> bool:
    """Whether a folder has the layout of ImgFlip575K."""
    base = _base(folder)
    return entry(base, "memes") is not None and _pictures(base) is not None


def missing(folder: Path) -> list[str]:
    """The parts of the set that a folder lacks."""
    base = _base(folder)
    wanted = (("memes/<template>.json", _caption_files(base)), ("templates/img/", _pictures(base)))
    return [name for name, found in wanted if not found]


def read(folder: Path, request: ReadRequest) -> RawMemes:
    """Read ImgFlip575K. Captions of a template without a picture are left out and listed.

    Raises:
        DataError: a part of the set is missing.
    """
    refuse_incomplete(_DATASET, folder, missing(folder))
    base = _base(folder)
    files, pictures = _caption_files(base), _pictures(base)
    assert pictures is not None, "missing parts were refused above"
    raw = RawMemes(base)
    where = pictures.relative_to(base).as_posix()
    there = {path.stem: path.name for path in sorted(pictures.iterdir()) if path.suffix.lower() in _PICTURES}
    num_without = 0
    for file in files:
        captions = _captions(raw, file)
        if file.stem in there:
            _add_template(raw, file, captions, f"{where}/{there[file.stem]}")
        elif captions:
            num_without += len(captions)
            what = f"{len(captions)} captions left out: there is no picture {file.stem}.jpg in templates/img"
            raw.listed.append(Problem(f"memes/{file.name}", what))
    unused = sorted(there.keys() - {file.stem for file in files})
    raw.listed += [Problem(f"templates/img/{there[name]}", "has no captions in memes/") for name in unused]
    if num_without:
        request.notify(f"{_DATASET}: {num_without} caption(s) left out, whose template has no picture")
    if unused:
        request.notify(f"{_DATASET}: {len(unused)} template(s) without captions: {_some(unused)}")
    _split(raw)
    return raw


def _base(folder: Path) -> Path:
    inner = entry(folder, "dataset")
    return inner if inner is not None and inner.is_dir() and entry(folder, "memes") is None else folder


def _caption_files(base: Path) -> list[Path]:
    memes = entry(base, "memes")
    # Archives from a Mac hold a "._name.json" beside each file.
    return [] if memes is None else sorted(path for path in memes.glob("*.json") if not path.name.startswith("."))


def _pictures(base: Path) -> Path | None:
    templates = entry(base, "templates")
    found = None if templates is None else entry(templates, "img")
    return found if found is not None and found.is_dir() else None


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _captions(raw: RawMemes, file: Path) -> list[Any]:
    try:
        captions = read_json(file)
    except DataError as error:
        raw.report_unparsed([Problem(f"memes/{file.name}", f"none of its captions can be read: {error.message}")])
        return []
    if not isinstance(captions, list):
        raw.report_unparsed([Problem(f"memes/{file.name}", "should hold a JSON list of captions")])
        return []
    return captions


def _add_template(raw: RawMemes, file: Path, captions: list[Any], picture: str) -> None:
    for number, caption in enumerate(captions, start=1):
        where = f"{file.name} caption {number}"
        boxes = caption.get("boxes") if isinstance(caption, dict) else None
        if not isinstance(boxes, list) or not all(isinstance(box, str) for box in boxes):
            raw.report_unparsed([Problem(where, "has no list 'boxes' of texts")])
            continue
        post = scalar_text(caption.get("post")) or ""
        name = post.rstrip("/").rpartition("/")[2] or f"caption-{number}"
        raw.ids.append(f"{file.stem}/{name}")
        raw.images.append(picture)
        raw.texts.append(" ".join(box.strip() for box in boxes if box.strip()))
        raw.where.append(where)


def _split(raw: RawMemes) -> None:
    """Hold back the captions with the lowest digests, and give all of them their namespace."""
    sizes = SETS[_DATASET].sizes
    digests = [hashlib.sha256(name.encode("utf-8", "replace")).digest() for name in raw.ids]
    num_test = round(len(raw) * sizes["test"] / sum(sizes.values()))
    held_back = set(sorted(range(len(raw)), key=digests.__getitem__)[:num_test])
    raw.splits = ["test" if row in held_back else "train" for row in range(len(raw))]
    raw.ids = [namespaced(_DATASET, split, name) for split, name in zip(raw.splits, raw.ids, strict=True)]
    raw.sources = [_DATASET] * len(raw)
