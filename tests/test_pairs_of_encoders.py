"""Pairs of a text and an image encoder: which make one, what is read of them, and what is refused."""

import json

import pytest
import torch
import transformers
from tokenizers import Tokenizer
from transformers import (
    ConvNextConfig,
    ConvNextModel,
    DeiTConfig,
    DeiTModel,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    GPT2Config,
    GPT2Model,
    T5Config,
    T5EncoderModel,
    ViTConfig,
    ViTModel,
)

from clip_checkpoint import save_clip
from memeblend.errors import ModelError, RecipeError
from memeblend.explain.inputs import Meme, token_words
from memeblend.models.config import MemeConfig
from memeblend.models.encoders import image_states, text_states
from memeblend.models.pair import (
    CLIP_MEAN,
    CLIP_STD,
    image_embeds,
    image_statistics,
    load_encoders,
    longest_text,
    text_embeds,
)
from memeblend.training.encoder import make_preprocessor
from memeblend.training.preprocessing import Memes
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
from small_runs import small_recipe


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
