"""`memeblend explain`: why a model decides on a meme as it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table

from memeblend.cli.output import messages, print_json, quiet_libraries, results
from memeblend.data.manifest import Manifest
from memeblend.errors import DataError
from memeblend.explain.attribution import Attribution
from memeblend.explain.explaining import explain
from memeblend.explain.explanation import ENSEMBLE, Explanation, TaskExplanation
from memeblend.files import write_json, write_text
from memeblend.model import MemeClassifier
from memeblend.training.preprocessing import Memes, prepare

SUFFIXES = (".html", ".json")
_SHOWN_WORDS = 6


@dataclass(frozen=True)
class ExplainRequest:
    """Options of `memeblend explain`.

    Attributes:
        model: a model folder or a run.
        image: the meme's image.
        text: its ocr_text.
        label_task: explain this label task alone; "" explains all.
        class_name: explain this class instead of the one decided for; "" for the latter.
        background: a table of memes or a data-set folder whose memes stand in for what is taken away.
        num_background: most memes drawn from it.
        cheap: leave out integrated gradients.
        out: a .html page or a .json file to write.
    """

    model: Path
    image: Path | None = None
    text: str = ""
    label_task: str = ""
    class_name: str = ""
    background: Path | None = None
    num_background: int = 32
    cheap: bool = False
    out: Path | None = None


def run_explain(request: ExplainRequest, json_output: bool) -> None:
    """`memeblend explain`.

    Raises:
        DataError: nothing to explain, or a file to write that is neither a page nor JSON; see `explain` for more.
    """
    if request.image is None and not request.text:
        raise DataError("There is nothing to explain.", fix="Give --image, --text or both.")
    if request.out is not None and request.out.suffix not in SUFFIXES:
        raise DataError(f"'{request.out}' should end in {' or '.join(SUFFIXES)}; its suffix says how it is written.")
    with quiet_libraries():
        model = MemeClassifier.load(request.model)
        found = explain(
            model,
            request.image,
            request.text,
            label_task=request.label_task or None,
            class_name=request.class_name or None,
            background=_background(model, request),
            cheap=request.cheap,
        )
    if request.out is not None and request.out.suffix == ".html":
        write_text(request.out, found.to_html())
    elif request.out is not None:
        write_json(request.out, found.to_dict())
    if json_output:
        print_json(found.to_dict())
    else:
        _show(found, request.out)


def _background(model: MemeClassifier, request: ExplainRequest) -> Memes | None:
    """Memes drawn from the background, always the same ones."""
    if request.background is None:
        return None
    manifest = Manifest.read(
        request.background, label_tasks=None, notify=lambda line: messages.print(line, markup=False, soft_wrap=True)
    )
    order = np.random.default_rng(0).permutation(len(manifest))
    return prepare(manifest.take(np.sort(order[: request.num_background])), model.preprocessor_, cache_dir=None)


def _show(found: Explanation, out: Path | None) -> None:
    for task in found.label_tasks:
        _show_task(found, task)
    for note in found.notes:
        results.print(f"note: {note}", markup=False, soft_wrap=True)
    if out is not None:
        results.print(f"written: {out}", markup=False, soft_wrap=True)


def _show_task(found: Explanation, task: TaskExplanation) -> None:
    classes = task.label_task.classes
    split = task.splits[task.explained]
    results.print(
        f"\n{task.label_task.name}: {classes[task.decided]} ({task.probabilities[task.decided]:.3f}), "
        f"irony index {task.irony.index:.2f}",
        markup=False,
    )
    results.print(
        f"{classes[task.explained]} = {split.baseline:.3f} without the meme {split.text:+.3f} text {split.image:+.3f} "
        f"image {split.interaction:+.3f} only both together",
        markup=False,
        soft_wrap=True,
    )
    ensemble = next(one for one in task.attributions if one.of == ENSEMBLE)
    if ensemble.words:
        results.print(f"words: {_strongest(found, ensemble)}", markup=False, soft_wrap=True)
    table = Table("member", "vote", escape(classes[task.explained]), "without it", "pivotal", "could change it")
    for vote in task.votes:
        table.add_row(
            escape(vote.member),
            escape(classes[vote.class_index]),
            f"{vote.probabilities[task.explained]:.3f}",
            "nobody left" if vote.without is None else escape(classes[vote.without]),
            "yes" if vote.pivotal else "no",
            "yes" if vote.could_change else "no",
        )
    results.print(table)
    for member, precedents in task.precedents:
        shown = ", ".join(
            f"{one.meme_id} ({one.labels[task.label_task.name]}, {one.similarity:.3f})" for one in precedents
        )
        results.print(f"precedents of {member}: {shown or 'none'}", markup=False, soft_wrap=True)


def _strongest(found: Explanation, attribution: Attribution) -> str:
    """The words with the strongest scores."""
    words = [found.text[start:end] for start, end in found.words]
    pairs = sorted(zip(words, attribution.words or (), strict=True), key=lambda pair: -abs(pair[1]))
    return ", ".join(f"{word} {score:+.2f}" for word, score in pairs[:_SHOWN_WORDS])
