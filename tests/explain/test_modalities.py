"""The split into text, image and interaction, and the irony index."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memeblend.explain.inputs import Meme, Variant
from memeblend.explain.modalities import counterfactuals, irony, irony_index, split_scores

probability = st.floats(0, 1, allow_nan=False)


def distributions(num_classes):
    return st.lists(st.floats(0.001, 1), min_size=num_classes, max_size=num_classes).map(
        lambda values: np.array(values) / sum(values)
    )


def test_a_two_by_two_table_by_hand():
    # f(T, I) = .9, f(T, 0) = .4, f(0, I) = .3, f(0, 0) = .1
    split = split_scores(np.array([0.9]), np.array([[0.4], [0.3], [0.1]]))[0]
    assert (split.baseline, split.text, split.image) == pytest.approx((0.1, 0.3, 0.2))
    assert split.interaction == pytest.approx(0.9 - 0.4 - 0.3 + 0.1)
    # Shapley: the mean of what a player adds when it comes first and when it comes second
    assert split.shapley_text == pytest.approx(((0.4 - 0.1) + (0.9 - 0.3)) / 2)
    assert split.shapley_image == pytest.approx(((0.3 - 0.1) + (0.9 - 0.4)) / 2)
    assert split.value == pytest.approx(0.9)
    assert split.standard_errors is None


def test_backgrounds_are_averaged_and_their_spread_is_told():
    others = np.array([[0.4], [0.6], [0.3], [0.3], [0.1], [0.2]])  # text, image, none; two backgrounds each
    split = split_scores(np.array([0.9]), others)[0]
    assert split.baseline == pytest.approx(0.15)
    assert split.text == pytest.approx(0.35)
    texts = np.array([0.4 - 0.1, 0.6 - 0.2])
    assert split.standard_errors[0] == pytest.approx(texts.std(ddof=1) / 2**0.5)


@given(st.integers(1, 4), st.data())
def test_the_terms_of_every_class_sum_to_its_probability_and_cancel_over_the_classes(num_backgrounds, data):
    whole = data.draw(distributions(3))
    others = np.array([data.draw(distributions(3)) for _ in range(3 * num_backgrounds)])
    splits = split_scores(whole, others)
    for split, value in zip(splits, whole, strict=True):
        assert split.value == pytest.approx(value)
        assert split.shapley_text + split.shapley_image == pytest.approx(value - split.baseline)
    for term in ("text", "image", "interaction"):
        assert sum(getattr(split, term) for split in splits) == pytest.approx(0, abs=1e-9)


@given(probability, probability, probability, probability)
def test_what_is_additive_has_no_interaction(text, other_text, image, other_image):
    def f(t, i):
        return 0.4 * t + 0.6 * i

    others = np.array([[f(text, other_image)], [f(other_text, image)], [f(other_text, other_image)]])
    split = split_scores(np.array([f(text, image)]), others)[0]
    assert split.interaction == pytest.approx(0, abs=1e-12)
    assert split.text == pytest.approx(0.4 * (text - other_text))


def test_counterfactuals_cross_the_meme_with_each_background():
    pixels = [np.full((4, 4, 3), value, dtype=np.uint8) for value in (1, 2, 3)]
    meme = Meme("mine", pixels[0], ((0, 4),), 2, np.zeros(3, dtype=np.uint8))
    found = counterfactuals(meme, [Variant("a", pixels[1]), Variant("b", pixels[2])])
    assert [(one.text, int(one.pixels[0, 0, 0])) for one in found] == [
        ("mine", 2), ("mine", 3), ("a", 1), ("b", 1), ("a", 2), ("b", 3)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fused", "text", "image", "expected"),
    [
        ([1, 0], [1, 0], [0, 1], 0),  # the text's decision
        ([0, 1], [1, 0], [0, 1], 0),  # the image's
        ([0.3, 0.7], [1, 0], [0, 1], 0),  # a compromise
        ([0, 1], [1, 0], [1, 0], 1),  # both exclude it
        ([0, 1], [0.5, 0.5], [0.5, 0.5], 0.5),  # each alone can't tell: the sample's sarcasm
        ([0, 1], [0.8, 0.2], [0.6, 0.4], 0.6),  # the nearer of the two ends
        ([0, 0, 1], [1, 0, 0], [0, 1, 0], 1),
        ([0.25, 0.25, 0.5], [1, 0, 0], [0, 1, 0], 0.5),  # nearest at equal weights
    ],
)
def test_irony_by_hand(fused, text, image, expected):
    assert irony_index(*(np.array(one, dtype=float) for one in (fused, text, image))) == pytest.approx(expected)


@given(distributions(4), distributions(4), distributions(4))
def test_irony_is_the_least_distance_to_a_mixture(fused, text, image):
    found = irony_index(fused, text, image)
    weights = np.linspace(0, 1, 2001)[:, None]
    tried = np.abs(fused - (weights * text + (1 - weights) * image)).sum(axis=1).min() / 2
    assert 0 <= found <= 1
    assert found <= tried + 1e-12
    assert found == pytest.approx(tried, abs=1e-3)
    assert irony_index(fused, image, text) == pytest.approx(found)


def test_irony_takes_the_mean_over_the_backgrounds():
    whole = np.array([0.0, 1.0])
    others = np.array([[1, 0], [0, 1], [0.5, 0.5], [0.5, 0.5], [1, 0], [1, 0]], dtype=float)
    found = irony(whole, others)
    assert found.text == (0.5, 0.5)
    assert found.image == (0.5, 0.5)
    assert found.index == pytest.approx(0.5)
