"""Candidates whose encoders are frozen or adapted: what is left alone, shared, saved, and gone on with after a kill."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from memeblend.candidates.making import load_candidate
from memeblend.candidates.neural import Neural
from memeblend.candidates.starting import Starter
from memeblend.data.manifest import Manifest
from memeblend.training import trainer as trainer_module
from memeblend.training.encoder import make_preprocessor
from memeblend.training.preprocessing import prepare
from memeblend.training.progress import Silent
from small_candidates import fit_context
from small_runs import small_data, small_recipe

KINDS = ("text", "image", "fusion", "align")
ENCODERS = ("text.text_model.", "image.vision_model.")
each_kind = pytest.mark.parametrize("kind", KINDS)
needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="needs the extra peft")
each_form = pytest.mark.parametrize("form", ["frozen", pytest.param("lora", marks=needs_peft)])


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return Manifest.read(small_data(tmp_path_factory.mktemp("data")))


@pytest.fixture
def memes(manifest, tmp_path):
    return prepare(manifest, make_preprocessor(small_recipe().encoder, manifest.texts), cache_dir=tmp_path / "cache")


class Told(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def spec_of(kind, form, **settings):
    """The recipe's candidate of a kind, in another form, starting from the encoder."""
    spec = next(spec for spec in small_recipe().candidates if spec.kind == kind)
    settings = {"encoders": form, "lora_rank": 2} | settings
    return spec.model_copy(update=({"start": "encoder"} if kind in ("fusion", "align") else {}) | settings)


def context(manifest, memes, folder, progress=None, joint=True, fitted=None):
    recipe = small_recipe(f"joint={str(joint).lower()}")
    return fit_context(recipe, manifest, memes, folder, (fitted or {}).__getitem__, progress)


def parted(model):
    """Weights of the encoders, and the others."""
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    encoders = {name: value for name, value in weights.items() if name.startswith(ENCODERS)}
    return encoders, {name: value for name, value in weights.items() if name not in encoders}


@pytest.mark.parametrize("joint", [True, False], ids=["joint", "separate"])
@each_kind
def test_frozen_encoders_run_once_and_stay_as_they_start(kind, joint, manifest, memes, tmp_path, encoded, monkeypatch):
    started = []
    start = Starter.model

    def noted(*args):
        model = start(*args)
        started.append(parted(model))
        return model

    monkeypatch.setattr(Starter, "model", noted)
    # One seed for all: separate models then start from one encoder, as they do from a checkpoint.
    monkeypatch.setattr("memeblend.candidates.neural.set_seed", lambda seed: torch.manual_seed(5))
    candidate = Neural(f"{kind}_frozen-0", spec_of(kind, "frozen"))
    given = context(manifest, memes, tmp_path, joint=joint)
    candidate.fit(given)
    num_memes = len(given.fit) + len(given.select)
    reads = {"text": kind != "image", "image": kind != "text"}
    assert encoded == {name: num_memes * is_read for name, is_read in reads.items()}
    assert len(candidate.models) == (1 if joint else 2)
    for model, (encoders, rest) in zip(candidate.models.values(), started, strict=True):
        after, others = parted(model)
        assert encoders.keys() == after.keys() != set()
        assert all(torch.equal(value, encoders[name]) for name, value in after.items())
        assert not any(torch.equal(value, rest[name]) for name, value in others.items() if "output.bias" in name)
    checkpoint = next(tmp_path.rglob("checkpoint-*/model.safetensors"))
    assert not [name for name in load_file(checkpoint) if name.startswith(ENCODERS)]


@each_kind
def test_a_frozen_candidate_predicts_the_same_loaded_and_without_a_cache(kind, manifest, memes, tmp_path, encoded):
    candidate = Neural("it", spec_of(kind, "frozen"))
    given = context(manifest, memes, tmp_path)
    candidate.fit(given)
    found = candidate.predict(given.select)
    candidate.save(tmp_path)
    loaded = load_candidate("it", tmp_path)
    assert sum(encoded.values())
    encoded.update(text=0, image=0)
    again = loaded.predict(given.select)
    assert encoded == {"text": 0, "image": 0}
    alone = loaded.predict(replace(given.select, cache_dir=None))
    assert sum(encoded.values()) == len(given.select) * (2 if kind in ("fusion", "align") else 1)
    for task in manifest.label_tasks:
        np.testing.assert_array_equal(again[task.name], found[task.name])
        np.testing.assert_allclose(alone[task.name], found[task.name], atol=1e-3)


