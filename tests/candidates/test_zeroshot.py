"""`zeroshot` against Hugging Face's CLIPModel, and prompts that don't fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import CLIPModel

from clip_checkpoint import save_clip
from memeblend.candidates.zeroshot import Zeroshot
from memeblend.errors import ModelError, RecipeError
from memeblend.labels import LabelTask
from memeblend.recipe.candidates import ZeroshotCandidate
from small_candidates import Setting


@pytest.fixture(scope="module")
def clip(small_manifest, tmp_path_factory):
    """A setting on a checkpoint whose similarities differ enough to see, and that checkpoint."""
    folder = save_clip(tmp_path_factory.mktemp("hub") / "clip")
    setting = Setting.make(small_manifest, tmp_path_factory.mktemp("run"), f'encoder.source="{folder}"')
    return setting, CLIPModel.from_pretrained(folder).eval()


def fitted(setting, **fields):
    candidate = Zeroshot("zeroshot-0", ZeroshotCandidate(kind="zeroshot", **fields))
    candidate.fit(setting.context())
    return candidate


@torch.no_grad()
def hugging_face(setting, model, prompts):
    """CLIPModel's output for all memes' texts and images, and for prompts as texts."""
    memes = setting.memes
    inputs = memes.batch(range(len(memes)), text=True, image=True)
    texts = model(**inputs)
    ids, mask = memes.preprocessor.pad(memes.preprocessor.token_ids(prompts))
    return texts, model(input_ids=ids, attention_mask=mask, pixel_values=inputs["pixel_values"])


def test_by_image_alone_it_is_hugging_faces_softmax(clip):
    setting, model = clip
    found = fitted(setting, text_weight=0.0).predict(setting.memes)
    _, of_prompts = hugging_face(setting, model, ["a meme that is bad", "a meme that is good"])
    expected = of_prompts.logits_per_image.softmax(dim=-1).numpy()
    np.testing.assert_allclose(found["mood"], expected, atol=1e-5)
    assert set(found) == {"mood", "level"}


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_the_ocr_texts_similarity_has_its_weight(clip, weight):
    setting, model = clip
    prompts = {"mood": {"bad": ("hello",), "good": ("me", "a happy meme", "he")}}
    found = fitted(setting, text_weight=weight, prompts=prompts).predict(setting.memes)["mood"]
    texts, of_prompts = hugging_face(setting, model, ["hello", "me", "a happy meme", "he"])
    good = of_prompts.text_embeds[1:].mean(dim=0)  # several prompts count as one, the mean of their embeddings
    classes = torch.stack([of_prompts.text_embeds[0], good / good.norm()])
    meme = (1 - weight) * of_prompts.image_embeds + weight * texts.text_embeds
    expected = (model.logit_scale.exp() * meme @ classes.T).softmax(dim=-1)
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-5)


def test_a_meme_without_words_is_judged_by_its_image(clip):
    setting, _ = clip
    texts = ["  ", *setting.memes.texts[1:]]
    memes = replace(setting.memes, texts=texts)
    both, image = (fitted(setting, text_weight=weight).predict(memes)["mood"] for weight in (0.5, 0.0))
    np.testing.assert_allclose(both[0], image[0], atol=1e-12)
    assert (np.abs(both[1:] - image[1:]).max(axis=1) > 1e-6).all()


def test_it_reads_what_it_says_it_reads(clip):
    setting, _ = clip
    text, image, both = (fitted(setting, text_weight=weight) for weight in (1.0, 0.0, 0.5))
    assert [(one.needs_text, one.needs_image) for one in (text, image, both)] == [
        (True, False),
        (False, True),
        (True, True),
    ]
    blank = replace(setting.memes, texts=[""] * len(setting.memes))
    bare = replace(setting.memes, images=None)
    np.testing.assert_array_equal(text.predict(bare)["mood"], text.predict(setting.memes)["mood"])
    np.testing.assert_array_equal(image.predict(blank)["mood"], image.predict(setting.memes)["mood"])


def test_default_prompts_say_the_class_in_words():
    candidate = Zeroshot("zeroshot-0", ZeroshotCandidate(kind="zeroshot", prompts={"mood": {"sad": ("tears",)}}))
    mood = LabelTask("mood", "binary", ("sad", "not_so_sad"))
    assert candidate.prompts(mood, "sad") == ("tears",)
    assert candidate.prompts(mood, "not_so_sad") == ("a meme that is not so sad",)


def test_prompts_for_what_is_not_there_are_a_wrong_recipe(joint):
    prompts = {"moood": {"bad": ("x",)}, "mood": {"god": ("y",), "good": ("z",)}}
    with pytest.raises(RecipeError) as caught:
        fitted(joint, prompts=prompts)
    assert [str(one) for one in caught.value.problems] == [
        "prompts.moood: no such label task. Did you mean 'mood'? There are: mood, level.",
        "prompts.mood.god: no such class. Did you mean 'good'? There are: bad, good.",
    ]


@pytest.mark.parametrize("embedded", [True, False])
def test_save_and_load_alone(joint, clip, tmp_path, embedded):
    setting = joint if embedded else clip[0]
    candidate = fitted(setting)
    candidate.save(tmp_path)
    loaded = Zeroshot.load("zeroshot-0", tmp_path)
    again = fitted(setting).predict(setting.memes)
    for name, found in candidate.predict(setting.memes).items():
        np.testing.assert_array_equal(loaded.predict(setting.memes)[name], found)
        np.testing.assert_array_equal(again[name], found)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-9)
    weights = next((tmp_path / "encoders").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"zeroshot-0.*could not be read"):
        Zeroshot.load("zeroshot-0", tmp_path)
