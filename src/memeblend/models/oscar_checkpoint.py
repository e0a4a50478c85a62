"""Where an OSCAR model starts: an original Oscar or Oscar+ checkpoint, any BERT, or a trained OSCAR model.

The original files hold `bert.embeddings.*`, `bert.encoder.*`, `bert.pooler.*`, `bert.img_embedding.*`, with
`use_img_layernorm` also `bert.LayerNorm.*`, and `cls.*` or `classifier.*` heads. BERT files hold the same without the
region part, with or without the prefix `bert.`; very old ones say gamma and beta for weight and bias. No tensor goes
by silently: a report lists those that were not found, not used or not known.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file
from torch import Tensor
from transformers import BertConfig

from memeblend.errors import ModelError, Problem
from memeblend.labels import LabelTask
from memeblend.models.loading import no_progress_bars, read_config, read_model
from memeblend.models.oscar import NUM_BOX_NUMBERS, OscarClassifier, OscarConfig

_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_HUB_FILES = ("config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_SAFETENSORS, _PICKLED = "model*.safetensors", "pytorch_model*.bin"

_REGION_NAMES = {"bert.img_embedding.": "region_embedding.", "bert.LayerNorm.": "region_norm."}
_HEADS = ("cls.", "classifier.", "heads.")
_WITHOUT_WEIGHTS = ("bert.embeddings.position_ids", "bert.embeddings.token_type_ids")  # counters kept as tensors
_BERT_SETTINGS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "max_position_embeddings",
    "type_vocab_size",
    "initializer_range",
    "layer_norm_eps",
    "pad_token_id",
)


@dataclass(frozen=True)
class CheckpointReport:
    """What became of a checkpoint's tensors.

    Attributes:
        source: where it came from.
        loaded: tensors of the model that were read, by the model's names.
        missing: tensors of the model, heads aside, that the file lacks, by the file's naming; they start anew.
        left_out: tensors of the file that belong to heads of its own, or hold no weights.
        unexpected: tensors of the file that belong to nothing known.
        new_heads: label tasks whose heads start anew.
    """

    source: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    left_out: tuple[str, ...]
    unexpected: tuple[str, ...]
    new_heads: tuple[str, ...]

    def lines(self) -> list[str]:
        """Sentences that name every tensor that was not simply loaded."""
        found = [f"'{self.source}': {len(self.loaded)} tensors loaded; new heads for {', '.join(self.new_heads)}."]
        parts = (
            (self.missing, "not in the file, so they start from random weights"),
            (self.left_out, "of the file left out (its own heads, or tables without weights)"),
            (self.unexpected, "of the file are unknown and were not used"),
        )
        found += [
            f"'{self.source}': {len(names)} tensor(s) {what}: {', '.join(names)}." for names, what in parts if names
        ]
        return found


@dataclass(frozen=True)
class Checkpoint:
    """Weights to start from.

    Attributes:
        source: where they came from.
        bert_config: configuration of the BERT inside.
        tensors: by the names of `OscarClassifier`.
        names: for each of them, its name in the file.
        region_norm: whether embedded regions go through a layer norm.
        region_norm_eps: its epsilon.
    """

    source: str
    bert_config: BertConfig
    tensors: Mapping[str, Tensor]
    names: Mapping[str, str]
    region_norm: bool
    region_norm_eps: float

    @property
    def region_size(self) -> int | None:
        """Numbers of a region that it was trained on; None where it has seen none."""
        embedding = self.tensors.get("region_embedding.weight")
        return None if embedding is None else int(embedding.shape[-1])

    def model(
        self, label_tasks: Iterable[LabelTask], *, region_size: int, dropout: float, head_dropout: float
    ) -> tuple[OscarClassifier, CheckpointReport]:
        """A model that starts from these weights, with new heads from the current torch seed.

        Args:
            label_tasks: label tasks to learn.
            region_size: numbers of a region, those of its box included.
            dropout: dropout inside BERT and on embedded regions.
            head_dropout: dropout on the pooled [CLS].

        Raises:
            ModelError: the regions are wider or narrower than the checkpoint's, or a tensor has another shape than
                the configuration says.
        """
        if self.region_size not in (None, region_size):
            raise ModelError(
                f"The regions have {region_size - NUM_BOX_NUMBERS} features, with the {NUM_BOX_NUMBERS} numbers of a "
                f"box {region_size}, but '{self.source}' reads {self.region_size} (its img_feature_dim).",
                fix="Use regions made by the detector that it was trained on, or start from a BERT without regions.",
            )
        bert_config = copy.deepcopy(self.bert_config)
        bert_config.hidden_dropout_prob = bert_config.attention_probs_dropout_prob = dropout
        config = OscarConfig(
            bert_config,
            label_tasks,
            region_size=region_size,
            region_norm=self.region_norm,
            region_norm_eps=self.region_norm_eps,
            head_dropout=head_dropout,
        )
        model = OscarClassifier(config)
        return model, self._load_into(model)

    def _load_into(self, model: OscarClassifier) -> CheckpointReport:
        wanted = {name: value for name, value in model.state_dict().items() if not name.startswith(_HEADS)}
        found = {name: self.tensors[name] for name in wanted if name in self.tensors}
        problems = [
            Problem(f"tensor {self.names[name]}", f"has shape {list(value.shape)}, expected {list(wanted[name].shape)}")
            for name, value in found.items()
            if value.shape != wanted[name].shape
        ]
        if problems:
            raise ModelError(
                f"The weights in '{self.source}' do not fit its config.json:",
                problems=problems,
                fix="Its files are cut short, altered or mixed up: copy or download them again.",
            )
        if not any(name.startswith("bert.encoder.") for name in found):
            raise ModelError(
                f"Expected an Oscar checkpoint or a BERT in '{self.source}', found none of BERT's layers in it.",
                fix="Its tensors should be called bert.embeddings.*, bert.encoder.* and so on.",
            )
        model.load_state_dict(found, strict=False)
        others = [name for name in self.tensors if name not in wanted]
        left_out = [name for name in others if name.startswith(_HEADS) or name in _WITHOUT_WEIGHTS]
        return CheckpointReport(
            source=self.source,
            loaded=tuple(found),
            missing=tuple(_original(name) for name in wanted if name not in found),
            left_out=tuple(self.names[name] for name in left_out),
            unexpected=tuple(self.names[name] for name in others if name not in left_out),
            new_heads=tuple(model.config.num_classes()),
        )


def read_checkpoint(folder: Path, source: str) -> Checkpoint:
    """Weights from a folder; safetensors where there are any, else pytorch_model.bin.

    Args:
        folder: holds an Oscar checkpoint, a BERT, or a saved `OscarClassifier`; see `checkpoint_folder`.
        source: what reports and errors call it.

    Raises:
        ModelError: there is none of these, or it is cut short.
    """
    config = read_config(folder, "an Oscar checkpoint or a BERT")
    kind = config.get("model_type", BertConfig.model_type)  # files of 2019 do not say
    if kind == OscarConfig.model_type:
        return of_model(load_oscar(folder), source)
    if kind != BertConfig.model_type or str(config.get("img_feature_type")).startswith("dis_code"):
        what = f"model_type {kind!r}" if kind != BertConfig.model_type else "regions as discrete codes"
        raise ModelError(f"Expected an Oscar checkpoint or a BERT in '{folder}', its config.json says {what}.")
    names = _our_names(tensors := _read_tensors(folder))
    has_regions = any(name.startswith("region_embedding.") for name in names)
    # A model trained on regions without the layer norm must go on without it; on any other the regions are new.
    norm = config.get("use_img_layernorm")
    if norm is None:
        norm = not has_regions or any(name.startswith("region_norm.") for name in names)
    return Checkpoint(
        source=source,
        bert_config=_bert_config(config, folder),
        tensors={ours: tensors[theirs] for ours, theirs in names.items()},
        names=names,
        region_norm=bool(norm),
        region_norm_eps=float(config.get("img_layer_norm_eps") or 1e-12),
    )


def of_model(model: OscarClassifier, source: str) -> Checkpoint:
    """The weights of a trained model, for another that starts from them.

    Args:
        model: the trained model; its weights are shared until another starts from them.
        source: what the report calls it.
    """
    tensors = {name: value.detach() for name, value in model.state_dict().items()}
    return Checkpoint(
        source=source,
        bert_config=model.config.bert_config,
        tensors=tensors,
        names={name: name for name in tensors},
        region_norm=model.config.region_norm,
        region_norm_eps=model.config.region_norm_eps,
    )


def load_oscar(folder: Path) -> OscarClassifier:
    """A model from the folder that its `save_pretrained` wrote, ready to predict, without network.

    Raises:
        ModelError: the folder is not of such a model, is cut short, or lacks weights.
    """
    found = read_config(folder, "a saved OscarClassifier").get("model_type")
    if found != OscarConfig.model_type:
        raise ModelError(f"Expected a saved OscarClassifier in '{folder}', found model_type {found!r}.")
    fix = "Its files are cut short or altered: copy the folder again, or train the model again."
    model = read_model(OscarClassifier, str(folder), local=True, fix=fix)
    assert isinstance(model, OscarClassifier)
    return model


def checkpoint_folder(source: str | Path) -> Path:
    """The folder that a source names; what a hub id names is downloaded first.

    Raises:
        ModelError: there is no such folder, or the hub does not give it.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or not _HUB_ID.fullmatch(str(source)):
        raise ModelError(
            f"Expected a folder that holds an Oscar checkpoint or a BERT at '{source}', "
            f"found {'a file' if folder.exists() else 'nothing'}.",
            fix="Give a folder with config.json, weights and vocab.txt, or a hub id such as bert-base-uncased.",
        )
    try:
        with no_progress_bars():
            found = Path(snapshot_download(str(source), allow_patterns=[*_HUB_FILES, _SAFETENSORS]))
            if not any(found.glob(_SAFETENSORS)):
                found = Path(snapshot_download(str(source), allow_patterns=[*_HUB_FILES, _PICKLED]))
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ModelError(
            f"Could not get '{source}' from the hub: {reason}.",
            fix=f"Check the name and the network, or run 'hf download {source} --local-dir FOLDER' where there is a "
            "network, and give FOLDER.",
        ) from error
    return found


