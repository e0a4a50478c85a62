"""Made-up copies of the paper's data sets in exactly their layouts, 40 memes each, with the quirks of real copies.

Every function writes one set and returns its folder. Texts and pictures differ between all memes of all sets, so
nothing leaks unless a test makes it. Quirks that a reader must cope with are always there (byte-order marks, CRLF,
quoted line breaks, ids with leading zeros, other case of names); what it must refuse or list is up to each test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from builders import draw_image, write_csv, write_jsonl

_WORDS = ("cat", "monday", "coffee", "code", "bug", "meeting", "pizza", "rain", "train", "exam", "weekend", "boss")
_OFFSETS = {"imgflip575k": 1, "mmhs150k": 2, "hateful_memes": 3, "mami": 4, "memotion2": 5, "memotion3": 6}


def text_of(dataset: str, number: int) -> str:
    """The text of a meme; no other meme has it."""
    first, second = _WORDS[number % len(_WORDS)], _WORDS[(7 * number + 3) % len(_WORDS)]
    return f"when the {first} meets the {second} of {dataset} {number}"


def picture(path: Path, dataset: str, number: int) -> Path:
    """Draw the picture of a meme; no other meme has it."""
    return draw_image(path, 10_000 * _OFFSETS[dataset] + number, (48, 40))


def write_imgflip575k(folder: Path, *, captions: int = 10, templates: int = 4) -> Path:
    """ImgFlip575K: `templates` with captions, and one picture without."""
    base = folder / "dataset"
    for template in range(templates):
        name = f"Made-Up-{template}"
        picture(base / "templates" / "img" / f"{name}.{'png' if template == 1 else 'jpg'}", "imgflip575k", template)
        rows = []
        for number in range(captions):
            first, _, second = text_of("imgflip575k", template * captions + number).upper().partition(" OF ")
            post = f"https://imgflip.com/i/{template}{number:04d}"
            metadata = {"views": "1,024", "img-votes": 3, "title": "line\nbreak"}
            rows.append({"url": "", "post": post, "metadata": metadata, "boxes": [first, f"OF {second}"]})
        _write_json(base / "memes" / f"{name}.json", rows, indent=0)
        _write_json(base / "templates" / f"{name}.json", {"title": name, "format": "jpg"})
    picture(base / "templates" / "img" / "Never-Captioned.jpg", "imgflip575k", 9_999)
    return folder


def write_mmhs150k(folder: Path, num_tweets: int = 40) -> Path:
    """MMHS150K: three of four tweets have a text in the picture, every eighth a tie of its annotators."""
    tweets: dict[str, Any] = {}
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for number in range(num_tweets):
        name = str(1_114_679_353_714_016_256 + number)
        kind = number % 6
        labels = [0, 2, 5] if number % 8 == 7 else [kind, (kind + 1) % 6, kind]
        tweets[name] = {
            "img_url": f"http://example.org/{name}.jpg",
            "labels": labels,
            "tweet_url": f"https://example.org/{name}",
            "tweet_text": f"words of the tweet {number} https://t.co/x\r\n@someone",
            "labels_str": ["NotHate"] * 3,
        }
        picture(folder / "img_resized" / f"{name}.jpg", "mmhs150k", number)
        if number % 4 != 3:
            _write_json(folder / "img_txt" / f"{name}.json", {"img_text": text_of("mmhs150k", number)})
        lists["train" if number % 10 < 8 else "val" if number % 10 == 8 else "test"].append(name)
    _write_json(folder / "MMHS150K_GT.json", tweets)
    for split, names in lists.items():
        path = folder / "splits" / f"{split}_ids.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes("\r\n".join(names).encode() + b"\r\n")
    return folder


def write_hateful_memes(folder: Path, *, num_train: int = 24) -> Path:
    """Hateful Memes: `num_train`, 8 dev and 8 test memes; dev and test files overlap, ids lose their leading zeros."""
    rows = []
    for number in range(num_train + 16):
        name = f"{1000 + number:05d}"
        picture(folder / "img" / f"{name}.png", "hateful_memes", number)
        text = text_of("hateful_memes", number)
        rows.append({"id": 1000 + number, "img": f"img/{name}.png", "label": number % 2, "text": text})
    train, dev, test = rows[:num_train], rows[num_train : num_train + 8], rows[num_train + 8 :]
    unlabelled = [{key: row[key] for key in ("id", "img", "text")} for row in test]
    write_jsonl(folder / "train.jsonl", train)
    write_jsonl(folder / "dev_seen.jsonl", dev[:5])
    write_jsonl(folder / "dev_unseen.jsonl", [dict(row, id=f"{row['id']:05d}") for row in dev[3:]])
    write_jsonl(folder / "test_seen.jsonl", test[:4])
    write_jsonl(folder / "test_unseen.jsonl", unlabelled[2:])
    return folder


def write_mami(folder: Path, *, num_train: int = 30, num_test: int = 10) -> Path:
    """MAMI: names in odd case, a byte-order mark, line breaks and tabs in quoted texts, file names of numbers."""
    types = ("shaming", "stereotype", "objectification", "violence")
    train, test, answers = [], [], []
    for number in range(num_train + num_test):
        name = f"{number + 1:03d}.jpg"
        row: dict[str, Any] = {"file_name": name, "misogynous": number % 2}
        row |= {key: int(number % 2 and number // 2 % 4 == place) for place, key in enumerate(types)}
        text = text_of("mami", number)
        text = text.replace(" meets ", "\nmeets\t") if number % 5 == 0 else text
        if number < num_train:
            picture(folder / "TRAINING" / name, "mami", number)
            train.append(row | {"Text Transcription": text})
        else:
            picture(folder / "Test" / name, "mami", number)
            test.append({"File_Name": name, "Text Transcription": text})
            answers.append("\t".join(str(value) for value in row.values()))
    _write_with_mark(folder / "training.csv", train)
    _write_with_mark(folder / "Test.csv", test)
    (folder / "test_labels.txt").write_bytes("\r\n".join(answers).encode() + b"\r\n")
    return folder


def write_memotion(folder: Path, dataset: str = "memotion3", sizes: Mapping[str, int] | None = None) -> Path:
    """Memotion 3 or 2: 28 train, 6 val and 6 test memes unless `sizes` says otherwise; test has no labels."""
    words: dict[str, Sequence[str]] = {
        "humour": ("not_funny", "funny", "very_funny", "hilarious"),
        "sarcastic": ("not_sarcastic", "little_sarcastic", "very_sarcastic", "extremely_sarcastic"),
        "offensive": ("not_offensive", "slight", "very_offensive", "hateful_offensive"),
        "motivational": ("not_motivational", "motivational"),
        "overall": ("very_negative", "neutral", "positive", "negative", "very_positive"),
    }
    number = 0
    for split, size in (sizes or {"train": 28, "val": 6, "test": 6}).items():
        rows = []
        for name in range(size):
            picture(folder / "image" / split / f"{name}.jpg", dataset, number)
            row: dict[str, Any] = {"Id": name, "image_url": f"https://example.org/{name}.jpg"}
            row |= {column: kinds[number % len(kinds)] for column, kinds in words.items() if split != "test"}
            text = text_of(dataset, number)
            rows.append(row | {"ocr_text": text.replace(" of ", "\r\nof ") if number % 3 == 0 else text})
            number += 1
        write_csv(folder / f"{split}.csv", rows, delimiter="\t")
    return folder


def write_all(root: Path) -> Path:
    """All sets of the paper, one folder each, named as its reader."""
    write_imgflip575k(root / "imgflip575k")
    write_mmhs150k(root / "mmhs150k")
    write_hateful_memes(root / "hateful_memes")
    write_mami(root / "mami")
    write_memotion(root / "memotion3")
    return root


def _write_json(path: Path, value: Any, indent: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=indent), encoding="utf-8")


def _write_with_mark(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A tab-separated table as spreadsheets save it: CRLF and a byte-order mark."""
    write_csv(path, rows, delimiter="\t")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
