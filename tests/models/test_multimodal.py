"""Fusion and align against PyTorch's own attention and hand-made values; starting from uni-modal models."""

import pytest
import torch
from small_models import LABEL_TASKS, small_batch, small_config, small_model
from torch import nn
from transformers import BertConfig, VisionTextDualEncoderConfig

from clip_checkpoint import clip_config
from memeblend.errors import ModelError
from memeblend.models import from_branches
from memeblend.models.align import AlignClassifier
from memeblend.models.attention import AttentionBlock, SelfAttention
from memeblend.models.config import MemeConfig
from memeblend.models.encoders import EncoderStates
from memeblend.models.fusion import FusionClassifier


def torch_attention(ours: SelfAttention) -> nn.MultiheadAttention:
    """PyTorch's multi-head attention with our weights."""
    theirs = nn.MultiheadAttention(ours.out_proj.in_features, ours.num_heads, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.in_proj.weight)
        theirs.in_proj_bias.copy_(ours.in_proj.bias)
    theirs.out_proj.load_state_dict(ours.out_proj.state_dict())
    return theirs


def test_self_attention_equals_pytorchs():
    torch.manual_seed(0)
    ours = SelfAttention(24, 4, 0.0)
    nn.init.normal_(ours.in_proj.bias)
    nn.init.normal_(ours.out_proj.bias)
    states = torch.randn(3, 7, 24)
    mask = torch.arange(7)[None, :] < torch.tensor([7, 4, 1])[:, None]
    theirs, _ = torch_attention(ours)(states, states, states, key_padding_mask=~mask)
    torch.testing.assert_close(ours(states, mask), theirs, rtol=1e-4, atol=1e-5)


def test_attention_drops_out_only_in_training():
    torch.manual_seed(0)
    attention, states, mask = SelfAttention(24, 4, 0.5), torch.randn(1, 5, 24), torch.ones(1, 5, dtype=torch.bool)
    attention.eval()
    assert torch.equal(attention(states, mask), attention(states, mask))
    attention.train()
    assert not torch.equal(attention(states, mask), attention(states, mask))


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_a_blocks_switches(residual, norm):
    torch.manual_seed(0)
    block = AttentionBlock(24, 4, 0.0, residual=residual, norm=norm)
    states, mask = 3 + torch.randn(2, 5, 24), torch.ones(2, 5, dtype=torch.bool)
    read = nn.functional.layer_norm(states, (24,)) if norm else states
    expected = block.attention(read, mask) + (states if residual else 0)
    torch.testing.assert_close(block(states, mask), expected)


@pytest.mark.parametrize("text_state", ["eos", "bos"])
def test_fusion_equals_the_papers_equations_written_with_pytorchs_attention(text_state):
    model, batch = small_model("fusion", text_state=text_state, num_blocks=3), small_batch()
    mask = batch["attention_mask"]
    text = model.text(batch["input_ids"], mask)
    image = model.image(batch["pixel_values"])
    states = torch.cat([text.tokens, model.image_projection(image.tokens)], dim=1)  # equation 5
    padding = torch.cat([mask == 0, torch.zeros(image.tokens.shape[:2], dtype=torch.bool)], dim=1)
    for block in model.blocks:
        states, _ = torch_attention(block.attention)(states, states, states, key_padding_mask=padding)
    text_positions = mask.sum(dim=1) - 1 if text_state == "eos" else [0] * len(mask)
    fused = torch.stack(  # equation 6
        [torch.cat([states[row, position], states[row, mask.shape[1]]]) for row, position in enumerate(text_positions)]
    )
    torch.testing.assert_close(model(**batch).logits, model.fused_heads(fused), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def token_differences(num_blocks, **switches):
    """Share of the states that differs between tokens, and the states' size, after blocks as a model starts with."""
    model = small_model("fusion", num_blocks=num_blocks, **switches)
    states = torch.nn.functional.layer_norm(torch.randn(8, 40, 32), (32,))
    for block in model.blocks:
        states = block(states, torch.ones(8, 40, dtype=torch.bool))
    return float((states - states.mean(dim=1, keepdim=True)).norm() / states.norm()), float(states.std())


def test_the_papers_blocks_collapse_tokens_but_keep_their_size_and_the_switches_prevent_it():
    difference, size = token_differences(6)
    assert difference < 0.001
    assert size > 0.03
    difference, _ = token_differences(6, residual=True, norm=True)
    assert difference > 0.5


def test_align_multiplies_projected_features_of_unit_length():
    model = small_model("align", num_hidden=0)
    states = [EncoderStates(torch.empty(0), torch.randn(5, width)) for width in (32, 48)]
    projected = [
        projection[0](part.pooled)
        for projection, part in zip((model.text_projection, model.image_projection), states, strict=True)
    ]
    unit = [features / features.norm(dim=1, keepdim=True) for features in projected]
    expected = model.fused_heads(unit[0] * unit[1] * 24)
    mask = torch.ones(5, 1, dtype=torch.int64)
    torch.testing.assert_close(model.fuse(*states, mask), expected)


def test_align_has_as_many_hidden_layers_as_asked():
    for number in (0, 1, 3):
        layers = small_model("align", num_hidden=number).hidden
        assert sum(isinstance(layer, nn.Linear) for layer in layers) == number


def test_align_learns_whether_text_and_image_disagree_from_few_memes():
    torch.manual_seed(0)
    config = MemeConfig(clip_config(), LABEL_TASKS[1:2], projection_size=32, lstm_hidden_size=4)
    model = AlignClassifier(config)
    fusing = [*model.text_projection.parameters(), *model.image_projection.parameters()]
    fusing += [*model.hidden.parameters(), *model.fused_heads.parameters()]
    optimizer = torch.optim.AdamW(fusing, 1e-2)
    signs = torch.randint(0, 2, (2, 400)) * 2 - 1
    features = [torch.randn(400, width) for width in (32, 48)]
    for part, sign in zip(features, signs, strict=True):
        part[:, :4] += 2 * sign[:, None]
    labels, mask = (signs[0] != signs[1]).long(), torch.ones(400, 1, dtype=torch.int64)
    text, image = (EncoderStates(torch.empty(0), part) for part in features)

    def logits(rows):
        parts = [EncoderStates(part.tokens, part.pooled[rows]) for part in (text, image)]
        return model.fuse(*parts, mask[rows])["keys"]

    train, test = torch.arange(200), torch.arange(200, 400)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits(train), labels[train]).backward()
        optimizer.step()
    model.eval()
    assert (logits(test).argmax(dim=1) == labels[test]).float().mean() > 0.9


