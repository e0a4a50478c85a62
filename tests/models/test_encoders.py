"""CLIP's states equal Hugging Face's own; loading a CLIP from a folder, and every way it can fail."""

import json

import pytest
import torch
from small_models import small_batch
from transformers import CLIPModel

from clip_checkpoint import clip_config, save_clip
from memeblend.errors import ModelError
from memeblend.models.encoders import image_states, text_states, tiny_clip_config
from memeblend.models.pair import load_encoders

TINY = {"vocab_size": 300, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, "max_length": 16}


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return CLIPModel(clip_config()).eval()


def test_pooled_states_are_what_clip_projects(clip):
    batch = small_batch()
    text = text_states(clip.text_model, batch["input_ids"], batch["attention_mask"])
    image = image_states(clip.vision_model, batch["pixel_values"])
    theirs = clip.get_text_features(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    torch.testing.assert_close(clip.text_projection(text.pooled), theirs.pooler_output, rtol=1e-4, atol=1e-6)
    theirs = clip.get_image_features(pixel_values=batch["pixel_values"])
    torch.testing.assert_close(clip.visual_projection(image.pooled), theirs.pooler_output, rtol=1e-4, atol=1e-6)


def test_token_states_are_clips_own_after_the_last_norm(clip):
    batch = small_batch()
    mask = batch["attention_mask"].bool()
    text = text_states(clip.text_model, batch["input_ids"], batch["attention_mask"])
    theirs = clip.text_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    torch.testing.assert_close(text.tokens[mask], theirs[mask], rtol=1e-4, atol=1e-5)
    image = image_states(clip.vision_model, batch["pixel_values"])
    assert image.tokens.shape == (4, 1 + 4, 48)
    assert torch.equal(image.tokens[:, 0], image.pooled)
    torch.testing.assert_close(image.tokens.mean(dim=2), torch.zeros(4, 5), rtol=0, atol=1e-5)


def test_the_embedded_clip_pools_at_the_end_token():
    torch.manual_seed(0)
    clip = CLIPModel(tiny_clip_config(**TINY, hidden_size=32)).eval()
    ids = torch.tensor([[2, 290, 7, 1, 0, 0], [2, 5, 6, 7, 299, 1]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    states = text_states(clip.text_model, ids, mask)
    assert torch.equal(states.pooled, torch.stack([states.tokens[0, 3], states.tokens[1, 5]]))
    theirs = clip.text_model(input_ids=ids, attention_mask=mask).pooler_output
    torch.testing.assert_close(states.pooled, theirs, rtol=1e-4, atol=1e-5)


def test_the_embedded_clip_has_the_sizes_asked_for():
    config = tiny_clip_config(**TINY, hidden_size=64, text_layers=1, image_layers=2, image_size=48, patch_size=12)
    clip = CLIPModel(config)
    assert len(clip.text_model.encoder.layers) == 1
    assert len(clip.vision_model.encoder.layers) == 2
    assert clip.get_image_features(torch.zeros(1, 3, 48, 48)).last_hidden_state.shape == (1, 1 + 16, 64)


def test_an_end_token_that_would_switch_the_pooling_is_refused():
    with pytest.raises(ValueError, match="eos_token_id is 2"):
        tiny_clip_config(**(TINY | {"eos_token_id": 2, "bos_token_id": 1}))


def test_a_clip_is_loaded_from_a_folder_in_float32(tmp_path, capfd):
    expected = CLIPModel.from_pretrained(save_clip(tmp_path))
    expected.half().save_pretrained(tmp_path)
    capfd.readouterr()
    loaded = load_encoders(tmp_path)
    assert capfd.readouterr().err == "", "Hugging Face drew a progress bar"
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, expected.state_dict()[name].float())


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_weight(folder):
    clip = CLIPModel.from_pretrained(folder)
    kept = {name: value for name, value in clip.state_dict().items() if not name.startswith("vision_model")}
    clip.save_pretrained(folder, state_dict=kept)


def other_model(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: cut(folder / "model.safetensors"), "Could not load CLIPModel"),
        (lambda folder: cut(folder / "config.json"), "'config.json' can't be read: not JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "holds no JSON object"),
        (lambda folder: (folder / "config.json").unlink(), "'config.json' can't be read: No such file"),
        (lambda folder: (folder / "model.safetensors").unlink(), "Expected weights"),
        (other_model, "found model_type 'bert'"),
        (without_weight, "lacks 39 of its weights, first of them 'vision_model"),
    ],
)
def test_a_damaged_folder_is_refused_in_words(tmp_path, damage, message):
    damage(save_clip(tmp_path))
    with pytest.raises(ModelError, match=message):
        load_encoders(tmp_path)


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/at/all", "a/b/c", "~/nowhere"])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(source):
    with pytest.raises(ModelError, match=r"Expected a folder that holds an encoder at .*, found nothing"):
        load_encoders(source)


def test_a_file_is_no_folder(tmp_path):
    path = tmp_path / "clip.bin"
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="found a file"):
        load_encoders(path)


def test_a_hub_that_cannot_be_reached_is_said_with_a_way_out(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="hf download nobody/no-such-clip --local-dir FOLDER"):
        load_encoders("nobody/no-such-clip")
