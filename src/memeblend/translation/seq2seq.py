"""Translation models of Hugging Face, one for each hop: Marian, or M2M100, NLLB and mBART-50 that know many languages.

Nothing is sampled, so the same model, batch and machine give the same words. A text's batch can change a rounding, and
with it, rarely, a word; batches of one rule that out.
"""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel

from memeblend.errors import MissingExtraError, ModelError, TranslationError
from memeblend.files import digest
from memeblend.models.loading import device, no_progress_bars, read_model, weights_digest
from memeblend.translation.engines import AUTO, Failure, Hop

INSTALL = 'Install the extra: pip install "memeblend[translate]"'
_FIX = (
    "Give folders or hub ids of translation models in safetensors, for example Helsinki-NLP/opus-mt-en-hi and "
    "Helsinki-NLP/opus-mt-hi-en; a model that holds pytorch_model.bin alone is loaded and saved anew once with "
    "transformers (save_pretrained)."
)
_LONGEST_INPUT = 512
# A translation that is longer than this has lost its thread: models that repeat themselves never come to an end.
_TOKENS_EACH, _TOKENS_MORE = 3, 20


class Seq2SeqEngine:
    """A model for each hop.

    Args:
        models: model and tokenizer of each hop, in order; the same pair may stand for several.
        batch_size: texts at a time.
        num_beams: 1 takes the likeliest word each time; more look ahead.

    Raises:
        ValueError: `batch_size` or `num_beams` below 1.
    """

    name = "hf"

    def __init__(
        self, models: Sequence[tuple[PreTrainedModel, Any]], *, batch_size: int = 16, num_beams: int = 4
    ) -> None:
        if batch_size < 1 or num_beams < 1:
            raise ValueError(f"batch_size is {batch_size} and num_beams {num_beams}, expected at least 1")
        self.batch_size = batch_size
        self._num_beams = num_beams
        self._device = device()
        for model, _ in models:
            _search(cast(Any, model), num_beams)
        self._models: list[tuple[Any, Any]] = [
            (model.eval().to(self._device), tokenizer) for model, tokenizer in models
        ]
        digests = {id(model): _digest(model, tokenizer) for model, tokenizer in models}
        self._digests = [digests[id(model)] for model, _ in models]

    @classmethod
    def load(cls, sources: Sequence[str], *, batch_size: int = 16, num_beams: int = 4) -> Seq2SeqEngine:
        """The engine of models in folders or on the hub; one that is named twice is loaded once.

        Raises:
            ModelError: a source is no translation model, is cut short, or can't be reached.
            MissingExtraError: a tokenizer needs sentencepiece, which is not installed.
        """
        loaded = {source: _load(source) for source in dict.fromkeys(sources)}
        return cls([loaded[source] for source in sources], batch_size=batch_size, num_beams=num_beams)

    def version(self, hop: Hop) -> str:
        """Digest of the hop's weights, vocabulary and search."""
        return digest(self._digests[hop.number], self._num_beams, _TOKENS_EACH, _TOKENS_MORE)

    @torch.inference_mode()
    def translate(self, texts: Sequence[str], hop: Hop) -> list[str | Failure]:
        """See `Engine.translate`."""
        model, tokenizer = self._models[hop.number]
        begin, forced = _languages(tokenizer, hop)
        longest = min(_LONGEST_INPUT, int(getattr(model.config, "max_position_embeddings", None) or _LONGEST_INPUT))
        lengths = [len(tokenizer(begin + text)["input_ids"]) for text in texts]
        answers: dict[int, str | Failure] = {
            row: Failure("too long for the model", f"{length} tokens, at most {longest}", of_text=True)
            for row, length in enumerate(lengths)
            if length > longest
        }
        rows = [row for row in range(len(texts)) if row not in answers]
        if rows:
            limits = [min(_TOKENS_EACH * lengths[row] + _TOKENS_MORE, longest - 1) for row in rows]
            found = self._generate(model, tokenizer, [begin + texts[row] for row in rows], max(limits), forced)
            answers.update(zip(rows, map(self._answer, [tokenizer] * len(rows), found, limits), strict=True))
        return [answers[row] for row in range(len(texts))]

    def _generate(
        self, model: Any, tokenizer: Any, texts: list[str], limit: int, forced: int | None
    ) -> list[list[int]]:
        """New tokens of each text, without what pads them."""
        inputs = tokenizer(texts, padding=True, return_tensors="pt").to(self._device)  # input_ids [B, T]
        settings: dict[str, Any] = {"max_new_tokens": limit} | (
            {} if forced is None else {"forced_bos_token_id": forced}
        )
        made = model.generate(**inputs, **settings)[:, 1:].tolist()  # [B, T'], after the start token
        ends = _end_tokens(tokenizer.eos_token_id)
        return [_until_end(tokens, ends) for tokens in made]

    def _answer(self, tokenizer: Any, tokens: list[int], limit: int) -> str | Failure:
        if not tokens or tokens[-1] not in _end_tokens(tokenizer.eos_token_id) or len(tokens) > limit:
            return Failure("translation without end", f"stopped after {limit} tokens")
        return str(tokenizer.decode(tokens, skip_special_tokens=True))


