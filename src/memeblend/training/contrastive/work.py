"""`pretrain`: pairs in, a folder with an encoder in Hugging Face's layout out."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CLIPImageProcessorPil, PreTrainedModel

from memeblend.data.manifest import Manifest
from memeblend.data.rendering import font_path
from memeblend.errors import ModelError, OutputError
from memeblend.files import digest, usual_permissions, write_json, write_text
from memeblend.models.loading import no_progress_bars
from memeblend.recipe.pretraining import Pretraining
from memeblend.training.contrastive.card import card_text
from memeblend.training.contrastive.pairs import PairDataset, Pairs, gather
from memeblend.training.contrastive.trainer import Told, tell_nobody, train_pairs
from memeblend.training.contrastive.validation import Validation
from memeblend.training.encoder import encoder_fingerprint, image_transform, start_with_preprocessor
from memeblend.training.preprocessing import Preprocessor
from memeblend.training.progress import Progress, Silent
from memeblend.training.workers import ALONE, Workers

FACTS = "pretraining.json"
"""What is known of an encoder that `pretrain` made."""
WORK = "training"
"""Folder in it of checkpoints and metrics."""
_STARTED = "started.json"
_FORMAT = 1


def pretrain(
    manifests: Sequence[Manifest],
    out: str | Path,
    settings: Pretraining,
    *,
    progress: Progress | None = None,
    cache_dir: Path | None = None,
    workers: Workers = ALONE,
    told: Told = tell_nobody,
) -> dict[str, Any]:
    """Pre-train an encoder on pairs of image and text.

    The same call goes on where a killed one stopped, to the same weights; where it had finished, it reads what is
    there. `out` then is a source for `encoder.source` of a recipe, for `from_pretrained`, and for another pre-training.

    Args:
        manifests: memes with images and texts; labels are not read.
        out: folder of the encoder; new, empty, or from the same call.
        settings: how.
        progress: who watches.
        cache_dir: where decoded images are kept; None takes the default folder.
        workers: who trains together; each makes this call, and all must see the same folders. Their number may change
            from call to call.
        told: told of each validation; where it says so, the training ends with the best weights so far.

    Returns:
        What `pretraining.json` holds: data, steps, held-back scores, settings.

    Raises:
        DataError: there are not two images and two texts.
        ModelError: what to start from can't be loaded or does not fit.
        MissingExtraError: the font or the text encoder that the settings name comes with an extra.
        OutputError: `out` holds something else, or pre-training with other data or settings.
        TrainingError: the loss is no number any more.
    """
    out, progress = Path(out), progress or Silent()
    fingerprint = fingerprint_of(manifests, settings)
    if workers.from_first(lambda: claimed(out, fingerprint)):
        return read_facts(out)
    if settings.rendering.share:
        font_path(settings.rendering.font)  # told now and not after minutes of reading images
    pairs = gather(manifests, settings.splits, image_transform(settings.encoder), cache_dir, progress)
    fit, held_back = pairs.cut(settings.num_validation, settings.seed)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        texts = [pairs.texts[number] for number in np.unique(pairs.text[fit])]
        model, preprocessor = start_with_preprocessor(settings.encoder, texts)
    ids = preprocessor.token_ids(pairs.texts)
    validation = Validation(pairs, held_back, ids, preprocessor, settings)
    dataset = PairDataset(pairs, fit, ids, preprocessor, settings, workers)
    before = workers.from_first(lambda: validation.scores(model))
    began = time.monotonic()
    num_empty = train_pairs(model, dataset, validation, settings, out / WORK, progress, workers, told)
    seconds = round(time.monotonic() - began, 1)

    def finished() -> dict[str, Any]:
        facts = {
            "format": _FORMAT,
            "fingerprint": fingerprint,
            "memeblend": version("memeblend"),
            "data": _data_facts(pairs, fit, held_back),
            "encoder": type(model).__name__,
            "num_parameters": sum(value.numel() for value in model.parameters()),
            "seconds_of_last_start": seconds,
            "steps_without_negatives": num_empty,
            "logit_scale": math.exp(float(_scale(model))),
            "held_back": _held_back_facts(model, validation, before),
            "settings": settings.model_dump(mode="json"),
        }
        _finish(out, model, preprocessor, facts)
        return facts

    return workers.from_first(finished)


def claimed(out: Path, fingerprint: str) -> bool:
    """Make `out` the folder of this pre-training; returns whether it is finished there already.

    Raises:
        OutputError: it holds something else, or can't be written.
    """
    if (out / FACTS).is_file() and read_facts(out)["fingerprint"] == fingerprint:
        return True
    started = out / WORK / _STARTED
    try:
        found = json.loads(started.read_text(encoding="utf-8"))["fingerprint"] if started.is_file() else None
        holds_other = found is None and out.exists() and (not out.is_dir() or any(out.iterdir()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"'{started}' can't be read: {error}.", fix="Choose a new folder.") from error
    if holds_other or (out / FACTS).is_file():
        raise OutputError(f"'{out}' holds something else already.", fix="Choose a new folder for the encoder.")
    if found is not None and found != fingerprint:
        raise OutputError(
            f"'{out}' holds a pre-training that was started with other data or settings.",
            fix="Go on with the same command as before, choose a new folder, or delete this one.",
        )
    write_json(started, {"fingerprint": fingerprint})
    return False


def read_facts(folder: Path) -> dict[str, Any]:
    """What is known of an encoder that `pretrain` made.

    Raises:
        ModelError: the file is missing or is not what `pretrain` wrote.
    """
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if facts["format"] != _FORMAT or not isinstance(facts["fingerprint"], str):
            raise ValueError("another format")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"'{folder / FACTS}' can't be read: {error}.") from error
    return dict(facts)


def fingerprint_of(manifests: Sequence[Manifest], settings: Pretraining) -> str:
    """Digest of the memes, the settings and what is started from; not of how many workers there are."""
    memes = [one.fingerprint for one in manifests]
    return digest(_FORMAT, settings.model_dump(mode="json"), memes, encoder_fingerprint(settings.encoder))


def _scale(model: Any) -> torch.Tensor:
    scale: torch.Tensor = model.logit_scale
    return scale.detach()


def _held_back_facts(model: PreTrainedModel, validation: Validation, before: dict[str, float]) -> dict[str, Any]:
    return {
        "before": before,
        "after": validation.scores(model),
        "chance": validation.chance(),
        "num_texts": len(validation.token_ids),
        "num_images": len(validation.pixels),
    }


def _data_facts(pairs: Pairs, fit: NDArray[np.int64], held_back: NDArray[np.int64]) -> dict[str, Any]:
    return {
        "num_pairs": len(pairs),
        "num_fit": len(fit),
        "num_held_back": len(held_back),
        "num_images": len(pairs.pixels),
        "num_texts": len(pairs.texts),
        "pairs_of": dict(sorted(Counter(pairs.sources.tolist()).items())),
        "skipped": pairs.skipped,
    }


def save_encoder(folder: Path, model: PreTrainedModel, preprocessor: Preprocessor) -> None:
    """Write weights, configuration, tokenizer and image processor in Hugging Face's layout into an existing folder."""
    side = preprocessor.transform.size
    with no_progress_bars():
        model.save_pretrained(folder)
    preprocessor.tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=list(preprocessor.mean),
        image_std=list(preprocessor.std),
    ).save_pretrained(folder)


def _finish(out: Path, model: PreTrainedModel, preprocessor: Preprocessor, facts: dict[str, Any]) -> None:
    """Put the encoder in place, what makes it whole last; checkpoints go, the metrics stay."""
    ready = out / WORK / "encoder"
    try:
        shutil.rmtree(ready, ignore_errors=True)
        ready.mkdir(parents=True)
        save_encoder(ready, model, preprocessor)
        write_text(ready / "README.md", card_text(facts))
        usual_permissions(ready)
        for path in sorted(ready.iterdir()):
            path.replace(out / path.name)
        ready.rmdir()
    except OSError as error:
        raise OutputError(f"Could not write the encoder to '{out}': {error.strerror or error}.") from error
    write_json(out / FACTS, facts)
    shutil.rmtree(out / WORK / "checkpoints", ignore_errors=True)
