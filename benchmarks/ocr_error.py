"""How many characters OCR gets wrong on memes.

    python benchmarks/ocr_error.py --imgflip FOLDER [--font FILE] [--devanagari-font FILE] [--num-memes 100] [--json]

Captions of ImgFlip575K (https://github.com/schesa/ImgFlip575K_Dataset) are drawn onto their blank templates in white
capitals with a black outline, first box at the top, last at the bottom; with --devanagari-font, also made-up Hindi
lines of common words. Every installed engine reads the same pictures.

`cer`: edits (Levenshtein) over characters, letter case and runs of blanks aside, all memes together; above 1 where
more is made up than was there. `interval`: 95 % bootstrap over memes. `exact`: share of memes without any error.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

from common import conclude
from memeblend.data.images import load_image
from memeblend.data.ocr import ENGINES, OcrSettings, TextReader, available

_LONGEST = 120
_LETTER = 1 / 10  # of the image's height
_MARGIN = 0.03
_HINDI = (
    *(
        "जब",
        "आज",
        "घर",
        "में",
        "काम",
        "नहीं",
        "था",
        "तो",
        "मैं",
        "सो",
        "गया",
        "वह",
        "कहती",
        "है",
        "कि",
        "तुम",
        "बहुत",
        "अच्छे",
        "हो",
        "लेकिन",
    ),
    *(
        "पैसा",
        "कहाँ",
        "दोस्त",
        "बोला",
        "यार",
        "परीक्षा",
        "कल",
        "और",
        "किताब",
        "अभी",
        "तक",
        "खोली",
        "माँ",
        "ने",
        "कहा",
        "बेटा",
        "खाना",
    ),
    *(
        "खा",
        "लो",
        "सरकार",
        "भी",
        "क्या",
        "करे",
        "भाई",
        "सोमवार",
        "फिर",
        "आ",
        "छुट्टी",
        "खत्म",
        "हुई",
        "बॉस",
        "का",
        "फोन",
        "आया",
        "चाय",
        "गरम",
    ),
)


@dataclass(frozen=True)
class Drawn:
    """A picture and the words on it."""

    text: str
    pixels: NDArray[np.uint8]


def main() -> None:
    """Draw, read, count, print."""
    given = _arguments()
    random = np.random.default_rng(given.seed)
    sets = {"latin": list(_latin(given.imgflip, given.font, given.num_memes, random))}
    if given.devanagari_font:
        sets["devanagari"] = list(_devanagari(given.imgflip, given.devanagari_font, given.num_memes, random))
    found: dict[str, Any] = {"font": Path(given.font).name, "seed": given.seed}
    for script, memes in sets.items():
        for engine in ENGINES:
            if available(engine):
                found[f"{script}_{engine}"] = _measured(engine, memes, random, given.threads)
    conclude(found, given.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = resources.files("matplotlib") / "mpl-data" / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    parser.add_argument("--imgflip", type=Path, required=True, help="the folder that holds dataset/")
    parser.add_argument("--font", default=str(default), help="a .ttf file; Anton and Oswald look like Impact")
    parser.add_argument("--devanagari-font", default="", help="a .ttf file that has Devanagari")
    parser.add_argument("--num-memes", type=int, default=100, help="of each script")
    parser.add_argument("--threads", type=int, default=1, help="cores of one reading")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    return parser.parse_args()


def _latin(root: Path, font: str, num_memes: int, random: np.random.Generator) -> Iterator[Drawn]:
    """Captions on their own templates; those with other than plain printable characters are passed over."""
    templates = _templates(root)
    captions = {
        path: [boxes for entry in json.loads((root / "dataset/memes" / f"{path.stem}.json").read_text("utf-8"))
               if _plain(boxes := [" ".join(box.split()).upper() for box in entry["boxes"] if box.strip()])]
        for path in templates
    }  # fmt: skip
    templates = [path for path in templates if captions[path]]
    for _ in range(num_memes):
        path = templates[random.integers(len(templates))]
        yield _draw(load_image(path), captions[path][random.integers(len(captions[path]))], font)


def _devanagari(root: Path, font: str, num_memes: int, random: np.random.Generator) -> Iterator[Drawn]:
    if not features.check("raqm"):
        raise SystemExit("Pillow lacks Raqm, without which Devanagari is drawn wrong.")
    templates = _templates(root)
    for _ in range(num_memes):
        lines = [" ".join(random.choice(_HINDI, random.integers(3, 8))) for _ in range(2)]
        yield _draw(load_image(templates[random.integers(len(templates))]), lines, font)


def _templates(root: Path) -> list[Path]:
    pictures = sorted((root / "dataset/templates/img").iterdir())
    return [path for path in pictures if (root / "dataset/memes" / f"{path.stem}.json").is_file()]


def _plain(boxes: Sequence[str]) -> bool:
    text = "".join(boxes)
    return bool(text) and len(text) <= _LONGEST and text.isascii() and text.isprintable()


def _draw(image: Image.Image, boxes: Sequence[str], font: str) -> Drawn:
    """The first box at the upper edge, the last at the lower one, others between; letters shrink until all fits."""
    brush = ImageDraw.Draw(image)
    margin = round(_MARGIN * min(image.size))
    room = (image.height - 2 * margin) / max(2, len(boxes))
    for place, box in enumerate(boxes):
        size = max(8, round(image.height * _LETTER))
        while True:
            letters = ImageFont.truetype(font, size)
            lines = _wrapped(box, letters, image.width - 2 * margin)
            step = 1.2 * size
            if len(lines) * step <= room or size <= 8:
                break
            size = max(8, int(size * 0.9))
        share = place / (len(boxes) - 1) if len(boxes) > 1 else 0
        top = margin + share * (image.height - 2 * margin - step * len(lines))
        for number, line in enumerate(lines):
            brush.text(
                (image.width / 2, top + number * step),
                line,
                "white",
                letters,
                anchor="ma",
                stroke_width=max(1, size // 14),
                stroke_fill="black",
            )
    return Drawn(" ".join(boxes), np.asarray(image))


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines


def _measured(engine: str, memes: Sequence[Drawn], random: np.random.Generator, threads: int) -> dict[str, Any]:
    reader = TextReader.make(engine, OcrSettings(threads=threads))
    reader.read(memes[0].pixels)  # loads models
    began, worked = time.perf_counter(), _processor_seconds()
    read = [reader.read(meme.pixels).text for meme in memes]
    seconds, worked = time.perf_counter() - began, _processor_seconds() - worked
    right = [_folded(meme.text) for meme in memes]
    edits = np.array([_edits(one, _folded(other)) for one, other in zip(right, read, strict=True)])
    lengths = np.array([len(one) for one in right])
    drawn = random.integers(len(memes), size=(2000, len(memes)))
    rates = edits[drawn].sum(axis=1) / lengths[drawn].sum(axis=1)
    return {
        "cer": round(float(edits.sum() / lengths.sum()), 4),
        "interval": [round(float(value), 4) for value in np.quantile(rates, (0.025, 0.975))],
        "exact": round(float((edits == 0).mean()), 3),
        "num_memes": len(memes),
        "seconds_per_meme": round(seconds / len(memes), 3),
        "processor_seconds_per_meme": round(worked / len(memes), 3),
        "version": reader.engine.version,
    }


def _processor_seconds() -> float:
    """Of this process and those that it has run; other programs on the machine do not lengthen them."""
    return sum(os.times()[:4])


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _edits(one: str, other: str) -> int:
    """Levenshtein distance: fewest insertions, deletions and substitutions."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, against in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (letter != against))
    return row[-1]


if __name__ == "__main__":
    main()
