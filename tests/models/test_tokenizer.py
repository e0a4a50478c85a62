"""The embedded tokenizer and a CLIP checkpoint's own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_checkpoint import save_clip
from memeblend.errors import ModelError
from memeblend.models.tokenizer import SMALLEST_VOCABULARY, encode, load_tokenizer, pad, train_tokenizer

CORPUS = ["When the Monday meeting is over", "monday again", "Yaar, kya Monday hai", "over and over again"] * 3
LENGTH = 12


@pytest.fixture(scope="module")
def tiny():
    return train_tokenizer(CORPUS, 400, LENGTH)


@pytest.fixture(scope="module", params=["tiny", "clip"])
def tokenizer(request, tiny, tmp_path_factory):
    if request.param == "tiny":
        return tiny
    return load_tokenizer(save_clip(tmp_path_factory.mktemp("clip"), max_length=LENGTH))


def test_training_twice_gives_the_same_file(tmp_path):
    for name in ("first", "second"):
        train_tokenizer(iter(CORPUS), 400, LENGTH).save_pretrained(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert "tokenizer.json" in files
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_it_learns_the_words_of_its_corpus(tiny):
    assert len(encode(tiny, ["MONDAY again"], LENGTH)[0]) == 4
    assert len(encode(tiny, ["xylophone"], LENGTH)[0]) > 4


def test_ids_of_special_tokens(tiny):
    assert (tiny.pad_token_id, tiny.eos_token_id, tiny.bos_token_id) == (0, 1, 2)
    assert tiny.model_max_length == LENGTH


@pytest.mark.parametrize("corpus", [[], [""], ["a"]])
def test_a_corpus_of_next_to_nothing_still_encodes_any_text(corpus):
    tokenizer = train_tokenizer(corpus, 4000, 64)
    assert len(tokenizer) == SMALLEST_VOCABULARY
    text = "naïve 😂 नमस्ते"
    assert tokenizer.decode(encode(tokenizer, [text], 64)[0], skip_special_tokens=True).strip() == text


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_every_text_begins_and_ends_with_its_tokens_and_fits(tokenizer, text):
    (ids,) = encode(tokenizer, [text], LENGTH)
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert 2 <= len(ids) <= LENGTH
    assert tokenizer.eos_token_id not in ids[:-1]


def test_a_text_that_is_too_long_keeps_its_beginning_and_its_end_token(tokenizer):
    long, short = encode(tokenizer, ["hello me " * 50, "hello me"], LENGTH)
    assert len(long) == LENGTH
    assert long[-1] == tokenizer.eos_token_id
    assert long[: len(short) - 1] == short[:-1]


def test_a_special_token_spelt_in_a_text_is_only_its_letters(tokenizer):
    (ids,) = encode(tokenizer, [f"a {tokenizer.eos_token} b {tokenizer.bos_token}"], 64)
    assert ids.count(tokenizer.eos_token_id) == 1
    assert ids.count(tokenizer.bos_token_id) == 1


def test_upper_case_and_composed_letters_make_no_difference(tiny):
    plain, upper, spaced = encode(tiny, ["café monday", "CAFE\u0301 Monday", "  café\n monday "], LENGTH)
    assert plain == upper == spaced


def test_a_saved_tokenizer_encodes_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    texts = [*CORPUS, "hello 😂", ""]
    assert encode(load_tokenizer(tmp_path), texts, LENGTH) == encode(tokenizer, texts, LENGTH)


def test_no_texts_give_no_ids(tiny):
    assert encode(tiny, [], LENGTH) == []


def test_padding_is_on_the_right_and_masked():
    input_ids, mask = pad([[2, 5, 1], [2, 1]], pad_id=0)
    assert input_ids.tolist() == [[2, 5, 1], [2, 1, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert input_ids.dtype == mask.dtype == torch.int64
    assert [tuple(part.shape) for part in pad([], pad_id=0)] == [(0, 0), (0, 0)]


@pytest.mark.parametrize(
    ("vocab_size", "max_length", "message"), [(258, 12, "vocab_size is 258"), (300, 2, "max_length is 2")]
)
def test_impossible_sizes_are_refused(vocab_size, max_length, message):
    with pytest.raises(ValueError, match=message):
        train_tokenizer(CORPUS, vocab_size, max_length)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(ModelError, match="Could not load a tokenizer"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_that_is_cut_short_is_refused(tiny, tmp_path):
    tiny.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="Could not load a tokenizer"):
        load_tokenizer(tmp_path)
