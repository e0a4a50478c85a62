"""Adapters in the encoders: what is trained, what merging gives, what is missing without PEFT."""

import builtins

import pytest
import torch
from small_models import KINDS, LABEL_TASKS, assert_same, small_batch, small_model

from memeblend.errors import MissingExtraError
from memeblend.losses import cross_entropy
from memeblend.models import load_model
from memeblend.models.lora import Adapters

ENCODERS = ("text.text_model.", "image.vision_model.")
each_kind = pytest.mark.parametrize("kind", KINDS)


def trained(model, steps=3):
    """Some steps on all branches."""
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], 1e-2)
    labels = torch.tensor([0, 1, 1, 0])
    for _ in range(steps):
        optimizer.zero_grad()
        branch_logits = model(**small_batch()).branch_logits
        losses = [cross_entropy(logits[task.name], labels) for logits in branch_logits.values() for task in LABEL_TASKS]
        torch.stack(losses).sum().backward()
        optimizer.step()
    return model


def test_adapters_and_what_is_above_the_encoders_are_trained_alone():
    pytest.importorskip("peft")
    model = small_model("fusion")
    before = {name: value.clone() for name, value in model.named_parameters()}
    above = sum(value.numel() for name, value in before.items() if not name.startswith(ENCODERS))
    adapters = Adapters(model, rank=3)
    # Two layers of two projections in each encoder, of width 32 and 48: A [3, d] and B [d, 3].
    assert adapters.num_trained == above + 2 * 2 * (2 * 3 * 32) + 2 * 2 * (2 * 3 * 48)
    trained(model)
    for name, value in model.named_parameters():
        plain = name.replace(".base_layer", "")
        if "lora_" in name:
            assert name.startswith(ENCODERS)
            assert "q_proj" in name or "v_proj" in name
            assert value.grad is not None
        elif name.startswith(ENCODERS):
            assert value.grad is None
            assert torch.equal(value, before[plain]), name
        else:
            assert not torch.equal(value, before[plain]), name


@each_kind
def test_adapters_change_nothing_at_first(kind):
    pytest.importorskip("peft")
    model = small_model(kind)
    expected = model(**small_batch())
    Adapters(model, rank=2)
    assert_same(model(**small_batch()), expected)


@each_kind
def test_the_merged_model_is_an_ordinary_one_with_the_same_outputs(kind, tmp_path):
    pytest.importorskip("peft")
    model = small_model(kind)
    names = list(model.state_dict())
    start = {name: value.clone() for name, value in model.state_dict().items()}
    adapters = Adapters(model, rank=2)
    trained(model).eval()
    expected = model(**small_batch())
    adapters.merge()
    assert list(model.state_dict()) == names
    assert all(value.requires_grad for value in model.parameters())
    changed = {
        name for name in names if name.startswith(ENCODERS) and not torch.equal(model.state_dict()[name], start[name])
    }
    assert changed == {
        name for name in names if name.startswith(ENCODERS) and name.endswith(("q_proj.weight", "v_proj.weight"))
    }
    assert_same(model(**small_batch()), expected, exact=False)
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert "peft" not in (tmp_path / "config.json").read_text()
    assert_same(load_model(kind, tmp_path)(**small_batch()), model(**small_batch()))


def test_the_update_is_twice_b_times_a():
    pytest.importorskip("peft")
    model = small_model("image")
    before = model.image.vision_model.encoder.layers[1].self_attn.v_proj.weight.clone()
    adapters = Adapters(model, rank=2)
    layer = model.image.vision_model.encoder.layers[1].self_attn.v_proj
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_()
    update = 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    adapters.merge()
    torch.testing.assert_close(model.image.vision_model.encoder.layers[1].self_attn.v_proj.weight, before + update)


def test_without_peft_the_extra_is_named(monkeypatch):
    whole = builtins.__import__

    def without_peft(name, *args, **kwargs):
        if name.split(".")[0] == "peft":
            raise ModuleNotFoundError("No module named 'peft'")
        return whole(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_peft)
    with pytest.raises(MissingExtraError, match=r'pip install "memeblend\[peft\]"'):
        Adapters(small_model("text"), rank=2)
