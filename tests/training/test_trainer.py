"""Batches, the objective and the Trainer: hand-computed values, and going on after a kill."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memeblend.data.images import ImageTransform
from memeblend.labels import LabelTask
from memeblend.models import build_model
from memeblend.models.config import MemeConfig
from memeblend.models.tokenizer import train_tokenizer
from memeblend.recipe.parts import CrossEntropy, Encoder, Focal, TinyEncoder, Training
from memeblend.training import trainer as trainer_module
from memeblend.training.batches import LengthBatches, MemeDataset
from memeblend.training.encoder import start_encoders
from memeblend.training.objective import balanced_class_weights, make_objective
from memeblend.training.preprocessing import Memes, Preprocessor
from memeblend.training.progress import Silent
from memeblend.training.trainer import TrainJob, last_checkpoint, mean_score, predict_probabilities, train

TASKS = (LabelTask("mood", "binary", ("bad", "good")), LabelTask("topic", "nominal", ("cat", "dog", "tax")))
ENCODER = Encoder(
    max_length=16,
    tiny=TinyEncoder(
        hidden_size=16, text_layers=1, image_layers=1, num_heads=2, image_size=16, patch_size=8, vocab_size=300
    ),
)


@pytest.fixture(scope="module")
def memes():
    words = ["good cat", "bad dog here", "good tax", "bad tax return today", "good dog", "bad cat"] * 6
    tokenizer = train_tokenizer(words, 300, 16)
    preprocessor = Preprocessor(tokenizer, 16, ImageTransform(16, "letterbox"), (0.5,) * 3, (0.25,) * 3)
    images = np.random.default_rng(0).integers(0, 256, (len(words), 16, 16, 3), dtype=np.uint8)
    ids = [f"made/{row}" for row in range(len(words))]
    return Memes(words, images, preprocessor, ids, [None] * len(words))


@pytest.fixture(scope="module")
def labels(memes):
    mood = ["good" in text for text in memes.texts]
    topic = [next(i for i, word in enumerate(("cat", "dog", "tax")) if word in text) for text in memes.texts]
    return np.stack([np.array(mood, dtype=np.int64), np.array(topic, dtype=np.int64)], axis=1)


def text_model(memes):
    torch.manual_seed(0)
    clip = start_encoders(ENCODER, memes.preprocessor)
    return build_model("text", MemeConfig(clip.config, TASKS, lstm_hidden_size=8), clip)


def job(memes, labels, folder, **training):
    settings = Training(**({"num_epochs": 3, "batch_size": 8, "learning_rate": 3e-3, "patience": 0} | training))
    dataset = MemeDataset(memes, labels, text=True, image=False)
    objective = make_objective(TASKS, {task.name: CrossEntropy() for task in TASKS}, labels, {"text": 1.0})
    return TrainJob("text-0", folder, settings, objective, dataset, dataset, 3, Silent())


@settings(deadline=None)  # time depends on what else the machine does
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=200),
    st.integers(1, 16),
    st.integers(0, 5),
)
def test_length_batches_are_a_permutation_and_depend_on_seed_and_epoch_alone(lengths, batch_size, epoch):
    sampler = LengthBatches(np.array(lengths), batch_size, seed=1)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert sorted(order) == list(range(len(lengths)))
    again = LengthBatches(np.array(lengths), batch_size, seed=1)
    again.set_epoch(epoch)
    assert list(again) == order


def test_length_batches_pad_less_than_a_shuffle_and_mix_between_epochs():
    lengths = np.random.default_rng(0).integers(3, 60, 1000)

    def padding(order):
        batches = [lengths[order[i : i + 32]] for i in range(0, len(order), 32)]
        return sum(int((batch.max() - batch).sum()) for batch in batches)

    sampler = LengthBatches(lengths, 32, seed=0)
    first = np.array(list(sampler))
    sampler.set_epoch(1)
    assert padding(first) < 0.4 * padding(np.random.default_rng(1).permutation(1000))
    assert (np.array(list(sampler)) != first).mean() > 0.9


def test_objective_by_hand():
    logits = {branch: {"mood": torch.zeros(2, 2), "topic": torch.zeros(2, 3)} for branch in ("text", "image", "fused")}
    losses = {"mood": CrossEntropy(), "topic": Focal(kind="focal", gamma=1.0)}
    labels = np.array([[0, 2], [-1, -1]])
    objective = make_objective(TASKS, losses, labels, {"text": 0.25, "fused": 0.75})
    found = objective(logits, torch.from_numpy(labels))
    # ln 2, and focal with gamma 1: (1 - 1/3) ln 3; the mean of both, the same in each branch
    expected = (np.log(2) + 2 / 3 * np.log(3)) / 2
    assert set(found) == {"loss", "loss_text", "loss_fused"}
    for value in found.values():
        assert float(value) == pytest.approx(expected, rel=1e-6)


def test_balanced_class_weights_equal_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0, 0, 0, 1, 2, 2, -1])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels[labels >= 0])
    np.testing.assert_allclose(balanced_class_weights(labels, 3).numpy(), expected, rtol=1e-6)
    assert balanced_class_weights(np.array([1, 1]), 3).tolist() == [0, 1, 0]


def test_mean_score_leaves_missing_labels_out():
    probabilities = {
        "mood": np.array([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1]]),
        "topic": np.full((3, 3), 1 / 3),
    }
    labels = np.array([[0, -1], [1, -1], [-1, -1]])
    assert mean_score(TASKS, labels, probabilities, "weighted_f1") == {"mood_weighted_f1": 1.0, "weighted_f1": 1.0}


def test_prediction_keeps_the_order_and_does_not_depend_on_the_batch(memes, labels):
    model = text_model(memes).eval()
    dataset = MemeDataset(memes, labels, text=True, image=False)
    one, many = (predict_probabilities(model, dataset, size) for size in (1, 64))
    for task in TASKS:
        np.testing.assert_allclose(one[task.name], many[task.name], atol=1e-6)
    assert len(np.unique(one["mood"].round(8), axis=0)) == 6


def test_training_learns_and_keeps_the_best_epoch(memes, labels, tmp_path):
    model = text_model(memes)
    train(model, job(memes, labels, tmp_path, num_epochs=12, learning_rate=1e-2))
    dataset = MemeDataset(memes, labels, text=True, image=False)
    score = mean_score(TASKS, labels, predict_probabilities(model, dataset, 16), "weighted_f1")["weighted_f1"]
    log = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    scores = [entry["eval_weighted_f1"] for entry in log if "eval_weighted_f1" in entry]
    assert score == pytest.approx(max(scores))
    assert score > 0.9


def test_early_stopping_stops(memes, labels, tmp_path):
    train(text_model(memes), job(memes, labels, tmp_path, num_epochs=30, learning_rate=1e-12, patience=2))
    log = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert max(entry["epoch"] for entry in log) == 3


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    "when", ["in an epoch", "while a checkpoint is written", "after the last epoch", "after early stopping"]
)
def test_a_killed_training_goes_on_to_the_same_weights(memes, labels, tmp_path, monkeypatch, when):
    # A learning rate of nothing stops early, after epoch 3; the other trains all 4.
    rate = 1e-12 if when == "after early stopping" else 3e-3
    settings = {"num_epochs": 4, "patience": 2, "learning_rate": rate}
    whole = text_model(memes)
    train(whole, job(memes, labels, tmp_path / "whole", **settings))

    def killed_at(step):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == step:
                raise Killed

        return on_step_end

    with monkeypatch.context() as patch:
        if when == "in an epoch":
            patch.setattr(trainer_module.Watch, "on_step_end", killed_at(12))
        elif when == "while a checkpoint is written":
            patch.setattr(trainer_module.TrainerState, "save_to_json", _raise_after(2))
        else:
            patch.setattr(trainer_module.MemeTrainer, "_load_best_model", _raise_after(0))
        killed = text_model(memes)
        with pytest.raises(Killed):
            train(killed, job(memes, labels, tmp_path / "killed", **settings))

    torch.manual_seed(2)
    resumed = text_model(memes)
    train(resumed, job(memes, labels, tmp_path / "killed", **settings))
    logs = [(tmp_path / run / "metrics.jsonl").read_text().count("eval_weighted_f1") for run in ("whole", "killed")]
    assert logs[0] == logs[1]
    for (name, expected), found in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(expected, found), name


def _raise_after(num_calls):
    calls = iter(range(1000))

    def fail(*args, **kwargs):
        if next(calls) >= num_calls:
            raise Killed

    return fail


def test_a_cut_short_checkpoint_is_passed_over(tmp_path):
    for step, text in ((5, "{}"), (10, '{"epoch": 2'), (15, None), (20, "{}")):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
            (folder / name).touch()
        if text is not None:
            (folder / "trainer_state.json").write_text(text)
    (tmp_path / "checkpoint-20" / "optimizer.pt").unlink()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-5"
    assert last_checkpoint(tmp_path / "none") is None
