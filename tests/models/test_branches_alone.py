"""What blending asks of multi-modal models: a branch by itself, branches that only watch, modalities left out."""

import pytest
import torch
from small_models import small_batch, small_model

from memeblend.models.image import ImageClassifier
from memeblend.models.text import TextClassifier

each_kind = pytest.mark.parametrize("kind", ["fusion", "align"])


@each_kind
@pytest.mark.parametrize(
    ("branch", "expected"), [("text", TextClassifier), ("image", ImageClassifier), ("fused", None)]
)
def test_a_branch_alone_says_what_it_says_in_the_whole_and_shares_nothing(kind, branch, expected):
    model, batch = small_model(kind), small_batch()
    alone = model.alone(branch)
    assert type(alone) is (expected or type(model))
    assert alone.training == model.training
    found, whole = alone(**batch).branch_logits[branch], model(**batch).branch_logits[branch]
    torch.testing.assert_close(found, whole, rtol=0, atol=0)
    with torch.no_grad():
        for value in alone.parameters():
            value.zero_()
    torch.testing.assert_close(model(**batch).branch_logits[branch], whole, rtol=0, atol=0)


@each_kind
def test_branches_that_watch_train_their_heads_and_leave_the_encoders(kind):
    model, batch = small_model(kind), small_batch()
    for probing in (False, True):
        model.zero_grad()
        said = model(**batch, probing=probing)
        sum(value.sum() for name in ("text", "image") for value in said.branch_logits[name].values()).backward()
        for name, encoder in model.encoders.items():
            moved = [value for value in encoder.parameters() if value.grad is not None and value.grad.abs().sum() > 0]
            assert bool(moved) != probing
            heads = getattr(model, name).pooled_heads
            assert all(value.grad is not None for value in heads.parameters())
    torch.testing.assert_close(said.branch_logits, model(**batch).branch_logits, rtol=0, atol=0)


@each_kind
def test_a_dropped_modality_does_not_reach_the_fusion(kind):
    model, batch = small_model(kind), small_batch()
    whole = model(**batch)
    dropped = torch.tensor([[True, False], [False, True], [False, False], [False, False]])
    found = model(**batch, dropped=dropped)
    other = batch | {"pixel_values": batch["pixel_values"].flip(0)}
    moved = model(**other, dropped=dropped)
    for task, value in found.logits.items():
        torch.testing.assert_close(value[2:], whole.logits[task][2:])
        # The second meme has lost its image, so another image changes nothing; the first has lost its text.
        torch.testing.assert_close(moved.logits[task][1], value[1])
        assert not torch.allclose(value[1], whole.logits[task][1]) or kind == "align"
    for branch in ("text", "image"):
        torch.testing.assert_close(found.branch_logits[branch], whole.branch_logits[branch])
    texts = batch | {"input_ids": batch["input_ids"].flip(0), "attention_mask": batch["attention_mask"].flip(0)}
    if kind == "align":  # a fusion's mask still tells how long the text is
        lost = torch.tensor([[True, False]] * 4)
        expected = model(**batch, dropped=lost).logits
        torch.testing.assert_close(model(**texts, dropped=lost).logits, expected)
