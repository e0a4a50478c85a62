"""A CLIP in the hub's own layout goes through the whole path: recipe, fit, predict, save, load."""

import pytest

from clip_checkpoint import save_clip
from memeblend import MemeClassifier
from memeblend.errors import MemeblendError, ModelError
from memeblend.training.encoder import make_preprocessor, start_encoders
from small_runs import small_data, small_recipe


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "clip"
    save_clip(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("data"))


def recipe_from(checkpoint, *settings):
    return small_recipe(f'encoder.source="{checkpoint}"', 'encoder.image_fit="crop"', *settings)


def test_fit_from_a_checkpoint(checkpoint, data, tmp_path):
    model = MemeClassifier(recipe_from(checkpoint), out=tmp_path / "run").fit(data)
    found = model.evaluate(data)
    assert set(found["label_tasks"]) == {"mood", "level"}
    loaded = MemeClassifier.load(tmp_path / "run")
    assert loaded.predict(data).equals(model.predict(data))


def test_encoders_and_preprocessor_are_the_checkpoints(checkpoint):
    import torch

    recipe = recipe_from(checkpoint)
    preprocessor = make_preprocessor(recipe.encoder, ["never used for training"])
    clip = start_encoders(recipe.encoder, preprocessor)
    from transformers import CLIPModel, CLIPTokenizer

    expected = CLIPModel.from_pretrained(checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(clip.parameters(), expected.parameters(), strict=True))
    assert preprocessor.transform.size == expected.config.vision_config.image_size
    text = "hello meme " * 30
    ids = preprocessor.token_ids([text])[0]
    tokenizer = CLIPTokenizer.from_pretrained(checkpoint)
    assert ids == tokenizer(text, truncation=True, max_length=recipe.encoder.max_length)["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id
    assert len(ids) == recipe.encoder.max_length


def test_preprocessing_equals_hugging_face(checkpoint, data):
    import numpy as np
    from PIL import Image
    from transformers import CLIPImageProcessorPil

    preprocessor = make_preprocessor(recipe_from(checkpoint).encoder, [])
    with Image.open(data / "pictures" / "0.png") as image:
        picture = image.convert("RGB")
    expected = CLIPImageProcessorPil.from_pretrained(checkpoint)(picture, return_tensors="pt")["pixel_values"]
    found = preprocessor.pixel_values(preprocessor.transform.apply(picture)[None])
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)


def test_texts_longer_than_the_encoder_reads_are_a_wrong_recipe(checkpoint, data, tmp_path):
    recipe = recipe_from(checkpoint, "encoder.max_length=100")
    with pytest.raises(MemeblendError, match=r"max_length is 100.*at most 20"):
        MemeClassifier(recipe, out=tmp_path / "run").fit(data)


def test_a_source_that_is_no_clip_is_refused(data, tmp_path):
    with pytest.raises(ModelError, match=r"config\.json"):
        MemeClassifier(recipe_from(data), out=tmp_path / "run").fit(data)
