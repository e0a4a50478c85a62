"""What must hold for every kind of model alike."""

import pytest
import torch
from small_models import KINDS, LABEL_TASKS, assert_same, small_batch, small_config, small_model
from transformers import CLIPModel

from memeblend.losses import cross_entropy, gradient_blend
from memeblend.models import build_model, load_model, model_class

BRANCHES = {
    "text": ["text"],
    "image": ["image"],
    "fusion": ["text", "image", "fused"],
    "align": ["text", "image", "fused"],
}
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
def test_logits_of_every_branch_and_label_task(kind):
    output = small_model(kind)(**small_batch())
    assert list(output.branch_logits) == BRANCHES[kind]
    for logits in output.branch_logits.values():
        assert {name: tuple(value.shape) for name, value in logits.items()} == {
            "sentiment": (4, 3),
            "keys": (4, 2),
            "a.b": (4, 4),
        }
    assert output.logits is output.branch_logits[BRANCHES[kind][-1]]


@each_kind
def test_every_parameter_gets_a_finite_gradient(kind):
    model = small_model(kind, norm=True, residual=True).train()
    branch_logits = model(**small_batch()).branch_logits
    labels = {task.name: torch.tensor([0, 1, 1, 0]) for task in LABEL_TASKS}
    losses = {
        branch: sum(cross_entropy(logits[name], labels[name]) for name in logits)
        for branch, logits in branch_logits.items()
    }
    gradient_blend(losses, dict.fromkeys(losses, 1.0)).backward()
    without = [name for name, value in model.named_parameters() if value.grad is None]
    assert without == []
    assert all(torch.isfinite(value.grad).all() for value in model.parameters())


@each_kind
def test_saving_and_loading_changes_nothing(kind, tmp_path, capfd):
    model = small_model(kind)
    with torch.no_grad():  # move every weight away from its initial value, biases and norms too
        for value in model.parameters():
            value.add_(0.01 * torch.randn_like(value))
    model.save_pretrained(tmp_path)
    loaded = load_model(kind, tmp_path)
    assert type(loaded) is model_class(kind)
    assert not loaded.training
    assert_same(loaded(**small_batch()), model(**small_batch()))
    assert loaded.config.label_tasks == model.config.label_tasks
    assert loaded.config.encoder_config.text_config.to_dict() == model.config.encoder_config.text_config.to_dict()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert capfd.readouterr().err == "", "Hugging Face drew a progress bar"


@each_kind
def test_predictions_do_not_depend_on_the_batchs_padding(kind):
    model = small_model(kind)
    assert_same(model(**small_batch(padding=3)), model(**small_batch()), exact=False)


@each_kind
def test_predictions_do_not_depend_on_the_other_memes_of_the_batch(kind):
    model = small_model(kind)
    together = model(**small_batch())
    for row in range(4):
        batch = {name: value[row : row + 1] for name, value in small_batch().items()}
        length = int(batch["attention_mask"].sum())
        alone = model(
            input_ids=batch["input_ids"][:, :length],
            attention_mask=batch["attention_mask"][:, :length],
            pixel_values=batch["pixel_values"],
        )
        expected = {name: value[row : row + 1] for name, value in together.logits.items()}
        torch.testing.assert_close(alone.logits, expected, rtol=1e-4, atol=1e-5)


@each_kind
def test_without_a_mask_all_tokens_count(kind):
    model, batch = small_model(kind), small_batch(("hello meme",))
    mask = batch.pop("attention_mask")
    assert mask.all()
    assert_same(model(**batch), model(**batch, attention_mask=mask))


@each_kind
def test_each_modality_is_read_or_not_as_the_kind_says(kind):
    model, batch = small_model(kind), small_batch()
    other_image = batch | {"pixel_values": batch["pixel_values"] + 1}
    other_text = batch | {"input_ids": batch["input_ids"].clone()}
    other_text["input_ids"][:, 0] = 5
    before = model(**batch).logits["sentiment"]
    assert torch.equal(model(**other_image).logits["sentiment"], before) == (kind == "text")
    assert torch.equal(model(**other_text).logits["sentiment"], before) == (kind == "image")


@each_kind
def test_encoders_start_from_the_clip_and_share_no_memory_with_it(kind):
    config = small_config()
    clip = CLIPModel(config.encoder_config)
    model = build_model(kind, config, clip)
    found = 0
    for branch, part in (("text", "text_model"), ("image", "vision_model")):
        if hasattr(model, branch):
            found += 1
            theirs = getattr(clip, part).state_dict()
            for name, value in getattr(getattr(model, branch), part).state_dict().items():
                assert torch.equal(value, theirs[name])
                assert value.data_ptr() != theirs[name].data_ptr()
    assert found == (1 if kind in ("text", "image") else 2)


@each_kind
def test_attention_of_the_encoders_is_fused(kind):
    config = small_model(kind).config
    assert config.encoder_config.text_config._attn_implementation == "sdpa"
    assert config.encoder_config.vision_config._attn_implementation == "sdpa"


@each_kind
def test_a_seed_fixes_the_weights(kind):
    first, again, other = (small_model(kind, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind is 'audio', expected one of text, image, fusion, align"):
        model_class("audio")
