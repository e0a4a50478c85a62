"""Texts drawn onto templates: where they stand, that they fit, and what is left out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from memeblend.data.rendering import CaptionDrawer, font_path, top_and_bottom
from memeblend.errors import DataError, MissingExtraError

GREY = (120, 120, 120)


def template(width=160, height=120):
    return Image.new("RGB", (width, height), GREY)


def changed_rows(boxes, font="dejavu", size=(160, 120)):
    """Rows of pixels that drawing changed."""
    drawn = np.asarray(CaptionDrawer(font).draw(template(*size), boxes))
    assert drawn.shape == (size[1], size[0], 3)
    return np.flatnonzero((drawn != GREY).any(axis=(1, 2)))


@pytest.mark.parametrize("font", ["dejavu", "anton"])
def test_texts_stand_at_the_edges(font):
    top, bottom = changed_rows(["hello", ""], font), changed_rows(["", "hello"], font)
    assert len(top)
    assert top.max() < 60
    assert len(bottom)
    assert bottom.min() > 60
    assert bottom.max() > 100


def test_boxes_are_spread_from_top_to_bottom():
    rows = [changed_rows([*[""] * place, "x", *[""] * (2 - place)]).mean() for place in range(3)]
    assert rows[0] < 40 < rows[1] < 80 < rows[2]


def test_letters_are_white_with_a_black_outline():
    drawn = CaptionDrawer("anton").draw(template(), ["I I I", ""])
    colours = {colour for _, colour in drawn.getcolors(100_000)}
    assert {(255, 255, 255), (0, 0, 0), GREY} <= colours


def test_the_template_is_left_alone():
    image = template()
    CaptionDrawer("dejavu").draw(image, ["hello", "there"])
    assert image.getcolors() == [(160 * 120, GREY)]


@pytest.mark.parametrize("text", ["", "   ", "\U0001f602\U0001f602", "\x00\x1b", "नमस्ते", "\U0010ffff"])
def test_what_the_font_lacks_is_not_drawn(text):
    assert not len(changed_rows([text, ""], "anton"))
    assert not CaptionDrawer("anton").shows(text)
    assert CaptionDrawer("anton").shows(text + " ok")


def test_variation_selectors_alone_show_nothing():
    # DejaVu has them, without anything to see.
    assert not CaptionDrawer("dejavu").shows("\ufe0f")


@pytest.mark.parametrize("text", ["w" * 5000, "many words " * 2000, "a", "\u202eright to left\u200b", "ÄÖÜ ß é"])
@pytest.mark.parametrize("size", [(160, 120), (1, 1), (3, 400), (400, 3)])
def test_any_text_fits_any_image(text, size):
    changed_rows([text, text], size=size)


def test_a_long_text_leaves_room_between_the_boxes():
    rows = changed_rows(["many words " * 200, ""])
    assert rows.max() < 70


@settings(deadline=None, max_examples=100)
@given(text=st.text(max_size=80), seed=st.integers(0, 99))
def test_cutting_keeps_every_word(text, seed):
    boxes = top_and_bottom(text, np.random.default_rng(seed))
    assert len(boxes) == 2
    assert " ".join(boxes).split() == text.split()


def test_fonts_that_are_not_there(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no font 'comic'"):
        font_path("comic")
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"not a font")
    with pytest.raises(DataError, match="not a font"):
        font_path(str(broken))
    monkeypatch.setattr("memeblend.data.rendering.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"memeblend\[render\]"):
        font_path("anton")
    assert font_path(str(font_path("dejavu"))).name == "DejaVuSans-Bold.ttf"
