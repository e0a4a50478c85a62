"""`explain`: everything that can be said of why a model decided on a meme as it did.

The members are asked once, for the meme and for all variants of it that any part of the explanation needs.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from memeblend.candidates.base import Candidate
from memeblend.candidates.knn import Knn, Precedent
from memeblend.candidates.neural import Neural
from memeblend.candidates.states import near
from memeblend.candidates.tfidf import Tfidf
from memeblend.errors import DataError
from memeblend.evaluation.tables import PredictionTable
from memeblend.explain.attribution import Attribution
from memeblend.explain.explained import ExplainedModel
from memeblend.explain.explanation import ENSEMBLE, Explanation, TaskExplanation
from memeblend.explain.gradients import captum, integrated_gradients, model_of, one_batch
from memeblend.explain.inputs import DEFAULT_SIDE, Meme, Variant, ready
from memeblend.explain.modalities import Irony, counterfactuals, irony, split_scores
from memeblend.explain.ngrams import linear_contributions
from memeblend.explain.occlusion import occluded, occlusion
from memeblend.explain.rollout import attention_rollout, can_roll_out
from memeblend.explain.votes import decide_alone, votes
from memeblend.labels import LabelTask
from memeblend.recipe.candidates import AlignCandidate, FusionCandidate
from memeblend.training.preprocessing import Memes, Preprocessor

NUM_PRECEDENTS = 5


def explain(
    model: ExplainedModel,
    image: str | Path | Image.Image | None,
    text: str,
    *,
    label_task: str | None = None,
    class_name: str | None = None,
    background: Memes | None = None,
    cheap: bool = False,
    side: int = DEFAULT_SIDE,
    num_precedents: int = NUM_PRECEDENTS,
) -> Explanation:
    """Explain what a model decides on a meme.

    Args:
        model: a fitted or loaded model.
        image: an image file or an image in memory; None where no member reads images.
        text: the ocr_text; may be empty.
        label_task: explain this trained label task alone; all when left out.
        class_name: explain this class of it instead of the one decided for.
        background: memes, made ready by the model's preprocessor, whose texts and images stand in for the meme's
            where these are taken away; when left out, the empty text and the mean grey image do.
        cheap: leave out integrated gradients, which need the extra `explain` and dozens of backward passes.
        side: patches on each side of the image.
        num_precedents: most precedents of each nearest-neighbour member.

    Raises:
        DataError: no such label task or class, no image for members that read images, or a background without
            memes or without the images needed.
        ImageError: the image can't be decoded.
        MissingExtraError: Captum is not installed, and `cheap` was not asked for.
        ModelError: the model is not fitted.
    """
    preprocessor = model.preprocessor_
    tasks = _asked_for(model, label_task)
    if class_name is not None and (label_task is None or class_name not in tasks[0].classes):
        known = near(class_name, tasks[0].classes) if label_task is not None else "Name its label task too."
        raise DataError(f"There is no class '{class_name}' to explain.", fix=known)
    if not cheap:
        captum()
    meme = Meme.make(image, text, preprocessor, side)
    asked = _Asked.of(model, meme, tasks, _backgrounds(model, meme, background))
    explained = tuple(_task(asked, task, class_name, cheap, num_precedents) for task in tasks)
    return Explanation(
        text=meme.text,
        words=meme.words,
        side=side,
        picture=None if meme.pixels is None else _png(meme.pixels),
        background="neutral" if background is None else "memes",
        num_backgrounds=asked.num_backgrounds,
        label_tasks=explained,
        notes=tuple(_notes(explained, background is None)),
    )


def _asked_for(model: ExplainedModel, label_task: str | None) -> tuple[LabelTask, ...]:
    names = {task.name: task for task in model.label_tasks_}
    if label_task is None:
        return model.label_tasks_
    if label_task not in names:
        raise DataError(f"The model has no trained label task '{label_task}'.", fix=near(label_task, names))
    return (names[label_task],)


def _backgrounds(model: ExplainedModel, meme: Meme, background: Memes | None) -> list[Variant]:
    """What stands in for a modality that is taken away.

    Raises:
        DataError: see `explain`.
    """
    readers = sorted(name for name, reads in model.reads_.items() if "image" in reads)
    if readers and meme.pixels is None:
        raise DataError(
            f"The model's members {', '.join(readers)} read images, but there is none to explain.",
            fix="Give the meme its image.",
        )
    if background is None:
        return [meme.neutral]
    if not len(background):
        raise DataError("There are no memes in the background.", fix="Give some, or none to take neutral inputs.")
    if meme.pixels is None or (background.images is None and not readers):
        # Where nobody looks at images, the meme's own stands in for theirs.
        return [Variant(text, meme.pixels) for text in background.texts]
    if background.images is None:
        raise DataError("The memes of the background have no images.", fix="Give memes with images.")
    return [Variant(text, pixels) for text, pixels in zip(background.texts, background.images, strict=True)]


@dataclass(frozen=True, eq=False)
class _Asked:
    """What the members say of the meme, of its counterfactuals and of it without each of its parts.

    Attributes:
        model: the model.
        meme: the meme.
        memes: the meme alone, as members read it.
        num_backgrounds: number of backgrounds.
        text: whether any member of these label tasks reads texts.
        image: whether any reads images.
        members: for each label task the members' tables of all that was asked; row 0 is the meme, the next
            3 num_backgrounds are its counterfactuals, the others the meme without each word and each patch.
    """

    model: ExplainedModel
    meme: Meme
    memes: Memes
    num_backgrounds: int
    text: bool
    image: bool
    members: Mapping[str, Sequence[PredictionTable]]

    @classmethod
    def of(cls, model: ExplainedModel, meme: Meme, tasks: Sequence[LabelTask], backgrounds: list[Variant]) -> _Asked:
        """Ask the members."""
        reads = {what for task in tasks for name in model.choices_[task.name].members for what in model.reads_[name]}
        text, image = "text" in reads, "image" in reads
        variants = [meme.whole, *counterfactuals(meme, backgrounds), *occluded(meme, text=text, image=image)]
        preprocessor = model.preprocessor_
        predictions = model.predict_prepared(ready(variants, preprocessor))
        alone = ready([meme.whole], preprocessor)
        return cls(model, meme, alone, len(backgrounds), text, image, predictions.members)

    def parts(self, probabilities: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Probabilities of the meme [num_classes], of its counterfactuals and of it without each part, of all."""
        first = 1 + 3 * self.num_backgrounds
        return probabilities[0], probabilities[1:first], probabilities[first:]

    def occlusion(self, of: str, probabilities: NDArray[np.float64], class_index: int) -> Attribution:
        """Occlusion of a class from the probabilities of all that was asked."""
        whole, _, without = self.parts(probabilities)
        return occlusion(of, self.meme, whole, without, class_index, text=self.text, image=self.image)


