"""Encoders of other kinds than CLIP go through the whole path: fit, predict, save, load, export, explain."""

import json

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    ConvNextConfig,
    ConvNextModel,
    DeiTConfig,
    DeiTModel,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    SiglipModel,
    SwinConfig,
    SwinModel,
    T5Config,
    T5EncoderModel,
    ViTConfig,
    ViTModel,
)

from clip_checkpoint import save_clip
from memeblend import MemeClassifier
from memeblend.candidates.neural import Neural
from memeblend.errors import ModelError, RecipeError
from memeblend.explain.explaining import explain
from memeblend.explain.gradients import model_of, one_batch
from memeblend.explain.inputs import Meme, token_words
from memeblend.explain.rollout import _recorded, attention_rollout, can_roll_out, model_shares
from memeblend.labels import LabelTask
from memeblend.models import build_model, load_model
from memeblend.models.config import MemeConfig
from memeblend.models.encoders import EncoderStates, image_states, text_states
from memeblend.models.lora import Adapters
from memeblend.models.pair import (
    CLIP_MEAN,
    CLIP_STD,
    image_embeds,
    image_statistics,
    load_encoders,
    longest_text,
    text_embeds,
)
from memeblend.onnx_engine.classifier import OnnxClassifier
from memeblend.onnx_engine.exporting import export_onnx
from memeblend.training.encoder import make_preprocessor, start_with_preprocessor
from memeblend.training.preprocessing import Memes
from other_encoders import (
    SIGLIP_LENGTH,
    SIZES,
    small_bert,
    small_distilbert,
    small_dual_encoder,
    small_siglip,
    word_tokenizer,
)
from small_runs import small_data, small_recipe

MOOD = LabelTask("mood", "binary", ("bad", "good"))
IDS = torch.tensor([[2, 10, 11, 12], [2, 13, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
PIXELS = torch.linspace(-1, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)


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


def test_attention_is_what_hugging_face_computes(tmp_path):
    folder = small_dual_encoder(tmp_path / "dual")
    encoders = load_encoders(folder)
    model = build_model("fusion", MemeConfig(encoders.config, [MOOD], num_blocks=1, num_heads=2), encoders).eval()
    parts = {"text": model.text.text_model, "image": model.image.vision_model}
    with torch.inference_mode(), _recorded(model) as seen:
        model(input_ids=IDS[:1], attention_mask=MASK[:1], pixel_values=PIXELS[:1])
        found = {name: seen(part, causal=False)[0] for name, part in parts.items()}
    eager = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.inference_mode():
        text = eager.text_model(input_ids=IDS[:1], attention_mask=MASK[:1], output_attentions=True).attentions[0]
        image = eager.vision_model(pixel_values=PIXELS[:1], output_attentions=True).attentions[0]
    torch.testing.assert_close(found["text"], text[0].mean(dim=0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found["image"], image[0].mean(dim=0), rtol=1e-4, atol=1e-6)


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


def pair_of(text, image="tiny", *settings):
    """A pair's encoders and the preprocessor for them."""
    named = ["encoder.source=pair", f'encoder.pair.text="{text}"', f'encoder.pair.image="{image}"']
    return start_with_preprocessor(small_recipe(*named, *settings).encoder, [])


def saved_text(folder, model, *, end=False):
    model.save_pretrained(folder)
    return word_tokenizer(folder, end=end)


def saved_image(folder, model):
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["XLMRoberta", "Camembert", "MPNet"])
def test_the_longest_text_of_encoders_that_count_behind_the_padding(tmp_path, kind):
    config = getattr(transformers, f"{kind}Config")(hidden_size=24, vocab_size=64, max_position_embeddings=14, **SIZES)
    source = saved_text(tmp_path, getattr(transformers, f"{kind}Model")(config))
    model, preprocessor = pair_of(source, "tiny", "encoder.max_length=12")
    assert longest_text(model) == 12
    ids, mask = preprocessor.pad(preprocessor.token_ids(["good " * 50]))
    assert ids.shape == (1, 12)
    assert text_states(model.text_model, ids, mask).pooled.isfinite().all()
    with pytest.raises(RecipeError, match="reads at most 12 tokens"):
        pair_of(source, "tiny", "encoder.max_length=13")


def test_projection_of_encoders_without_a_pooler(tmp_path):
    image = saved_image(tmp_path / "image", ViTModel(ViTConfig(hidden_size=32, image_size=16, patch_size=8, **SIZES)))
    model, _ = pair_of(small_distilbert(tmp_path / "text"), image)
    model.eval()
    with torch.inference_mode():
        pooled = text_states(model.text_model, IDS, MASK).pooled
        torch.testing.assert_close(text_embeds(model, IDS, MASK), model.text_projection(pooled))
        theirs = model.get_image_features(pixel_values=PIXELS).pooler_output
        torch.testing.assert_close(image_embeds(model, PIXELS), theirs, msg="its own pooler where it has one")
        model.vision_model.pooler = None
        pooled = image_states(model.vision_model, PIXELS).pooled
        torch.testing.assert_close(image_embeds(model, PIXELS), model.visual_projection(pooled))


def test_parts_of_whole_encoders_make_a_pair(tmp_path):
    dual, clip, siglip = small_dual_encoder(tmp_path / "a"), save_clip(tmp_path / "b"), small_siglip(tmp_path / "c")
    for text, image in ((dual, clip), (clip, dual), (dual, siglip)):
        made, _ = pair_of(text, image)
        for one, other in (
            (made.text_model, load_encoders(text).text_model),
            (made.vision_model, load_encoders(image).vision_model),
        ):
            assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    with pytest.raises(ModelError, match=r"SigLIP's text encoder, .* can't be one of a pair"):
        pair_of(siglip)


def test_a_convolutional_image_encoder(tmp_path):
    sizes = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "image_size": 16, "patch_size": 2}
    source = saved_image(tmp_path / "image", ConvNextModel(ConvNextConfig(**sizes)))
    made, _ = pair_of(small_bert(tmp_path / "text"), source)
    made.eval().save_pretrained(tmp_path / "pair")
    model = load_encoders(tmp_path / "pair").eval()
    assert MemeConfig(model.config, [MOOD], num_heads=1).image_width == 16
    with torch.inference_mode():
        states = image_states(model.vision_model, PIXELS)
        found = made.vision_model(pixel_values=PIXELS)
        assert torch.equal(image_embeds(made, PIXELS), image_embeds(model, PIXELS))
    torch.testing.assert_close(states.pooled, found.pooler_output)
    torch.testing.assert_close(states.tokens[:, 1], found.last_hidden_state[:, :, 0, 0])
    torch.testing.assert_close(states.tokens[:, 2], found.last_hidden_state[:, :, 0, 1], msg="row by row")


def test_tokens_that_stand_for_no_patch_are_left_out():
    registers = Dinov2WithRegistersModel(
        Dinov2WithRegistersConfig(
            hidden_size=16, image_size=16, patch_size=8, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=1
        )
    )
    distilled = DeiTModel(DeiTConfig(hidden_size=16, image_size=16, patch_size=8, **SIZES))
    for encoder in (registers.eval(), distilled.eval()):
        with torch.inference_mode():
            states, theirs = image_states(encoder, PIXELS), encoder(pixel_values=PIXELS).last_hidden_state
        assert states.tokens.shape == (2, 1 + 4, 16)
        assert torch.equal(states.pooled, theirs[:, 0])
        assert torch.equal(states.tokens[:, 1:], theirs[:, -4:])


@pytest.mark.parametrize(
    ("settings", "mean", "std"),
    [
        ({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}, (0.5,) * 3, (0.25,) * 3),
        ({"do_normalize": False}, (0.0,) * 3, (1.0,) * 3),
        ({"image_mean": None, "image_std": None}, (0.0,) * 3, (1.0,) * 3),
        (None, CLIP_MEAN, CLIP_STD),
    ],
)
def test_image_statistics(tmp_path, settings, mean, std):
    if settings is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings | {"size": 16}))
    assert image_statistics(str(tmp_path)) == (mean, std)


