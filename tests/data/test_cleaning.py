"""Text cleaning: each choice by hand, what it never does, and time on hostile texts."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memeblend.data.cleaning import CLEANINGS, clean_mami, clean_texts, clean_tweet


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("@someone look: https://t.co/x WWW.a.org", "@USER look : HTTPURL HTTPURL"),
        ("don’t worry…", "do n't worry ..."),
        ("I'm sure they're late, she'd say he'll go", "I 'm sure they 're late , she 'd say he 'll go"),
        ("WE'VE WON'T IT'S", "WE 'VE WO N'T IT 'S"),
        ("can't ain't CAN'T cannot Cannot", "can't ain't CAN'T can not Can not"),
        ("at 5 p.m. or 6 a.m", "at 5 p.m. or 6 a.m"),
        ("lol 😂😂 ok", "lol :face_with_tears_of_joy: :face_with_tears_of_joy: ok"),
        ("hot 40° day", "hot 40 ° day"),
        ("#memes of the #day-after :-) <3", "#memes of the #day-after :-) <3"),
        ("wow!!!!!!! so.......", "wow ! ! ! so ..."),
        ("COVID-19 3/4 10:30 x-ray", "COVID - 19 3/4 10:30 x-ray"),
        ("seen on imgflip.com/i/1 today", "seen on imgflip.com/i/1 today"),
        ("tom &amp; jerry\n\n  again", "tom & jerry again"),
        ("जब तुम हंसते हो", "जब तुम हंसते हो"),
        ("", ""),
    ],
)
def test_tweets(text: str, cleaned: str) -> None:
    assert clean_tweet(text) == cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("WHEN @She says #No, RIGHT?!", "when she says no, right?!"),
        ("donâ€™t", "don't"),
        ("50% off -> buy*now*", "50 off buy now"),
        ("café über", "café über"),
        ("जब तुम हंसते हो 😂", "जब तुम हंसते हो"),
        ("a\nb\tc", "a b c"),
        ("@#@#", ""),
    ],
)
def test_mami(text: str, cleaned: str) -> None:
    assert clean_mami(text) == cleaned


def test_choices_by_name() -> None:
    assert CLEANINGS == ("none", "tweet", "mami")
    assert clean_texts(["It's  @x"], "none") == ["It's  @x"]
    assert clean_texts(["It's  @x"], "tweet") == ["It 's @USER"]
    assert clean_texts(["It's  @x"], "mami") == ["it's x"]
    with pytest.raises(ValueError, match="choices are none, tweet, mami"):
        clean_texts([], "bleach")  # type: ignore[arg-type]


@given(st.text(max_size=200))
@settings(deadline=None)
def test_any_text_comes_out_as_words_between_single_blanks(text: str) -> None:
    for cleaned in (clean_tweet(text), clean_mami(text)):
        assert cleaned == " ".join(cleaned.split())
    assert set("@#") & set(clean_mami(text)) == set()


@pytest.mark.parametrize(
    "text", ["a." * 10_000, "<a" * 10_000, "@" * 20_000, ":-" * 10_000, "a-" * 10_000, "1." * 10_000, ". " * 10_000]
)
def test_hostile_texts_take_no_longer(text: str) -> None:
    start = time.perf_counter()
    clean_texts([text], "tweet")
    clean_texts([text], "mami")
    assert time.perf_counter() - start < 3