def _search(model: Any, num_beams: int) -> None:
    """Set how a model looks for words; what is left open in a call is taken from here, whatever the call says."""
    settings = model.generation_config
    settings.update(do_sample=False, temperature=None, top_p=None, top_k=None)
    settings.update(num_beams=num_beams, num_return_sequences=1, max_length=None)
    settings.forced_eos_token_id = None  # it would end what is cut off like a sentence


def _end_tokens(eos: int | list[int] | None) -> set[int]:
    return set() if eos is None else set(eos) if isinstance(eos, list) else {eos}


def _until_end(tokens: list[int], ends: set[int]) -> list[int]:
    """Tokens up to their first end token, which may come after a language's token."""
    for position, token in enumerate(tokens):
        if token in ends:
            return tokens[: position + 1]
    return tokens


def _languages(tokenizer: Any, hop: Hop) -> tuple[str, int | None]:
    """How a tokenizer is told the languages of a hop: what goes before each text, and the first token of translations.

    Raises:
        TranslationError: it knows several languages, but not these.
    """
    codes = [code[2:-2] for code in getattr(tokenizer, "supported_language_codes", None) or []]
    if codes:
        if hop.target not in codes:
            raise _unknown(hop.target, codes)
        return f">>{hop.target}<< ", None
    if not hasattr(tokenizer, "set_src_lang_special_tokens"):
        return "", None
    tokens = _language_tokens(tokenizer)
    if hop.source == AUTO:
        raise TranslationError(
            "This model has to be told the language of the texts.", fix=f"Name it: --source, one of {_some(tokens)}."
        )
    for language in (hop.source, hop.target):
        if language not in tokens:
            raise _unknown(language, tokens)
    tokenizer.src_lang = hop.source
    return "", int(tokenizer.convert_tokens_to_ids(tokens[hop.target]))


def _language_tokens(tokenizer: Any) -> dict[str, str]:
    """Language -> its token, as M2M100, mBART-50 and NLLB have them."""
    if hasattr(tokenizer, "lang_code_to_token"):
        return dict(tokenizer.lang_code_to_token)
    if hasattr(tokenizer, "lang_code_to_id"):
        return {language: language for language in tokenizer.lang_code_to_id}
    return {token: token for token in tokenizer.all_special_tokens if not token.startswith("<")}


def _unknown(language: str, known: Sequence[str] | dict[str, str]) -> TranslationError:
    return TranslationError(
        f"The model knows no language '{language}'.",
        fix=f"Name languages as it does (--source, --chain): {_some(known)}.",
    )


def _some(names: Sequence[str] | dict[str, str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:30]) + (f" and {len(listed) - 30} more" if len(listed) > 30 else "")


def _load(source: str) -> tuple[PreTrainedModel, Any]:
    local = Path(source).expanduser().is_dir()
    place = str(Path(source).expanduser()) if local else source
    try:
        with warnings.catch_warnings(), no_progress_bars():
            warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")  # it is not used any more
            tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=local, trust_remote_code=False)
    except ImportError as error:
        reason = str(error).strip().splitlines()[0]
        raise MissingExtraError(f"The tokenizer of '{source}' can't be used: {reason}", fix=INSTALL) from error
    except Exception as error:  # sentencepiece and tokenizers raise nearly anything on a file that is cut short
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"Could not load the tokenizer of '{source}': {reason}", fix=_FIX) from error
    if tokenizer.pad_token_id is None or tokenizer.eos_token_id is None:
        raise ModelError(f"The tokenizer of '{source}' has no padding token or no end token.", fix=_FIX)
    model = read_model(cast(type[PreTrainedModel], AutoModelForSeq2SeqLM), place, local=local, fix=_FIX)
    vocabulary = int(model.get_input_embeddings().num_embeddings)
    if len(tokenizer) > vocabulary:
        raise ModelError(
            f"The tokenizer of '{source}' has {len(tokenizer)} tokens, but its model knows {vocabulary}.", fix=_FIX
        )
    return model, tokenizer


def _digest(model: PreTrainedModel, tokenizer: Any) -> str:
    """Digest of weights and vocabulary, wherever they were read from."""
    found = hashlib.sha256(weights_digest(model).encode())
    with tempfile.TemporaryDirectory(prefix="memeblend-") as folder:
        tokenizer.save_pretrained(folder)
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file() and path.name != "tokenizer_config.json":  # it says whether a folder or the hub was read
                found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]