def _task(asked: _Asked, task: LabelTask, class_name: str | None, cheap: bool, num_precedents: int) -> TaskExplanation:
    model, tables = asked.model, asked.members[task.name]
    choice, rule = model.choices_[task.name], model.rules_[task.name]
    probabilities, decisions = decide_alone(tables, choice, rule)
    whole, others, _ = asked.parts(probabilities)
    decided = int(decisions[0])
    explained = decided if class_name is None else task.index(class_name)
    by_name = {table.candidate: table.probabilities for table in tables}
    attributions = [asked.occlusion(ENSEMBLE, probabilities, explained)]
    for name in choice.members:
        member = model.candidates_[name]
        attributions += own_attributions(member, asked.meme, model.preprocessor_, task.name, explained, cheap=cheap)
        found = asked.occlusion(name, by_name[name], explained)
        attributions.append(
            replace(
                found,
                words=found.words if member.needs_text else None,
                patches=found.patches if member.needs_image else None,
            )
        )
    return TaskExplanation(
        label_task=task,
        decided=decided,
        explained=explained,
        probabilities=tuple(whole.tolist()),
        splits=split_scores(whole, others),
        irony=irony(whole, others),
        votes=votes([table.take(np.array([0])) for table in tables], choice, rule),
        member_splits=tuple(split_scores(*asked.parts(by_name[name])[:2])[explained] for name in choice.members),
        branch_ironies=tuple(_branch_ironies(asked, [model.candidates_[name] for name in choice.members], task)),
        attributions=tuple(attributions),
        precedents=tuple(_precedents(asked, task, num_precedents)),
    )


def own_attributions(
    candidate: Candidate,
    meme: Meme,
    preprocessor: Preprocessor,
    label_task: str,
    class_index: int,
    *,
    cheap: bool = False,
) -> list[Attribution]:
    """Attributions that a candidate's own form allows; none for what only occlusion can explain.

    Args:
        candidate: a fitted candidate.
        meme: with an image where the candidate reads images.
        preprocessor: the one that the candidate was trained with.
        label_task: name of the label task.
        class_index: the class to explain.
        cheap: leave out integrated gradients.

    Raises:
        MissingExtraError: Captum is not installed, and `cheap` was not asked for.
    """
    match candidate:
        case Neural():
            found = [] if cheap else [integrated_gradients(candidate, meme, preprocessor, label_task, class_index)]
            if can_roll_out(model_of(candidate, label_task)):
                found.append(attention_rollout(candidate, meme, preprocessor, label_task))
            return found
        case Tfidf():
            linear = linear_contributions(candidate, meme, label_task, class_index)
            return [] if linear is None else [linear]
        case _:
            return []


@torch.inference_mode()
def _branch_ironies(asked: _Asked, members: Sequence[Candidate], task: LabelTask) -> list[tuple[str, Irony]]:
    """The irony of members whose branches were trained: an untrained branch says nothing."""
    found = []
    for candidate in members:
        if not (isinstance(candidate, Neural) and isinstance(candidate.spec, FusionCandidate | AlignCandidate)):
            continue
        if not candidate.supervised:
            continue
        inputs = one_batch(candidate, asked.meme, asked.model.preprocessor_)
        said = model_of(candidate, task.name)(**inputs).branch_logits
        text, image, fused = (
            said[branch][task.name][0].double().softmax(dim=0).cpu().numpy() for branch in ("text", "image", "fused")
        )
        found.append((candidate.name, Irony.of(fused, text, image)))
    return found


def _precedents(asked: _Asked, task: LabelTask, k: int) -> list[tuple[str, tuple[Precedent, ...]]]:
    if k < 1:
        return []
    return [
        (name, tuple(candidate.precedents(asked.memes, k, task.name)[0]))
        for name, candidate in sorted(asked.model.candidates_.items())
        if isinstance(candidate, Knn)
    ]


def _notes(explained: Sequence[TaskExplanation], neutral: bool) -> list[str]:
    notes = []
    if neutral:
        notes.append(
            "A modality that is taken away was replaced by the empty text or the mean grey image. No meme looks like "
            "that, so what the model says of it may mean little; memes given as background are a better stand-in."
        )
    for task in explained:
        notes += [
            f"The {one.method.replace('_', ' ')} of {one.of} for {task.label_task.name} are incomplete: they miss what "
            f"they should sum to by {one.delta:.3f}, more than {one.tolerance:.3f}, after {one.num_steps} steps."
            for one in task.attributions
            if one.complete is False
        ]
    return notes


def _png(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
