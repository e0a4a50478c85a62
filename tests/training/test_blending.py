"""Estimates, held-out memes, weights for each label task, modulated gradients: by hand, and bad input."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import CLIPModel

from clip_checkpoint import clip_config
from memeblend.errors import TrainingError
from memeblend.labels import LabelTask
from memeblend.losses import cross_entropy, focal
from memeblend.models import build_model
from memeblend.models.base import EncoderModel
from memeblend.models.config import MemeConfig
from memeblend.models.heads import LabelTaskHeads
from memeblend.recipe.candidates import Estimation
from memeblend.recipe.parts import CrossEntropy, Focal, Training
from memeblend.training.blending import Blending, GradientModulation, ModalityDropout
from memeblend.training.estimating import EstimatedBlending, Estimator, mean_losses
from memeblend.training.holding import Batched, Parts, hold_out
from memeblend.training.objective import make_objective
from memeblend.training.progress import Silent
from memeblend.training.trainer import TrainJob, train

TASKS = (LabelTask("mood", "binary", ("bad", "good")), LabelTask("topic", "nominal", ("cat", "dog", "tax")))
LOSSES = {"mood": CrossEntropy(), "topic": Focal(kind="focal", gamma=2.0)}
LABELS = np.array([[0, 2], [1, 0], [-1, 1]])
unhurried = settings(deadline=None, max_examples=40)


def logits_of(*branches):
    torch.manual_seed(0)
    return {name: {"mood": torch.randn(3, 2), "topic": torch.randn(3, 3)} for name in branches}


def by_hand(logits):
    """The two label tasks' losses of one branch."""
    mood = cross_entropy(logits["mood"], torch.from_numpy(LABELS[:, 0]))
    return float(mood), float(focal(logits["topic"], torch.from_numpy(LABELS[:, 1]), 2.0))


def test_with_one_branch_the_loss_is_plain():
    logits = {"fused": {"mood": logits_of("fused")["fused"]["mood"]}}
    objective = make_objective(TASKS[:1], {"mood": CrossEntropy()}, LABELS[:, :1], {"fused": 1.0})
    found = objective(logits, torch.from_numpy(LABELS[:, :1]))["loss"]
    expected = nn.functional.cross_entropy(logits["fused"]["mood"][:2], torch.tensor([0, 1]))
    torch.testing.assert_close(found, expected)


def test_weights_for_each_label_task_by_hand():
    logits = logits_of("text", "fused")
    weights = {"text": {"mood": 0.2, "topic": 0.5}, "fused": {"mood": 0.8, "topic": 0.5}}
    found = make_objective(TASKS, LOSSES, LABELS, weights)(logits, torch.from_numpy(LABELS))
    (text_mood, text_topic), (mood, topic) = by_hand(logits["text"]), by_hand(logits["fused"])
    assert float(found["loss_text"]) == pytest.approx((0.2 * text_mood + 0.5 * text_topic) / 2)
    assert float(found["loss"]) == pytest.approx((0.2 * text_mood + 0.8 * mood + 0.5 * text_topic + 0.5 * topic) / 2)
    even = make_objective(TASKS, LOSSES, LABELS, {name: dict.fromkeys(("mood", "topic"), 0.5) for name in logits})
    shared = make_objective(TASKS, LOSSES, LABELS, dict.fromkeys(logits, 0.5))
    same = [one(logits, torch.from_numpy(LABELS))["loss"] for one in (even, shared)]
    torch.testing.assert_close(*same)


def test_weights_of_other_label_tasks_are_refused():
    objective = make_objective(TASKS, LOSSES, LABELS, {"fused": {"mood": 1.0}})
    with pytest.raises(ValueError, match="every label task"):
        objective(logits_of("fused"), torch.from_numpy(LABELS))


@unhurried
@given(st.integers(0, 2**31), st.integers(40, 120), st.floats(0.2, 0.5))
def test_held_out_memes_are_whole_groups_in_proportion(seed, num_memes, fraction):
    rng = np.random.default_rng(seed)
    labels = np.stack([rng.integers(0, 2, num_memes), rng.integers(0, 3, num_memes)], axis=1)
    groups = rng.integers(0, num_memes, num_memes)
    held_out = hold_out(TASKS, labels, groups, fraction, seed)
    assert not set(groups[held_out]) & set(groups[~held_out])
    assert held_out.mean() == pytest.approx(fraction, abs=0.1)
    for column, task in enumerate(TASKS):
        for index in range(task.num_classes):
            of_class = labels[:, column] == index
            assert held_out[of_class].sum() == pytest.approx(fraction * of_class.sum(), abs=4)
    assert (hold_out(TASKS, labels, groups, fraction, seed) == held_out).all()