def _bert_config(config: Mapping[str, Any], folder: Path) -> BertConfig:
    """BERT's part of a checkpoint's configuration."""
    lacking = [name for name in ("hidden_size", "num_hidden_layers", "num_attention_heads") if name not in config]
    if lacking:
        raise ModelError(f"The config.json in '{folder}' lacks {', '.join(lacking)}, so it is no BERT's.")
    try:
        found = BertConfig(**{name: config[name] for name in _BERT_SETTINGS if config.get(name) is not None})
    except StrictDataclassError as error:
        raise ModelError(f"The config.json in '{folder}' is no BERT's: {error}.") from error
    if found.hidden_size % found.num_attention_heads:
        raise ModelError(
            f"The config.json in '{folder}' is no BERT's: num_attention_heads {found.num_attention_heads} does not "
            f"divide hidden_size {found.hidden_size}."
        )
    return found


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's weights by their names there, in float32 where they are numbers with a point."""
    files = sorted(folder.glob(_SAFETENSORS)) or sorted(folder.glob(_PICKLED))
    if not files:
        raise ModelError(f"Expected weights (model.safetensors or pytorch_model.bin) in '{folder}', found none.")
    tensors: dict[str, Tensor] = {}
    for path in files:
        try:
            read: Any = (
                load_file(path)
                if path.suffix == ".safetensors"
                else torch.load(path, map_location="cpu", weights_only=True)
            )
        except Exception as error:  # a stranger's file: both readers raise many kinds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise ModelError(
                f"The weights in '{path}' could not be read: {reason}.",
                fix="The file is cut short or holds more than tensors; copy or download it again.",
            ) from error
        if not isinstance(read, dict) or not all(isinstance(value, Tensor) for value in read.values()):
            raise ModelError(f"Expected tensors by their names in '{path}', found something else.")
        tensors |= read
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def _our_names(tensors: Iterable[str]) -> dict[str, str]:
    """For each name of `OscarClassifier`, or one unknown to it, the name in the file."""
    names = list(tensors)
    prefix = "" if any(name.startswith("bert.") for name in names) else "bert."  # a bare BertModel was saved
    found = {}
    for theirs in names:
        ours = theirs if theirs.startswith(_HEADS) else prefix + theirs
        ours = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", ours))
        for original, name in _REGION_NAMES.items():
            if ours.startswith(original):
                ours = name + ours.removeprefix(original)
        found[theirs if ours in found else ours] = theirs  # one that comes twice is unknown the second time
    return found


def _original(name: str) -> str:
    """The original naming of one of our tensors."""
    for original, ours in _REGION_NAMES.items():
        if name.startswith(ours):
            return original + name.removeprefix(ours)
    return name