def test_a_frozen_candidate_trains_without_a_cache(manifest, memes, tmp_path):
    given = context(manifest, replace(memes, cache_dir=None), tmp_path / "a")
    one, other = Neural("it", spec_of("fusion", "frozen")), Neural("it", spec_of("fusion", "frozen"))
    one.fit(given)
    other.fit(context(manifest, memes, tmp_path / "b"))
    found, expected = one.predict(given.select), other.predict(given.select)
    for task in manifest.label_tasks:
        np.testing.assert_allclose(found[task.name], expected[task.name], atol=1e-3)


def test_frozen_fusion_keeps_the_encoders_of_the_candidates_it_starts_from(manifest, memes, tmp_path, encoded):
    fitted = {
        "text-0": Neural("text-0", spec_of("text", "frozen")),
        "image-0": Neural("image-0", spec_of("image", "trained")),
    }
    for name, candidate in fitted.items():
        candidate.fit(context(manifest, memes, tmp_path / name))
    encoded.update(text=0, image=0)
    fusion = Neural("it", spec_of("fusion", "frozen", start="uni-modal"), tuple(fitted))
    given = context(manifest, memes, tmp_path / "it", fitted=fitted)
    fusion.fit(given)
    # The text candidate left the states of its tokens; the image candidate changed its encoder and left none.
    assert encoded == {"text": 0, "image": len(given.fit) + len(given.select)}
    encoders, _ = parted(fusion.models["joint"])
    for candidate in fitted.values():
        for name, value in parted(candidate.models["joint"])[0].items():
            assert torch.equal(value, encoders.pop(name)), name
    assert not encoders


def test_frozen_text_says_that_tokens_are_not_dropped(manifest, memes, tmp_path):
    training = small_recipe("training.token_dropout=0.3").candidates
    spec = spec_of("text", "frozen", training=next(one for one in training if one.kind == "text").training)
    told = Told()
    Neural("text_frozen-0", spec).fit(context(manifest, memes, tmp_path, told))
    assert told.said == ["text_frozen-0 has no token_dropout: frozen encoders read each text once, whole."]


@needs_peft
@each_kind
def test_lora_trains_few_and_saves_a_model_without_adapters(kind, manifest, memes, tmp_path):
    told = Told()
    candidate = Neural("it", spec_of(kind, "lora"))
    candidate.fit(context(manifest, memes, tmp_path, told))
    (model,) = candidate.models.values()
    above = sum(value.numel() for name, value in model.named_parameters() if not name.startswith(ENCODERS))
    # A [2, 16] and B [16, 2] on two projections of the one layer of each encoder
    trained = above + (2 if kind in ("fusion", "align") else 1) * 2 * 2 * 2 * 16
    assert told.said == [
        f"it trains {trained:,} of {model.num_parameters() + trained - above:,} parameters: adapters of rank 2 and "
        "what is above the encoders."
    ]
    found = candidate.predict(memes)
    candidate.save(tmp_path)
    loaded = load_candidate("it", tmp_path)
    assert not [name for name in loaded.models["joint"].state_dict() if "lora" in name or "base_layer" in name]
    for task, again in loaded.predict(memes).items():
        np.testing.assert_array_equal(again, found[task])


class Killed(Exception):
    pass


@each_form
def test_a_killed_training_goes_on_to_the_same_weights(form, manifest, memes, tmp_path, monkeypatch):
    whole = Neural("it", spec_of("image", form))
    whole.fit(context(manifest, memes, tmp_path / "whole"))

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 4:  # in the second of two epochs of three batches
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module.Watch, "on_step_end", on_step_end)
        with pytest.raises(Killed):
            Neural("it", spec_of("image", form)).fit(context(manifest, memes, tmp_path / "killed"))
    assert list(tmp_path.glob("killed/training/joint/checkpoints/checkpoint-3"))
    resumed = Neural("it", spec_of("image", form))
    resumed.fit(context(manifest, memes, tmp_path / "killed"))
    expected = whole.models["joint"].state_dict()
    for name, value in resumed.models["joint"].state_dict().items():
        assert torch.equal(value, expected[name]), name