@pytest.mark.parametrize(
    ("labels", "groups", "problem"),
    [
        (np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.int64), "0 fit memes in 0 groups"),
        (np.zeros((40, 2), dtype=np.int64), np.zeros(40, dtype=np.int64), "mood: 0 labelled memes held out"),
        (np.zeros((12, 2), dtype=np.int64), np.arange(12), "labelled memes held out"),
        (np.tile([0, -1], (60, 1)), np.arange(60), "topic: 0 labelled memes left to train on"),
    ],
)
def test_too_few_memes_to_estimate_from_are_refused(labels, groups, problem):
    with pytest.raises(TrainingError, match=problem) as caught:
        hold_out(TASKS, labels, groups, 0.2, 0)
    assert "estimation.held_out" in str(caught.value)


class Rows:
    """Memes as plain numbers: "sound" tells the label, "noise" has nothing to say."""

    def __init__(self, num_memes=120):
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 2, (num_memes, 1))
        self.labels = torch.from_numpy(labels)
        self.sound = torch.tensor(rng.normal(size=(num_memes, 4)) + 3 * labels, dtype=torch.float32)
        self.noise = torch.tensor(rng.normal(size=(num_memes, 150)), dtype=torch.float32)
        self.asked = set()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return row

    def collate(self, rows):
        self.asked |= set(rows)
        return {"sound": self.sound[rows], "noise": self.noise[rows], "labels": self.labels[rows]}

    def lengths(self):
        return np.zeros(len(self), dtype=np.int64)


class OwnBranches(EncoderModel):
    """A user's own model, with branches of other names."""

    branches = ("sound", "noise", "fused")
    _tied_weights_keys = None

    def __init__(self, config):
        super().__init__(config)
        classes = config.num_classes()
        self.sound, self.noise, self.both = (LabelTaskHeads(size, classes, 0.0) for size in (4, 150, 154))
        self.post_init()

    def reads(self, branches):
        return {}

    def forward(self, sound, noise, branches=None):
        fused = self.both(torch.cat([sound, noise], dim=1))
        return self.output({"sound": self.sound(sound), "noise": self.noise(noise), "fused": fused})


MOOD = TASKS[:1]


def own_model():
    torch.manual_seed(0)
    return OwnBranches(MemeConfig(clip_config(), MOOD))


def estimator_of(folder, rows, **changes):
    out = hold_out(MOOD, rows.labels.numpy(), np.arange(len(rows)), 0.3, 0)
    left, held_out = Batched(rows, np.flatnonzero(~out)), Batched(rows, np.flatnonzero(out))
    objective = make_objective(
        MOOD, {"mood": CrossEntropy()}, rows.labels.numpy(), dict.fromkeys(OwnBranches.branches, 1.0)
    )
    settings = Estimation(**({"super_epoch": 4, "least_fused": 0.0} | changes))
    training = Training(batch_size=16, learning_rate=0.02, num_epochs=6, patience=0)
    return Estimator("it", folder, objective, Parts(left, left, held_out), settings, training, 1, Silent())


@pytest.mark.parametrize("per_label_task", [False, True])
def test_an_estimate_of_a_users_own_branches(tmp_path, per_label_task):
    rows, model = Rows(), own_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    estimator = estimator_of(tmp_path, rows, per_label_task=per_label_task)
    torch.manual_seed(5)
    found = estimator.estimate(0, lambda: model, None)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))  # the random numbers go on as if nothing had been
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert set(found.weights) == {"sound", "noise", "fused"}
    task = "mood" if per_label_task else ""
    assert found.changes["noise"][task].train_after < 0.5 * found.changes["noise"][task].train_before
    flat = {name: one["mood"] if per_label_task else one for name, one in found.weights.items()}
    assert flat["noise"] < 0.02
    assert sum(flat.values()) == pytest.approx(1)
    assert estimator.kept(0) == found
    assert estimator.kept(4) is None
    key = "noise/mood" if per_label_task else "noise"
    assert found.trace()[f"blend_weight/{key}"] == flat["noise"]
    again = estimator_of(tmp_path / "again", rows, per_label_task=per_label_task).estimate(0, lambda: model, None)
    assert again == found


def test_measured_losses_are_those_of_all_memes_at_once(tmp_path):
    rows, model = Rows(), own_model()
    estimator = estimator_of(tmp_path, rows)
    found = mean_losses(model, "sound", Batched(rows, np.arange(len(rows))), estimator.objective)
    model.eval()
    said = model(rows.sound, rows.noise).branch_logits["sound"]["mood"].double()
    expected = float(nn.functional.cross_entropy(said.detach(), rows.labels[:, 0]))
    assert found == pytest.approx({"mood": expected, "": expected})


