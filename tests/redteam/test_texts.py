"""Perturbations of texts: values by hand, and what holds for every text."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memeblend.redteam import letters, wording
from memeblend.redteam.grid import PERTURBATIONS

TEXT_CHANGES = [one.change_text for one in PERTURBATIONS if one.change_text is not None]
HOSTILE = [
    "",
    " \n\t ",
    "\x00\x07hate\x00",
    "\u202eesrever\u202c \u200b\u200d zero",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "\ud800 half",
    "👩‍👩‍👧‍👦" * 50,
    "(((((" * 200 + "\\",
    "a" * 20_000,
]
shares = st.floats(0, 1)
seeds = st.integers(0, 5)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_letters_are_replaced_by_the_tables():
    assert re.fullmatch(r"h[4@]73", letters.leetspeak("hate", 1, rng()))
    assert letters.homoglyphs("cope", 1, rng()) == "\u0441\u043e\u0440\u0435"  # Cyrillic
    assert letters.ocr_noise("rn", 1, rng()) == "m"
    assert letters.ocr_noise("a a", 1, rng()) == "aa"
    assert letters.ocr_noise("5", 1, rng()) == "S"


@pytest.mark.parametrize(
    ("how", "word"), [(0.0, "hlelo"), (0.25, "hllo"), (0.5, "heello"), (0.75, "hwllo"), (0.249, "helol")]
)
def test_slips_swap_drop_double_and_miss(how, word):
    assert letters._slip("hello", how) == word


def test_short_words_and_other_scripts_are_not_misspelt():
    assert letters.misspelling("at the हिन्दी", 1, rng()) == "at the हिन्दी"


def test_a_missed_key_lies_beside_and_keeps_its_case():
    assert set(letters._KEYS["s"]) == set("adwezx")
    assert letters._slip("HELLO", 0.75) == "HWLLO"


@pytest.mark.parametrize(
    ("word", "spelled"),
    [("pyaar", "pyar"), ("nahin", "nahi"), ("vo", "wo"), ("KHANA", "KANA"), ("the", "the"), ("b", "b")],
)
def test_hinglish_words_by_hand(word, spelled):
    assert (wording._respelled(word, 0.0) if len(word) > 1 else wording.hinglish(word, 1, rng())) == spelled


def test_emoji_replace_words_or_follow_them():
    first, *rest = wording.emoji("I love chai!", 1, rng()).split(" ")
    assert first == "I"
    assert rest[0] in wording.EMOJI
    assert rest[1:] == ["❤️", "☕"]


def test_word_order_moves_words_and_keeps_white_space():
    text = "one  two\nthree four"
    assert wording.word_order(text, 0.0, rng()) == text
    moved = wording.word_order(text, 1e6, rng(1))
    assert moved != text
    assert sorted(moved.split()) == sorted(text.split())
    assert re.sub(r"\S+", "w", moved) == "w  w\nw w"
    assert wording.word_order("a b", 1.0, rng()) == "a b"  # nobody can move by a whole place


@pytest.mark.parametrize("change", TEXT_CHANGES)
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_texts(change, text):
    assert isinstance(change(text, 1.0, rng()), str)


@pytest.mark.parametrize("change", TEXT_CHANGES)
@given(text=st.text(), share=shares, seed=seeds)
def test_the_same_draws_give_the_same_text(change, text, share, seed):
    first = change(text, share, rng(seed))
    assert isinstance(first, str)
    assert first == change(text, share, rng(seed))


@pytest.mark.parametrize("change", TEXT_CHANGES)
@given(text=st.text())
def test_nothing_asked_for_changes_nothing(change, text):
    assert change(text, 0.0, rng()) == text


@given(text=st.text(alphabet="ab "), low=shares, high=shares, seed=seeds)
def test_a_larger_share_changes_what_a_smaller_one_does_and_more(text, low, high, seed):
    low, high = sorted((low, high))
    place = re.compile("a")
    fewer, more = (letters.replaced(text, place, share, rng(seed), lambda *_: "X") for share in (low, high))
    assert len(fewer) == len(more) == len(text)
    assert all(b == "X" for a, b in zip(fewer, more, strict=True) if a == "X")


def test_all_places_are_changed_about_as_often_as_asked_for():
    text = "a" * 4000
    assert letters.leetspeak(text, 0.3, rng()).count("a") == pytest.approx(2800, abs=120)


def test_every_homoglyph_is_no_latin_letter_of_ascii():
    assert not any(value.isascii() for value in letters._HOMOGLYPHS.values())
    assert all(len(value) == 1 for value in letters._HOMOGLYPHS.values())
