"""Gradient modulation and modality dropout: hand-computed values and laws that must hold."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memeblend.losses import dropped_modalities, modulation_coefficients, true_class_score

unhurried = settings(deadline=None, max_examples=60)


def test_modulation_by_hand():
    # rho of the text is 6 / 3; the image is behind and is left alone
    found = modulation_coefficients({"text": 6.0, "image": 3.0}, alpha=0.3)
    assert found == pytest.approx({"text": 1 - math.tanh(0.6), "image": 1.0})


def test_modulation_of_three_compares_with_the_mean_of_the_others():
    found = modulation_coefficients({"a": 4.0, "b": 2.0, "c": 1.0}, alpha=1.0)
    assert found == pytest.approx({"a": 1 - math.tanh(4 / 1.5), "b": 1.0, "c": 1.0})


def test_even_and_empty_scores_change_nothing():
    assert modulation_coefficients({"a": 2.0, "b": 2.0}, 0.5) == {"a": 1.0, "b": 1.0}
    assert modulation_coefficients({"a": 0.0, "b": 0.0}, 0.5) == {"a": 1.0, "b": 1.0}
    assert modulation_coefficients({"a": 1.0, "b": 0.0}, 0.5) == {"a": 0.0, "b": 1.0}


@pytest.mark.parametrize(("scores", "alpha"), [({"a": 1.0}, 0.5), ({"a": 1.0, "b": -1.0}, 0.5), ({"a": 1, "b": 1}, 0)])
def test_wrong_modulation_is_refused(scores, alpha):
    with pytest.raises(ValueError, match="expected two scores"):
        modulation_coefficients(scores, alpha)


@unhurried
@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=5), st.floats(0.01, 10))
def test_coefficients_are_shares_and_someone_is_left_alone(values, alpha):
    found = modulation_coefficients({str(index): value for index, value in enumerate(values)}, alpha)
    assert all(0 <= value <= 1 for value in found.values())
    assert max(found.values()) == 1


def test_true_class_score_by_hand():
    logits = {"mood": torch.tensor([[0.0, 0.0], [math.log(3), 0.0]]), "level": torch.zeros(2, 4)}
    labels = {"mood": torch.tensor([0, 1]), "level": torch.tensor([-1, 2])}
    assert true_class_score(logits, labels) == pytest.approx(0.5 + 0.25 + 0.25)


@unhurried
@given(st.integers(0, 60), st.integers(1, 4), st.floats(0, 1), st.integers(0, 9))
def test_every_meme_keeps_a_modality(num_memes, num_modalities, probability, seed):
    torch.manual_seed(seed)
    lost = dropped_modalities(num_memes, num_modalities, probability)
    assert lost.shape == (num_memes, num_modalities)
    assert not lost.all(dim=1).any()
    if probability == 0:
        assert not lost.any()
    if probability == 1:
        assert (lost.sum(dim=1) == num_modalities - 1).all()


def test_modalities_are_lost_as_often_as_said():
    torch.manual_seed(0)
    # p, less the half of p^2 that is put back
    shares = dropped_modalities(20_000, 2, 0.4).float().mean(dim=0)
    assert shares.tolist() == pytest.approx([0.32, 0.32], abs=0.01)


@pytest.mark.parametrize(("num_modalities", "probability"), [(0, 0.5), (2, -0.1), (2, 1.5)])
def test_wrong_dropout_is_refused(num_modalities, probability):
    with pytest.raises(ValueError, match="expected a modality"):
        dropped_modalities(3, num_modalities, probability)
