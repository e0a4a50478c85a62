"""Tokens and pixels are the same with and without transformers and torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memeblend.data.images import ImageTransform
from memeblend.models.tokenizer import SavedTokenizer, encode, pad, pad_arrays, train_tokenizer
from memeblend.onnx_engine.sessions import BATCH, in_batches
from memeblend.training.preprocessing import Preprocessor

TEXTS = ["a lovely day", "अच्छा दिन <eos> 🙂", "<bos><pad>", ""]
MAX_LENGTH = 10


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """One of transformers, and the same read without."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = train_tokenizer(TEXTS, 300, MAX_LENGTH)
    tokenizer.save_pretrained(folder)
    return tokenizer, SavedTokenizer.load(folder)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=40) | st.sampled_from(TEXTS), min_size=1, max_size=4))
def test_tokens_are_those_of_transformers(tokenizers, texts):
    ours, saved = tokenizers
    theirs = ours(
        texts, add_special_tokens=True, split_special_tokens=True, truncation=True, max_length=MAX_LENGTH, padding=False
    )["input_ids"]
    assert encode(ours, texts, MAX_LENGTH) == theirs
    assert encode(saved, texts, MAX_LENGTH) == theirs


def test_padding_by_hand():
    ids, mask = pad_arrays([[5, 6, 7], [8]], 9)
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert ids.dtype == mask.dtype == np.int64
    assert [value.tolist() for value in pad([[5, 6, 7], [8]], 9)] == [ids.tolist(), mask.tolist()]
    assert [value.shape for value in pad_arrays([], 9)] == [(0, 0), (0, 0)]


def test_pixels_are_those_of_torch_bit_by_bit():
    preprocessor = Preprocessor(
        None, 4, ImageTransform(5, "crop"), (0.48145466, 0.4578275, 0.40821073), (0.27, 0.26, 0.25)
    )
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 5, 3)).astype(np.uint8)
    mean, std = torch.tensor(preprocessor.mean), torch.tensor(preprocessor.std)
    expected = (torch.from_numpy(images).float() * (1 / (255 * std)) - mean / std).permute(0, 3, 1, 2)
    assert torch.equal(preprocessor.pixel_values(images), expected)
    found = preprocessor.pixel_arrays(images)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous


def test_batches_come_back_in_order():
    lengths = [3, 1, 2] * 50
    sizes = []

    def run(rows):
        sizes.append(len(rows))
        return [np.array(rows), np.array([lengths[row] for row in rows])]

    rows, found = in_batches(lengths, run)
    assert rows.tolist() == list(range(150))
    assert found.tolist() == lengths
    assert sizes == [BATCH, BATCH, 150 - 2 * BATCH]
