"""Graphs give what torch gives, whatever the number of memes and the length of their texts."""

import pytest
import torch
from transformers import CLIPModel

from clip_checkpoint import clip_config
from memeblend.errors import ModelError
from memeblend.models.oscar import NUM_BOX_NUMBERS, OscarClassifier, OscarConfig, tiny_bert_config
from memeblend.onnx_engine.graphs import EncoderState, GridLogits, Logits, PooledStates, quantize, write_graph
from memeblend.onnx_engine.sessions import Graph

IMAGE_SIZE, VOCABULARY, LONGEST = 32, 30, 20
SIZES = [(1, 1), (1, LONGEST), (3, 1), (3, LONGEST), (2, 5)]


def classifier(kind, **settings):
    from small_models import small_model

    return small_model(kind, **settings)


def clip(seed=0):
    torch.manual_seed(seed)
    return CLIPModel(clip_config()).eval()


def grid_oscar():
    torch.manual_seed(0)
    encoder = clip().vision_model
    bert = tiny_bert_config(
        vocab_size=VOCABULARY,
        pad_token_id=0,
        max_length=LONGEST,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        dropout=0.1,
    )
    from small_models import LABEL_TASKS

    size = encoder.config.hidden_size + NUM_BOX_NUMBERS
    model = OscarClassifier(OscarConfig(bert, LABEL_TASKS, region_size=size)).eval()
    return GridLogits(model, encoder, max_regions=5)  # fewer than there are patches, so they are averaged


CASES = {
    "text": (lambda: Logits(classifier("text", lstm_layers=2)), "text"),
    "text-rounded": (lambda: Logits(classifier("text", encoder_states="bfloat16")), "text"),
    "image": (lambda: Logits(classifier("image")), "image"),
    "fusion": (lambda: Logits(classifier("fusion", text_state="eos")), "both"),
    "fusion-as-released": (lambda: Logits(classifier("fusion", text_state="bos", residual=True, norm=True)), "both"),
    "align": (lambda: Logits(classifier("align", num_hidden=2)), "both"),
    "oscar": (grid_oscar, "both"),
    "states-text": (lambda: PooledStates(classifier("text"), "text"), "text"),
    "states-image": (lambda: PooledStates(classifier("image"), "image"), "image"),
    "states-fused": (lambda: PooledStates(classifier("align"), "fused"), "both"),
    "clip-text": (lambda: EncoderState(clip(), "text"), "text"),
    "clip-image": (lambda: EncoderState(clip(), "image"), "image"),
}


def inputs(reads, num_memes, length, seed=0):
    """Random memes; the first has a text of full length, the others end earlier."""
    random = torch.Generator().manual_seed(seed)
    found = {}
    if reads != "image":
        lengths = torch.randint(1, length + 1, (num_memes,), generator=random)
        lengths[0] = length
        found["attention_mask"] = (torch.arange(length)[None, :] < lengths[:, None]).long()
        found["input_ids"] = torch.randint(3, VOCABULARY, (num_memes, length), generator=random)
    if reads != "text":
        found["pixel_values"] = torch.randn(num_memes, 3, IMAGE_SIZE, IMAGE_SIZE, generator=random)
    return found


def written(module, reads, path):
    with torch.inference_mode():
        num_outputs = len(module(**inputs(reads, 2, 4)))
    image_size = IMAGE_SIZE if reads != "text" else 0
    write_graph(module, path, text=reads != "image", image_size=image_size, num_outputs=num_outputs)
    return Graph(path, 1)


@pytest.mark.parametrize(
    "name", [name if name == "text" else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_graph_gives_what_torch_gives(name, tmp_path):
    make, reads = CASES[name]
    module = make().eval()
    graph = written(module, reads, tmp_path / "0.onnx")
    for num_memes, length in SIZES:
        given = inputs(reads, num_memes, length, seed=length)
        with torch.inference_mode():
            expected = module(**given)
        found = graph.run({key: value.numpy() for key, value in given.items()})
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert one.shape == tuple(other.shape)
            softmax = torch.from_numpy(one).softmax(-1) - other.softmax(-1)
            assert softmax.abs().max() < 1e-4
            if "rounded" not in name:
                torch.testing.assert_close(torch.from_numpy(one), other, rtol=1e-4, atol=1e-4)


def test_training_weights_are_left_alone_and_int8_is_smaller(tmp_path):
    module = Logits(classifier("text"))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    graph = written(module, "text", tmp_path / "0.onnx")
    assert {name: torch.equal(value, before[name]) for name, value in module.state_dict().items()} == dict.fromkeys(
        before, True
    )
    given = {key: value.numpy() for key, value in inputs("text", 3, LONGEST).items()}
    full, size = graph.run(given), (tmp_path / "0.onnx").stat().st_size
    quantize([tmp_path / "0.onnx"])
    assert [path.name for path in tmp_path.iterdir()] == ["0.onnx"]
    assert (tmp_path / "0.onnx").stat().st_size < size
    graph.open(1)
    assert max(abs(one - other).max() for one, other in zip(full, graph.run(given), strict=True)) < 0.5


def test_what_torch_cannot_export_is_named(tmp_path):
    class Guesses(torch.nn.Module):
        def forward(self, pixel_values):
            return (pixel_values * float(pixel_values.sum().item() > 0),) if pixel_values.sum() > 0 else ()

    (tmp_path / "guess-0").mkdir()
    with pytest.raises(ModelError, match="torch could not export '0' of 'guess-0'"):
        write_graph(Guesses(), tmp_path / "guess-0" / "0.onnx", text=False, image_size=8, num_outputs=1)
