"""Configurations, and model folders that are not what they should be."""

import json

import pytest
from safetensors.torch import load_file, save_file
from small_models import LABEL_TASKS, small_config, small_model

from clip_checkpoint import clip_config
from memeblend.errors import ModelError
from memeblend.models import load_model
from memeblend.models.config import MemeConfig


def test_a_configuration_survives_its_file(tmp_path):
    config = small_config(residual=True, text_state="bos", num_hidden=3, attention_dropout=0.25)
    config.save_pretrained(tmp_path)
    loaded = MemeConfig.from_pretrained(tmp_path)
    ignored = {"_name_or_path", "transformers_version"}
    ours, theirs = ({k: v for k, v in c.to_dict().items() if k not in ignored} for c in (config, loaded))
    assert theirs == ours
    assert loaded.encoder_config.text_config.to_dict() == config.encoder_config.text_config.to_dict()
    assert loaded.num_classes() == {"sentiment": 3, "keys": 2, "a.b": 4}


def test_the_papers_sizes_are_the_defaults():
    config = MemeConfig()
    assert (config.text_width, config.image_width) == (512, 768)
    assert (config.lstm_hidden_size, config.lstm_layers) == (512, 2)
    assert (config.num_blocks, config.num_heads, config.head_dropout, config.attention_dropout) == (6, 8, 0.1, 0.0)
    assert (config.residual, config.norm, config.text_state) == (False, False, "eos")


def test_every_wrong_value_of_a_configuration_is_named_at_once():
    with pytest.raises(ValueError) as found:
        MemeConfig(clip_config(), LABEL_TASKS, num_blocks=0, num_heads=5, head_dropout=1.0, text_state="end")
    message = str(found.value)
    for part in (
        "num_blocks is 0, expected at least 1",
        "num_heads is 5, expected a divisor of the text width 32",
        "head_dropout is 1.0, expected at least 0 and below 1",
        "text_state is 'end'",
    ):
        assert part in message


def test_a_label_task_named_twice_is_refused():
    with pytest.raises(ValueError, match="label_tasks names one twice: keys, keys"):
        MemeConfig(clip_config(), [LABEL_TASKS[1], LABEL_TASKS[1]])


@pytest.fixture
def folder(tmp_path):
    small_model("text").save_pretrained(tmp_path)
    return tmp_path


def test_a_folder_of_another_kind_is_refused(folder):
    with pytest.raises(
        ModelError, match=r"Expected a saved FusionClassifier .*found architectures \['TextClassifier'\]"
    ):
        load_model("fusion", folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"Expected a saved ImageClassifier .*No such file"):
        load_model("image", tmp_path / "nowhere")


def test_a_folder_that_is_not_ours_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="found architectures None"):
        load_model("text", tmp_path)


def test_weights_cut_short_are_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="Could not load TextClassifier"):
        load_model("text", folder)


def test_a_weight_left_out_is_refused(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["text.lstm.weight_hh_l0"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of its weights, first of them 'text\.lstm\.weight_hh_l0'"):
        load_model("text", folder)


def test_weights_of_other_sizes_are_refused(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"lstm_hidden_size": 13}))
    with pytest.raises(ModelError, match="Could not load TextClassifier"):
        load_model("text", folder)


def test_a_configuration_with_wrong_values_is_refused(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"lstm_layers": 0}))
    with pytest.raises(ModelError, match="lstm_layers is 0, expected at least 1"):
        load_model("text", folder)
