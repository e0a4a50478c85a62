"""Pre-training as a whole: encoders of every kind, going on after a kill, folders, and the way into `fit`."""

import json

import pytest
import torch
from transformers import (
    AutoModel,
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPModel,
    VisionTextDualEncoderModel,
)

from clip_checkpoint import save_clip
from memeblend import MemeClassifier
from memeblend.errors import MemeblendError, MissingExtraError, ModelError, OutputError, RecipeError, TrainingError
from memeblend.models import pair as pair_module
from memeblend.models.pair import load_encoders
from memeblend.recipe import load_pretraining
from memeblend.training.contrastive import trainer as trainer_module
from memeblend.training.contrastive.work import pretrain, read_facts
from memeblend.training.encoder import make_preprocessor
from other_encoders import SIGLIP_LENGTH, small_bert, small_distilbert, small_siglip, word_tokenizer
from pair_memes import meme_rows, read, small
from small_runs import small_data, small_recipe

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def made(manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "encoder"
    return folder, pretrain([manifest], folder, small("hard_share=0.25"))


def test_the_folder_is_read_by_hugging_face(made):
    folder, facts = made
    model = CLIPModel.from_pretrained(folder)
    assert sum(value.numel() for value in model.parameters()) == facts["num_parameters"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("when")["input_ids"][-1] == tokenizer.eos_token_id == model.config.text_config.eos_token_id
    assert CLIPImageProcessorPil.from_pretrained(folder).crop_size["height"] == 16
    assert not (folder / "training" / "checkpoints").exists()
    card = (folder / "README.md").read_text()
    assert "34 pairs" in card
    assert "image of a text @10" in card


def test_facts_say_what_was_done(made):
    folder, facts = made
    assert facts == read_facts(folder)
    assert facts["data"] | {"num_fit": 0, "num_held_back": 0} == {
        "num_pairs": 40,
        "num_fit": 0,
        "num_held_back": 0,
        "num_images": 17,
        "num_texts": 40,
        "pairs_of": facts["data"]["pairs_of"],
        "skipped": {},
    }
    assert list(facts["data"]["pairs_of"].values()) == [40]
    assert facts["steps_without_negatives"] == 0
    assert 1 <= facts["logit_scale"] <= 100
    logged = [json.loads(line) for line in (folder / "training" / "metrics.jsonl").read_text().splitlines()]
    losses = [entry["eval_loss"] for entry in logged if "eval_loss" in entry]
    assert len(losses) == 3
    assert facts["held_back"]["after"]["loss"] == pytest.approx(min(losses))


def test_the_same_call_again_reads_what_is_there(made, manifest):
    folder, facts = made
    before = (folder / WEIGHTS).stat().st_mtime_ns
    assert pretrain([manifest], folder, small("hard_share=0.25")) == facts
    assert (folder / WEIGHTS).stat().st_mtime_ns == before


def test_fit_takes_the_folder_as_its_encoder(made, tmp_path):
    folder, _ = made
    data = small_data(tmp_path / "data")
    recipe = small_recipe(f'encoder.source="{folder}"', "encoder.max_length=12")
    assert make_preprocessor(recipe.encoder, []).transform.size == 16
    model = MemeClassifier(recipe, out=tmp_path / "run").fit(data)
    assert MemeClassifier.load(tmp_path / "run").predict(data).equals(model.predict(data))


class Killed(Exception):
    pass


@pytest.mark.parametrize("step", [3, 6])
def test_a_killed_pretraining_goes_on_to_the_same_bytes(made, manifest, tmp_path, monkeypatch, step):
    folder, _ = made

    def killed(self, args, state, control, **kwargs):
        if state.global_step == step:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module.Watch, "on_step_end", killed)
        with pytest.raises(Killed):
            pretrain([manifest], tmp_path / "encoder", small("hard_share=0.25"))
    torch.manual_seed(99)
    pretrain([manifest], tmp_path / "encoder", small("hard_share=0.25"))
    assert (tmp_path / "encoder" / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()


def test_what_can_be_learned_is_learned(tmp_path):
    rows = meme_rows(tmp_path, num_template=0, num_own=2)
    rows = [
        rows[i % 2] | {"id": f"m{i}", "text": f"the {('cat meows', 'dog barks')[i % 2]} at number {i}"}
        for i in range(60)
    ]
    settings = small("num_steps=60", "eval_every=20", "learning_rate=3e-3", "rendering.share=0.2")
    held_back = pretrain([read(tmp_path, rows)], tmp_path / "e", settings)["held_back"]
    assert held_back["chance"]["image_recall@1"] == 0.5
    assert held_back["after"]["image_recall@1"] == 1
    assert held_back["after"]["loss"] < held_back["before"]["loss"]


@pytest.mark.parametrize(
    "settings",
    [
        ["loss=sigmoid", "same_pairs=multiple", "schedule=constant"],
        ["same_pairs=plain", "chunk_size=3"],
        ["gradient_checkpointing=true", "rendering.share=0"],
        ["num_workers=1"],
        ["precision=bfloat16", "gradient_checkpointing=true", "chunk_size=3"],
    ],
)
def test_every_setting_trains(manifest, tmp_path, settings):
    facts = pretrain([manifest], tmp_path / "encoder", small("num_steps=2", *settings))
    assert all(value == value for value in facts["held_back"]["after"].values())


def test_bfloat16_is_used_where_it_is_asked_for(manifest, tmp_path):
    losses = [
        pretrain([manifest], tmp_path / name, small("num_steps=2", f"precision={name}"))["held_back"]["after"]["loss"]
        for name in ("auto", "float32", "bfloat16")
    ]
    if not torch.cuda.is_available():
        assert losses[0] == losses[1]
    assert losses[2] != losses[1]
    assert losses[2] == pytest.approx(losses[1], abs=0.05)


def test_from_a_clip_checkpoint(manifest, tmp_path):
    save_clip(tmp_path / "clip")
    facts = pretrain([manifest], tmp_path / "out", small(f'encoder.source="{tmp_path / "clip"}"', "num_steps=2"))
    assert facts["encoder"] == "CLIPModel"
    assert CLIPModel.from_pretrained(tmp_path / "out").config.vision_config.image_size == 32


def test_from_a_siglip(manifest, tmp_path):
    source = small_siglip(tmp_path / "siglip")
    facts = pretrain([manifest], tmp_path / "out", small(f'encoder.source="{source}"', "loss=sigmoid", "num_steps=2"))
    assert facts["encoder"] == "SiglipModel"
    again = pretrain([manifest], tmp_path / "again", small(f'encoder.source="{tmp_path / "out"}"', "num_steps=2"))
    assert again["held_back"]["before"]["image_recall@1"] == facts["held_back"]["after"]["image_recall@1"]
    preprocessor = make_preprocessor(small_recipe(f'encoder.source="{tmp_path / "out"}"').encoder, [])
    input_ids, mask = preprocessor.pad(preprocessor.token_ids(["when number 3 arrives", "picture"]))
    theirs = AutoTokenizer.from_pretrained(source)(
        ["when number 3 arrives", "picture"], padding="max_length", max_length=SIGLIP_LENGTH, return_tensors="pt"
    )
    assert torch.equal(input_ids, theirs["input_ids"])
    assert mask.all(), "SigLIP was trained with padding in sight"


@pytest.mark.parametrize("image", ["tiny", "clip"])
def test_a_pair_of_text_and_image_encoder(manifest, tmp_path, image):
    source = small_bert(tmp_path / "bert")
    if image == "clip":
        image = str(save_clip(tmp_path / "clip"))
    settings = small(
        "encoder.source=pair",
        f'encoder.pair.text="{source}"',
        f'encoder.pair.image="{image}"',
        "num_steps=2",
        "chunk_size=4",
    )
    facts = pretrain([manifest], tmp_path / "out", settings)
    assert facts["encoder"] == "VisionTextDualEncoderModel"
    model = VisionTextDualEncoderModel.from_pretrained(tmp_path / "out")
    assert model.text_model.config.hidden_size == 24
    again = small(f'encoder.source="{tmp_path / "out"}"', "num_steps=2")
    assert pretrain([manifest], tmp_path / "again", again)["encoder"] == "VisionTextDualEncoderModel"


@pytest.mark.slow
def test_minilm_as_text_encoder(manifest, tmp_path):
    facts = pretrain(
        [manifest], tmp_path / "out", small("encoder.source=pair", "encoder.pair.text=minilm", "num_steps=2")
    )
    assert facts["num_parameters"] > 22e6


def test_minilm_is_an_extra(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(pair_module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"memeblend\[minilm\]"):
        pretrain([manifest], tmp_path / "out", small("encoder.source=pair", "encoder.pair.text=minilm"))


def test_encoders_that_can_not_be_used(manifest, tmp_path):
    bert = small_bert(tmp_path / "bert")
    with pytest.raises(ModelError, match=r"dual encoder in .* found model_type 'bert'"):
        pretrain([manifest], tmp_path / "a", small(f'encoder.source="{bert}"'))
    large = small_bert(tmp_path / "large", num_words=200)
    with pytest.raises(ModelError, match=r"220 tokens, but its text encoder knows 64"):
        pretrain([manifest], tmp_path / "b", small("encoder.source=pair", f'encoder.pair.text="{large}"'))
    siglip = word_tokenizer(small_siglip(tmp_path / "siglip"), end=False)
    with pytest.raises(ModelError, match="no end token"):
        pretrain([manifest], tmp_path / "c", small(f'encoder.source="{siglip}"'))
    clip = save_clip(tmp_path / "clip")
    with pytest.raises(RecipeError, match="reads at most 20 tokens"):
        pretrain([manifest], tmp_path / "d", small(f'encoder.source="{clip}"', "encoder.max_length=40"))
    config = json.loads((clip / "config.json").read_text())
    config["text_config"]["hidden_size"] = 48
    (clip / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="Could not load CLIPModel"):
        pretrain([manifest], tmp_path / "e", small(f'encoder.source="{clip}"'))
    with pytest.raises(ModelError, match=r"config\.json"):
        pretrain(
            [manifest],
            tmp_path / "f",
            small("encoder.source=pair", f'encoder.pair.text="{bert}"', f'encoder.pair.image="{tmp_path}"'),
        )


def test_a_text_encoder_without_a_pooler(manifest, tmp_path):
    source = small_distilbert(tmp_path / "text")
    pretrain([manifest], tmp_path / "out", small("encoder.source=pair", f'encoder.pair.text="{source}"', "num_steps=2"))
    before, after = AutoModel.from_pretrained(source), load_encoders(tmp_path / "out").text_model
    weights = [model.embeddings.word_embeddings.weight for model in (before, after)]
    assert not torch.equal(*weights), "its states are what is projected, so it learns"


def test_a_folder_with_something_else_is_left_alone(made, manifest, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="something else"):
        pretrain([manifest], tmp_path, small())
    with pytest.raises(OutputError, match="something else"):
        pretrain([manifest], tmp_path / "notes.txt", small())
    with pytest.raises(OutputError, match="something else"):
        pretrain([manifest], made[0], small("seed=5"))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_other_settings_do_not_overwrite_what_was_started(manifest, tmp_path, monkeypatch):
    def killed(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("memeblend.training.contrastive.work.train_pairs", killed)
        with pytest.raises(Killed):
            pretrain([manifest], tmp_path / "out", small())
    with pytest.raises(OutputError, match="other data or settings"):
        pretrain([manifest], tmp_path / "out", small("seed=5"))
    (tmp_path / "out" / "training" / "started.json").write_text("{")
    with pytest.raises(OutputError, match="can't be read"):
        pretrain([manifest], tmp_path / "out", small())


def test_a_loss_that_is_no_number_ends_the_training(manifest, tmp_path, monkeypatch):
    def broken(self, *args):
        return 0 * args[1].sum() + torch.tensor(float("nan"), requires_grad=True)

    monkeypatch.setattr("memeblend.training.contrastive.trainer.PairObjective.__call__", broken)
    with pytest.raises(TrainingError, match="no number any more"):
        pretrain([manifest], tmp_path / "out", small())


def test_steps_with_nothing_to_tell_apart_are_counted(tmp_path):
    rows = meme_rows(tmp_path, num_template=200, num_own=1)
    settings = small("rendering.share=0", "batch_size=2", "num_steps=4", "num_validation=1")
    facts = pretrain([read(tmp_path, rows)], tmp_path / "out", settings)
    assert facts["steps_without_negatives"] >= 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("batch_size=1", "batch_size: input should be greater than or equal to 2"),
        ("chunk_size=8", "chunk_size 8 is not below batch_size 8"),
        ("hard_share=0.99", "leaves no pair"),
        ("num_step=3", "did you mean 'num_steps'"),
        ("rendering.shar=1", "did you mean 'share'"),
        ("loss=triplet", "loss: "),
    ],
)
def test_wrong_settings_are_named(setting, message):
    with pytest.raises(RecipeError, match=message):
        small("encoder.source=pair", "encoder.pair.text=minilm", setting)


def test_the_shipped_example_is_valid():
    from pathlib import Path

    example = Path(__file__).parents[3] / "examples" / "pretrain-embedded.toml"
    assert load_pretraining(example).encoder.tiny.hidden_size == 256
    with pytest.raises(RecipeError, match="Could not read"):
        load_pretraining("nowhere.toml")


def test_auto_model_reads_the_encoder(made):
    assert isinstance(AutoModel.from_pretrained(made[0]), CLIPModel)


def test_a_font_that_is_not_there_is_told_before_images_are_read(manifest, tmp_path, monkeypatch):
    def read(*args):
        raise AssertionError("images were read")

    monkeypatch.setattr("memeblend.training.contrastive.work.gather", read)
    with pytest.raises(MemeblendError, match="nowhere"):
        pretrain([manifest], tmp_path / "out", small('rendering.font="nowhere.ttf"'))
