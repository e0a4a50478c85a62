"""Switches for what the paper's released code does otherwise: cut end tokens, unpacked texts, schedules cut short."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TrainerControl, TrainerState

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

from small_models import small_batch, small_model

from clip_checkpoint import clip_tokenizer
from memeblend.data.images import ImageTransform
from memeblend.labels import LabelTask
from memeblend.models import build_model
from memeblend.models.config import MemeConfig
from memeblend.models.tokenizer import encode
from memeblend.recipe.parts import CrossEntropy, Encoder, TinyEncoder, Training
from memeblend.training.batches import MemeDataset
from memeblend.training.encoder import make_preprocessor, start_encoders
from memeblend.training.objective import make_objective
from memeblend.training.preprocessing import Memes, Preprocessor
from memeblend.training.progress import Silent
from memeblend.training.trainer import TrainJob, train
from memeblend.training.watching import Told


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text("abc ", max_size=30), min_size=1, max_size=5), st.integers(4, 20))
def test_a_cut_text_loses_its_end_token_or_keeps_it_and_a_short_one_is_the_same(texts, longest):
    tokenizer = clip_tokenizer()
    whole = encode(tokenizer, texts, 200)
    kept, cut = (encode(tokenizer, texts, longest, keep_end=keep) for keep in (True, False))
    for full, with_end, without in zip(whole, kept, cut, strict=True):
        assert without == full[:longest]
        assert with_end == (full if len(full) <= longest else [*full[: longest - 1], full[-1]])


def test_the_preprocessor_keeps_the_switch(tmp_path):
    made = Preprocessor(clip_tokenizer(), 5, ImageTransform(8, "crop"), (0.5,) * 3, (0.5,) * 3, "none", keep_end=False)
    made.save(tmp_path)
    texts = ["a text of rather many words"]
    for loaded in (Preprocessor.load(tmp_path), Preprocessor.load_light(tmp_path)):
        assert loaded.token_ids(texts) == made.token_ids(texts)
        assert loaded.token_ids(texts)[0][-1] != clip_tokenizer().eos_token_id


def test_an_unpacked_lstm_depends_on_padding_and_a_packed_one_does_not(tmp_path):
    found = {}
    for packed in (True, False):
        model = small_model("text", lstm_packed=packed)
        plain, padded = (model(**small_batch(padding=padding)).logits["sentiment"] for padding in (0, 2))
        found[packed] = torch.allclose(plain, padded, atol=1e-6)
    assert found == {True: True, False: False}
    model.save_pretrained(tmp_path)
    assert not type(model).from_pretrained(tmp_path).text.packed


def test_an_unpacked_lstm_is_torchs_own_on_all_tokens():
    model = small_model("text", lstm_packed=False)
    batch = small_batch()
    states = model.text(batch["input_ids"], batch["attention_mask"])
    _, (hidden, _) = torch.nn.LSTM.forward(model.text.lstm, states.tokens)
    final = torch.cat([hidden[-2], hidden[-1]], dim=1)
    expected = model.text.pooled_heads(states.pooled)["sentiment"] + model.text.sequence_heads(final)["sentiment"]
    torch.testing.assert_close(model(**batch).logits["sentiment"], expected)


def test_training_ends_before_its_schedule_does():
    for epoch, ends in ((1, False), (2, True)):
        control = TrainerControl()
        told = Told(lambda epoch, score: False, Training(num_epochs=2, schedule_epochs=5))
        told.on_evaluate(None, TrainerState(epoch=epoch), control, metrics={"eval_weighted_f1": 0.5})
        assert control.should_training_stop is ends


def test_the_schedule_is_laid_out_over_its_own_epochs(tmp_path):
    sizes = {"hidden_size": 16, "text_layers": 1, "image_layers": 1, "num_heads": 2, "image_size": 16, "patch_size": 8}
    encoder = Encoder(max_length=8, tiny=TinyEncoder(**sizes, vocab_size=300))
    texts = ["good", "bad"] * 8
    memes = Memes(texts, None, make_preprocessor(encoder, texts), texts, [None] * 16)
    mood = (LabelTask("mood", "binary", ("bad", "good")),)
    clip = start_encoders(encoder, memes.preprocessor)
    model = build_model("text", MemeConfig(clip.config, mood, lstm_hidden_size=4), clip)
    labels = np.array([[1], [0]] * 8)
    dataset = MemeDataset(memes, labels, text=True, image=False)
    own = Training(
        num_epochs=2, schedule_epochs=4, batch_size=4, learning_rate=1e-2, schedule="linear",
        warmup_ratio=0.25, patience=0,
    )  # fmt: skip
    objective = make_objective(mood, {"mood": CrossEntropy()}, labels, {"text": 1.0})
    job = TrainJob("it", tmp_path, own, objective, dataset, dataset, 0, Silent())
    train(model, job)
    entries = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    rates = [entry["learning_rate"] for entry in entries if "learning_rate" in entry]
    # Of 16 steps 4 are warm-up, so the fourth has 3/4 of the peak and the eighth (16 - 7) / (16 - 4) of it.
    assert rates == pytest.approx([1e-2 * 3 / 4, 1e-2 * 9 / 12])
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, job)  # killed after its last epoch: nothing is trained more
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
