"""Where OSCAR starts: checkpoints in the original naming, BERTs, trained models; what is listed and what is refused."""

import json

import pytest
import torch
from safetensors.torch import save_file
from small_models import LABEL_TASKS
from transformers import BertConfig, BertForPreTraining, BertModel

from memeblend.errors import ModelError
from memeblend.models.oscar import OscarClassifier, OscarConfig
from memeblend.models.oscar_checkpoint import checkpoint_folder, of_model, read_checkpoint

REGION_SIZE = 14
SIZES = {
    "vocab_size": 30,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "hidden_act": "gelu",
    "max_position_embeddings": 12,
    "type_vocab_size": 2,
}
# As a file of 2020 has it: no model_type, settings of that time, the region part's own.
ORIGINAL_CONFIG = SIZES | {
    "attention_probs_dropout_prob": 0.3,
    "finetuning_task": None,
    "hidden_dropout_prob": 0.3,
    "img_feature_dim": REGION_SIZE,
    "img_feature_type": "faster_r-cnn",
    "img_layer_norm_eps": 1e-10,
    "layer_norm_eps": 1e-12,
    "num_labels": 2,
    "output_attentions": False,
    "pruned_heads": {},
    "torchscript": False,
    "use_img_layernorm": True,
}


def original_tensors(*, norm=True, heads=True):
    """Names and shapes of the published files, written out by hand; random numbers."""
    shapes = {
        "bert.embeddings.word_embeddings.weight": (30, 8),
        "bert.embeddings.position_embeddings.weight": (12, 8),
        "bert.embeddings.token_type_embeddings.weight": (2, 8),
        "bert.embeddings.LayerNorm.weight": (8,),
        "bert.embeddings.LayerNorm.bias": (8,),
        "bert.pooler.dense.weight": (8, 8),
        "bert.pooler.dense.bias": (8,),
        "bert.img_embedding.weight": (8, REGION_SIZE),
        "bert.img_embedding.bias": (8,),
    }
    for layer in range(2):
        prefix = f"bert.encoder.layer.{layer}."
        linear = {
            "attention.self.query": (8, 8),
            "attention.self.key": (8, 8),
            "attention.self.value": (8, 8),
            "attention.output.dense": (8, 8),
            "intermediate.dense": (16, 8),
            "output.dense": (8, 16),
        }
        for name, (to, given) in linear.items():
            shapes |= {f"{prefix}{name}.weight": (to, given), f"{prefix}{name}.bias": (to,)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{prefix}{name}.weight": (8,), f"{prefix}{name}.bias": (8,)}
    if norm:
        shapes |= {"bert.LayerNorm.weight": (8,), "bert.LayerNorm.bias": (8,)}
    if heads:
        shapes |= {
            "cls.predictions.bias": (30,),
            "cls.predictions.transform.dense.weight": (8, 8),
            "cls.seq_relationship.weight": (2, 8),
        }
    random = torch.Generator().manual_seed(3)
    return {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}


def write(folder, tensors, config=ORIGINAL_CONFIG, file="pytorch_model.bin"):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if file.endswith(".bin"):
        torch.save(tensors, folder / file)
    else:
        save_file(tensors, folder / file)
    return folder


def start(folder, region_size=REGION_SIZE):
    return read_checkpoint(folder, str(folder)).model(
        LABEL_TASKS, region_size=region_size, dropout=0.1, head_dropout=0.2
    )


def place(model, name):
    """The tensor of the model where one of the original naming belongs, found without the code under test."""
    match name.split(".", 2):
        case ["bert", "img_embedding", rest]:
            return model.region_embedding.state_dict()[rest]
        case ["bert", "LayerNorm", rest]:
            return model.region_norm.state_dict()[rest]
        case ["bert", *_]:
            return model.bert.state_dict()[name.removeprefix("bert.")]


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.safetensors"])
def test_an_original_checkpoint_is_loaded_tensor_by_tensor(tmp_path, file):
    tensors = original_tensors()
    model, report = start(write(tmp_path, tensors, file=file))
    body = [name for name in tensors if name.startswith("bert.")]
    for name in body:
        assert torch.equal(place(model, name), tensors[name]), name
    assert len(report.loaded) == len(body) == len(model.state_dict()) - 2 * len(LABEL_TASKS)
    assert report.missing == report.unexpected == ()
    assert sorted(report.left_out) == sorted(name for name in tensors if name.startswith("cls."))
    assert model.config.region_size == REGION_SIZE
    assert model.region_norm.eps == 1e-10


def test_a_report_in_words(tmp_path):
    tensors = original_tensors()
    del tensors["bert.img_embedding.bias"], tensors["bert.encoder.layer.1.output.dense.bias"]
    tensors["bert.secret.weight"] = torch.zeros(1)
    folder = write(tmp_path, tensors)
    model, report = start(folder)
    assert report.lines() == [
        f"'{folder}': 41 tensors loaded; new heads for sentiment, keys, a.b.",
        f"'{folder}': 2 tensor(s) not in the file, so they start from random weights: "
        "bert.encoder.layer.1.output.dense.bias, bert.img_embedding.bias.",
        f"'{folder}': 3 tensor(s) of the file left out (its own heads, or tables without weights): "
        "cls.predictions.bias, cls.predictions.transform.dense.weight, cls.seq_relationship.weight.",
        f"'{folder}': 1 tensor(s) of the file are unknown and were not used: bert.secret.weight.",
    ]
    assert torch.equal(model.region_embedding.bias, torch.zeros(8)), "new, not left over from memory"


def test_the_old_names_gamma_and_beta(tmp_path):
    tensors = original_tensors()
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in tensors.items()
    }
    assert old.keys() != tensors.keys()
    model, report = start(write(tmp_path, old))
    assert report.missing == report.unexpected == ()
    for name in tensors:
        if name.startswith("bert."):
            assert torch.equal(place(model, name), tensors[name]), name
    both = old | {"bert.LayerNorm.weight": torch.ones(8)}
    _, report = start(write(tmp_path, both))
    assert report.unexpected == ("bert.LayerNorm.weight",)


