"""Fusion and align with every way of blending: fitted, saved, killed and gone on with; what an estimate may see."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from memeblend.candidates import blending as blending_module
from memeblend.candidates.making import load_candidate
from memeblend.candidates.neural import Neural
from memeblend.errors import TrainingError
from memeblend.training import trainer as trainer_module
from memeblend.training.estimating import Estimator
from memeblend.training.holding import Batched

WAYS = ("uniform", "offline", "online", "ogm_ge", "modality_dropout")
SUPERVISED = {"uniform": True, "offline": True, "online": True, "ogm_ge": True, "modality_dropout": False}


def spec_of(setting, kind, blending, **settings):
    """The recipe's first candidate of a kind, blended in a way, starting from the encoder."""
    spec = next(spec for spec in setting.recipe.candidates if spec.kind == kind)
    estimation = spec.estimation.model_copy(update={"super_epoch": 1, "held_out": 0.3})
    return spec.model_copy(update={"blending": blending, "start": "encoder", "estimation": estimation} | settings)


def log_of(folder, key="joint"):
    return [json.loads(line) for line in (folder / "training" / key / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("kind", "way"), [*(("fusion", way) for way in WAYS), ("align", "online"), ("align", "modality_dropout")]
)
def test_fit_predict_save_load(joint, tmp_path, kind, way):
    candidate = Neural(f"{kind}_{way}-0", spec_of(joint, kind, way))
    candidate.fit(joint.context(folder=tmp_path))
    assert candidate.supervised is SUPERVISED[way]
    found = candidate.predict(joint.memes)
    log = log_of(tmp_path)
    assert [entry["epoch"] for entry in log if "loss" in entry] == [1, 2]
    told = {key for entry in log for key in entry}
    assert ("blend_weight/fused" in told) == (way in ("offline", "online"))
    assert ("modulation/text" in told) == (way == "ogm_ge")
    candidate.save(tmp_path)
    loaded = load_candidate(candidate.name, tmp_path)
    assert loaded.supervised is SUPERVISED[way]
    for task, again in loaded.predict(joint.memes).items():
        np.testing.assert_array_equal(again, found[task])


@pytest.mark.parametrize("way", ["offline", "online"])
def test_frozen_encoders_are_blended_on_their_states(joint, tmp_path, way):
    spec = spec_of(joint, "fusion", way, encoders="frozen")
    candidate = Neural("it", spec)
    candidate.fit(joint.context(folder=tmp_path))
    assert [entry["epoch"] for entry in log_of(tmp_path) if "blend_weight/text" in entry] == (
        [0] if way == "offline" else [0, 1]
    )


def test_each_label_task_may_have_a_model_and_weights_of_its_own(separate, joint, tmp_path):
    candidate = Neural("it", spec_of(separate, "align", "offline"))
    candidate.fit(separate.context(folder=tmp_path / "a"))
    assert {"blend_weight/fused"} <= log_of(tmp_path / "a", "mood")[0].keys()
    spec = spec_of(joint, "align", "offline")
    spec = spec.model_copy(update={"estimation": spec.estimation.model_copy(update={"per_label_task": True})})
    Neural("it", spec).fit(joint.context(folder=tmp_path / "b"))
    first = log_of(tmp_path / "b")[0]
    for task in ("mood", "level"):
        assert sum(first[f"blend_weight/{name}/{task}"] for name in ("text", "image", "fused")) == pytest.approx(1)


class Killed(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("when", ["in an epoch", "in an estimate"])
def test_a_killed_online_training_goes_on_to_the_same_weights(joint, tmp_path, monkeypatch, when):
    training = spec_of(joint, "fusion", "online").training.model_copy(update={"num_epochs": 3, "patience": 0})
    spec = spec_of(joint, "fusion", "online", training=training)
    whole = Neural("it", spec)
    whole.fit(joint.context(folder=tmp_path / "whole"))
    with monkeypatch.context() as patch:
        if when == "in an epoch":
            kept = trainer_module.Watch.on_step_end

            def at_step(self, args, state, control, **kwargs):
                if state.global_step == 5:  # in the third epoch, whose weights have been estimated
                    raise Killed
                kept(self, args, state, control, **kwargs)

            patch.setattr(trainer_module.Watch, "on_step_end", at_step)
        else:
            change = Estimator._change

            def fail(self, model, branch, seed):
                if self.kept(1) is not None and branch == "image":
                    raise Killed
                return change(self, model, branch, seed)

            patch.setattr(Estimator, "_change", fail)
        with pytest.raises(Killed):
            Neural("it", spec).fit(joint.context(folder=tmp_path / "killed"))
    resumed = Neural("it", spec)
    resumed.fit(joint.context(folder=tmp_path / "killed"))
    logs = [
        [{key: value for key, value in entry.items() if "per_second" not in key and key != "train_runtime"}
         for entry in log_of(tmp_path / run) if "train_runtime" not in entry]
        for run in ("whole", "killed")
    ]  # fmt: skip
    assert logs[0] == logs[1]
    for (name, expected), found in zip(
        whole.models["joint"].state_dict().items(), resumed.models["joint"].state_dict().values(), strict=True
    ):
        assert torch.equal(expected, found), name


@pytest.fixture
def watched(monkeypatch):
    """Notes every choice of held-out memes, and the rows that are trained on."""
    noted = {"held_out": [], "trained": set()}
    hold_out, collate = blending_module.hold_out, Batched.collate

    def held_out(*args):
        noted["held_out"].append(hold_out(*args))
        return noted["held_out"][-1]

    def rows(self, batch):
        if torch.is_grad_enabled():
            noted["trained"] |= set(self.rows[np.asarray(batch)].tolist())
        return collate(self, batch)

    monkeypatch.setattr(blending_module, "hold_out", held_out)
    monkeypatch.setattr(Batched, "collate", rows)
    return noted


def test_online_never_trains_on_held_out_memes_and_keeps_groups_whole(joint, tmp_path, watched):
    context = joint.context(folder=tmp_path)
    groups = np.arange(len(context.fit)) // 2
    Neural("it", spec_of(joint, "fusion", "online")).fit(replace(context, fit_groups=groups))
    (held_out,) = watched["held_out"]
    assert watched["trained"] == set(np.flatnonzero(~held_out))
    assert not set(groups[held_out]) & set(groups[~held_out])


def test_offline_estimates_from_models_that_have_seen_no_meme(joint, tmp_path, monkeypatch):
    started = []
    estimate = Estimator.estimate

    def noted(self, epoch, start, before):
        started.append(start())
        return estimate(self, epoch, start, before)

    monkeypatch.setattr(Estimator, "estimate", noted)
    spec = spec_of(joint, "fusion", "offline", start="uni-modal")
    candidate = Neural("it", spec, ("text-0", "image-0"))
    candidate.fit(joint.context(folder=tmp_path))
    trained = joint.fitted("text-0").models["joint"].text.pooled_heads.state_dict()
    begun = started[0].text.pooled_heads.state_dict()
    assert not any(torch.equal(value, trained[name]) for name, value in begun.items() if name.endswith("weight"))


def test_memes_too_few_to_estimate_from_are_told(joint, tmp_path):
    context = joint.context(folder=tmp_path)
    few = replace(context, fit=context.fit.take(np.arange(8)), fit_labels=context.fit_labels[:8])
    with pytest.raises(TrainingError, match="can't be estimated from 8 fit memes"):
        Neural("it", spec_of(joint, "fusion", "offline")).fit(few)
