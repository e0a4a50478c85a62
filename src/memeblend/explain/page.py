"""An explanation as a page: self-contained, without a script, with texts of strangers escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from memeblend.explain.attribution import Attribution
from memeblend.explain.explanation import ENSEMBLE, Explanation, TaskExplanation

_METHODS = {
    "integrated_gradients": "integrated gradients",
    "rollout": "attention roll-out",
    "linear": "exact contributions",
    "occlusion": "occlusion",
}
_SHOWN_LEAST = 0.001
"""Scores below this are shown as 0; rounding errors of a member that looks at no image are not blown up to a heat."""


def rendered(explanation: Explanation) -> str:
    """The page's HTML."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("memeblend.explain"), jinja2.PackageLoader("memeblend.report")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"signed": _signed, "percent": _percent}
    picture = explanation.picture
    return environment.get_template("explanation.html.j2").render(
        explanation=explanation,
        picture=None if picture is None else f"data:image/png;base64,{base64.b64encode(picture).decode()}",
        tasks=[_task(explanation, task) for task in explanation.label_tasks],
    )


def _task(explanation: Explanation, task: TaskExplanation) -> dict[str, Any]:
    """A label task as the template shows it."""
    heats = [_heat(explanation, one) for one in task.attributions]
    return {
        "found": task,
        "name": task.label_task.name,
        "classes": task.label_task.classes,
        "decided": task.label_task.classes[task.decided],
        "explained": task.label_task.classes[task.explained],
        "probability": task.probabilities[task.decided],
        "irony_words": _irony_words(task.irony.index),
        "ensemble": [heat for heat in heats if heat["of"] == ENSEMBLE],
        "members": [heat for heat in heats if heat["of"] != ENSEMBLE],
    }


def _heat(explanation: Explanation, one: Attribution) -> dict[str, Any]:
    """An attribution with the strength of each score, words in relation to the strongest word and patches to the
    strongest patch: one word often outweighs every patch, and on one scale the picture would stay bare."""
    word_scores, patch_scores = one.words or (), [score for row in one.patches or () for score in row]
    strongest_word, strongest_patch = (_largest(scores) for scores in (word_scores, patch_scores))

    def part(score: float, largest: float) -> dict[str, Any]:
        strength = round(abs(score) / max(largest, _SHOWN_LEAST), 3)
        return {"score": score, "strength": strength, "sign": "for" if score >= 0 else "against"}

    texts = [explanation.text[start:end] for start, end in explanation.words]
    return {
        "of": one.of,
        "method": _METHODS[one.method],
        "one": one,
        "strongest_word": strongest_word,
        "strongest_patch": strongest_patch,
        "words": [
            part(score, strongest_word) | {"text": text} for text, score in zip(texts, word_scores, strict=False)
        ],
        "patches": [
            part(score, strongest_patch) | {"x": column, "y": row}
            for row, scores in enumerate(one.patches or ())
            for column, score in enumerate(scores)
        ],
    }


def _largest(scores: Sequence[float]) -> float:
    return max((abs(score) for score in scores), default=0.0)


def _irony_words(index: float) -> str:
    if index < 0.1:
        return "the decision is that of one modality, or a compromise between both"
    if index < 0.3:
        return "the decision departs a little from what text and image say alone"
    return "the decision is neither that of the text nor that of the image, nor between them"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("+0.000", "0.000").replace("-0.000", "0.000")


def _percent(value: float) -> str:
    return f"{value:.1%}"