@pytest.mark.parametrize(
    ("said", "there", "norm", "missing", "unexpected"),
    [
        (True, True, True, 0, 0),
        (True, False, True, 2, 0),
        (False, True, False, 0, 2),
        (False, False, False, 0, 0),
        (None, True, True, 0, 0),
        (None, False, False, 0, 0),
    ],
)
def test_the_layer_norm_on_regions_follows_the_checkpoint(tmp_path, said, there, norm, missing, unexpected):
    config = {**ORIGINAL_CONFIG, "use_img_layernorm": said}
    model, report = start(write(tmp_path, original_tensors(norm=there), config))
    assert isinstance(model.region_norm, torch.nn.LayerNorm) == norm
    assert (len(report.missing), len(report.unexpected)) == (missing, unexpected)


def test_region_widths_that_differ_are_named(tmp_path):
    folder = write(tmp_path, original_tensors())
    with pytest.raises(ModelError, match=r"have 256 features, .* box 262, but '.*' reads 14 \(its img_feature_dim\)"):
        start(folder, region_size=262)


def test_other_shapes_than_the_configuration_says_are_all_listed(tmp_path):
    tensors = original_tensors()
    tensors["bert.pooler.dense.bias"] = torch.zeros(9)
    tensors["bert.embeddings.word_embeddings.weight"] = torch.zeros(31, 8)
    with pytest.raises(ModelError, match=r"do not fit its config\.json") as caught:
        start(write(tmp_path, tensors))
    assert [str(problem) for problem in caught.value.problems] == [
        "tensor bert.embeddings.word_embeddings.weight: has shape [31, 8], expected [30, 8]",
        "tensor bert.pooler.dense.bias: has shape [9], expected [8]",
    ]


@pytest.mark.parametrize("kind", [BertModel, BertForPreTraining])
def test_any_bert_is_a_start_with_new_regions(tmp_path, kind):
    torch.manual_seed(0)
    bert = kind(BertConfig(**SIZES))
    bert.save_pretrained(tmp_path)
    model, report = start(tmp_path)
    for name, value in (bert.bert if kind is BertForPreTraining else bert).state_dict().items():
        assert torch.equal(model.bert.state_dict()[name], value), name
    assert sorted(report.missing) == [
        "bert.LayerNorm.bias", "bert.LayerNorm.weight", "bert.img_embedding.bias", "bert.img_embedding.weight",
    ]  # fmt: skip
    assert report.unexpected == ()
    assert all(name.startswith("cls.") for name in report.left_out)
    assert bool(report.left_out) == (kind is BertForPreTraining)


def test_a_bert_without_pooler_gets_a_new_one(tmp_path):
    BertModel(BertConfig(**SIZES), add_pooling_layer=False).save_pretrained(tmp_path)
    _, report = start(tmp_path)
    assert {"bert.pooler.dense.weight", "bert.pooler.dense.bias"} < set(report.missing)


def trained():
    torch.manual_seed(7)
    config = OscarConfig(BertConfig(**SIZES), LABEL_TASKS[:1], region_size=REGION_SIZE, region_norm_eps=1e-9)
    return OscarClassifier(config)


