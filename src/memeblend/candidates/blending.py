"""From a multi-modal candidate's `blending` to the weights and the `Blending` that it is trained with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from memeblend.files import digest
from memeblend.losses import uniform_weights
from memeblend.models.base import EncoderModel
from memeblend.recipe.candidates import AlignCandidate, FusionCandidate
from memeblend.training.batches import BatchedDataset
from memeblend.training.blending import GradientModulation, ModalityDropout
from memeblend.training.estimating import EstimatedBlending, Estimator
from memeblend.training.holding import Batched, Parts, hold_out
from memeblend.training.trainer import TrainJob

BlendedSpec = FusionCandidate | AlignCandidate
_BRANCHES = ("text", "image", "fused")


def first_weights(spec: BlendedSpec) -> dict[str, float]:
    """The branches that are trained, with the weights (paper equation 7) that they begin with."""
    match spec.blending:
        case "fixed":
            return spec.blend_weights.model_dump()
        case "uniform" | "offline" | "online":
            return uniform_weights(_BRANCHES)
        case "ogm_ge":
            return dict.fromkeys(_BRANCHES, 1.0)  # "text" and "image" only watch, so their weights change nothing
        case "none" | "modality_dropout":
            return {"fused": 1.0}


def blended(
    job: TrainJob,
    spec: BlendedSpec,
    *,
    groups: NDArray[np.int64] | None,
    measured: BatchedDataset,
    start: Callable[[], EncoderModel] | None,
) -> TrainJob:
    """A job with the blending that its candidate asks for, and without the memes that this holds out.

    Args:
        job: of a multi-modal model, with `first_weights`.
        spec: the candidate's part of the recipe.
        groups: duplicate group of each meme to train on; each is a group of its own when left out.
        measured: the memes to train on as losses are measured on them, nothing left out at random.
        start: gives a model that has seen no meme, for an estimate before a training that starts from one that has.

    Raises:
        TrainingError: the memes are too few to estimate weights from.
    """
    match spec.blending:
        case "ogm_ge":
            modulation = GradientModulation(job.objective.label_tasks, spec.modulation.alpha, spec.modulation.noise)
            return replace(job, blending=modulation)
        case "modality_dropout":
            return replace(job, blending=ModalityDropout(spec.modality_dropout))
        case "offline" | "online":
            return _estimated(job, spec, groups, measured, start)
        case _:
            return job


def _estimated(
    job: TrainJob,
    spec: BlendedSpec,
    groups: NDArray[np.int64] | None,
    measured: BatchedDataset,
    start: Callable[[], EncoderModel] | None,
) -> TrainJob:
    settings = spec.estimation
    labels = measured.labels.numpy()
    groups = np.arange(len(labels)) if groups is None else groups
    seed = int(digest(job.seed, "held out"), 16) % 2**31
    held_out = hold_out(job.objective.label_tasks, labels, groups, settings.held_out, seed)
    left, out = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    estimator = Estimator(
        label=job.label,
        folder=job.folder,
        objective=job.objective,
        parts=Parts(Batched(job.fit, left), Batched(measured, left), Batched(measured, out)),
        settings=settings,
        training=job.training,
        seed=job.seed,
        progress=job.progress,
    )
    if spec.blending == "offline":
        # Once the weights are known, nothing speaks against training on all memes.
        return replace(job, blending=EstimatedBlending(estimator, start=start))
    blending = EstimatedBlending(estimator, warm_up=settings.warm_up, every=settings.super_epoch)
    return replace(job, blending=blending, fit=Batched(job.fit, left))


def supervised(job: TrainJob) -> bool:
    """Whether a finished job has trained the branches "text" and "image", so that they say something."""
    blending = job.blending
    if isinstance(blending, EstimatedBlending):
        return all(blending.warm_up > 0 or blending.estimator.ever_weighed(name) for name in ("text", "image"))
    return all(job.objective.branch_weights.get(name) for name in ("text", "image"))