@pytest.mark.parametrize("kind", ["fusion", "align"])
def test_a_multimodal_model_starts_from_uni_modal_ones(kind):
    text, image = small_model("text", seed=1, lstm_hidden_size=9, lstm_layers=1), small_model("image", seed=2)
    model = from_branches(kind, small_config(), text, image).eval()
    batch = small_batch()
    branches = model(**batch).branch_logits
    torch.testing.assert_close(branches["text"], text(**batch).logits, rtol=0, atol=0)
    torch.testing.assert_close(branches["image"], image(**batch).logits, rtol=0, atol=0)
    with torch.no_grad():
        model.text.pooled_heads.heads[0].output.bias.add_(1)
    assert not torch.equal(model(**batch).branch_logits["text"]["sentiment"], text(**batch).logits["sentiment"])
    torch.testing.assert_close(text(**batch).logits, branches["text"], rtol=0, atol=0)


def test_starting_from_models_of_other_label_tasks_or_sizes_is_refused():
    text, image = small_model("text"), small_model("image")
    fewer = MemeConfig(clip_config(), LABEL_TASKS[:1])
    with pytest.raises(ModelError, match=r"text model for sentiment, found one for sentiment, keys, a\.b"):
        from_branches("fusion", fewer, text, image)
    wider = MemeConfig(clip_config(hidden_size=48), LABEL_TASKS, num_heads=4)
    with pytest.raises(ModelError, match="text model's sizes differ"):
        from_branches("fusion", wider, text, image)


def test_starting_from_wrong_kinds_is_refused():
    text, image = small_model("text"), small_model("image")
    with pytest.raises(ValueError, match="kind is 'text', expected a multi-modal one"):
        from_branches("text", small_config(), text, image)
    with pytest.raises(ValueError, match="found ImageClassifier and TextClassifier"):
        from_branches("align", small_config(), image, text)


@pytest.mark.parametrize("kind", ["fusion", "align"])
def test_branches_that_are_not_wanted_are_not_computed_and_change_nothing(kind, monkeypatch):
    model, batch = small_model(kind).eval(), small_batch()
    everything = model(**batch)
    monkeypatch.setattr(model.text.lstm, "forward", lambda *args: pytest.fail("the BiLSTM was run"))
    alone = model(**batch, branches=())
    assert list(alone.branch_logits) == ["fused"]
    for name, expected in everything.logits.items():
        assert torch.equal(alone.logits[name], expected)


def test_fusion_pools_a_text_as_its_encoder_is_pooled():
    bert = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=20)
    pair = VisionTextDualEncoderConfig.from_vision_text_configs(clip_config().vision_config, bert)
    config = MemeConfig(pair, LABEL_TASKS[1:2], num_blocks=1, num_heads=2, lstm_hidden_size=4)
    model = FusionClassifier(config).eval()
    model.blocks = nn.ModuleList()
    tokens, mask = torch.randn(1, 3, 16), torch.tensor([[1, 1, 0]])
    image = torch.randn(1, 5, 48)
    state = model.fused_state(EncoderStates.of_text(tokens, mask, "mean"), EncoderStates.of_image(image), mask)
    torch.testing.assert_close(state[:, :16], (tokens[:, 0] + tokens[:, 1]) / 2)
    torch.testing.assert_close(state[:, 16:], model.image_projection(image[:, 0]))