def test_encoders_with_a_decoder_are_refused(tmp_path):
    config = T5Config(d_model=8, d_ff=8, d_kv=4, num_layers=1, num_heads=2, vocab_size=64)
    with pytest.raises(ModelError, match="found an encoder with a decoder"):
        pair_of(saved_text(tmp_path, T5EncoderModel(config), end=True))


def test_what_names_no_encoder_is_told_as_such(tmp_path, monkeypatch):
    bert = small_bert(tmp_path / "bert")
    for text, image in (("./brt", "tiny"), (bert, "./brt")):
        with pytest.raises(ModelError, match=r"Expected a folder that holds an encoder at '\./brt', found nothing"):
            pair_of(text, image)
    with pytest.raises(RecipeError, match="has no tokenizer"):
        pair_of("tiny")
    with pytest.raises(RecipeError, match=r'start is "pair", a word of encoder\.source'):
        small_recipe("encoder.source=pair", "candidates.text.start=pair")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert pair_of("~/bert")[0].text_model.config.hidden_size == 24


def test_texts_of_no_tokens(tmp_path):
    sizes = {"n_embd": 24, "n_layer": 1, "n_head": 2, "vocab_size": 64, "n_positions": 20}
    source = saved_text(tmp_path, GPT2Model(GPT2Config(**sizes)))
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.post_processor = None  # as GPT-2's own, which puts nothing around a text
    tokenizer.save(str(source / "tokenizer.json"))
    model, preprocessor = pair_of(source)
    ids, mask = preprocessor.pad(preprocessor.token_ids(["", "good thing"]))
    assert mask.tolist() == [[1, 0], [1, 1]]
    assert text_states(model.text_model, ids, mask).pooled.isfinite().all()
    meme = Meme.make(None, "", preprocessor)
    assert token_words(meme, preprocessor).tolist() == [-1]


def test_siglips_own_tokenizer_class_is_slow_and_pads_with_its_end_token(tmp_path):
    path = small_siglip(tmp_path) / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | {"tokenizer_class": "SiglipTokenizer", "pad_token": "</s>"}
    path.write_text(json.dumps(settings))
    preprocessor = make_preprocessor(small_recipe(f'encoder.source="{tmp_path}"').encoder, [])
    assert preprocessor.tokenizer.pad_token_id == preprocessor.tokenizer.eos_token_id == 3
    ids, mask = preprocessor.pad(preprocessor.token_ids(["good thing"]))
    assert ids[0, 2:].eq(3).all()
    assert mask.all()
    meme = Meme.make(None, "good thing", preprocessor)
    assert token_words(meme, preprocessor).tolist() == [0, 1, *[-1] * (SIGLIP_LENGTH - 2)]
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="Could not load a tokenizer"):
        make_preprocessor(small_recipe(f'encoder.source="{tmp_path}"').encoder, [])


def test_tokens_are_left_out_of_empty_texts_too(tmp_path):
    preprocessor = make_preprocessor(small_recipe(f'encoder.source="{small_siglip(tmp_path)}"').encoder, [])
    memes = Memes(["", "good thing"], None, preprocessor, ["a", "b"], [None, None])
    found = memes.batch([0, 1], text=True, image=False, token_dropout=0.9)
    assert found["input_ids"].shape == (2, SIGLIP_LENGTH)


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
