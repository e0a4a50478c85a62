"""Attention roll-out: rows sum to 1, the recorded attention is the model's own, grids keep their sums."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memeblend.candidates.neural import Neural
from memeblend.explain.gradients import model_of, one_batch
from memeblend.explain.inputs import Meme
from memeblend.explain.rollout import _recorded, attention_rollout, model_shares, regridded, rolled_out

TEXT = "lovely good thing number 4"


@given(st.integers(1, 4), st.integers(1, 5), st.booleans(), st.integers(0, 1000))
def test_rows_sum_to_one(num_layers, size, residual, seed):
    rng = np.random.default_rng(seed)
    layers = [torch.from_numpy(rng.dirichlet(np.ones(size), size)) for _ in range(num_layers)]
    found = rolled_out(layers, residual=residual)
    np.testing.assert_allclose(found.sum(dim=1).numpy(), 1)
    assert (found >= 0).all()


def test_two_layers_by_hand():
    first, second = torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    torch.testing.assert_close(rolled_out([first, second], residual=False), (second @ first).double())
    # with residuals: [[.5, .5], [0, 1]] times [[1, 0], [.25, .75]]
    expected = torch.tensor([[0.625, 0.375], [0.25, 0.75]], dtype=torch.float64)
    torch.testing.assert_close(rolled_out([first, second]), expected)


@pytest.mark.parametrize("modality", ["text", "image"])
def test_attention_is_the_encoders_own(model, picture, modality):
    candidate = model.candidates_[f"{modality}-0"]
    meme = Meme.make(picture, TEXT, model.preprocessor_)
    inputs = one_batch(candidate, meme, model.preprocessor_)
    own = model_of(candidate, "mood")
    encoder = own.text.text_model if modality == "text" else own.image.vision_model
    with torch.inference_mode(), _recorded(own) as seen:
        own(**inputs)
    found = seen(encoder, causal=modality == "text")
    eager = copy.deepcopy(encoder)
    eager.set_attn_implementation("eager")
    name = "input_ids" if modality == "text" else "pixel_values"
    with torch.inference_mode():
        expected = eager(**{name: inputs[name]}, output_attentions=True).attentions
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs[0].mean(dim=0), rtol=1e-4, atol=1e-6)


def test_attention_of_the_fusion_is_its_own(model, picture):
    candidate = model.candidates_["fusion-0"]
    inputs = one_batch(candidate, Meme.make(picture, TEXT, model.preprocessor_), model.preprocessor_)
    own = model_of(candidate, "mood")
    attention = own.blocks[0].attention
    oracle = torch.nn.MultiheadAttention(16, attention.num_heads, batch_first=True).eval()
    oracle.load_state_dict(
        {
            "in_proj_weight": attention.in_proj.weight,
            "in_proj_bias": attention.in_proj.bias,
            "out_proj.weight": attention.out_proj.weight,
            "out_proj.bias": attention.out_proj.bias,
        }
    )
    read = []
    hook = attention.register_forward_hook(lambda module, given, output: read.append(given[0]))
    with torch.inference_mode(), _recorded(own) as seen:
        own(**inputs)
        _, expected = oracle(read[0], read[0], read[0])
    hook.remove()
    torch.testing.assert_close(seen(own.blocks, causal=False)[0], expected[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["text-0", "image-0", "fusion-0", "fusion_unblended-0", "align-0"])
def test_shares_of_every_kind_sum_to_one(model, picture, name):
    candidate = model.candidates_[name]
    assert isinstance(candidate, Neural)
    meme = Meme.make(picture, TEXT, model.preprocessor_, side=5)
    shares = model_shares(model_of(candidate, "mood"), one_batch(candidate, meme, model.preprocessor_))
    assert sum(part.sum() for part in (shares.tokens, shares.states) if part is not None) == pytest.approx(1)
    found = attention_rollout(candidate, meme, model.preprocessor_, "mood")
    assert found.total == pytest.approx(1)
    assert min(found.words or (0,)) >= 0
    assert found.complete is None
    if found.patches is not None:
        assert np.shape(found.patches) == (5, 5)


def test_a_finer_grid_by_hand():
    np.testing.assert_allclose(regridded(np.array([1.0]), 2), [[0.25, 0.25], [0.25, 0.25]])
    np.testing.assert_allclose(regridded(np.array([1.0, 2, 3, 4]), 1), [[10.0]])
    # two columns onto three: the middle one takes a third of each
    found = regridded(np.array([3.0, 0, 3, 0]), 3).sum(axis=0)
    np.testing.assert_allclose(found, [4, 2, 0])


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 100))
def test_any_grid_keeps_the_sum(own, side, seed):
    patches = np.random.default_rng(seed).random(own * own)
    found = regridded(patches, side)
    assert found.sum() == pytest.approx(patches.sum())
    if own == side:
        np.testing.assert_allclose(found.ravel(), patches)
