"""Pooled states: what they are, where they come from, and what all candidates that learn from them share."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from clip_checkpoint import save_clip
from memeblend.candidates.boosting import Boosting
from memeblend.candidates.features import StateReader, pooled, ready_encoders
from memeblend.candidates.knn import Knn
from memeblend.candidates.linear import Linear
from memeblend.candidates.states import near
from memeblend.errors import ModelError, TrainingError
from memeblend.labels import MISSING
from memeblend.recipe.candidates import BoostingCandidate, KnnCandidate, LinearCandidate
from small_candidates import Setting

STARTS = {"text": "text-0", "image": "image-0", "fused": "fusion-0"}
ALL = tuple(STARTS)
KINDS = {
    "linear": (Linear, LinearCandidate, {}),
    "boosting": (Boosting, BoostingCandidate, {"num_trees": 20, "learning_rate": 0.3, "patience": 5}),
    "knn": (Knn, KnnCandidate, {"num_neighbors": 5}),
}


def make(kind, features=ALL, start="candidates", **fields):
    made, spec, defaults = KINDS[kind]
    names = [STARTS[feature] for feature in features] if start == "candidates" else []
    return made(f"{kind}-0", spec(kind=kind, features=features, start=start, **(defaults | fields)), 0, names)


def reader(setting, features=ALL):
    return StateReader.start(LinearCandidate(kind="linear", features=features), [STARTS[f] for f in features],
                             setting.context())  # fmt: skip


def test_fused_states_are_what_the_fusion_candidates_heads_read(joint):
    states = reader(joint, ("fused",)).read(joint.memes).parts["joint"][0]
    model = joint.fitted("fusion-0").models["joint"]
    with torch.no_grad():
        logits = model.fused_heads(torch.from_numpy(states).to(model.device))
    for name, expected in joint.fitted("fusion-0").predict(joint.memes).items():
        found = logits[name].double().softmax(dim=-1).cpu().numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_text_and_image_states_are_hugging_faces_pooled_ones(joint):
    states = reader(joint, ("text", "image")).read(joint.memes).parts["joint"]
    text = joint.fitted("text-0").models["joint"].text.text_model
    image = joint.fitted("image-0").models["joint"].image.vision_model
    inputs = joint.memes.batch(range(len(joint.memes)), text=True, image=True)
    inputs = {name: value.to(text.device) for name, value in inputs.items()}
    with torch.no_grad():
        expected = (
            text(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).pooler_output,
            image(pixel_values=inputs["pixel_values"]).pooler_output,
        )
    for found, one in zip(states, expected, strict=True):
        np.testing.assert_allclose(found, one.cpu().numpy(), atol=1e-5)


def test_spaces_follow_the_models(joint, separate):
    assert set(reader(joint).read(joint.memes).parts) == {"joint"}
    states = reader(separate).read(separate.memes)
    assert set(states.parts) == {"mood", "level"}
    width = separate.recipe.encoder.tiny.hidden_size
    assert states.of("mood").shape == (len(separate.memes), 4 * width)
    assert (states.of("mood") != states.of("level")).any()


def test_states_come_in_the_order_of_the_features_and_of_the_memes(joint):
    both = reader(joint, ("image", "text")).read(joint.memes).of("mood")
    image, text = (reader(joint, (one,)).read(joint.memes).of("mood") for one in ("image", "text"))
    np.testing.assert_array_equal(both, np.concatenate([image, text], axis=1))
    order = np.random.default_rng(0).permutation(len(joint.memes))
    np.testing.assert_allclose(
        reader(joint, ("text",)).read(joint.memes.take(order)).of("mood"), text[order], atol=1e-5
    )


def test_pooled_reads_no_more_than_it_is_asked_for(joint):
    seen = []

    def forward(inputs):
        seen.append(set(inputs))
        return torch.zeros(len(next(iter(inputs.values()))), 1)

    pooled(forward, replace(joint.memes, images=None), text=True, image=False)
    pooled(forward, joint.memes, text=False, image=True)
    assert seen == [{"input_ids", "attention_mask"}, {"pixel_values"}]


def test_the_embedded_encoder_as_it_is_follows_the_seed_alone(joint):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = ready_encoders(joint.context())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = ready_encoders(joint.context()), ready_encoders(joint.context(seed=1))
    pairs = list(zip(first.parameters(), again.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert any(not torch.equal(a, c) for a, _, c in pairs)


def test_a_checkpoint_as_it_is_gives_its_own_states(small_manifest, tmp_path):
    from transformers import CLIPModel

    folder = save_clip(tmp_path / "clip")
    setting = Setting.make(small_manifest, tmp_path, f'encoder.source="{folder}"')
    spec = LinearCandidate(kind="linear", features=("image",), start="encoder")
    found = StateReader.start(spec, (), setting.context()).read(setting.memes).of("level")
    inputs = setting.memes.batch(range(len(setting.memes)), text=False, image=True)
    with torch.no_grad():
        expected = CLIPModel.from_pretrained(folder).vision_model(**inputs).pooler_output
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_fit_predict_save_and_load_alone(setting, tmp_path, kind):
    candidate = make(kind)
    candidate.fit(setting.context())
    found = candidate.predict(setting.memes)
    for task in setting.label_tasks:
        assert found[task.name].shape == (len(setting.memes), task.num_classes)
        np.testing.assert_allclose(found[task.name].sum(axis=1), 1, atol=1e-9)
    (tmp_path / "first").mkdir()
    candidate.save(tmp_path / "first")
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".json", ".safetensors"}
    shutil.move(tmp_path / "first", tmp_path / "moved")
    loaded = type(candidate).load(candidate.name, tmp_path / "moved")
    assert (loaded.needs_text, loaded.needs_image) == (True, True)
    for name, again in loaded.predict(setting.memes).items():
        np.testing.assert_array_equal(again, found[name])


@pytest.mark.parametrize("kind", KINDS)
def test_fitting_twice_gives_the_same_bits(joint, kind):
    first, second = make(kind), make(kind)
    for candidate in (first, second):
        candidate.fit(joint.context())
    for name, found in first.predict(joint.memes).items():
        np.testing.assert_array_equal(second.predict(joint.memes)[name], found)


@pytest.mark.parametrize("start", ["candidates", "encoder"])
@pytest.mark.parametrize("feature", ["text", "image"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_candidate_does_without_what_its_features_do_not_read(joint, tmp_path, kind, feature, start):
    candidate = make(kind, (feature,), start)
    assert (candidate.needs_text, candidate.needs_image) == (feature == "text", feature == "image")
    blank = {"images": None} if feature == "text" else {"texts": [""] * len(joint.memes)}
    less = replace(joint.memes, **blank)
    train, validation = joint.rows("train"), joint.rows("validation")
    candidate.fit(joint.context(fit=less.take(train), select=less.take(validation)))
    found = candidate.predict(less)["level"]
    np.testing.assert_array_equal(candidate.predict(joint.memes)["level"], found)
    turned = joint.memes.take(np.roll(np.arange(len(joint.memes)), 1))
    assert (candidate.predict(turned)["level"] != found).any()
    candidate.save(tmp_path)
    np.testing.assert_array_equal(type(candidate).load("again", tmp_path).predict(less)["level"], found)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_labels_are_left_out(joint, kind):
    train = joint.rows("train")
    labels = joint.labels[train]
    labels[::3, 1] = MISSING
    kept = np.flatnonzero(labels[:, 1] != MISSING)
    masked, cut = make(kind), make(kind)
    masked.fit(joint.context(fit_labels=labels))
    cut.fit(joint.context(fit=joint.memes.take(train[kept]), fit_labels=labels[kept]))
    found, expected = masked.predict(joint.memes)["level"], cut.predict(joint.memes)["level"]
    np.testing.assert_allclose(found, expected, atol=1e-3)  # the states' last bits follow the batch
    assert masked.predict(joint.memes)["mood"].shape == (len(joint.memes), 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_never_seen_has_probability_zero(joint, kind):
    labels = joint.labels[joint.rows("train")]
    labels[labels[:, 1] == 1, 1] = MISSING
    candidate = make(kind)
    candidate.fit(joint.context(fit_labels=labels))
    found = candidate.predict(joint.memes)["level"]
    assert (found[:, 1] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_one_class_is_too_few_to_learn(joint, kind):
    labels = joint.labels[joint.rows("train")]
    labels[labels[:, 1] != 2, 1] = MISSING
    with pytest.raises(TrainingError, match=r"1 class\(es\) of label task 'level' \(2\), expected at least two"):
        make(kind).fit(joint.context(fit_labels=labels))


def test_states_that_are_no_numbers_are_refused(joint, monkeypatch):
    def broken(self, memes, *watched):
        states = read(self, memes, *watched)
        states.parts["joint"][1][3, 0] = np.nan
        return states

    read = StateReader.read
    monkeypatch.setattr(StateReader, "read", broken)
    with pytest.raises(TrainingError, match=r"image states .*text-0, image-0, fusion-0.* not finite"):
        make("linear").fit(joint.context())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", ["*.safetensors", "states/fused/**/*.safetensors", "*.json"])
def test_a_folder_that_is_cut_short_is_refused(joint, tmp_path, kind, pattern):
    candidate = make(kind)
    candidate.fit(joint.context())
    candidate.save(tmp_path)
    path = next(tmp_path.glob(pattern))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ModelError, match=f"{kind}-0.*could not be read"):
        type(candidate).load(f"{kind}-0", tmp_path)
    with pytest.raises(ModelError, match="could not be read"):
        type(candidate).load(f"{kind}-0", tmp_path / "nothing")


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("mod", ["mood", "level"], "Did you mean 'mood'? There are: mood, level."),
        ("zzz", ["mood"], "There are: mood."),
        ("zzz", [], "There are: none."),
        ("zzz", [str(i) for i in range(12)], "There are: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (12 in all)."),
    ],
)
def test_near(name, known, expected):
    assert near(name, known) == expected
