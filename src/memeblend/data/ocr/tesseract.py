"""Tesseract as a program of its own, one process a meme, its answer read as TSV.

A process can be stopped when it takes too long, and one that crashes takes nothing with it, which no binding can
promise. https://tesseract-ocr.github.io/tessdoc/Command-Line-Usage.html
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from memeblend.data.ocr.engines import fit_for_reading
from memeblend.data.ocr.settings import OcrSettings
from memeblend.data.ocr.text import OcrLine
from memeblend.errors import DataError, ImageError, MissingExtraError

_WORD = "5"
_COLUMNS = 12
_ASK_S = 20.0
_MAX_SIDE = 2000
# "Find as much text as possible in no particular order": memes have no paragraphs.
_SPARSE_TEXT = "11"
_WHITE = 235
_LEAST_WHITE, _MOST_WHITE = 0.002, 0.6  # of all pixels


class TesseractEngine:
    """The program `tesseract`. Calls from several threads run beside each other.

    Args:
        program: its path.
        version: as it says itself.
        languages: languages that it has.
        settings: `threads` and `time_limit_s` are used.
    """

    name = "tesseract"

    def __init__(self, program: Path, version: str, languages: Sequence[str], settings: OcrSettings) -> None:
        self.languages = "+".join(languages)
        self.version = f"{version} {self.languages}"
        self._command = [str(program), "stdin", "stdout", "-l", self.languages, "--psm", _SPARSE_TEXT, "tsv"]
        self._threads = settings.threads
        self._time_limit_s = settings.time_limit_s

    @classmethod
    def start(cls, settings: OcrSettings, notify: Callable[[str], None]) -> TesseractEngine:
        """The installed program with those of the settings' languages that it has.

        Raises:
            MissingExtraError: there is no such program.
            DataError: it does not run, or has none of the languages.
        """
        program = shutil.which("tesseract")
        if program is None:
            raise MissingExtraError("OCR with tesseract needs the program tesseract, which is not installed.")
        version = re.search(r"tesseract\s+v?(\S+)", _ask(program, "--version"))
        there = _ask(program, "--list-langs").split()
        languages = [name for name in settings.languages if name in there]
        missing = [name for name in settings.languages if name not in there]
        packages = " ".join(f"tesseract-ocr-{name.replace('_', '-')}" for name in missing)
        if not languages:
            raise DataError(
                f"tesseract has none of the languages {', '.join(missing)}.",
                fix=f"Install them, on Debian: apt install {packages}",
            )
        if missing:
            notify(f"tesseract reads without {', '.join(missing)}, not installed (on Debian: apt install {packages}).")
        return cls(Path(program), version.group(1) if version else "unknown", languages, settings)

    def lines(self, pixels: NDArray[np.uint8]) -> list[OcrLine]:
        """See `Engine.lines`.

        Tesseract is made for dark letters on paper, memes have white ones with an outline on pictures. So where there
        is white that may be letters, it reads the white alone, in black on white, as well as the picture; the reading
        with more that it is sure of counts.
        """
        fitted, scale = _fit(pixels)
        views = [fitted, *([] if (letters := white_letters(fitted)) is None else [letters])]
        return max((parse_tsv(self._answer(view), scale) for view in views), key=_sureness)

    def _answer(self, pixels: NDArray[np.uint8]) -> str:
        """Its TSV of an image.

        Raises:
            ImageError: it fails, or takes too long.
        """
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "bmp")
        try:
            done = subprocess.run(
                self._command,
                input=stream.getvalue(),
                capture_output=True,
                timeout=self._time_limit_s,
                env=os.environ | {"OMP_THREAD_LIMIT": str(self._threads)},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ImageError(f"tesseract did not read the image within {self._time_limit_s:g} s.") from error
        except OSError as error:
            raise ImageError(f"tesseract can't be run: {error.strerror or error}.") from error
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise ImageError(f"tesseract failed on the image (exit {done.returncode}): {said[-1] if said else ''}")
        return done.stdout.decode("utf-8", "replace")


def white_letters(pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """What is white in an RGB image [h, w, 3], black on white; None where that is next to nothing or a white page."""
    white = pixels.min(axis=2) >= _WHITE
    if not _LEAST_WHITE <= float(white.mean()) <= _MOST_WHITE:
        return None
    return np.repeat(np.where(white, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def _sureness(lines: Sequence[OcrLine]) -> float:
    """Characters read, each counted by how much likelier it is right than not."""
    return sum(len(line.text) * (line.confidence - 0.5) for line in lines)


def parse_tsv(answer: str, scale: float = 1.0) -> list[OcrLine]:
    """Tesseract's TSV as lines: words of the same block, paragraph and line belong together.

    Args:
        answer: twelve columns (level, page, block, paragraph, line, word, left, top, width, height, conf, text); rows
            of other levels than words and rows that are not of this form are left out.
        scale: of the image that it read against the image that was given.

    Returns:
        Lines with the mean confidence of their words, each weighted by its characters.
    """
    words: dict[tuple[str, ...], list[OcrLine]] = defaultdict(list)
    for row in answer.splitlines():
        cells = row.split("\t", _COLUMNS - 1)
        if len(cells) != _COLUMNS or cells[0] != _WORD or not cells[11].strip():
            continue
        try:
            left, top, width, height = (float(cell) / scale for cell in cells[6:10])
            confidence = float(cells[10]) / 100
        except ValueError:
            continue
        box = (left, top, left + width, top + height)
        words[tuple(cells[1:5])].append(OcrLine(cells[11].strip(), min(1.0, max(0.0, confidence)), box))
    return [_joined(line) for line in words.values()]


def _joined(words: Sequence[OcrLine]) -> OcrLine:
    characters = sum(len(word.text) for word in words)
    return OcrLine(
        " ".join(word.text for word in words),
        sum(word.confidence * len(word.text) for word in words) / characters,
        (
            min(word.box[0] for word in words),
            min(word.box[1] for word in words),
            max(word.box[2] for word in words),
            max(word.box[3] for word in words),
        ),
    )


def _fit(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """At a size that it reads well and within the time limit."""
    longest = max(pixels.shape[:2])
    if longest <= _MAX_SIDE:
        return fit_for_reading(pixels)
    scale = _MAX_SIDE / longest
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)), scale


def _ask(program: str, question: str) -> str:
    """What the program answers to a question about itself.

    Raises:
        DataError: it does not answer.
    """
    try:
        done = subprocess.run([program, question], capture_output=True, timeout=_ASK_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise DataError(f"The program '{program}' does not run: {error}.", fix="Install tesseract anew.") from error
    return (done.stdout + done.stderr).decode("utf-8", "replace")
