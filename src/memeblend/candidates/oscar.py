"""`oscar`: BERT over ocr_text, object tags and regions (Li et al. 2020; the paper's fourth kind of candidate).

With `joint` (the default) one model has a head for each label task. Without it each label task gets a model of its
own, and with `chain` they start one from the other as in the paper: *source* -> first label task -> each other one.
"""

from __future__ import annotations

import copy
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerFast, set_seed

from memeblend.candidates.base import Candidate, FitContext
from memeblend.candidates.neural import Neural
from memeblend.candidates.oscar_data import FileRows, GridRows, OscarDataset, RegionRows
from memeblend.errors import ModelError, RecipeError
from memeblend.files import digest, file_name, write_json
from memeblend.labels import LabelTask
from memeblend.models.image import ImageClassifier
from memeblend.models.loading import no_progress_bars, read_model
from memeblend.models.oscar import NUM_BOX_NUMBERS, OscarClassifier, OscarConfig, tiny_bert_config
from memeblend.models.oscar_checkpoint import Checkpoint, checkpoint_folder, load_oscar, of_model, read_checkpoint
from memeblend.models.oscar_text import PairTokens, encode_pairs, load_wordpiece, train_wordpiece
from memeblend.recipe.candidates import OscarCandidate
from memeblend.regions.store import RegionStore
from memeblend.training.objective import make_objective
from memeblend.training.preprocessing import Memes
from memeblend.training.progress import Progress, Silent
from memeblend.training.trainer import TrainJob, predict_probabilities, train

_FILE, _TOKENIZER, _VISION = "oscar.json", "tokenizer", "vision"
_TINY, _GRID = "tiny", "grid"
_PREDICT_BATCH = 64
_PREDICT_MEMES = 512  # memes whose regions are in memory at once
_SHOWN_IDS = 10
_LOG = logging.getLogger("memeblend")
_Model = TypeVar("_Model", bound=nn.Module)


@dataclass(frozen=True)
class _Inputs:
    """What the models of all label tasks read of some memes."""

    tokens: list[PairTokens]
    regions: RegionRows


