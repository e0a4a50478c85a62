"""Marian and NLLB models with random weights: as transformers alone, batched, told apart, refused in sentences."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    M2M100Config,
    M2M100ForConditionalGeneration,
    NllbTokenizer,
)

from made_up_translation import SmallMarian
from memeblend.errors import MissingExtraError, ModelError, TranslationError
from memeblend.translation import Hop, Translator, translation_cache
from memeblend.translation.seq2seq import Seq2SeqEngine

THERE, BACK = Hop(0, "auto", "hi"), Hop(1, "hi", "en")
TEXTS = ["when the bus is late", "my cat", "the boss of this house rains", "walk home", "it is ☂ é"]


pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")  # of tests' own tokenizers


def by_hand(folder, text, num_beams):
    """A translation with transformers alone, text by text."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    model.generation_config.forced_eos_token_id = None  # it would hide where a translation is cut off
    inputs = tokenizer(text, return_tensors="pt")
    limit = 3 * inputs["input_ids"].shape[1] + 20
    with torch.inference_mode():
        (made,) = model.generate(**inputs, num_beams=num_beams, do_sample=False, max_new_tokens=min(limit, 63))
    return tokenizer.decode(made, skip_special_tokens=True)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_translations_are_those_of_transformers_in_any_batch(marian_pair, num_beams):
    expected = [by_hand(marian_pair[0], text, num_beams) for text in TEXTS]
    assert len(set(expected)) > 2, "or the comparison says nothing"
    for size in (1, 5):
        engine = Seq2SeqEngine.load(marian_pair, batch_size=size, num_beams=num_beams)
        found = [found for text in TEXTS for found in engine.translate([text], THERE)] if size == 1 else None
        assert (found or engine.translate(TEXTS, THERE)) == expected


def test_a_pair_translates_there_and_back_and_again_from_the_cache(marian_pair, tmp_path):
    engine = Seq2SeqEngine.load(marian_pair, batch_size=2, num_beams=1)
    cache = translation_cache(tmp_path / "c.sqlite", notify=pytest.fail)
    made = Translator(engine, cache=cache).translate(TEXTS)
    for text, found in made.found.items():
        (middle,) = engine.translate([text], THERE)
        assert [found] == engine.translate([middle], BACK)
    assert len(set(made.found.values())) > 1
    engine.translate = None  # not to be called again
    assert Translator(engine, cache=cache).translate(TEXTS).found == made.found
    cache.close()


def test_versions_tell_weights_beams_and_vocabularies_apart(marian_pair, tmp_path):
    engine = Seq2SeqEngine.load(marian_pair, num_beams=2)
    assert engine.version(THERE) != engine.version(BACK)
    assert Seq2SeqEngine.load(marian_pair, num_beams=3).version(THERE) != engine.version(THERE)
    twice = Seq2SeqEngine.load([marian_pair[0]] * 2, num_beams=2)
    assert twice.version(THERE) == twice.version(BACK) == engine.version(THERE)
    moved = shutil.copytree(marian_pair[0], tmp_path / "elsewhere")
    assert Seq2SeqEngine.load([str(moved)], num_beams=2).version(THERE) == engine.version(THERE)
    words = json.loads((moved / "vocab.json").read_text())
    first, second = list(words)[5:7]
    words[first], words[second] = words[second], words[first]
    (moved / "vocab.json").write_text(json.dumps(words))
    assert Seq2SeqEngine.load([str(moved)], num_beams=2).version(THERE) != engine.version(THERE)


def test_texts_too_long_and_translations_without_end_fail_alone(marian_pair, tmp_path):
    engine = Seq2SeqEngine.load(marian_pair, num_beams=1)
    long, short = engine.translate(["bus " * 80, "bus"], THERE)
    assert long.reason == "too long for the model"
    assert long.of_text
    assert "at most 64" in long.detail
    assert isinstance(short, str)
    endless = SmallMarian.write(tmp_path / "endless", SmallMarian.ENGLISH, SmallMarian.HINDI, end=-1e4)
    (found,) = Seq2SeqEngine.load([str(endless)], num_beams=1).translate(["bus"], THERE)
    assert found.reason == "translation without end"


