"""States of frozen encoders: computed once for each text and image, kept on disk as bfloat16, trained on from there.

A cache folder holds, for each encoder (by the digest of its weights, settings and input scaling), a store of states
by the content of the text's token ids or the image's transformed pixels; see `memeblend.data.shards`. Whoever has the
same encoder finds them: other candidates, label tasks and runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from memeblend.data.shards import SHARD_BYTES, ShardStore
from memeblend.files import digest
from memeblend.models.base import EncoderModel, Reading
from memeblend.models.encoders import EncoderStates, last_positions
from memeblend.training.preprocessing import Memes
from memeblend.training.progress import Progress, Silent

_FORMAT = 2
_BATCH = 64
# What an encoder's weights don't tell of it; some kinds have no such setting, or call it otherwise.
_SETTINGS = ("model_type", "hidden_act", "activation", "layer_norm_eps", "num_attention_heads")
_MODULES: Mapping[str, str] = {"text": "text_model", "image": "vision_model"}  # in the branches of these names


@dataclass(frozen=True, eq=False)
class StateSequences:
    """States of memes' texts or images.

    Attributes:
        states: of each meme, bfloat16 [L, d], in order of the tokens and without padding; L is 1 where only the
            pooled state was wanted.
    """

    states: list[Tensor]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """L of each meme."""
        return np.array([len(states) for states in self.states], dtype=np.int64)

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """States [B, T, d] of some memes, padded with zeros on the right, and their mask [B, T]."""
        chosen = [self.states[row] for row in rows]
        lengths = torch.from_numpy(self.lengths[np.asarray(rows, dtype=np.int64)])
        longest = int(lengths.max())
        if longest == int(lengths.min()):
            return torch.stack(chosen), torch.ones(len(chosen), longest, dtype=torch.int64)
        padded = chosen[0].new_zeros(len(chosen), longest, chosen[0].shape[1])
        for position, states in enumerate(chosen):
            padded[position, : len(states)] = states
        return padded, (torch.arange(longest)[None, :] < lengths[:, None]).long()


class StateDataset(Dataset[int]):
    """Memes as the states that a model with frozen encoders reads, with their labels.

    Args:
        states: of "text" and "image", what the model reads of them.
        labels: class indices [num_memes, num_label_tasks], -1 where missing.
    """

    def __init__(self, states: Mapping[str, StateSequences], labels: NDArray[np.int64]) -> None:
        self.states = dict(states)
        self.labels = torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> int:
        return row

    def collate(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Model inputs, the states in place of token ids and pixels, and labels [B, num_label_tasks]."""
        inputs: dict[str, Tensor] = {}
        if "text" in self.states:
            inputs["text_tokens"], inputs["attention_mask"] = self.states["text"].batch(rows)
        if "image" in self.states:
            inputs["image_tokens"], _ = self.states["image"].batch(rows)
        return inputs | {"labels": self.labels[torch.tensor(rows)]}

    def lengths(self) -> NDArray[np.int64]:
        """Number of text states of each meme; equal for all where only the image is read."""
        return self.states["text"].lengths if "text" in self.states else np.zeros(len(self), dtype=np.int64)


def state_dataset(
    model: EncoderModel,
    memes: Memes,
    labels: NDArray[np.int64],
    branches: Collection[str] = (),
    *,
    label: str = "",
    progress: Progress | None = None,
) -> StateDataset:
    """Memes as states of a model's encoders, computing only those that the memes' cache lacks.

    Token dropout has no place here: the states are those of whole texts.

    Args:
        model: in evaluation mode, with `encoder_states` "bfloat16".
        memes: where their `cache_dir` is None, the states stay in memory.
        labels: class indices [num_memes, num_label_tasks], -1 where missing.
        branches: branches whose logits will be asked for beside the one that predicts.
        label: what the progress calls it.
        progress: who watches, if anyone.

    Raises:
        DataError: the cache was changed while it was read.
        OutputError: the cache can't be written.
    """
    assert model.config.encoder_states == "bfloat16", "states on disk would differ from those of prediction"
    wanted = [(_Encoder(name, model, memes), reading) for name, reading in model.reads(branches).items()]
    watch = Silent() if progress is None else progress
    return StateDataset(
        {encoder.name: encoder.states(reading, f"{label} {encoder.name}", watch) for encoder, reading in wanted}, labels
    )


@contextmanager
def without_encoders(model: EncoderModel) -> Iterator[None]:
    """Takes the encoders out of a model for a while, so that checkpoints and optimizer are of the rest alone."""
    kept = [(getattr(model, name), part) for name, part in _MODULES.items() if hasattr(model, name)]
    encoders = [getattr(branch, part) for branch, part in kept]
    for branch, part in kept:
        setattr(branch, part, nn.Identity())
    try:
        yield
    finally:
        for (branch, part), encoder in zip(kept, encoders, strict=True):
            setattr(branch, part, encoder)


