"""The paper's data sets: their names, sizes, layouts, and where to ask for them.

Facts only, and no heavy import, so that the commands' help can name the readers. Sizes are those of tables 1 and 2
of the paper (`train`, `validation`, `test`; the paper calls validation the development set).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DataSet:
    """A data set that the paper uses.

    Attributes:
        name: of its reader, and `source` of its memes.
        title: as the paper calls it.
        ask: where to get it.
        layout: how its files lie, a line each.
        sizes: split -> memes in table 1; empty for a set that the paper does not use.
        pairs_only: whether table 1 counts the memes with a text alone, all of them as training.
        classes: label task -> split -> memes of each class, in the order of the label task's classes (table 2).
    """

    name: str
    title: str
    ask: str
    layout: tuple[str, ...]
    sizes: Mapping[str, int] = field(default_factory=dict)
    pairs_only: bool = False
    classes: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)


_MEMOTION3_CLASSES: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "sentiment": {"train": (1755, 2970, 2275), "validation": (580, 579, 341)},
    "humorous": {"train": (1010, 3393, 2038, 559), "validation": (99, 973, 375, 53)},
    "sarcastic": {"train": (1476, 1953, 3021, 550), "validation": (123, 977, 376, 24)},
    "offensive": {"train": (4264, 1935, 610, 191), "validation": (641, 804, 44, 11)},
    "motivational": {"train": (6170, 830), "validation": (1457, 43)},
}

_MEMOTION_LAYOUT = (
    "train.csv, val.csv, test.csv   tab-separated: id, image url, humour, sarcastic, offensive, motivational, "
    "overall, OCR text (test.csv without labels)",
    "image/train/<id>.jpg, image/val/<id>.jpg, image/test/<id>.jpg",
)

SETS: Mapping[str, DataSet] = {
    found.name: found
    for found in (
        DataSet(
            "imgflip575k",
            "ImgFlip575K",
            "https://github.com/schesa/ImgFlip575K_Dataset",
            (
                "dataset/memes/<template>.json       captions: a list of objects with post and boxes",
                "dataset/templates/img/<template>.jpg   the blank templates",
            ),
            {"train": 573_948, "test": 2_000},
        ),
        DataSet(
            "mmhs150k",
            "MMHS150k",
            "https://gombru.github.io/2019/10/09/MMHS/",
            (
                "MMHS150K_GT.json            tweet id -> labels of three annotators, tweet_text",
                "img_resized/<id>.jpg",
                "img_txt/<id>.json           img_text, for tweets whose image has a text",
                "splits/train_ids.txt, splits/val_ids.txt, splits/test_ids.txt",
            ),
            {"train": 59_252},
            pairs_only=True,
        ),
        DataSet(
            "hateful_memes",
            "Facebookhm",
            "https://hatefulmemeschallenge.com (Meta AI; licence to be accepted)",
            (
                "train.jsonl, dev_seen.jsonl, dev_unseen.jsonl, test_seen.jsonl, test_unseen.jsonl   "
                "a line each: id, img, label, text",
                "img/<id>.png",
            ),
            {"train": 8_500, "test": 3_000, "validation": 640},
        ),
        DataSet(
            "mami",
            "MAMI",
            "https://github.com/MIND-Lab/SemEval2022-Task-5-Multimedia-Automatic-Misogyny-Identification-MAMI-",
            (
                "training.csv      tab-separated: file_name, misogynous, shaming, stereotype, objectification, "
                "violence, Text Transcription",
                "TRAINING/<file_name>",
                "Test.csv          tab-separated: file_name, Text Transcription",
                "test/<file_name>",
                "test_labels.txt   tab-separated, no header: file_name and the five labels",
            ),
            {"train": 10_000, "test": 1_000},
        ),
        DataSet(
            "memotion1",
            "Memotion 1",
            "https://www.kaggle.com/datasets/williamscott701/memotion-dataset-7k",
            ("labels.csv", "images/<image_name>", "splits.csv   optional: image_name, split"),
        ),
        DataSet("memotion2", "Memotion 2", "the organisers of De-Factify 2022 (AAAI 2022)", _MEMOTION_LAYOUT),
        DataSet(
            "memotion3",
            "Memotion3",
            "the organisers of De-Factify 2 (AAAI 2023)",
            _MEMOTION_LAYOUT,
            {"train": 7_000, "test": 1_500, "validation": 1_500},
            classes=_MEMOTION3_CLASSES,
        ),
    )
}
"""The data sets by name."""

READER_NAMES = (*SETS, "mmf", "table")
"""Names of the readers: those of the data sets, a layout that several share, and a plain table."""

COMPOSITE_SIZES: Mapping[str, Mapping[str, int]] = {
    "pretrainCLIP": {"train": 652_340, "test": 6_000},
    "pretrainuni": {"train": 19_140, "test": 4_000},
}
"""Composite -> split -> memes in table 1."""

COMPOSITE_NAMES = tuple(COMPOSITE_SIZES)
