"""Words, patches and variants of a meme; exact contributions of n-grams; occlusion."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from memeblend import Manifest
from memeblend.candidates import tfidf
from memeblend.candidates.tfidf import Tfidf
from memeblend.errors import DataError
from memeblend.explain.attribution import FLOOR, Attribution, margins
from memeblend.explain.inputs import Meme, inner_tokens, ready, token_words, word_spans
from memeblend.explain.ngrams import linear_contributions
from memeblend.explain.occlusion import occluded, occlusion
from memeblend.recipe.candidates import TfidfCandidate
from small_candidates import Setting


@given(st.text(max_size=40))
def test_words_are_what_stands_between_white_space(text):
    assert [text[start:end] for start, end in word_spans(text)] == text.split()


def test_long_texts_are_cut_into_runs_that_hold_every_word():
    text = " ".join(str(number) for number in range(1000))
    spans = word_spans(text)
    assert len(spans) == 64
    assert " ".join(text[start:end] for start, end in spans) == text


@pytest.mark.parametrize(
    "text",
    [
        "lovely good thing",
        "  LOVELY\n good\tthing ",
        "प्यार 😂😂 good",
        "e\u0301te\u0301 caf\u00e9",
        "<eos> <bos> a",
        "",
        "x" * 300,
    ],
)
def test_every_token_belongs_to_the_word_it_spells(model, text):
    preprocessor = model.preprocessor_
    meme = Meme.make(None, text, preprocessor)
    found = token_words(meme, preprocessor)
    ids = preprocessor.token_ids([meme.text])[0]
    assert len(found) == len(ids)
    assert (found[0], found[-1]) == (-1, -1)
    inner = found[1:-1]
    assert (np.diff(inner[inner >= 0]) >= 0).all()
    for place in range(len(meme.words)):
        own = [token for token, word in zip(ids, found, strict=True) if word == place]
        alone = preprocessor.token_ids([meme.word(place)])[0][1:-1]
        assert own == alone[: len(own)]  # the last words may be cut off


def test_a_text_that_lost_its_end_token_ends_with_a_word(model):
    preprocessor = replace(model.preprocessor_, keep_end=False)
    meme = Meme.make(None, "good bad " * 20, preprocessor)
    ids, found = preprocessor.token_ids([meme.text])[0], token_words(meme, preprocessor)
    assert len(found) == len(ids) == preprocessor.max_length
    assert ids[-1] != preprocessor.tokenizer.eos_token_id
    assert found[0] == -1
    assert (found[1:] >= 0).all()
    assert inner_tokens(meme, preprocessor).tolist() == [False, *[True] * (len(ids) - 1)]
    short = inner_tokens(Meme.make(None, "good", preprocessor), preprocessor)
    assert short.tolist() == [False, *[True] * (len(short) - 2), False]


def test_parts_leave_and_stay(model):
    image = Image.new("RGB", (16, 16), (255, 0, 0))
    meme = Meme.make(image, "one two  three", model.preprocessor_, side=2)
    found = meme.variant(words=np.array([True, False, True]), patches=np.array([[True, False], [True, True]]))
    assert found.text == "one three"
    assert (found.pixels[:8, 8:] == meme.grey).all()
    assert (found.pixels[:8, :8] == (255, 0, 0)).all()
    assert (found.pixels[8:] == (255, 0, 0)).all()
    assert meme.variant(words=np.ones(3, dtype=bool)).text == "one two  three"
    assert meme.neutral.text == ""
    normalised = model.preprocessor_.pixel_values(meme.neutral.pixels[None])
    assert float(normalised.abs().max()) < 0.01  # mean grey is nearly 0 to the encoders


@pytest.mark.parametrize(("size", "side"), [(16, 1), (16, 3), (16, 5), (16, 16)])
def test_patches_cover_every_pixel_once(model, size, side):
    meme = Meme.make(Image.new("RGB", (size, size)), "", model.preprocessor_, side=side)
    counts = meme.by_patch(np.ones((size, size)))
    assert counts.sum() == size * size
    assert counts.min() > 0


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I", "F", "1"])
def test_images_in_memory_of_any_mode_are_taken(model, mode):
    meme = Meme.make(Image.new(mode, (20, 10)), "", model.preprocessor_)
    assert meme.pixels.shape == (16, 16, 3)


def test_texts_that_no_encoding_can_write_are_mended(model):
    assert Meme.make(None, "a \udcff b", model.preprocessor_).text == "a ? b"


@pytest.mark.parametrize("side", [0, 17])
def test_impossible_grids_are_refused(model, side):
    with pytest.raises(DataError, match="expected 1 to 16"):
        Meme.make(None, "", model.preprocessor_, side=side)


def test_margins_by_hand():
    np.testing.assert_allclose(margins(np.array([0.5, 0.5])), [0, 0])
    np.testing.assert_allclose(margins(np.array([1.0, 0.0])), [-np.log(FLOOR) / 2, np.log(FLOOR) / 2])
    logits = np.array([1.0, -2.0, 0.5])
    softmax = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(margins(softmax), logits - logits.mean())


def test_completeness_is_the_difference_to_the_change():
    one = Attribution("m", "linear", (0.5, 0.25), ((0.125,),), rest=0.125, value=2.0, baseline=0.9, tolerance=0.05)
    assert one.total == 1.0
    assert one.delta == pytest.approx(0.1)
    assert one.complete is False
    assert Attribution("m", "occlusion", (1.0,), None, value=1.0).complete is None


@pytest.mark.parametrize(
    "text", ["lovely good thing number 7", "awful awful bad", "Ünknown words, good!", "", "good-thing bad_thing ¨ 3"]
)
def test_words_and_intercept_sum_to_what_tfidf_says(model, text):
    candidate, meme = model.candidates_["tfidf-0"], Meme.make(None, text, model.preprocessor_)
    logs = np.log(candidate.predict(ready([meme.whole], model.preprocessor_))["level"][0])
    for index in range(3):
        found = linear_contributions(candidate, meme, "level", index)
        assert found.value == pytest.approx(logs[index] - logs.mean())
        assert found.complete
        assert found.baseline + sum(found.words) == pytest.approx(found.value)
        assert list(found.ngrams) == sorted(found.ngrams, key=lambda pair: (-abs(pair[1]), pair[0]))


def test_a_word_bigram_is_shared_by_its_words(data, tmp_path):
    setting = Setting.make(Manifest.read(data), tmp_path)
    spec = TfidfCandidate(kind="tfidf", word_ngrams=(2, 2), char_ngrams=(9, 9))  # whole words, all of them shorter
    candidate = Tfidf("tfidf-0", spec, 0)
    candidate.fit(setting.context())
    found = linear_contributions(candidate, Meme.make(None, "good thing", setting.memes.preprocessor), "mood", 1)
    ngrams = dict(found.ngrams)
    assert ngrams.keys() == {"good thing", " good ", " thing "}
    assert found.words == pytest.approx([ngrams[f" {word} "] + ngrams["good thing"] / 2 for word in ("good", "thing")])


def test_occlusion_equals_contributions_where_words_do_not_share_anything(data, tmp_path, monkeypatch):
    made = tfidf._vectorizers

    def without_norm(*ngrams):
        return [vectorizer.set_params(norm=None) for vectorizer in made(*ngrams)]

    monkeypatch.setattr(tfidf, "_vectorizers", without_norm)
    setting = Setting.make(Manifest.read(data), tmp_path)
    candidate = Tfidf("tfidf-0", TfidfCandidate(kind="tfidf", word_ngrams=(1, 1), char_ngrams=(2, 3)), 0)
    candidate.fit(setting.context())
    preprocessor = setting.memes.preprocessor
    meme = Meme.make(None, "awful good thing", preprocessor)  # no two n-grams alike
    exact = linear_contributions(candidate, meme, "mood", 0)
    said = candidate.predict(ready([meme.whole, *occluded(meme, text=True, image=False)], preprocessor))["mood"]
    found = occlusion("tfidf-0", meme, said[0], said[1:], 0, text=True, image=False)
    assert said.min() > FLOOR
    np.testing.assert_allclose(found.words, exact.words)
    assert exact.words[0] > exact.words[1]  # "awful" speaks for bad, "good" against it


def test_occlusion_ranks_words_as_contributions_do(model):
    candidate, preprocessor = model.candidates_["tfidf-0"], model.preprocessor_
    meme = Meme.make(None, "lovely bad thing number", preprocessor)
    exact = linear_contributions(candidate, meme, "mood", 1)
    said = candidate.predict(ready([meme.whole, *occluded(meme, text=True, image=False)], preprocessor))["mood"]
    found = occlusion("tfidf-0", meme, said[0], said[1:], 1, text=True, image=False)
    assert np.argsort(found.words).tolist() == np.argsort(exact.words).tolist()


def test_a_class_never_seen_has_no_contributions(model):
    candidate = model.candidates_["tfidf-0"]
    logistic = candidate._models["level"]
    kept = logistic.intercepts[2]
    logistic.intercepts[2] = -np.inf
    meme = Meme.make(None, "good thing", model.preprocessor_)
    assert linear_contributions(candidate, meme, "level", 2) is None
    assert linear_contributions(candidate, meme, "level", 0).complete
    logistic.intercepts[2] = kept


def test_occlusion_is_the_margin_lost():
    meme = Meme("a b", np.zeros((4, 4, 3), dtype=np.uint8), ((0, 1), (2, 3)), 2, np.full(3, 9, dtype=np.uint8))
    variants = occluded(meme, text=True, image=True)
    assert [one.text for one in variants] == ["b", "a", *["a b"] * 4]
    assert [int((one.pixels == 9).all(axis=2).sum()) for one in variants] == [0, 0, 4, 4, 4, 4]
    whole, parts = np.array([0.8, 0.2]), np.array([[0.5, 0.5], [0.8, 0.2], [0.9, 0.1], *[[0.8, 0.2]] * 3])
    found = occlusion("x", meme, whole, parts, 0, text=True, image=True)
    assert found.words == pytest.approx((np.log(4) / 2, 0))
    assert found.patches[0][0] == pytest.approx((np.log(4) - np.log(9)) / 2)
    assert found.patches[1] == (0, 0)
    assert len(occluded(meme, text=False, image=True)) == 4
