"""What the page makes of scores."""

from types import SimpleNamespace

from memeblend.explain.attribution import Attribution
from memeblend.explain.page import _heat

EXPLANATION = SimpleNamespace(text="great thing", words=((0, 5), (6, 11)))


def strengths(words, patches):
    heat = _heat(EXPLANATION, Attribution("ensemble", "occlusion", words, patches))
    return [[part["strength"] for part in heat[kind]] for kind in ("words", "patches")]


def test_patches_are_seen_beside_a_word_that_outweighs_them():
    words, patches = strengths((2.0, -1.0), ((0.02, -0.01), (0.0, 0.005)))
    assert words == [1, 0.5]
    assert patches == [1, 0.5, 0, 0.25]


def test_rounding_errors_make_no_heat():
    assert strengths((2.0, 0.0), ((1e-9, -1e-9), (0.0, 1e-8))) == [[1, 0], [0, 0, 0, 0]]
    assert strengths(None, None) == [[], []]
