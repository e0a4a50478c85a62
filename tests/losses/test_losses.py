"""Losses against hand-computed values, PyTorch, numerical gradients and laws that must hold."""

import doctest
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from memeblend.losses import blending, classification, cross_entropy, focal, gradient_blend, label_task_loss

unhurried = settings(deadline=None, max_examples=50)  # the first call of PyTorch's functions is slow
GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)


def logits_of(*p_true):
    """Two-class logits [B, 2] whose class 0 has the given probabilities."""
    return torch.tensor([[math.log(p), math.log(1 - p)] for p in p_true], dtype=torch.float64)


@st.composite
def batches(draw, labelled=False):
    """Logits [B, K], labels [B] and positive class weights [K]."""
    num_classes = draw(st.integers(2, 5))
    size = draw(st.integers(1, 6))
    number = st.floats(-20, 20, allow_nan=False)
    logits = draw(st.lists(st.lists(number, min_size=num_classes, max_size=num_classes), min_size=size, max_size=size))
    labels = draw(st.lists(st.integers(0 if labelled else -1, num_classes - 1), min_size=size, max_size=size))
    weights = draw(st.lists(st.floats(0.1, 5), min_size=num_classes, max_size=num_classes))
    doubles = {"dtype": torch.float64}
    return torch.tensor(logits, **doubles), torch.tensor(labels), torch.tensor(weights, **doubles)


def test_cross_entropy_by_hand():
    loss = cross_entropy(logits_of(0.5, 0.8), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((math.log(2) + math.log(5)) / 2)


def test_class_weights_by_hand():
    weights = torch.tensor([1.0, 3.0], dtype=torch.float64)
    loss = cross_entropy(logits_of(0.5, 0.8), torch.tensor([0, 1]), weights)
    assert loss.item() == pytest.approx((1 * math.log(2) + 3 * math.log(5)) / 4)


def test_missing_labels_count_for_nothing():
    logits = logits_of(0.5, 0.8).requires_grad_()
    loss = cross_entropy(logits, torch.tensor([0, -1]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert logits.grad[1].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("gamma", "expected"), [(0.0, math.log(4)), (1.0, 0.75 * math.log(4)), (2.0, 0.5625 * math.log(4))]
)
def test_focal_by_hand(gamma, expected):
    assert focal(logits_of(0.25), torch.tensor([0]), gamma).item() == pytest.approx(expected)


def test_focal_means_over_labelled_memes_and_takes_class_weights():
    weights = torch.tensor([1.0, 3.0], dtype=torch.float64)
    loss = focal(logits_of(0.25, 0.5, 0.9), torch.tensor([0, 1, -1]), 2.0, weights)
    assert loss.item() == pytest.approx((1 * 0.75**2 * math.log(4) + 3 * 0.5**2 * math.log(2)) / 4)


def test_focal_refuses_a_negative_gamma():
    with pytest.raises(ValueError, match="gamma is -1"):
        focal(logits_of(0.5), torch.tensor([0]), -1.0)


@unhurried
@given(batches(), st.booleans())
def test_cross_entropy_and_focal_with_gamma_zero_equal_pytorch(batch, weighted):
    logits, labels, weights = batch
    weights = weights if weighted else None
    ours, ours_focal = cross_entropy(logits, labels, weights), focal(logits, labels, 0.0, weights)
    if (labels == -1).all():
        assert ours.item() == ours_focal.item() == 0
        return
    expected = F.cross_entropy(logits, labels, weight=weights, ignore_index=-1)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(ours_focal, expected)


@pytest.mark.parametrize("loss", [cross_entropy, lambda logits, labels: focal(logits, labels, 2.0)])
def test_a_batch_without_labels_gives_zero_and_zero_gradient(loss):
    logits = torch.randn(3, 4, requires_grad=True)
    value = loss(logits, torch.full((3,), -1))
    value.backward()
    assert value.item() == 0
    assert logits.grad.abs().sum().item() == 0


@unhurried
@given(batches(labelled=True), st.sampled_from(GAMMAS))
def test_gradients_are_the_numerical_ones(batch, gamma):
    logits, labels, weights = batch
    logits = (logits / 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: focal(x, labels, gamma, weights), logits)
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, labels, weights), logits)


