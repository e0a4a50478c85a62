"""The text side of OSCAR: WordPiece tokenizers, and ocr_text with object tags as one sequence.

Notable: a tokenizer made here keeps accents. BERT's usual uncased one strips them, and with them the vowel signs of
Hindi.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer
from transformers import BertTokenizer, PreTrainedTokenizerFast

from memeblend.errors import ModelError
from memeblend.models.tokenizer import encode

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_INSIDE = "##"  # begins a token that goes on within a word


@dataclass(frozen=True)
class PairTokens:
    """One meme's tokens.

    Attributes:
        ids: token ids, unpadded.
        num_text: how many of them are ocr_text with its two marks; the rest are object tags and their mark.
    """

    ids: list[int]
    num_text: int


def train_wordpiece(texts: Iterable[str], vocab_size: int, max_length: int) -> PreTrainedTokenizerFast:
    """An uncased WordPiece tokenizer that keeps accents.

    The same texts give the same tokenizer, byte for byte.

    Args:
        texts: texts to learn from, of the fit split alone; may be few or none.
        vocab_size: number of tokens to aim for; every character of the texts gets one all the same.
        max_length: longest text in tokens.
    """
    texts = list(texts)
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        # The trainer numbers "##x" tokens in the order of a hash table, anew in every process; numbered as if they
        # were special they are always the same, and so are the merges between equals.
        special_tokens=[*_SPECIAL, *_inside_characters(tokenizer, texts)],
        continuing_subword_prefix=_INSIDE,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    vocabulary = dict(sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]))
    return BertTokenizer(vocab=vocabulary, do_lower_case=True, strip_accents=False, model_max_length=max_length)


def _inside_characters(tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    """Tokens of the characters that go on within a word, in order."""
    found: set[str] = set()
    for text in texts:
        normal = tokenizer.normalizer.normalize_str(text)
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal):
            found.update(word[1:])
    return [_INSIDE + character for character in sorted(found)]


def load_wordpiece(source: str | Path) -> PreTrainedTokenizerFast:
    """BERT's tokenizer from a folder with tokenizer.json or vocab.txt (as the original Oscar's).

    Raises:
        ModelError: there is none, it can't be read, or it lacks one of BERT's marks.
    """
    fix = "Expected tokenizer.json or BERT's vocab.txt there; copy or download them again."
    if not any((Path(source) / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        raise ModelError(f"There is no tokenizer in '{source}'.", fix=fix)
    try:
        tokenizer: PreTrainedTokenizerFast = BertTokenizer.from_pretrained(str(source), local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception on a file that is cut short
        raise ModelError(f"Could not load a tokenizer from '{source}': {error}.", fix=fix) from error
    vocabulary = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)  # marks are added where they lack
    marks = (tokenizer.pad_token, tokenizer.unk_token, tokenizer.cls_token, tokenizer.sep_token)
    lacking = [str(mark) for mark in marks if mark not in vocabulary]
    if lacking:
        raise ModelError(f"The tokenizer in '{source}' lacks BERT's {', '.join(lacking)}.", fix=fix)
    return tokenizer


def encode_pairs(
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    tags: Sequence[Sequence[str]],
    max_length: int,
    max_text_length: int,
) -> list[PairTokens]:
    """`[CLS] ocr_text [SEP] object tags [SEP]` of each meme; without tags it ends at the first [SEP].

    Args:
        tokenizer: from `train_wordpiece` or `load_wordpiece`.
        texts: ocr_text of each meme.
        tags: object tags of each meme in order; one that comes again is left out.
        max_length: most tokens of both; tags are cut to what the text leaves.
        max_text_length: most tokens of ocr_text with [CLS] and [SEP].
    """
    first = encode(tokenizer, texts, max_text_length)
    joined = [" ".join(dict.fromkeys(one)) for one in tags]
    second = [ids[1:] for ids in encode(tokenizer, joined, max_length)]  # without [CLS]
    return [
        PairTokens([*text, *_fitting(tag_ids, max_length - len(text))], len(text))
        for text, tag_ids in zip(first, second, strict=True)
    ]


def _fitting(tag_ids: list[int], room: int) -> list[int]:
    """Tags with their [SEP], cut to the room; nothing where no tag fits beside its [SEP]."""
    if len(tag_ids) < 2 or room < 2:
        return []
    return [*tag_ids[:-1][: room - 1], tag_ids[-1]]
