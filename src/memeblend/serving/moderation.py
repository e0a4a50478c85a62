"""Categories of `/v1/moderations`: label tasks that say whether something is there.

A binary label task is a category with its second class as the positive one; a label task with intensity levels is a
category with every level above the first. Others (a nominal or ordinal label task without "absent") are none.

A category is given when the model decides for one of its classes but the first, as `/v1/predict` says, or, where the
server was started with a threshold for it, when its score reaches that. Where the server follows a policy with that
category, it is given when the verdict is review or auto, so that a client that knows yes and no alone lets nothing
through that a person is to see; its score is the calibrated one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from memeblend.errors import ModelError
from memeblend.labels import LabelTask
from memeblend.model.ensembles import EnsembleClassifier
from memeblend.policy.categories import is_category
from memeblend.serving.batching import Record
from memeblend.serving.schemas import ModerationResult
from memeblend.serving.settings import ServerSettings

Input = Literal["text", "image"]
INPUTS: tuple[Input, ...] = ("text", "image")


@dataclass(frozen=True)
class Category:
    """A category.

    Attributes:
        label_task: the label task that it comes from, whose name it has.
        threshold: score from which the category is given; None leaves it to the model's decision.
        flags: whether it makes an input flagged.
        reads: what the label task's members read.
    """

    label_task: LabelTask
    threshold: float | None
    flags: bool
    reads: tuple[Input, ...]

    @property
    def name(self) -> str:
        """Its name."""
        return self.label_task.name

    def score(self, probabilities: Mapping[str, float]) -> float:
        """Probability that it is there: the sum over all classes but the first."""
        return min(1.0, round(sum(probabilities[name] for name in self.label_task.classes[1:]), 6))

    def given(self, decided: str, score: float) -> bool:
        """Whether a meme is given the category.

        Args:
            decided: the class that the model decided for.
            score: see `score`.
        """
        return decided != self.label_task.classes[0] if self.threshold is None else score >= self.threshold


def make_categories(classifier: EnsembleClassifier, settings: ServerSettings) -> tuple[Category, ...]:
    """The categories of a model.

    Raises:
        ModelError: a threshold or flag for a category that the model does not have; all are listed.
    """
    tasks = [task for task in classifier.label_tasks_ if is_category(task)]
    names = [task.name for task in tasks]
    unknown = sorted({*settings.thresholds, *settings.flagging} - set(names))
    if unknown:
        raise ModelError(
            f"The model has no category {', '.join(unknown)}.",
            fix=f"Its categories are {', '.join(names)}."
            if names
            else "It has none: no label task is binary or has intensity levels.",
        )
    return tuple(
        Category(
            task,
            settings.thresholds.get(task.name),
            not settings.flagging or task.name in settings.flagging,
            _reads(classifier, task),
        )
        for task in tasks
    )


def _reads(classifier: EnsembleClassifier, task: LabelTask) -> tuple[Input, ...]:
    found = {what for member in classifier.choices_[task.name].members for what in classifier.reads_[member]}
    return tuple(what for what in INPUTS if what in found)


def moderate(
    record: Record,
    categories: Collection[Category],
    given: Collection[Input],
    policy: Mapping[str, Any] | None = None,
) -> ModerationResult:
    """The verdict on a meme.

    Args:
        record: what the model says of it.
        categories: the model's categories.
        given: which inputs were sent.
        policy: what the policy says of it (`Policy.decide_records`), where there is one.
    """
    said = {one.name: record["label_tasks"][one.name] for one in categories}
    scores = {one.name: one.score(said[one.name]["probabilities"]) for one in categories}
    verdicts = {one.name: one.given(said[one.name]["class"], scores[one.name]) for one in categories}
    for name, found in {} if policy is None else policy["categories"].items():
        scores[name], verdicts[name] = found["calibrated"], found["verdict"] != "pass"
    return ModerationResult(
        flagged=any(verdicts[one.name] for one in categories if one.flags),
        categories=verdicts,
        category_scores=scores,
        category_applied_input_types={one.name: [what for what in one.reads if what in given] for one in categories},
        ocr_text=record.get("ocr_text"),
    )
