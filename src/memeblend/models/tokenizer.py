"""Tokenizers: one trained on the memes themselves for the embedded CLIP, or a checkpoint's own.

Texts always end with their end token, however long they were: its state is what CLIP pools.

Notable: reading a saved tokenizer, encoding and padding need neither torch nor transformers.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from memeblend.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

PAD, EOS, BOS = "<pad>", "<eos>", "<bos>"
_ONE_AT_A_TIME = threading.Lock()
_SPECIAL = (PAD, EOS, BOS)  # ids 0, 1, 2: an end token with id 2 would switch Hugging Face's CLIP to another pooling
SMALLEST_VOCABULARY = 256 + len(_SPECIAL)
"""Tokens of a vocabulary that learned nothing: every byte and the special tokens."""


class TextTokenizer(Protocol):
    """What encoding needs of a tokenizer: a `SavedTokenizer`, or one of transformers' fast tokenizers.

    Attributes:
        truncation_side: "right", or "left" where the beginning of a long text is cut.
    """

    truncation_side: str

    @property
    def backend_tokenizer(self) -> Tokenizer:
        """The tokenizer itself."""

    @property
    def pad_token_id(self) -> int:
        """Id of the padding token."""


@dataclass
class SavedTokenizer:
    """A tokenizer that transformers saved, read without transformers.

    Attributes:
        backend_tokenizer: the tokenizer itself.
        pad_token_id: id of the padding token.
        truncation_side: see `TextTokenizer`.
    """

    backend_tokenizer: Tokenizer
    pad_token_id: int
    truncation_side: str = "right"

    @classmethod
    def load(cls, folder: Path) -> SavedTokenizer:
        """Read `tokenizer.json` and `tokenizer_config.json`.

        Raises:
            ModelError: a file is missing or cut short, or there is no padding token.
        """
        try:
            config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            token = config["pad_token"]
            pad_id = tokenizer.token_to_id(token if isinstance(token, str) else token["content"])
        except Exception as error:  # the tokenizers library raises bare Exception on a file that is cut short
            raise ModelError(f"Could not load a tokenizer from '{folder}': {error}.") from error
        if pad_id is None:
            raise ModelError(f"The tokenizer in '{folder}' has no padding token '{token}'.")
        return cls(tokenizer, pad_id, config.get("truncation_side", "right"))


def train_tokenizer(texts: Iterable[str], vocab_size: int, max_length: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer for the embedded CLIP.

    Lower-cased and NFC like CLIP's own; any text can be encoded, since unseen words fall back to bytes. The same
    texts give the same tokenizer, byte for byte.

    Args:
        texts: texts to learn from, of the fit split alone; may be few or none.
        vocab_size: largest number of tokens.
        max_length: longest text in tokens, begin and end token included.

    Raises:
        ValueError: `vocab_size` has no room for every byte, or `max_length` none for a token.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise ValueError(f"vocab_size is {vocab_size}, expected at least {SMALLEST_VOCABULARY}")
    if max_length < 3:
        raise ValueError(f"max_length is {max_length}, expected at least 3")
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(_SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (BOS, EOS)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        bos_token=BOS,
        model_max_length=max_length,
        padding_side="right",
        truncation_side="right",
    )


def load_tokenizer(source: str | Path, *, needs_end: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer from a folder that holds one, or a hub id.

    Args:
        source: the folder or hub id.
        needs_end: whether the encoder pools the state of an end token, as CLIP does and BERT does not.

    Raises:
        ModelError: there is none, it can't be read, or it lacks an end or padding token.
    """
    from transformers import PreTrainedTokenizerFast

    try:
        tokenizer = _read(str(source))
    except Exception as error:  # the tokenizers library raises bare Exception on a file that is cut short
        raise ModelError(
            f"Could not load a tokenizer from '{source}': {error}.",
            fix="Expected tokenizer.json and tokenizer_config.json there; copy or download them again.",
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(
            f"Expected a fast tokenizer in '{source}', found {type(tokenizer).__name__}.",
            fix="Put the tokenizer.json of the same tokenizer into the folder.",
        )
    if needs_end and (tokenizer.eos_token_id is None or tokenizer.pad_token_id is None):
        raise ModelError(f"The tokenizer in '{source}' has no end token or no padding token; its encoder needs both.")
    if tokenizer.pad_token_id is None:
        raise ModelError(
            f"The tokenizer in '{source}' has no padding token.",
            fix="Give it one: set pad_token in its tokenizer_config.json, say to its eos_token.",
        )
    return tokenizer


def _read(source: str) -> Any:
    """A tokenizer, in its fast form where there is one.

    SigLIP's own class is slow and needs sentencepiece, even where the fast form lies beside its files.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.utils.hub import cached_file

    local = Path(source).expanduser().is_dir()
    slow, failed = None, None
    try:
        slow = AutoTokenizer.from_pretrained(source, trust_remote_code=False, local_files_only=local)
    except Exception as error:  # raised below unless the fast form can be read
        failed = error
    if isinstance(slow, PreTrainedTokenizerFast):
        return slow
    fast = cached_file(source, "tokenizer.json", local_files_only=local, _raise_exceptions_for_missing_entries=False)
    if fast is not None:
        return PreTrainedTokenizerFast.from_pretrained(source, local_files_only=local)
    if failed is not None:
        raise failed
    return slow


def encode(
    tokenizer: TextTokenizer, texts: Sequence[str], max_length: int, *, keep_end: bool = True
) -> list[list[int]]:
    """Token ids of each text from begin to end token, unpadded, and never none: there must be a state to pool.

    An empty text of a tokenizer without begin and end tokens is one padding token. A text that spells a special token
    (say "<eos>") is read as the characters it is made of.

    Args:
        tokenizer: from `train_tokenizer`, `load_tokenizer` or `SavedTokenizer.load`.
        texts: any texts.
        max_length: longest result; a longer text is cut on the right.
        keep_end: whether a text that is cut keeps its end token, with one token of its own less.
    """
    if not texts:
        return []
    backend = tokenizer.backend_tokenizer
    with _ONE_AT_A_TIME:  # a tokenizer can't be set while another thread has it encode
        # Set for each call, as transformers does, which sets them otherwise when it is asked itself.
        backend.encode_special_tokens = True
        backend.enable_truncation(max_length + (not keep_end), direction=tokenizer.truncation_side)
        backend.no_padding()
        encodings = backend.encode_batch(list(texts), add_special_tokens=True)
    nothing = [tokenizer.pad_token_id]
    return [encoding.ids[:max_length] or nothing for encoding in encodings]


def pad(token_ids: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """As `pad_arrays`, as tensors."""
    import torch

    input_ids, attention_mask = pad_arrays(token_ids, pad_id)
    return torch.from_numpy(input_ids), torch.from_numpy(attention_mask)


def pad_arrays(token_ids: Sequence[Sequence[int]], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A batch of token ids, padded on the right to its longest.

    Args:
        token_ids: ids of each text, none of them empty.
        pad_id: id of the padding token.

    Returns:
        input_ids [B, T] and attention_mask [B, T], int64; the mask is 1 for tokens and 0 for padding.
    """
    lengths = np.array([len(ids) for ids in token_ids], dtype=np.int64)
    longest = int(lengths.max(initial=0))
    attention_mask = (np.arange(longest)[None, :] < lengths[:, None]).astype(np.int64)
    input_ids = np.full((len(lengths), longest), pad_id, dtype=np.int64)
    for row, ids in enumerate(token_ids):
        input_ids[row, : len(ids)] = ids
    return input_ids, attention_mask