def test_marian_is_told_its_target_language(tmp_path):
    folder = SmallMarian.write(tmp_path / "m", SmallMarian.ENGLISH, SmallMarian.HINDI, languages=("hin", "urd"))
    engine = Seq2SeqEngine.load([str(folder)], num_beams=1)
    hindi, urdu = (engine.translate(TEXTS, Hop(0, "auto", language)) for language in ("hin", "urd"))
    assert hindi != urdu
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_ids_to_tokens(tokenizer(">>hin<< bus")["input_ids"])[0] == ">>hin<<"
    with pytest.raises(TranslationError, match="knows no language 'hi'") as refused:
        engine.translate(TEXTS, THERE)
    assert "hin, urd" in refused.value.fix


@pytest.fixture(scope="module")
def nllb(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nllb")
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = NllbTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    layers = {f"{part}_layers": 1 for part in ("encoder", "decoder")}
    heads = {f"{part}_attention_heads": 2 for part in ("encoder", "decoder")}
    config = M2M100Config(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=64,
        decoder_start_token_id=2,
        init_std=0.5,
        **layers,
        **heads,
    )
    M2M100ForConditionalGeneration(config).save_pretrained(folder)
    return str(folder)


def test_a_model_of_many_languages_is_told_both(nllb, monkeypatch):
    engine = Seq2SeqEngine.load([nllb, nllb], num_beams=1)
    model, tokenizer = engine._models[0]
    seen = {}
    whole = model.generate

    def generate(**inputs):
        made = whole(**inputs)
        seen["source"] = tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
        seen["first"] = tokenizer.convert_ids_to_tokens(made[0])[1]
        return made

    monkeypatch.setattr(model, "generate", generate)
    for source, target in (("eng_Latn", "hin_Deva"), ("hin_Deva", "eng_Latn")):
        engine.translate(["a cat"], Hop(0, source, target))
        assert (seen["source"][0], seen["first"]) == (source, target)
    with pytest.raises(TranslationError, match="has to be told the language"):
        engine.translate(["a"], Hop(0, "auto", "hin_Deva"))
    with pytest.raises(TranslationError, match="knows no language 'hi'"):
        engine.translate(["a"], Hop(0, "eng_Latn", "hi"))


def broken(folder, marian, change):
    copied = Path(shutil.copytree(marian, folder / "broken"))
    change(copied)
    return str(copied)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: (folder / "config.json").unlink(), "Could not load"),
        (lambda folder: (folder / "source.spm").write_bytes(b"cut"), "Could not load the tokenizer"),
        (lambda folder: (folder / "vocab.json").write_text("{}"), "Could not load the tokenizer"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"cut"), "Could not load AutoModelForSeq2SeqLM"),
        (lambda folder: (folder / "model.safetensors").unlink(), "Could not load AutoModelForSeq2SeqLM"),
        (
            lambda folder: (folder / "vocab.json").write_text(
                json.dumps(json.loads((folder / "vocab.json").read_text()) | {f"w{n}": 500 + n for n in range(50)})
            ),
            "tokens, but its model knows",
        ),
    ],
)
def test_models_that_can_not_be_used_are_refused(marian_pair, tmp_path, change, told):
    with pytest.raises(ModelError, match=told) as refused:
        Seq2SeqEngine.load([broken(tmp_path, marian_pair[0], change)])
    assert "Helsinki-NLP/opus-mt-en-hi" in refused.value.fix


def test_a_name_that_is_no_folder_and_no_hub_answers_is_refused(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="Could not load the tokenizer of 'nobody/nothing'"):
        Seq2SeqEngine.load(["nobody/nothing"])


def test_without_sentencepiece_the_extra_is_named(marian_pair, monkeypatch):
    def load(*arguments, **settings):
        raise ImportError("MarianTokenizer requires the SentencePiece library")

    monkeypatch.setattr("memeblend.translation.seq2seq.AutoTokenizer.from_pretrained", load)
    with pytest.raises(MissingExtraError, match="SentencePiece") as refused:
        Seq2SeqEngine.load(marian_pair)
    assert 'pip install "memeblend[translate]"' in refused.value.fix


def test_settings_below_one_are_refused():
    with pytest.raises(ValueError, match="num_beams 0"):
        Seq2SeqEngine([], num_beams=0)


def test_importing_the_room_imports_no_model():
    code = "import sys, memeblend.translation; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