def test_a_loss_that_is_no_number_is_told(tmp_path):
    rows, model = Rows(), own_model()
    rows.sound[3] = torch.inf
    with pytest.raises(TrainingError, match=r"branch 'sound' trained alone.*train_before is"):
        estimator_of(tmp_path, rows).estimate(0, lambda: model, None)


def test_online_weights_come_after_the_warm_up_at_each_super_epoch_and_the_model_goes_on(tmp_path):
    rows, model = Rows(), own_model()
    estimator = estimator_of(tmp_path, rows, super_epoch=2)
    blending = EstimatedBlending(estimator, warm_up=1, every=2)
    training = Training(batch_size=16, learning_rate=0.01, num_epochs=6, patience=0)
    fit = estimator.parts.train
    job = TrainJob("it", tmp_path, training, estimator.objective, fit, fit, 3, Silent(), blending)
    train(model, job)
    log = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in log if "blend_weight/noise" in entry] == [1, 3, 5]
    assert [path.name for path in sorted(tmp_path.glob("estimate-*"))] == [f"estimate-0000{i}.json" for i in (1, 3, 5)]
    third, fifth = estimator.kept(3), estimator.kept(5)
    for epoch, expected in ((0, dict.fromkeys(OwnBranches.branches, 1 / 3)), (4, third.weights), (5, fifth.weights)):
        assert blending.before_epoch(epoch, model, estimator.objective).branch_weights == pytest.approx(expected)
    # Each begins where the model then is: it has learned since the first.
    assert fifth.changes["sound"][""].train_before < estimator.kept(1).changes["sound"][""].train_before


def test_where_nothing_generalises_any_more_the_weights_stay(tmp_path):
    rows, model = Rows(), own_model()
    estimator = estimator_of(tmp_path, rows)
    first = estimator.estimate(0, lambda: model, None)
    idle = Estimator(**{**vars(estimator), "training": Training(learning_rate=1e-30, num_epochs=1)})
    assert idle.estimate(4, lambda: model, first).weights == pytest.approx(first.weights)
    assert idle.estimate(8, lambda: model, None).weights == pytest.approx(dict.fromkeys(OwnBranches.branches, 1 / 3))


def test_the_base_changes_nothing():
    plain = Blending()
    objective = make_objective(TASKS, LOSSES, LABELS, {"fused": 1.0})
    assert plain.before_epoch(0, None, objective) is objective
    assert plain.model_inputs(3) == plain.trace() == {}


def modulated(noise, alpha=0.5):
    """A fusion after one modulated step, with the gradients before and after, and the coefficients logged."""
    torch.manual_seed(0)
    config = MemeConfig(clip_config(), MOOD, lstm_hidden_size=4, num_blocks=1, num_heads=4)
    model = build_model("fusion", config, CLIPModel(config.encoder_config))
    for value in model.parameters():
        value.grad = torch.randn_like(value)
    before = {name: value.grad.clone() for name, value in model.named_parameters()}
    way = GradientModulation(MOOD, alpha, noise)
    sure, unsure = torch.tensor([[3.0, 0.0]] * 4), torch.zeros(4, 2)
    way.after_forward({"text": {"mood": sure}, "image": {"mood": unsure}}, torch.zeros(4, 1, dtype=torch.int64))
    way.after_backward(model)
    return model, before, way.trace()


def test_modulated_gradients_by_hand():
    model, before, trace = modulated(noise=False)
    ahead = float(torch.tensor([3.0, 0.0]).softmax(dim=0)[0]) / 0.5
    slowed = 1 - np.tanh(0.5 * ahead)
    assert trace == pytest.approx({"modulation/text": slowed, "modulation/image": 1.0})
    for name, value in model.named_parameters():
        factor = slowed if name.startswith("text.text_model.") else 1.0
        torch.testing.assert_close(value.grad, before[name] * factor, msg=name)


def test_noise_has_the_gradients_size_and_spares_words_biases_and_heads():
    model, before, _ = modulated(noise=True)
    calm, _, _ = modulated(noise=False)
    scaled = {name: value.grad for name, value in calm.named_parameters()}
    for name, value in model.named_parameters():
        added = value.grad - scaled[name]
        encoder = name.startswith(("text.text_model.", "image.vision_model."))
        if encoder and value.dim() >= 2 and "embedding.weight" not in name.replace("patch_embedding", "patch"):
            assert float(added.std() / before[name].std()) == pytest.approx(1, abs=0.25), name
        else:
            assert torch.equal(added, torch.zeros_like(added)), name


def test_a_trace_is_told_once():
    way = GradientModulation(MOOD, 0.5, noise=False)
    assert way.trace() == {}
    assert ModalityDropout(0.3).model_inputs(5)["dropped"].shape == (5, 2)