@unhurried
@given(batches(labelled=True), st.sampled_from(GAMMAS))
def test_detached_focal_has_the_same_value_and_cross_entropys_scaled_gradient(batch, gamma):
    logits, labels, _ = batch
    logits, labels = logits[:1].requires_grad_(), labels[:1]
    detached = focal(logits, labels, gamma, detach=True)
    torch.testing.assert_close(detached, focal(logits, labels, gamma))
    (gradient,) = torch.autograd.grad(detached, logits)
    (plain,) = torch.autograd.grad(cross_entropy(logits, labels), logits)
    p_t = logits.softmax(dim=1)[0, labels[0]]
    torch.testing.assert_close(gradient, plain * (1 - p_t) ** gamma, atol=1e-9, rtol=1e-6)


@unhurried
@given(batches(), st.sampled_from(GAMMAS))
def test_focal_lies_between_zero_and_cross_entropy(batch, gamma):
    logits, labels, weights = batch
    value = focal(logits, labels, gamma, weights).item()
    assert 0 <= value <= cross_entropy(logits, labels, weights).item() + 1e-12


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("true_class", [0, 1])
def test_focal_and_its_gradient_are_finite_where_probabilities_round_to_zero_and_one(gamma, true_class):
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    value = focal(logits, torch.tensor([true_class]), gamma)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


@unhurried
@given(batches(), st.sampled_from(GAMMAS), st.randoms(use_true_random=False))
def test_order_of_memes_does_not_matter(batch, gamma, random):
    logits, labels, weights = batch
    order = list(range(len(labels)))
    random.shuffle(order)
    torch.testing.assert_close(
        focal(logits[order], labels[order], gamma, weights), focal(logits, labels, gamma, weights)
    )


def test_label_task_loss_is_the_mean_over_label_tasks_with_labels():
    logits = {"a": logits_of(0.5, 0.25), "b": logits_of(0.1, 0.5), "c": logits_of(0.5, 0.5)}
    labels = {"a": torch.tensor([0, 0]), "b": torch.tensor([-1, 0]), "c": torch.tensor([-1, -1])}
    losses = {"a": cross_entropy, "b": lambda x, y: focal(x, y, 1.0), "c": cross_entropy}
    expected_a, expected_b = (math.log(2) + math.log(4)) / 2, 0.5 * math.log(2)
    assert label_task_loss(logits, labels, losses).item() == pytest.approx((expected_a + expected_b) / 2)


def test_label_task_loss_of_a_batch_without_labels_is_zero_with_zero_gradient():
    logits = {"a": torch.randn(2, 3, requires_grad=True)}
    value = label_task_loss(logits, {"a": torch.tensor([-1, -1])}, {"a": cross_entropy})
    value.backward()
    assert value.item() == 0
    assert logits["a"].grad.abs().sum().item() == 0


def test_label_task_loss_wants_the_same_label_tasks_everywhere():
    with pytest.raises(ValueError, match="every label task once in each, found logits: a; labels: b; losses: a"):
        label_task_loss({"a": torch.zeros(1, 2)}, {"b": torch.tensor([0])}, {"a": cross_entropy})


def test_gradient_blend_is_equation_7_in_value_and_gradient():
    losses = {
        name: torch.tensor(value, requires_grad=True) for name, value in (("text", 1.0), ("image", 2.0), ("fused", 4.0))
    }
    weights = {"fused": 0.5, "image": 0.3, "text": 0.2}
    blended = gradient_blend(losses, weights)
    blended.backward()
    assert blended.item() == pytest.approx(0.2 * 1 + 0.3 * 2 + 0.5 * 4)
    assert {name: loss.grad.item() for name, loss in losses.items()} == pytest.approx(weights)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"text": 1.0}, "every branch once in each"),
        ({"text": 1.0, "image": -0.5}, "image has -0.5"),
        ({"text": 1.0, "fused": 1.0}, "weights: text, fused"),
    ],
)
def test_gradient_blend_refuses_weights_that_do_not_fit(weights, message):
    with pytest.raises(ValueError, match=message):
        gradient_blend({"text": torch.tensor(1.0), "image": torch.tensor(1.0)}, weights)


def test_gradient_blend_refuses_nothing_at_all():
    with pytest.raises(ValueError, match="branch_losses: none"):
        gradient_blend({}, {})


@pytest.mark.parametrize("module", [classification, blending])
def test_the_examples_in_the_documentation_are_true(module):
    found = doctest.testmod(module, extraglobs={"torch": torch}, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0