@pytest.mark.parametrize("saved", [True, False])
def test_a_trained_model_gives_all_but_its_heads(tmp_path, saved):
    first = trained()
    first.save_pretrained(tmp_path)
    checkpoint = read_checkpoint(tmp_path, "it") if saved else of_model(first, "it")
    model, report = checkpoint.model(LABEL_TASKS[1:], region_size=REGION_SIZE, dropout=0.4, head_dropout=0.2)
    expected = first.state_dict()
    for name, value in model.state_dict().items():
        if not name.startswith("heads."):
            assert torch.equal(value, expected[name]), name
            assert value.data_ptr() != expected[name].data_ptr(), f"{name} is shared"
    assert report.lines() == [
        f"'it': {len(report.loaded)} tensors loaded; new heads for keys, a.b.",
        "'it': 2 tensor(s) of the file left out (its own heads, or tables without weights): "
        "heads.0.weight, heads.0.bias.",
    ]
    assert (model.region_norm.eps, model.region_dropout.p, model.head_dropout.p) == (1e-9, 0.4, 0.2)
    assert first.config.bert_config.hidden_dropout_prob == 0.1, "the first model's own settings stay"


def test_half_precision_becomes_single(tmp_path):
    tensors = {name: value.half() for name, value in original_tensors().items()}
    model, _ = start(write(tmp_path, tensors))
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert torch.equal(model.region_embedding.weight, tensors["bert.img_embedding.weight"].float())


def test_a_table_of_positions_is_left_out_by_name(tmp_path):
    _, report = start(write(tmp_path, original_tensors() | {"bert.embeddings.position_ids": torch.arange(12)[None]}))
    assert "bert.embeddings.position_ids" in report.left_out


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**ORIGINAL_CONFIG, "model_type": "roberta"}, "its config.json says model_type 'roberta'"),
        ({**ORIGINAL_CONFIG, "img_feature_type": "dis_code_t"}, "says regions as discrete codes"),
        ({"vocab_size": 3}, "lacks hidden_size, num_hidden_layers, num_attention_heads"),
        ({**ORIGINAL_CONFIG, "hidden_size": "8"}, "is no BERT's.*hidden_size"),
        ({**ORIGINAL_CONFIG, "num_attention_heads": 3}, "num_attention_heads 3 does not divide hidden_size 8"),
    ],
)
def test_a_configuration_of_something_else_is_refused(tmp_path, config, message):
    write(tmp_path, original_tensors(), config)
    with pytest.raises(ModelError, match=f"(?s){message}"):
        read_checkpoint(tmp_path, "it")


def test_weights_that_are_not_there_not_whole_or_not_a_berts_are_refused(tmp_path):
    folder = write(tmp_path / "a", original_tensors())
    weights = folder / "pytorch_model.bin"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:300])
    with pytest.raises(ModelError, match=r"weights in '.*pytorch_model.bin' could not be read"):
        start(folder)
    torch.save([1, 2], weights)
    with pytest.raises(ModelError, match="Expected tensors by their names"):
        start(folder)
    torch.save({"resnet.weight": torch.zeros(2)}, weights)
    with pytest.raises(ModelError, match="found none of BERT's layers"):
        start(folder)
    weights.unlink()
    with pytest.raises(ModelError, match=r"Expected weights \(model.safetensors or pytorch_model.bin\)"):
        start(folder)
    (folder / "model.safetensors").write_bytes(b"12345678 nothing")
    with pytest.raises(ModelError, match="could not be read"):
        start(folder)


class Gadget:
    def __reduce__(self):
        return (print, ("a pickle ran",))


def test_a_file_that_would_run_code_is_refused(tmp_path, capsys):
    folder = write(tmp_path, {"bert.encoder.x": Gadget()})
    with pytest.raises(ModelError, match="could not be read"):
        start(folder)
    assert capsys.readouterr().out == ""


def test_a_folder_that_is_not_there_is_refused_without_the_network(tmp_path):
    for source in (str(tmp_path / "none"), "./none", "a/b/c"):
        with pytest.raises(ModelError, match="found nothing"):
            checkpoint_folder(source)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ModelError, match="found a file"):
        checkpoint_folder(tmp_path / "file")
    assert checkpoint_folder(tmp_path) == tmp_path


def test_a_hub_id_is_downloaded_with_pickled_weights_only_where_there_are_no_others(tmp_path, monkeypatch):
    asked = []

    def download(name, allow_patterns):
        asked.append((name, any(pattern.endswith(".bin") for pattern in allow_patterns)))
        return str(tmp_path)

    monkeypatch.setattr("memeblend.models.oscar_checkpoint.snapshot_download", download)
    write(tmp_path, original_tensors())
    assert checkpoint_folder("someone/bert") == tmp_path
    assert asked == [("someone/bert", False), ("someone/bert", True)]
    asked.clear()
    write(tmp_path, original_tensors(), file="model.safetensors")
    assert checkpoint_folder("bert-base-uncased") == tmp_path
    assert asked == [("bert-base-uncased", False)]


def test_a_hub_that_can_not_be_reached_is_said(monkeypatch):
    def download(name, allow_patterns):
        raise OSError("no route to the hub.\nand more")

    monkeypatch.setattr("memeblend.models.oscar_checkpoint.snapshot_download", download)
    with pytest.raises(ModelError, match="Could not get 'someone/bert' from the hub: no route to the hub"):
        checkpoint_folder("someone/bert")