class Oscar(Candidate):
    """An OSCAR candidate.

    Grid regions come from the image encoder of the image candidate that it starts from, in a recipe without `joint`
    that of the first label task: one encoder for all, so that what one label task learned of regions still holds in
    the next. The encoder is kept as it is, and saved with the candidate.

    Args:
        name: kind and number.
        spec: its part of the recipe.
        starts_from: for grid regions, the image candidate's name.
    """

    needs_text = True

    def __init__(self, name: str, spec: OscarCandidate, starts_from: Sequence[str] = ()) -> None:
        self.needs_image = spec.regions == _GRID
        if not self.needs_image:  # it is read again wherever the candidate predicts
            spec = spec.model_copy(update={"regions": str(Path(spec.regions).expanduser().absolute())})
        self.name = name
        self.spec = spec
        self.starts_from = tuple(starts_from)
        self.models: dict[str, OscarClassifier] = {}
        self._vision: PreTrainedModel | None = None
        self._store: RegionStore | None = None
        self._tokenizer: PreTrainedTokenizerFast

    def fit(self, context: FitContext) -> None:
        """Train each model from its start; see `train` for stopping and resuming.

        Raises:
            ModelError: *source* is no checkpoint that can be used, or does not fit the regions.
            RecipeError: *source* reads shorter texts than the recipe asks for.
            DataError: the region file can't be used.
        """
        source = None if self.spec.source == _TINY else checkpoint_folder(self.spec.source)
        checkpoint = None if source is None else self._checkpoint(source)
        if self.needs_image:
            self._vision = self._encoder(context)
        else:
            self._store = self._open(context.progress)
        scratch = context.folder / "regions"
        try:
            fit = self._regions(context.fit, context.progress, scratch / "fit.npy")
            select = self._regions(context.select, context.progress, scratch / "select.npy")
            without = [*fit.without_regions, *select.without_regions]
            if without:
                num_memes = len(context.fit) + len(context.select)
                context.progress.say(self._without_regions(without, num_memes))
            self._tokenizer = self._make_tokenizer(context, source, fit)
            self._check_vocabulary(checkpoint)
            self._fit_all(context, checkpoint, self._inputs(context.fit, fit), self._inputs(context.select, select))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _fit_all(self, context: FitContext, checkpoint: Checkpoint | None, fit: _Inputs, select: _Inputs) -> None:
        tasks = context.label_tasks
        groups = {"joint": tasks} if context.recipe.joint else {task.name: (task,) for task in tasks}
        for key, group in groups.items():
            seed = int(digest(context.seed, self.name, key), 16) % 2**31
            set_seed(seed)
            model = self._start(checkpoint, group, context.progress)
            columns = [tasks.index(task) for task in group]
            labels = np.ascontiguousarray(context.fit_labels[:, columns])
            losses = {task.name: context.recipe.loss_of(task.name, self.spec) for task in group}
            job = TrainJob(
                label=self.name if context.recipe.joint else f"{self.name} {key}",
                folder=context.folder / "training" / file_name(key),
                training=self.spec.training.of(key),
                objective=make_objective(group, losses, labels, {"fused": 1.0}),
                fit=self._dataset(fit, labels, self.spec.training.token_dropout),
                select=self._dataset(select, np.ascontiguousarray(context.select_labels[:, columns])),
                seed=seed,
                progress=context.progress,
                told=partial(context.told, key),
                workers=context.workers,
            )
            train(model, job)
            self.models[key] = model

    def _start(self, checkpoint: Checkpoint | None, group: Sequence[LabelTask], progress: Progress) -> OscarClassifier:
        """A model before its training."""
        spec, start = self.spec, checkpoint
        if spec.chain and self.models:
            first, trained = next(iter(self.models.items()))
            start = of_model(trained, f"{self.name} {first}")
        if start is None:
            return self._tiny(group)
        model, report = start.model(
            group, region_size=self._region_size, dropout=spec.dropout, head_dropout=spec.head_dropout
        )
        if not self.models:  # later ones start from the same tensors, or along the chain
            for line in report.lines():
                progress.say(line)
        return model

    def _tiny(self, group: Sequence[LabelTask]) -> OscarClassifier:
        """The embedded configuration with weights from the current torch seed."""
        spec = self.spec
        bert_config = tiny_bert_config(
            vocab_size=len(self._tokenizer),
            pad_token_id=int(self._tokenizer.pad_token_id),
            max_length=spec.max_length,
            hidden_size=spec.hidden_size,
            num_layers=spec.num_layers,
            num_heads=spec.num_heads,
            dropout=spec.dropout,
        )
        return OscarClassifier(
            OscarConfig(bert_config, group, region_size=self._region_size, head_dropout=spec.head_dropout)
        )

    def _checkpoint(self, folder: Path) -> Checkpoint:
        """The weights of *source*; of a fitted candidate those of its first label task."""
        spec = self.spec
        fitted = (folder / _FILE).is_file()
        checkpoint = read_checkpoint(folder / "0" if fitted else folder, spec.source)
        longest = checkpoint.bert_config.max_position_embeddings
        if spec.max_length > longest:
            raise RecipeError(
                f"Candidate '{self.name}' has max_length {spec.max_length}, but '{spec.source}' reads at most "
                f"{longest} tokens.",
                fix=f"Set candidates.oscar.max_length={longest} or less.",
            )
        return checkpoint

    def _make_tokenizer(self, context: FitContext, source: Path | None, regions: RegionRows) -> PreTrainedTokenizerFast:
        """That of *source*, or one made from the fit memes."""
        if source is None:
            texts = [
                *context.fit.preprocessor.clean(context.fit.texts),
                *(" ".join(tags) for tags in regions.tags if tags),
            ]
            return train_wordpiece(texts, context.recipe.encoder.tiny.vocab_size, self.spec.max_length)
        return load_wordpiece(source / _TOKENIZER if (source / _FILE).is_file() else source)

    def _encoder(self, context: FitContext) -> PreTrainedModel:
        """The image encoder that grid regions come from."""
        image = context.fitted(self.starts_from[0])
        assert isinstance(image, Neural), "grid regions start from an image candidate"
        model = next(iter(image.models.values()))
        assert isinstance(model, ImageClassifier), "grid regions start from an image candidate"
        encoder: PreTrainedModel = model.image.vision_model
        return _ready(copy.deepcopy(encoder))

    @property
    def vision(self) -> PreTrainedModel:
        """The image encoder that grid regions come from; only for those."""
        assert self._vision is not None, "asked for only where regions come from a grid"
        return self._vision

    def _check_vocabulary(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint is not None and len(self._tokenizer) > checkpoint.bert_config.vocab_size:
            raise ModelError(
                f"The tokenizer of '{self.spec.source}' has {len(self._tokenizer)} tokens, its config.json says "
                f"vocab_size {checkpoint.bert_config.vocab_size}.",
                fix="The folder's files do not belong together; copy or download them again.",
            )

    def _open(self, progress: Progress) -> RegionStore:
        progress.start(f"{self.name}: checking regions", 100)
        return RegionStore.open(self.spec.regions, lambda done, total: progress.advance(100 * done // max(1, total)))

    @property
    def _region_size(self) -> int:
        if self._vision is not None:
            return int(self._vision.config.hidden_size) + NUM_BOX_NUMBERS
        assert self._store is not None, "opened before anything is read"
        return self._store.feature_size + NUM_BOX_NUMBERS

    def _regions(self, memes: Memes, progress: Progress, scratch: Path | None = None) -> RegionRows:
        """Regions of memes; on disk while a candidate is trained, if they are large."""
        progress.start(f"{self.name}: regions", len(memes))
        if self._vision is not None:
            return GridRows(memes, self._vision, self.spec.max_regions, scratch=scratch, progress=progress)
        assert self._store is not None, "opened before anything is read"
        return FileRows(self._store, memes.meme_ids, self.spec.max_regions)

    def _without_regions(self, meme_ids: Sequence[str], num_memes: int) -> str:
        num_more = len(meme_ids) - _SHOWN_IDS
        shown = ", ".join(meme_ids[:_SHOWN_IDS]) + (f" and {num_more} more" if num_more > 0 else "")
        return (
            f"{self.name}: {len(meme_ids)} of {num_memes} memes have no regions in '{self.spec.regions}' and go in "
            f"with their text alone: {shown}."
        )

    def _inputs(self, memes: Memes, regions: RegionRows) -> _Inputs:
        spec = self.spec
        texts = memes.preprocessor.clean(memes.texts)
        tokens = encode_pairs(self._tokenizer, texts, regions.tags, spec.max_length, spec.max_text_length)
        return _Inputs(tokens, regions)

    def _dataset(self, inputs: _Inputs, labels: NDArray[np.int64], token_dropout: float = 0.0) -> OscarDataset:
        pad_id = int(self._tokenizer.pad_token_id)
        return OscarDataset(inputs.tokens, pad_id, inputs.regions, labels, token_dropout=token_dropout)

    def predict(self, memes: Memes) -> Mapping[str, NDArray[np.float64]]:
        """Softmax of the logits. Memes without regions in the region file are counted and named in the log.

        Raises:
            DataError: the region file is gone or can't be used.
        """
        if self._vision is None and self._store is None:
            self._store = self._open(Silent())
        parts: dict[str, list[NDArray[np.float64]]] = {}
        without: list[str] = []
        for start in range(0, len(memes), _PREDICT_MEMES):
            some = memes.take(np.arange(start, min(start + _PREDICT_MEMES, len(memes))))
            regions = self._regions(some, Silent())
            without += regions.without_regions
            dataset = self._dataset(self._inputs(some, regions), np.full((len(some), 0), -1, dtype=np.int64))
            for model in self.models.values():
                for task, found in predict_probabilities(model, dataset, _PREDICT_BATCH).items():
                    parts.setdefault(task, []).append(found)
        if without:
            _LOG.warning(self._without_regions(without, len(memes)))
        return {task: np.concatenate(found) for task, found in parts.items()}

    def save(self, folder: Path) -> None:
        """Each model in Hugging Face's own layout, the tokenizer, and for grid regions the image encoder."""
        write_json(folder / _FILE, {"models": list(self.models), "spec": self.spec.model_dump(mode="json")})
        self._tokenizer.save_pretrained(folder / _TOKENIZER)
        for position, model in enumerate(self.models.values()):
            model.save_pretrained(folder / str(position))
        if self._vision is not None:
            with no_progress_bars():
                self._vision.save_pretrained(folder / _VISION)

    @classmethod
    def load(cls, name: str, folder: Path) -> Oscar:
        """The inverse of `save`; models are ready to predict, on the GPU where there is one."""
        try:
            settings = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            candidate = cls(name, OscarCandidate.model_validate(settings["spec"]))
            candidate._tokenizer = load_wordpiece(folder / _TOKENIZER)
            for position, key in enumerate(settings["models"]):
                candidate.models[key] = _ready(load_oscar(folder / str(position)))
            if candidate.needs_image:
                fix = "Copy the folder again, or train the candidate again."
                candidate._vision = _ready(read_model(AutoModel, str(folder / _VISION), local=True, fix=fix))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, ModelError) as error:
            raise ModelError(f"Candidate '{name}' in '{folder}' could not be read: {error}.") from error
        return candidate


def _ready(model: _Model) -> _Model:
    """A model ready to predict, on the GPU where there is one."""
    model.eval()
    if torch.cuda.is_available():
        model.to("cuda")
    return model
