"""The challenge's answer files: a line for each test meme, in the order of the test table, zipped and checked.

The layout is that of Memotion 2, whose organisers ran the third challenge too: `answer.txt` has lines like 2_1101_2301.
Before the first underscore stands Task A (0 negative, 1 neutral, 2 positive), then Task B (humorous, sarcastic,
offensive, motivational: 1 where present), then Task C (their levels, from 0). The parts alone are in answer_A.txt,
answer_B.txt and answer_C.txt.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memeblend.errors import PredictionError, Problem
from memeblend.files import replacing, write_text
from memeblend.labels import MEMOTION_LABEL_TASKS, MISSING, present_classes

TASKS = ("A", "B", "C")
ANSWER, ZIP = "answer.txt", "submission.zip"
_SENTIMENT, *_ASPECTS = MEMOTION_LABEL_TASKS
_LEVELS = "".join(f"[0-{task.num_classes - 1}]" for task in _ASPECTS)
_LINE = re.compile(f"([0-{_SENTIMENT.num_classes - 1}])_([01]{{{len(_ASPECTS)}}})_({_LEVELS})")


def answer_lines(classes: Mapping[str, NDArray[np.int64]]) -> list[str]:
    """A line for each meme.

    Args:
        classes: decided class indices [num_memes] of each Memotion label task; Task B follows from Task C.

    Raises:
        PredictionError: a label task without decisions.
    """
    absent = [task.name for task in MEMOTION_LABEL_TASKS if task.name not in classes]
    if absent:
        raise PredictionError(
            f"The challenge asks for all of its label tasks, but there are no answers for {', '.join(absent)}.",
            fix="Train all five: leave only_label_tasks empty.",
        )
    levels = np.stack([classes[task.name] for task in _ASPECTS], axis=1)  # [num_memes, num_aspects]
    present = present_classes(levels)
    sentiment = classes[_SENTIMENT.name]
    if (levels == MISSING).any() or (sentiment == MISSING).any():
        raise PredictionError("Some memes have no answer.")
    return [
        f"{own}_{''.join(map(str, there))}_{''.join(map(str, level))}"
        for own, there, level in zip(sentiment.tolist(), present.tolist(), levels.tolist(), strict=True)
    ]


def write_submission(lines: Sequence[str], folder: Path) -> Path:
    """Write the answer files and the archive of them, which is read back and checked.

    Args:
        lines: from `answer_lines`.
        folder: where.

    Returns:
        The archive.

    Raises:
        PredictionError: the lines are not what the challenge takes.
        OutputError: the folder can't be written.
    """
    texts = {ANSWER: lines}
    texts |= {f"answer_{task}.txt": [line.split("_")[place] for line in lines] for place, task in enumerate(TASKS)}
    for name, own in texts.items():
        write_text(folder / name, "".join(f"{line}\n" for line in own))
    path = folder / ZIP
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in texts:
            # A fixed time, so that the same answers are the same bytes.
            archive.writestr(zipfile.ZipInfo(name), (folder / name).read_bytes(), zipfile.ZIP_DEFLATED)
    check_submission(path, len(lines))
    return path


def check_submission(path: Path, num_memes: int) -> None:
    """Refuse an archive that the challenge would not take.

    Args:
        path: the archive.
        num_memes: of the test split.

    Raises:
        PredictionError: with every reason.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            texts = {name: archive.read(name).decode("ascii").splitlines() for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise PredictionError(f"The submission '{path}' can't be read: {error}.") from error
    expected = [ANSWER, *(f"answer_{task}.txt" for task in TASKS)]
    problems = [Problem(name, "is not in the archive") for name in expected if name not in texts]
    problems += [Problem(name, "does not belong into the archive") for name in texts if name not in expected]
    problems += [
        Problem(name, f"has {len(lines)} lines, expected one for each of {num_memes} test memes")
        for name, lines in texts.items()
        if len(lines) != num_memes
    ]
    problems += _line_problems(texts.get(ANSWER, []))
    for place, task in enumerate(TASKS):
        own = texts.get(f"answer_{task}.txt", [])
        parts = [line.split("_")[place] if line.count("_") == 2 else line for line in texts.get(ANSWER, [])]
        if len(own) == len(parts) and own != parts:
            problems.append(Problem(f"answer_{task}.txt", f"says otherwise than {ANSWER}"))
    if problems:
        raise PredictionError(f"The submission '{path}' is not what the challenge takes:", problems=problems)


def _line_problems(lines: Sequence[str]) -> list[Problem]:
    problems = []
    for number, line in enumerate(lines, start=1):
        found = _LINE.fullmatch(line)
        if found is None:
            problems.append(Problem(f"{ANSWER} line {number}", f"'{line}' is not of the form A_BBBB_CCCC"))
            continue
        _, present, levels = found.groups()
        if [one != "0" for one in levels] != [one == "1" for one in present]:
            problems.append(Problem(f"{ANSWER} line {number}", f"'{line}': Task B does not follow from Task C"))
    return problems
