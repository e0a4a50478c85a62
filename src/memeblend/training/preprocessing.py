"""The preprocessor, saved with every model, and the memes it has made ready for encoders.

Training and serving share this one path from text and image to what encoders read, so they cannot differ. It ends in
NumPy arrays; torch is imported only by those who ask for tensors, so that an exported model does without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memeblend.data.cache import cached_images, decoded_images
from memeblend.data.cleaning import Cleaning, clean_texts
from memeblend.data.images import ImageTransform
from memeblend.data.manifest import Manifest
from memeblend.errors import ModelError
from memeblend.files import write_json
from memeblend.models.tokenizer import SavedTokenizer, TextTokenizer, encode, load_tokenizer, pad_arrays

if TYPE_CHECKING:
    from torch import Tensor

_FILE = "preprocessor.json"


@dataclass(frozen=True, eq=False)
class Preprocessor:
    """From ocr_text and image to what the encoders read.

    Attributes:
        tokenizer: a fast tokenizer of transformers, or a `SavedTokenizer`, that puts begin and end tokens around each
            text.
        max_length: longest text in tokens; longer ones are cut.
        transform: how an image becomes a square of bytes.
        mean: channel means of pixel values in [0, 1], length 3.
        std: channel standard deviations, length 3.
        cleaning: what is done to a text before it is cut into tokens.
        keep_end: whether a text that is cut keeps its end token.
        fixed_length: tokens to which every text is padded, with padding that counts as tokens: SigLIP's text encoder
            was trained to read texts so. 0 pads a batch to its longest text, and the padding counts for nothing.
    """

    tokenizer: Any
    max_length: int
    transform: ImageTransform
    mean: tuple[float, ...]
    std: tuple[float, ...]
    cleaning: Cleaning = "none"
    keep_end: bool = True
    fixed_length: int = 0

    def clean(self, texts: Sequence[str]) -> list[str]:
        """Each text as encoders read it."""
        return clean_texts(texts, self.cleaning)

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, unpadded."""
        return encode(self.tokenizer, self.clean(texts), self.max_length, keep_end=self.keep_end)

    def pad(self, token_ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """As `pad_arrays`, as tensors."""
        import torch

        input_ids, attention_mask = self.pad_arrays(token_ids)
        return torch.from_numpy(input_ids), torch.from_numpy(attention_mask)

    def pad_arrays(self, token_ids: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids [B, T] and attention mask [B, T] of a batch, padded on the right."""
        if self.fixed_length:
            padding = [self._pad_id] * self.fixed_length
            token_ids = [[*ids, *padding[len(ids) :]] for ids in token_ids]
        return pad_arrays(token_ids, self._pad_id)

    @cached_property
    def _pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id)

    @cached_property
    def _scale(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        mean, std = np.array(self.mean, dtype=np.float32), np.array(self.std, dtype=np.float32)
        return np.float32(1) / (np.float32(255) * std), mean / std

    def pixel_values(self, images: NDArray[np.uint8]) -> Tensor:
        """As `pixel_arrays`, as a tensor."""
        import torch

        return torch.from_numpy(self.pixel_arrays(images))

    def pixel_arrays(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Normalised pixel values [B, 3, S, S] of images [B, S, S, 3]."""
        scale, shift = self._scale
        values = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32)  # [B, 3, S, S]
        values *= scale[:, None, None]
        values -= shift[:, None, None]
        return values

    def save(self, folder: Path) -> None:
        """Write the tokenizer's own files and `preprocessor.json` into an existing folder."""
        self.tokenizer.save_pretrained(folder)
        write_json(folder / _FILE, self._settings())

    def _settings(self) -> dict[str, Any]:
        return {
            "max_length": self.max_length,
            "transform": self.transform.to_dict(),
            "mean": list(self.mean),
            "std": list(self.std),
            "cleaning": self.cleaning,
            "keep_end": self.keep_end,
            "fixed_length": self.fixed_length,
        }

    @classmethod
    def load(cls, folder: Path) -> Preprocessor:
        """The inverse of `save`.

        Raises:
            ModelError: a file is missing or is not what `save` wrote.
        """
        return cls._read(folder, partial(load_tokenizer, needs_end=False))  # it was looked at when it was made

    @classmethod
    def load_light(cls, folder: Path) -> Preprocessor:
        """As `load`, without transformers: it makes memes ready just the same, but can't be trained with or saved.

        Raises:
            ModelError: a file is missing or is not what `save` wrote.
        """
        return cls._read(folder, SavedTokenizer.load)

    @classmethod
    def _read(cls, folder: Path, read_tokenizer: Callable[[Path], TextTokenizer]) -> Preprocessor:
        import json

        try:
            # Models made before there was a choice have none.
            settings: dict[str, Any] = {"cleaning": "none", "keep_end": True, "fixed_length": 0}
            settings |= json.loads((folder / _FILE).read_text(encoding="utf-8"))
            clean_texts((), settings["cleaning"])
            return cls(
                read_tokenizer(folder),
                int(settings["max_length"]),
                ImageTransform.from_dict(settings["transform"]),
                tuple(settings["mean"]),
                tuple(settings["std"]),
                settings["cleaning"],
                bool(settings["keep_end"]),
                int(settings["fixed_length"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"The preprocessor in '{folder}' could not be read: {error}.") from error


@dataclass(frozen=True, eq=False)
class Memes:
    """Memes made ready: texts, and images as bytes; tokens are made when first asked for.

    Attributes:
        texts: ocr_text of each meme.
        images: [num_memes, S, S, 3], or None when the memes have no images.
        preprocessor: what made them ready.
        meme_ids: id of each meme.
        paths: image file of each meme, None where it has none.
        cache_dir: where what is computed from them is kept for another time; None keeps nothing.
    """

    texts: list[str]
    images: NDArray[np.uint8] | None
    preprocessor: Preprocessor
    meme_ids: list[str]
    paths: list[Path | None]
    cache_dir: Path | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def token_ids(self) -> list[list[int]]:
        """Token ids of each text, unpadded."""
        return self.preprocessor.token_ids(self.texts)

    def take(self, rows: NDArray[np.int64]) -> Memes:
        """Some of the memes, in the given order."""
        images = None if self.images is None else self.images[rows]
        taken = replace(
            self,
            texts=[self.texts[row] for row in rows],
            images=images,
            meme_ids=[self.meme_ids[row] for row in rows],
            paths=[self.paths[row] for row in rows],
        )
        if "token_ids" in self.__dict__:
            taken.__dict__["token_ids"] = [self.token_ids[row] for row in rows]
        return taken

    def batch(self, rows: Sequence[int], *, text: bool, image: bool, token_dropout: float = 0.0) -> dict[str, Tensor]:
        """As `arrays`, as tensors.

        Args:
            rows: which memes.
            text: whether the texts are wanted.
            image: whether the images are wanted.
            token_dropout: share of the tokens between begin and end that is left out at random.
        """
        import torch

        arrays = self.arrays(rows, text=text, image=image, token_dropout=token_dropout)
        return {name: torch.from_numpy(value) for name, value in arrays.items()}

    def arrays(
        self, rows: Sequence[int], *, text: bool, image: bool, token_dropout: float = 0.0
    ) -> dict[str, NDArray[Any]]:
        """Model inputs of some memes: input_ids and attention_mask [B, T], pixel_values [B, 3, S, S].

        Args as those of `batch`.
        """
        inputs: dict[str, NDArray[Any]] = {}
        if text:
            token_ids = [self.token_ids[row] for row in rows]
            if token_dropout:
                token_ids = [_dropped(ids, token_dropout) for ids in token_ids]
            inputs["input_ids"], inputs["attention_mask"] = self.preprocessor.pad_arrays(token_ids)
        if image:
            assert self.images is not None, "a candidate that needs images was given memes without"
            inputs["pixel_values"] = self.preprocessor.pixel_arrays(self.images[np.asarray(rows, dtype=np.int64)])
        return inputs


def _dropped(token_ids: list[int], share: float) -> list[int]:
    """Token ids with some of those between begin and end left out, drawn from torch's global generator."""
    import torch

    if len(token_ids) < 2:  # of a tokenizer without begin or end token an empty text is one token
        return token_ids
    first, *inner, last = token_ids
    keep = (torch.rand(len(inner)) >= share).tolist()
    return [first, *(token for token, kept in zip(inner, keep, strict=True) if kept), last]


def prepare(
    manifest: Manifest,
    preprocessor: Preprocessor,
    *,
    cache_dir: Path | None,
    progress: Callable[[int, int], None] | None = None,
) -> Memes:
    """Make the memes of a manifest ready; each distinct image is decoded once.

    Args:
        manifest: the memes; where they have no images, the result has none.
        preprocessor: what makes them ready.
        cache_dir: where decoded images, and later the states of frozen encoders, are kept for another time; None
            keeps none.
        progress: told of images decoded and of all.

    Raises:
        ImageError: images that can't be decoded, all of them listed.
    """
    images = None
    if manifest.has_images and cache_dir is not None:
        images = cached_images(manifest, preprocessor.transform, cache_dir, progress)
    elif manifest.has_images:
        images = decoded_images(manifest, preprocessor.transform, progress)
    paths = [manifest.image_path(row) for row in range(len(manifest))]
    return Memes(manifest.texts, images, preprocessor, list(manifest.meme_ids), paths, cache_dir)
