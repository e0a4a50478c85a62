"""States of frozen encoders: equal to the encoders' own, computed once, kept on disk, read in part."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from memeblend.data.images import ImageTransform
from memeblend.labels import LabelTask
from memeblend.models import build_model
from memeblend.models.config import MemeConfig
from memeblend.models.tokenizer import train_tokenizer
from memeblend.recipe.parts import CrossEntropy, Encoder, TinyEncoder
from memeblend.training import features as features_module
from memeblend.training.batches import MemeDataset
from memeblend.training.encoder import start_encoders
from memeblend.training.features import state_dataset, without_encoders
from memeblend.training.objective import make_objective
from memeblend.training.preprocessing import Memes, Preprocessor
from memeblend.training.trainer import predict_probabilities

TASKS = (LabelTask("mood", "binary", ("bad", "good")), LabelTask("topic", "nominal", ("cat", "dog", "tax")))
TINY = TinyEncoder(
    hidden_size=16, text_layers=1, image_layers=1, num_heads=2, image_size=16, patch_size=8, vocab_size=300
)
TEXTS = ["good cat", "bad dog here", "good tax", "bad tax return today", "", "bad cat"]
KINDS = ("text", "image", "fusion", "align")
BRANCHES = {"text": {"text"}, "image": {"image"}, "fusion": {"text", "image", "fused"}, "align": {"fused"}}
LABELS = np.array([[row % 2, row % 3] for row in range(len(TEXTS))])


@pytest.fixture
def memes(tmp_path):
    preprocessor = Preprocessor(
        train_tokenizer(TEXTS, 300, 16), 16, ImageTransform(16, "letterbox"), (0.5,) * 3, (0.25,) * 3
    )
    images = np.random.default_rng(0).integers(0, 256, (len(TEXTS), 16, 16, 3), dtype=np.uint8)
    ids = [f"made/{row}" for row in range(len(TEXTS))]
    return Memes(TEXTS, images, preprocessor, ids, [None] * len(TEXTS), tmp_path / "cache")


def frozen_model(kind, memes, seed=0):
    torch.manual_seed(seed)
    clip = start_encoders(Encoder(max_length=16, tiny=TINY), memes.preprocessor)
    sizes = {"lstm_hidden_size": 8, "num_blocks": 1, "num_heads": 2, "projection_size": 12}
    return build_model(kind, MemeConfig(clip.config, TASKS, encoder_states="bfloat16", **sizes), clip).eval()


def end_to_end(model, memes):
    return MemeDataset(memes, LABELS, text=hasattr(model, "text"), image=hasattr(model, "image"))


@pytest.mark.parametrize("cached", [True, False], ids=["on disk", "in memory"])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_gradients_equal_those_of_an_end_to_end_model_that_stands_still(kind, memes, cached):
    memes = memes if cached else Memes(*(getattr(memes, name) for name in list(memes.__dataclass_fields__)[:5]))
    model = frozen_model(kind, memes)
    for name, value in model.named_parameters():
        value.requires_grad_(not name.startswith(("text.text_model", "image.vision_model")))
    weights = dict.fromkeys(sorted(BRANCHES[kind]), 1.0)
    objective = make_objective(TASKS, {task.name: CrossEntropy() for task in TASKS}, LABELS, weights)
    found = []
    for dataset in (end_to_end(model, memes), state_dataset(model, memes, LABELS, BRANCHES[kind])):
        inputs = dataset.collate([3, 4, 0])
        labels = inputs.pop("labels")
        output = model(**inputs, branches=weights)
        model.zero_grad()
        objective(output.branch_logits, labels)["loss"].backward()
        gradients = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
        found.append((output.branch_logits, gradients))
    (logits, gradients), (ours, our_gradients) = found
    assert our_gradients.keys() == gradients.keys()
    # Batches of another make-up may tip a state to the other side of its rounding: 2^-8 of a state of about one.
    torch.testing.assert_close(ours, logits, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(our_gradients, gradients, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_prediction_is_that_of_the_model_itself(kind, memes):
    model = frozen_model(kind, memes)
    expected = predict_probabilities(model, end_to_end(model, memes), 64)
    found = predict_probabilities(model, state_dataset(model, memes, LABELS), 64)
    for task in TASKS:
        np.testing.assert_allclose(found[task.name], expected[task.name], atol=1e-3)


def test_states_are_the_encoders_rounded_in_order_without_padding(memes):
    model = frozen_model("fusion", memes)
    dataset = state_dataset(model, memes, LABELS, {"text"})
    for row, ids in enumerate(memes.token_ids):
        inputs = memes.batch([row], text=True, image=True)
        text = model.text.text_model(inputs["input_ids"]).last_hidden_state[0]
        assert dataset.states["text"].states[row].shape == (len(ids), 16)
        torch.testing.assert_close(dataset.states["text"].states[row].float(), text, atol=2**-7, rtol=2**-8)
        image = model.image(inputs["pixel_values"]).tokens[0]
        assert dataset.states["image"].states[row].shape == (5, 16)
        torch.testing.assert_close(dataset.states["image"].states[row].float(), image, atol=2**-7, rtol=2**-8)
    assert dataset.lengths().tolist() == [len(ids) for ids in memes.token_ids]


@pytest.mark.parametrize(
    ("kind", "branches", "expected"),
    [
        ("text", ("text",), {"text": "tokens"}),
        ("image", ("image",), {"image": "pooled"}),
        ("fusion", (), {"text": "tokens", "image": "tokens"}),
        ("align", ("fused",), {"text": "pooled", "image": "pooled"}),
        ("align", ("text", "image", "fused"), {"text": "tokens", "image": "pooled"}),
    ],
)
def test_only_what_is_read_is_kept(kind, branches, expected, memes):
    model = frozen_model(kind, memes)
    dataset = state_dataset(model, memes, LABELS, branches)
    assert dataset.states.keys() == expected.keys()
    for name, reading in expected.items():
        lengths = [len(ids) for ids in memes.token_ids] if name == "text" else [5] * len(memes)
        assert dataset.states[name].lengths.tolist() == (lengths if reading == "tokens" else [1] * len(memes))
    folders = {path.parent.name for path in memes.cache_dir.rglob("*.npy")}
    assert folders == set(expected.values())


def test_a_second_model_with_the_same_encoder_runs_it_on_nothing(memes, encoded):
    first = state_dataset(frozen_model("fusion", memes), memes, LABELS)
    assert encoded == {"text": 6, "image": 6}
    other = frozen_model("fusion", memes)
    with torch.no_grad():
        other.fused_heads.heads[0].output.bias.add_(1)  # above the encoders
    again = state_dataset(other, memes.take(np.array([4, 2])), LABELS[[4, 2]])
    pooled = state_dataset(frozen_model("image", memes), memes, LABELS)  # a part of what the fusion left
    assert encoded == {"text": 6, "image": 6}
    for name in ("text", "image"):
        assert torch.equal(again.states[name].states[0], first.states[name].states[4])
    assert torch.equal(pooled.states["image"].states[3], first.states["image"].states[3][:1])


def test_equal_texts_and_images_are_encoded_once(memes, encoded):
    rows = np.array([0, 1, 0, 0])
    dataset = state_dataset(frozen_model("fusion", memes), memes.take(rows), LABELS[rows])
    assert encoded == {"text": 2, "image": 2}
    assert torch.equal(dataset.states["image"].states[0], dataset.states["image"].states[3])


@pytest.mark.parametrize("change", ["weights", "settings", "scaling"])
def test_other_encoders_do_not_share_states(memes, encoded, change):
    model = frozen_model("image", memes)
    before = state_dataset(model, memes, LABELS)
    if change == "weights":
        with torch.no_grad():
            model.image.vision_model.post_layernorm.bias[3] += 1
    elif change == "settings":
        model.config.vision_config.layer_norm_eps = 0.5
    else:
        memes.__dict__["preprocessor"] = Preprocessor(
            memes.preprocessor.tokenizer, 16, memes.preprocessor.transform, (0.5,) * 3, (0.5,) * 3
        )
    after = state_dataset(model, memes, LABELS)
    assert encoded["image"] == 12
    if change != "settings":
        assert not torch.equal(before.states["image"].states[0], after.states["image"].states[0])


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_states_are_computed_anew(memes, encoded, monkeypatch, damage):
    monkeypatch.setattr(features_module, "_BATCH", 2)
    monkeypatch.setattr(features_module, "SHARD_BYTES", 1)
    model = frozen_model("image", memes)
    before = [states.clone() for states in state_dataset(model, memes, LABELS).states["image"].states]
    shards = sorted(memes.cache_dir.rglob("*.npy"))
    assert len(shards) == 3
    if damage == "gone":
        shards[1].unlink()
    else:
        shards[1].write_bytes(shards[1].read_bytes()[:-1])
    after = state_dataset(model, memes, LABELS)
    assert encoded["image"] == 8
    for found, expected in zip(after.states["image"].states, before, strict=True):
        torch.testing.assert_close(found, expected, atol=2**-7, rtol=2**-7)


def test_many_at_once(memes):
    model = frozen_model("fusion", memes)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: state_dataset(model, memes, LABELS), range(4)))
    for dataset in found[1:]:
        for name, states in dataset.states.items():
            assert all(map(torch.equal, states.states, found[0].states[name].states))


def test_batches_are_padded_with_zeros_and_masked(memes):
    dataset = state_dataset(frozen_model("text", memes), memes, LABELS)
    inputs = dataset.collate([4, 3])
    short, long = (len(memes.token_ids[row]) for row in (4, 3))
    assert inputs["text_tokens"].shape == (2, long, 16)
    assert inputs["attention_mask"].tolist() == [[1] * short + [0] * (long - short), [1] * long]
    assert not inputs["text_tokens"][0, short:].any()
    assert inputs["labels"].tolist() == LABELS[[4, 3]].tolist()


def test_without_its_encoders_a_model_is_the_rest_and_gets_them_back(memes):
    model = frozen_model("fusion", memes)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(KeyboardInterrupt), without_encoders(model):
        left = model.state_dict()
        assert left
        assert not [name for name in left if "text_model" in name or "vision_model" in name]
        raise KeyboardInterrupt
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
