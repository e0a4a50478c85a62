"""Lines to text: order, choice, watermarks; all by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memeblend.data.ocr import OcrLine, OcrSettings, OcrText
from memeblend.data.ocr.settings import WATERMARKS
from memeblend.data.ocr.text import in_reading_order, is_watermark


def line(text, left, top, right, bottom, confidence=0.9):
    return OcrLine(text, confidence, (left, top, right, bottom))


def texts(lines):
    return [one.text for one in lines]


def test_rows_go_from_top_to_bottom_and_words_of_a_row_from_left_to_right():
    lines = [
        line("below", 0, 100, 50, 120),
        line("right", 200, 8, 260, 28),  # 8 pixels lower than its neighbour, of 20: still its row
        line("left", 0, 0, 60, 20),
    ]
    assert texts(in_reading_order(lines)) == ["left", "right", "below"]


def test_lines_that_overlap_by_less_than_half_are_rows_of_their_own():
    lines = [line("second", 0, 11, 60, 31), line("first", 200, 0, 260, 20)]  # they share 9 of 20
    assert texts(in_reading_order(lines)) == ["first", "second"]
    lines = [line("right", 200, 0, 260, 20), line("left", 0, 10, 60, 30)]  # they share 10 of 20
    assert texts(in_reading_order(lines)) == ["left", "right"]


def test_a_slanted_row_of_small_steps_does_not_swallow_the_next_one():
    steps = [
        line(str(number), 100 - 10 * number, 8 * number, 110 - 10 * number, 8 * number + 20) for number in range(5)
    ]
    # Compared with the first of a row: 0 and 1 share 12 of 20, 0 and 2 only 4.
    assert texts(in_reading_order(steps)) == ["1", "0", "3", "2", "4"]


@given(st.lists(st.tuples(*[st.integers(0, 50)] * 4), max_size=12))
def test_order_keeps_every_line_and_does_not_hang_on_the_order_given(boxes):
    distinct = list(dict.fromkeys(boxes))
    lines = [line(str(n), x, y, x + w, y + h) for n, (x, y, w, h) in enumerate(distinct)]
    ordered = in_reading_order(lines)
    assert sorted(texts(ordered)) == sorted(texts(lines))
    tops = [(one.box[1] + one.box[3], one.box[0]) for one in lines]
    if len(set(tops)) == len(tops):
        assert in_reading_order(lines[::-1]) == ordered


def test_unsure_lines_are_left_out_and_the_rest_is_joined_by_blanks():
    lines = [
        line("when  the\tbus", 0, 0, 9, 9, 0.5),
        line("noise", 0, 20, 9, 29, 0.49),
        line("is late", 0, 40, 9, 49, 1),
    ]
    found = OcrText.compose(lines, OcrSettings())
    assert found.text == "when the bus is late"
    assert texts(found.lines) == ["when the bus", "is late"]
    assert found.confidence == pytest.approx((12 * 0.5 + 7 * 1) / 19)
    assert OcrText.compose(lines, OcrSettings(min_confidence=0)).text == "when the bus noise is late"


def test_nothing_read_is_an_empty_text_without_confidence():
    assert OcrText.compose([], OcrSettings()) == OcrText("", ())
    assert OcrText("", ()).confidence == 0
    assert OcrText.compose([line(" \x00 ", 0, 0, 9, 9)], OcrSettings()).lines == ()


def test_text_is_composed_and_free_of_control_characters():
    found = OcrText.compose([line("cafe\u0301\x07 \ud83d", 0, 0, 9, 9)], OcrSettings())
    assert found.text == "caf\u00e9"
    found.text.encode()


@pytest.mark.parametrize(
    "text",
    [
        *("imgflip.com", "ImgFlip.com", "imgflip, com", "IMGFLIP .COM", "memegenerator.net", "quickmeme", "9GAG.COM"),
        *("made with mematic", "Made on imgflip", "via 9gag.com", "www.troll.me", "http://www.quickmeme.com/"),
        *("DIYLOL.COM", "memegenerator.net - 2012", "(c) 2011 quickmeme.com"),
    ],
)
def test_lines_of_site_names_alone_are_watermarks(text):
    assert is_watermark(text, WATERMARKS)


@pytest.mark.parametrize(
    "text",
    [
        *("I saw this on 9gag.com and cried", "imgflipped", "reddit", "made with love", "memes", "", "...", "2012"),
        *("9gags", "when reddit.com is down", "facebook"),
    ],
)
def test_sentences_and_words_like_site_names_are_not(text):
    assert not is_watermark(text, WATERMARKS)


def test_watermarks_can_be_kept_and_named():
    lines = [line("so true", 0, 0, 9, 9), line("imgflip.com", 0, 20, 9, 29), line("my.site", 0, 40, 9, 49)]
    assert OcrText.compose(lines, OcrSettings()).text == "so true my.site"
    assert OcrText.compose(lines, OcrSettings(drop_watermarks=False)).text == "so true imgflip.com my.site"
    assert OcrText.compose(lines, OcrSettings(watermarks=("my.site",))).text == "so true imgflip.com"
    assert OcrText.compose(lines, OcrSettings(watermarks=())).text == "so true imgflip.com my.site"


@given(st.text(max_size=300))
def test_any_text_can_be_asked_about(text):
    assert is_watermark(text, WATERMARKS) in (True, False)


def test_lines_go_through_json_types():
    one = line("a", 1, 2, 3, 4)
    assert OcrLine.from_list(one.to_list()) == one


@pytest.mark.parametrize(
    "data", [[], ["a", 1], ["a", 1, [1, 2, 3]], ["a", "b", [1, 2, 3, 4]], None, ["a", None, [1] * 4], 5]
)
def test_what_is_no_line_is_refused(data):
    with pytest.raises(ValueError):
        OcrLine.from_list(data)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"min_confidence": 1.1}, "min_confidence is 1.1"),
        ({"min_confidence": float("nan")}, "min_confidence is nan"),
        ({"languages": ()}, "languages"),
        ({"languages": ("eng; rm",)}, "languages"),
        ({"threads": 0}, "threads is 0"),
        ({"time_limit_s": 0}, "time_limit_s is 0"),
        ({"time_limit_s": float("inf")}, "time_limit_s is inf"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, told):
    with pytest.raises(ValueError, match=told):
        OcrSettings(**change)