class _Encoder:
    """One encoder of a model and the memes that it reads."""

    def __init__(self, name: str, model: EncoderModel, memes: Memes) -> None:
        self.name = name
        self.branch: Any = getattr(model, name)
        self.config = model.config.text_config if name == "text" else model.config.vision_config
        self.memes = memes

    def states(self, reading: Reading, label: str, progress: Progress) -> StateSequences:
        """States of the memes, each distinct text or image encoded at most once."""
        keys = self._keys()
        found = {} if self.memes.cache_dir is None else self._cached(set(keys), reading)
        first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in found}
        num_done = 0
        if first:
            progress.start(label, len(first))
        for part, computed in self._computed(list(first.values()), reading):
            part_keys = [keys[row] for row in part]
            found |= self._kept(part_keys, computed, reading)
            num_done += len(part)
            progress.advance(num_done)
        return StateSequences([found[key] for key in keys])

    def _keys(self) -> list[str]:
        """SHA-256 of what the encoder reads of each meme."""
        if self.name == "text":
            return [_sha256(np.array(ids, dtype="<i4")) for ids in self.memes.token_ids]
        assert self.memes.images is not None, "a candidate that needs images was given memes without"
        return [_sha256(image) for image in self.memes.images]

    def _store(self, reading: Reading) -> ShardStore:
        assert self.memes.cache_dir is not None, "asked for only where there is a cache"
        folder = self.memes.cache_dir / "states" / f"{self.name}-{self._fingerprint}" / reading
        return ShardStore(folder, np.int16, (int(self.config.hidden_size),))  # bfloat16, bit by bit

    @cached_property
    def _fingerprint(self) -> str:
        preprocessor = self.memes.preprocessor
        reading = (preprocessor.mean, preprocessor.std) if self.name == "image" else preprocessor.fixed_length
        weights = hashlib.sha256()
        for name, value in getattr(self.branch, _MODULES[self.name]).state_dict().items():
            weights.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            weights.update(value.cpu().reshape(-1).view(torch.uint8).numpy().data)
        return digest(_FORMAT, [getattr(self.config, key, None) for key in _SETTINGS], reading, weights.hexdigest())

    def _cached(self, keys: set[str], reading: Reading) -> dict[str, Tensor]:
        """What the cache has of these; pooled states are also taken from those of all tokens."""
        found = {key: _tensor(states) for key, states in self._store("tokens").find(keys).items()}
        if reading == "pooled":
            found = {key: self._pooled(states) for key, states in found.items()}
            found |= {key: _tensor(states) for key, states in self._store("pooled").find(keys - set(found)).items()}
        return found

    def _pooled(self, tokens: Tensor) -> Tensor:
        """The pooled state [1, d] of one text's or image's tokens [L, d]."""
        if self.name == "image":
            return tokens[:1]
        mask = torch.ones(1, len(tokens), dtype=torch.int64)
        return EncoderStates.of_text(tokens[None].float(), mask, self.branch.pooling).pooled.to(tokens.dtype)

    def _kept(self, keys: list[str], computed: list[Tensor], reading: Reading) -> dict[str, Tensor]:
        """Just computed states as they will be read: from the cache's file where there is one."""
        if self.memes.cache_dir is None:
            return dict(zip(keys, computed, strict=True))
        store = self._store(reading)
        items = torch.cat(computed).view(torch.int16).numpy()
        store.write(keys, [len(states) for states in computed], items)
        return {key: _tensor(states) for key, states in store.find_all(keys).items()}

    def _computed(self, rows: list[int], reading: Reading) -> Iterator[tuple[list[int], list[Tensor]]]:
        """Rows and their states, a shard's worth at a time; texts of one length together."""
        if self.name == "text":
            rows = sorted(rows, key=lambda row: len(self.memes.token_ids[row]))
        part: list[int] = []
        computed: list[Tensor] = []
        num_bytes = 0
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            states = self._encode(batch, reading)
            part += batch
            computed += states
            num_bytes += sum(value.nbytes for value in states)
            if num_bytes >= SHARD_BYTES:
                yield part, computed
                part, computed, num_bytes = [], [], 0
        if part:
            yield part, computed

    @torch.inference_mode()
    def _encode(self, rows: list[int], reading: Reading) -> list[Tensor]:
        device = next(self.branch.parameters()).device
        is_text = self.name == "text"
        inputs = {
            name: value.to(device) for name, value in self.memes.batch(rows, text=is_text, image=not is_text).items()
        }
        found: EncoderStates
        if is_text:
            mask = inputs["attention_mask"]
            found = self.branch(inputs["input_ids"], mask)
            lengths = (last_positions(mask) + 1).tolist()
        else:
            found = self.branch(inputs["pixel_values"])
            lengths = [found.tokens.shape[1]] * len(rows)
        if reading == "pooled":
            return list(found.pooled[:, None].to(torch.bfloat16).cpu().unbind())
        tokens = found.tokens.to(torch.bfloat16).cpu()
        return [states[:length].clone() for states, length in zip(tokens, lengths, strict=True)]


def _sha256(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _tensor(states: NDArray[Any]) -> Tensor:
    return torch.from_numpy(states).view(torch.bfloat16)
