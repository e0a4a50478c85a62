"""Contrastive losses against Hugging Face's models, values worked out by hand, and laws that must hold."""

import doctest
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from memeblend.losses import contrastive
from memeblend.losses.contrastive import clip_loss, fitting_pairs, pair_logits, sigmoid_loss
from memeblend.models.pair import image_embeds, text_embeds

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = SIZES | {"vocab_size": 50, "max_position_embeddings": 8, "projection_dim": 8}
VISION = SIZES | {"image_size": 16, "patch_size": 8, "projection_dim": 8}


@pytest.fixture
def batch():
    torch.manual_seed(0)
    ids = torch.randint(3, 48, (6, 8))
    ids[:, -1] = 49
    return {"input_ids": ids, "pixel_values": torch.randn(6, 3, 16, 16)}


def both(model, batch):
    text = text_embeds(model, batch["input_ids"], torch.ones_like(batch["input_ids"]))
    return pair_logits(text, image_embeds(model, batch["pixel_values"]), model.logit_scale)


def test_loss_and_logits_are_those_of_clip(batch):
    config = CLIPConfig(text_config=TEXT | {"eos_token_id": 49}, vision_config=VISION, projection_dim=8)
    model = CLIPModel(config).eval()
    expected = model(**batch, return_loss=True)
    logits = both(model, batch)
    torch.testing.assert_close(logits, expected.logits_per_text)
    torch.testing.assert_close(logits.T, expected.logits_per_image)
    torch.testing.assert_close(clip_loss(logits), expected.loss)


def test_sigmoid_loss_and_logits_are_those_of_siglip(batch):
    model = SiglipModel(SiglipConfig(text_config=TEXT, vision_config=VISION)).eval()
    torch.nn.init.normal_(model.logit_scale)
    torch.nn.init.normal_(model.logit_bias)
    expected = model(**batch, return_loss=True)
    logits = both(model, batch)
    torch.testing.assert_close(logits + model.logit_bias, expected.logits_per_text)
    torch.testing.assert_close(sigmoid_loss(logits, model.logit_bias), expected.loss)


def three():
    """Logits of three pairs of which the first two share an image that shows no text."""
    logits = torch.tensor([[2.0, 2.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 3.0]], dtype=torch.float64)
    fits = fitting_pairs(torch.arange(3), torch.tensor([0, 0, 1]), torch.zeros(3, dtype=torch.bool))
    return logits, fits


def log_p(own, *others):
    return own - math.log(math.exp(own) + sum(math.exp(value) for value in others))


def test_masked_pairs_by_hand():
    logits, fits = three()
    rows = (log_p(2, 0) + log_p(1, 0) + log_p(3, 0, 0)) / 3
    columns = (log_p(2, 0) + log_p(1, 0) + log_p(3, 0, 0)) / 3
    assert clip_loss(logits, fits, "mask").item() == pytest.approx(-(rows + columns) / 2)


def test_several_right_answers_by_hand():
    logits, fits = three()
    rows = (log_p(2, 2, 0) + log_p(1, 1, 0) + log_p(3, 0, 0)) / 3  # both right answers score the same
    first = (log_p(2, 1, 0) + log_p(1, 2, 0)) / 2
    columns = (first + first + log_p(3, 0, 0)) / 3
    assert clip_loss(logits, fits, "multiple").item() == pytest.approx(-(rows + columns) / 2)


def test_sigmoid_treatments_by_hand():
    logits, fits = three()

    def cost(value):
        return math.log1p(math.exp(-value))

    sure = cost(2) + cost(1) + cost(3) + 4 * cost(0)
    assert sigmoid_loss(logits, None, fits, "mask").item() == pytest.approx(sure / 3)
    assert sigmoid_loss(logits, None, fits, "multiple").item() == pytest.approx((sure + cost(2) + cost(1)) / 3)
    assert sigmoid_loss(logits, None, fits, "plain").item() == pytest.approx((sure + cost(-2) + cost(-1)) / 3)


def test_a_batch_of_one_image_has_no_masked_loss_and_no_gradient():
    logits = torch.randn(4, 4, requires_grad=True)
    loss = clip_loss(logits, torch.ones(4, 4, dtype=torch.bool), "mask")
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.eq(0).all()


def test_what_fits_what():
    # Texts a a b c; images 0 1 0 0, of which the last shows its own text.
    found = fitting_pairs(
        torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 0, 0]), torch.tensor([False, False, False, True])
    )
    # The second pair's text came with image 0 in the first, so it fits the third pair's blank image 0 as well.
    expected = [[1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 1, 0], [1, 0, 1, 1]]
    assert found.int().tolist() == expected


@settings(deadline=None, max_examples=50)
@given(size=st.integers(1, 9), kinds=st.integers(1, 4), seed=st.integers(0, 999))
def test_what_fits_what_pair_by_pair(size, kinds, seed):
    generator = torch.Generator().manual_seed(seed)
    texts, images = torch.randint(0, kinds, (2, size), generator=generator)
    shown = torch.rand(size, generator=generator) < 0.4
    together = set(zip(texts.tolist(), images.tolist(), strict=True))
    expected = [
        [
            bool(a == b) or (not hides and (a, image) in together)
            for b, image, hides in zip(texts.tolist(), images.tolist(), shown.tolist(), strict=True)
        ]
        for a in texts.tolist()
    ]
    assert fitting_pairs(texts, images, shown).tolist() == expected


@settings(deadline=None, max_examples=30)
@given(size=st.integers(1, 6), seed=st.integers(0, 999))
def test_treatments_agree_where_every_pair_is_of_its_own(size, seed):
    logits = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    fits = torch.eye(size, dtype=torch.bool)
    for loss in (clip_loss, lambda logits, fits, same: sigmoid_loss(logits, None, fits, same)):
        values = [loss(logits, fits, same).item() for same in ("mask", "multiple", "plain")]
        assert values[1:] == pytest.approx(values[:1] * 2)


@settings(deadline=None, max_examples=30)
@given(size=st.integers(2, 6), seed=st.integers(0, 999), same=st.sampled_from(["mask", "multiple", "plain"]))
def test_order_does_not_matter_and_gradients_are_finite(size, seed, same):
    generator = torch.Generator().manual_seed(seed)
    logits = 50 * torch.randn(size, size, generator=generator, dtype=torch.float64)
    numbers = torch.randint(0, size, (2, size), generator=generator)
    fits = fitting_pairs(numbers[0], numbers[1], torch.rand(size, generator=generator) < 0.5)
    order = torch.randperm(size, generator=generator)
    logits.requires_grad_()
    loss = clip_loss(logits, fits, same)
    loss.backward()
    assert logits.grad.isfinite().all()
    assert clip_loss(logits[order][:, order], fits[order][:, order], same).item() == pytest.approx(loss.item())


@pytest.mark.parametrize("loss", [clip_loss, sigmoid_loss])
def test_what_fits_must_be_given(loss):
    with pytest.raises(ValueError, match="which pairs"):
        loss(torch.zeros(2, 2), same_pairs="mask")


def test_examples():
    assert doctest.testmod(contrastive, optionflags=doctest.ELLIPSIS).failed == 0
