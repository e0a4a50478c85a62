"""Encoders of other kinds than CLIP go through the whole path: fit, predict, save, load, export, explain."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    CamembertConfig,
    CamembertModel,
    Dinov2Config,
    Dinov2Model,
    DistilBertConfig,
    DistilBertModel,
    SiglipModel,
    SwinConfig,
    SwinModel,
)

from memeblend import MemeClassifier
from memeblend.candidates.neural import Neural
from memeblend.errors import ModelError, RecipeError
from memeblend.explain.explaining import explain
from memeblend.explain.gradients import model_of, one_batch
from memeblend.explain.inputs import Meme
from memeblend.explain.rollout import _recorded, attention_rollout, can_roll_out, model_shares
from memeblend.models import build_model, load_model
from memeblend.models.config import MemeConfig
from memeblend.models.encoders import EncoderStates, image_states, text_states
from memeblend.models.lora import Adapters
from memeblend.models.pair import (
    load_encoders,
)
from memeblend.onnx_engine.classifier import OnnxClassifier
from memeblend.onnx_engine.exporting import export_onnx
from memeblend.training.encoder import make_preprocessor
from other_encoders import (
    IDS,
    MASK,
    MOOD,
    PIXELS,
    SIGLIP_LENGTH,
    SIZES,
    pair_of,
    saved_image,
    saved_text,
    small_bert,
    small_distilbert,
    small_dual_encoder,
    small_siglip,
)
from small_runs import small_data, small_recipe


@pytest.fixture(scope="module", params=["siglip", "dual", "pair"])
def source(request, tmp_path_factory):
    """Settings that name the encoders."""
    folder = tmp_path_factory.mktemp("encoders") / request.param
    match request.param:
        case "siglip":
            return [f'encoder.source="{small_siglip(folder)}"']
        case "dual":
            return [f'encoder.source="{small_dual_encoder(folder)}"']
        case _:
            return ["encoder.source=pair", f'encoder.pair.text="{small_bert(folder)}"']


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(source, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    recipe = small_recipe("ensemble.method=all", *source)
    recipe = recipe.model_copy(update={"candidates": recipe.candidates[1:4]})  # text, image and fusion
    MemeClassifier(recipe, out=folder).fit(data)
    return folder


def test_a_loaded_model_says_the_same(run, data, tmp_path):
    model = MemeClassifier.load(run)
    found = model.predict_proba(data)
    model.save(tmp_path / "model")
    again = MemeClassifier.load(tmp_path / "model").predict_proba(data)
    for name, values in found.items():
        np.testing.assert_array_equal(again[name], values)


def test_an_export_says_the_same(run, data, tmp_path):
    found = export_onnx(run, tmp_path / "export")
    assert found["check"]["largest_difference"] < 1e-4
    model, light = MemeClassifier.load(run), OnnxClassifier.load(tmp_path / "export")
    for name, values in model.predict_proba(data).items():
        np.testing.assert_allclose(light.predict_proba(data)[name], values, atol=1e-4)


def test_a_decision_is_explained(run, data):
    picture, text = data / "pictures" / "3.png", "lovely good thing number 3"
    model = MemeClassifier.load(run)
    found = explain(model, picture, text)
    methods = {one.method for task in found.label_tasks for one in task.attributions}
    assert methods >= {"integrated_gradients", "rollout"}
    meme = Meme.make(picture, text, model.preprocessor_, side=2)
    for candidate in model.candidates_.values():
        if isinstance(candidate, Neural):
            shares = model_shares(model_of(candidate, "mood"), one_batch(candidate, meme, model.preprocessor_))
            assert sum(part.sum() for part in (shares.tokens, shares.states) if part is not None) == pytest.approx(1)
            rollout = attention_rollout(candidate, meme, model.preprocessor_, "mood")
            assert rollout.total == pytest.approx(1)
            assert rollout.words is None or min(rollout.words) > 0, "every word is attended to"


def test_text_states_are_hugging_faces(tmp_path):
    bert = AutoModel.from_pretrained(small_bert(tmp_path / "bert")).eval()
    with torch.inference_mode():
        states = text_states(bert, IDS, MASK)
        theirs = bert(input_ids=IDS, attention_mask=MASK).last_hidden_state
    torch.testing.assert_close(states.pooled[0], theirs[0].mean(dim=0))
    torch.testing.assert_close(states.pooled[1], theirs[1, :2].mean(dim=0), msg="padding counts for nothing")


def test_a_mean_by_hand():
    tokens = torch.tensor([[[1.0, 0.0], [3.0, 2.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert EncoderStates.of_text(tokens, mask, "mean").pooled.tolist() == [[2.0, 1.0]]
    assert EncoderStates.of_text(tokens, mask, "end").pooled.tolist() == [[3.0, 2.0]]


def test_siglips_pooled_states_are_hugging_faces(tmp_path):
    siglip = load_encoders(small_siglip(tmp_path / "siglip")).eval()
    assert isinstance(siglip, SiglipModel)
    preprocessor = make_preprocessor(small_recipe(f'encoder.source="{tmp_path / "siglip"}"').encoder, [])
    ids, mask = preprocessor.pad(preprocessor.token_ids(["good thing", "sad"]))
    assert ids.shape == (2, SIGLIP_LENGTH)
    with torch.inference_mode():
        text = text_states(siglip.text_model, ids, mask).pooled
        torch.testing.assert_close(siglip.text_model.head(text), siglip.text_model(input_ids=ids).pooler_output)
        image = image_states(siglip.vision_model, PIXELS)
        theirs = siglip.vision_model(pixel_values=PIXELS)
    torch.testing.assert_close(image.pooled, theirs.pooler_output)
    torch.testing.assert_close(image.tokens[:, 1:], theirs.last_hidden_state)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "camembert"])
def test_attention_is_what_hugging_face_computes(tmp_path, kind):
    sizes = {"hidden_size": 24, "vocab_size": 64, "max_position_embeddings": 14}
    dino = {"hidden_size": 32, "image_size": 16, "patch_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    match kind:
        case "bert":
            encoders = load_encoders(small_dual_encoder(tmp_path / "dual"))
        case "distilbert":
            image = saved_image(tmp_path / "image", Dinov2Model(Dinov2Config(**dino)))
            encoders, _ = pair_of(small_distilbert(tmp_path / "text"), image)
        case _:
            text = saved_text(tmp_path / "text", CamembertModel(CamembertConfig(**sizes, **SIZES)))
            encoders, _ = pair_of(text, small_siglip(tmp_path / "image"))
    with torch.no_grad():
        for name, value in encoders.named_parameters():  # small random weights attend to all alike
            value *= 10 if "norm" not in name.lower() else 1
    model = build_model("fusion", MemeConfig(encoders.config, [MOOD], num_blocks=1, num_heads=2), encoders).eval()
    assert can_roll_out(model)
    parts = {"text": model.text.text_model, "image": model.image.vision_model}
    with torch.inference_mode(), _recorded(model) as seen:
        model(input_ids=IDS[:1], attention_mask=MASK[:1], pixel_values=PIXELS[:1])
        found = {name: seen(part, causal=False) for name, part in parts.items()}
    encoders.save_pretrained(tmp_path / "whole")
    eager = AutoModel.from_pretrained(tmp_path / "whole", attn_implementation="eager").eval()
    with torch.inference_mode():
        text = eager.text_model(input_ids=IDS[:1], attention_mask=MASK[:1], output_attentions=True).attentions
        image = eager.vision_model(pixel_values=PIXELS[:1], output_attentions=True).attentions
    assert {name: len(layers) for name, layers in found.items()} == {"text": len(text), "image": len(image)}
    assert text[0].std() > 0.01, "tokens are not attended to alike"
    torch.testing.assert_close(found["text"][0], text[0][0].mean(dim=0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found["image"][0], image[0][0].mean(dim=0), rtol=1e-4, atol=1e-6)


def swin_beside_distilbert():
    from transformers import VisionTextDualEncoderConfig, VisionTextDualEncoderModel

    text = DistilBertModel(DistilBertConfig(dim=16, hidden_dim=32, n_layers=1, n_heads=2, vocab_size=64))
    image = SwinModel(SwinConfig(image_size=16, patch_size=4, embed_dim=8, depths=[1], num_heads=[2], window_size=4))
    config = VisionTextDualEncoderConfig.from_vision_text_configs(image.config, text.config, projection_dim=8)
    return VisionTextDualEncoderModel(config, image, text)


def test_encoders_without_pooler_or_class_token(tmp_path):
    encoders = swin_beside_distilbert()
    model = build_model("align", MemeConfig(encoders.config, [MOOD], projection_size=8, num_heads=1), encoders).eval()
    model.save_pretrained(tmp_path)
    inputs = {"input_ids": IDS, "attention_mask": MASK, "pixel_values": PIXELS}
    with torch.inference_mode():
        found, again = (one(**inputs).logits["mood"] for one in (model, load_model("align", tmp_path)))
        pooled = encoders.eval().vision_model(pixel_values=PIXELS).pooler_output
        torch.testing.assert_close(image_states(encoders.vision_model, PIXELS).pooled, pooled)
    assert torch.equal(found, again)
    assert not can_roll_out(model), "Swin attends in windows"


def test_low_rank_adapters_need_projections_that_they_know():
    encoders = swin_beside_distilbert()
    config = MemeConfig(encoders.config, [MOOD], num_heads=1)
    text = build_model("text", config, encoders)
    adapters = Adapters(text, 2)
    assert 0 < adapters.num_trained < text.num_parameters()
    adapters.merge()
    broken = build_model("text", config, encoders)
    broken.text.text_model = torch.nn.Linear(2, 2)
    with pytest.raises(ModelError, match="no query and value projections in a Linear"):
        Adapters(broken, 2)


def test_start_names_encoders_of_other_sizes(data, tmp_path):
    small, large = small_bert(tmp_path / "small"), tmp_path / "large"
    saved_text(large, BertModel(BertConfig(hidden_size=32, vocab_size=64, max_position_embeddings=20, **SIZES)))
    pair_of(large)[0].save_pretrained(tmp_path / "pair")
    settings = ["encoder.source=pair", f'encoder.pair.text="{small}"', f'candidates.text.start="{tmp_path / "pair"}"']
    recipe = small_recipe(*settings)
    recipe = recipe.model_copy(update={"candidates": recipe.candidates[1:2]})
    with pytest.raises(ModelError, match="whose encoders have other sizes than the recipe's"):
        MemeClassifier(recipe, out=tmp_path / "run").fit(data)


def test_start_names_encoders_of_another_kind(data, tmp_path):
    siglip, dual = small_siglip(tmp_path / "siglip"), small_dual_encoder(tmp_path / "dual")
    settings = [f'encoder.source="{siglip}"', f'candidates.text.start="{dual}"']
    with pytest.raises(ModelError, match="text encoder bert and not siglip_text_model"):
        MemeClassifier(small_recipe(*settings), out=tmp_path / "run").fit(data)


def test_encoders_that_do_not_fit_the_recipe(data, tmp_path):
    bert = small_bert(tmp_path / "bert")
    settings = ["encoder.source=pair", f'encoder.pair.text="{bert}"', "candidates.fusion.num_heads=5"]
    with pytest.raises(RecipeError, match="num_heads is 5, expected a divisor of the text width 24"):
        MemeClassifier(small_recipe(*settings), out=tmp_path / "run").fit(data)
    with pytest.raises(ModelError, match="found model_type 'bert'"):
        MemeClassifier(small_recipe(f'encoder.source="{bert}"'), out=tmp_path / "other").fit(data)
