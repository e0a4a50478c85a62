"""OSCAR: equivalence with BERT, what padding may not change, tokens of text and tags."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import LABEL_TASKS
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizer

from memeblend.errors import ModelError
from memeblend.models.oscar import OscarClassifier, OscarConfig
from memeblend.models.oscar_checkpoint import load_oscar
from memeblend.models.oscar_text import encode_pairs, load_wordpiece, train_wordpiece

REGION_SIZE = 12
TEXTS = ["When the cat sees food", "a dog", "cat and dog and food", "nothing"] * 2


def bert_config(**sizes):
    small = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 20}
    return BertConfig(**(small | {"num_hidden_layers": 2, "num_attention_heads": 4} | sizes))


def oscar(seed=0, **changes):
    torch.manual_seed(seed)
    model = OscarClassifier(OscarConfig(bert_config(), LABEL_TASKS, region_size=REGION_SIZE, **changes)).eval()
    with torch.no_grad():  # norms and biases away from one and zero
        for value in model.parameters():
            value.add_(0.05 * torch.randn_like(value))
    return model


def batch(*, text_padding=0, region_padding=0, garbage=0.0):
    """Three memes with 7, 4 and 2 tokens and 3, 0 and 2 regions; padding beyond that as asked for."""
    random = torch.Generator().manual_seed(1)
    tokens, regions = torch.tensor([7, 4, 2]), torch.tensor([3, 0, 2])
    ids = torch.randint(5, 60, (3, 7), generator=random)
    features = torch.randn(3, 3, REGION_SIZE, generator=random)
    ids = torch.nn.functional.pad(ids, (0, text_padding), value=9)
    features = torch.nn.functional.pad(features, (0, 0, 0, region_padding), value=garbage)
    mask = (torch.arange(ids.shape[1]) < tokens[:, None]).long()
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": (torch.arange(ids.shape[1]) >= 3).long() * mask,
        "region_features": features,
        "region_mask": (torch.arange(features.shape[1]) < regions[:, None]).long(),
    }


def test_without_regions_it_is_hugging_faces_bert_with_a_head():
    model = oscar()
    inputs = {name: value for name, value in batch().items() if not name.startswith("region")}
    ours = model(**inputs).logits
    bert = BertModel(model.config.bert_config).eval()
    bert.load_state_dict(model.bert.state_dict())
    pooled = bert(**inputs).pooler_output
    for (name, logits), head in zip(ours.items(), model.heads, strict=True):
        torch.testing.assert_close(logits, head(pooled), rtol=0, atol=1e-6, msg=name)
    whole = BertForSequenceClassification(bert_config(num_labels=3)).eval()
    whole.bert.load_state_dict(model.bert.state_dict())
    whole.classifier.load_state_dict(model.heads[0].state_dict())
    torch.testing.assert_close(ours["sentiment"], whole(**inputs).logits, rtol=0, atol=1e-6)


def test_no_regions_at_all_and_an_empty_batch_of_regions_are_the_same():
    model, inputs = oscar(), batch()
    empty = inputs | {"region_features": inputs["region_features"][:, :0], "region_mask": inputs["region_mask"][:, :0]}
    left_out = {name: value for name, value in inputs.items() if not name.startswith("region")}
    torch.testing.assert_close(model(**empty).logits, model(**left_out).logits)


def test_a_region_is_embedded_as_the_paper_says():
    """Against the formula by hand: LayerNorm(W r + b) with epsilon 1e-12, appended after the text."""
    model, inputs = oscar(), batch()
    row = slice(0, 1)  # seven tokens and three regions, nothing is padded
    raw = inputs["region_features"][row] @ model.region_embedding.weight.T + model.region_embedding.bias
    centred = raw - raw.mean(-1, keepdim=True)
    scaled = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-12).sqrt()
    regions = scaled * model.region_norm.weight + model.region_norm.bias
    text = model.bert.embeddings(inputs["input_ids"][row], inputs["token_type_ids"][row])
    states = model.bert.encoder(torch.cat([text, regions], dim=1)).last_hidden_state
    expected = model.heads[1](model.bert.pooler(states))
    torch.testing.assert_close(model(**inputs).logits["keys"][row], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "padding", [{"text_padding": 4}, {"region_padding": 5}, {"text_padding": 2, "region_padding": 3, "garbage": 7.0}]
)
def test_padding_changes_nothing(padding):
    model = oscar()
    torch.testing.assert_close(model(**batch(**padding)).logits, model(**batch()).logits, rtol=1e-4, atol=1e-5)


def test_the_other_memes_of_the_batch_change_nothing():
    model, inputs = oscar(), batch()
    together = model(**inputs).logits
    for row, (num_tokens, num_regions) in enumerate([(7, 3), (4, 0), (2, 2)]):
        lengths = {"region_features": num_regions, "region_mask": num_regions}
        alone = {name: value[row : row + 1, : lengths.get(name, num_tokens)] for name, value in inputs.items()}
        expected = {name: value[row : row + 1] for name, value in together.items()}
        torch.testing.assert_close(model(**alone).logits, expected, rtol=1e-4, atol=1e-5)


def test_regions_are_a_set_and_each_one_counts():
    model, inputs = oscar(), batch()
    before = model(**inputs).logits["sentiment"][0]
    turned = inputs | {"region_features": inputs["region_features"].flip(1)}
    torch.testing.assert_close(model(**turned).logits["sentiment"][0], before, rtol=1e-4, atol=1e-5)
    for region in range(3):
        other = inputs["region_features"].clone()
        other[0, region, -1] += 1  # one number of its box
        assert not torch.allclose(model(**(inputs | {"region_features": other})).logits["sentiment"][0], before)


def test_every_parameter_gets_a_finite_gradient():
    model = oscar().train()
    sum(value.square().sum() for value in model(**batch()).logits.values()).backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []
    assert all(torch.isfinite(value.grad).all() for value in model.parameters())


@pytest.mark.parametrize("norm", [True, False])
def test_saving_and_loading_changes_nothing(tmp_path, norm, capfd):
    model = oscar(region_norm=norm, head_dropout=0.3)
    model.save_pretrained(tmp_path)
    loaded = load_oscar(tmp_path)
    assert not loaded.training
    torch.testing.assert_close(loaded(**batch()).logits, model(**batch()).logits, rtol=0, atol=0)
    assert loaded.config.bert_config.to_diff_dict() | {"dtype": None} == model.config.bert_config.to_diff_dict() | {
        "dtype": None
    }
    assert loaded.config.label_tasks == model.config.label_tasks
    assert (loaded.config.region_norm, loaded.head_dropout.p) == (norm, 0.3)
    assert loaded.bert.config._attn_implementation == "sdpa"
    assert capfd.readouterr().err == "", "Hugging Face drew a progress bar"


def test_a_folder_of_another_model_is_refused(tmp_path):
    BertModel(bert_config()).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"Expected a saved OscarClassifier in .* found model_type 'bert'"):
        load_oscar(tmp_path)


def test_a_configuration_that_makes_no_sense_is_refused():
    with pytest.raises(
        ValueError, match=r"region_size is 6.*head_dropout is 1.*label_tasks names one twice: keys, keys"
    ):
        OscarConfig(bert_config(), [LABEL_TASKS[1]] * 2, region_size=6, head_dropout=1)


def tokenizer(texts=TEXTS):
    return train_wordpiece(texts, 200, 30)


def words(made, tokens):
    return made.convert_ids_to_tokens(tokens.ids)


def test_text_and_tags_are_one_sequence_with_two_types():
    made = tokenizer()
    (tokens,) = encode_pairs(made, ["cat and dog"], [["food", "dog", "food"]], 20, 10)
    assert words(made, tokens) == ["[CLS]", "cat", "and", "dog", "[SEP]", "food", "dog", "[SEP]"]
    assert tokens.num_text == 5


@pytest.mark.parametrize(
    ("max_length", "max_text_length", "expected"),
    [
        (20, 4, "[CLS] cat and [SEP] food dog [SEP]"),
        (6, 4, "[CLS] cat and [SEP] food [SEP]"),
        (5, 4, "[CLS] cat and [SEP]"),  # a lone [SEP] would say nothing
        (5, 5, "[CLS] cat and dog [SEP]"),
    ],
)
def test_tags_get_what_the_text_leaves(max_length, max_text_length, expected):
    made = tokenizer()
    (tokens,) = encode_pairs(made, ["cat and dog and food"], [["food", "dog"]], max_length, max_text_length)
    assert " ".join(words(made, tokens)) == expected


def test_without_tags_or_text():
    made = tokenizer()
    bare, tagged = encode_pairs(made, ["", ""], [[], ["dog"]], 20, 10)
    assert words(made, bare) == ["[CLS]", "[SEP]"]
    assert words(made, tagged) == ["[CLS]", "[SEP]", "dog", "[SEP]"]
    assert encode_pairs(made, [], [], 20, 10) == []


def test_a_pair_equals_hugging_faces_own():
    made = tokenizer()
    (tokens,) = encode_pairs(made, ["a dog"], [["cat", "food"]], 20, 10)
    expected = made("a dog", "cat food")
    assert tokens.ids == expected["input_ids"]
    assert [int(i >= tokens.num_text) for i in range(len(tokens.ids))] == expected["token_type_ids"]


@given(
    text=st.text(max_size=60),
    tags=st.lists(st.sampled_from(["dog", "cat", "food [SEP]", "ß", ""]), max_size=5),
    lengths=st.tuples(st.integers(3, 20), st.integers(0, 10)),
)
@settings(max_examples=60, deadline=None)
def test_any_text_keeps_its_marks_and_its_room(text, tags, lengths):
    max_text_length, more = lengths
    made = _MADE
    (tokens,) = encode_pairs(made, [text], [tags], max_text_length + more, max_text_length)
    marks = [made.cls_token_id, made.sep_token_id]
    assert len(tokens.ids) <= max_text_length + more
    assert tokens.num_text <= max_text_length
    assert [tokens.ids[0], tokens.ids[tokens.num_text - 1]] == marks
    found = [token for token in tokens.ids if token in marks]
    assert len(found) == (2 if tokens.num_text == len(tokens.ids) else 3), "no text can write a mark"


_MADE = tokenizer()


def test_the_same_texts_give_the_same_tokenizer():
    texts = [f"word{number} ह{chr(0x905 + number)}िन्दी né {number * 'ab'}" for number in range(40)]
    first, *others = (sorted(train_wordpiece(texts, 400, 30).get_vocab().items()) for _ in range(4))
    assert all(other == first for other in others)


def test_a_tokenizer_comes_back_as_it_was_and_keeps_accents(tmp_path):
    made = tokenizer(["हिन्दी né हिन्दी né"])
    assert made.tokenize("हिन्दी NÉ") == ["हिन्दी", "né"]
    made.save_pretrained(tmp_path)
    loaded = load_wordpiece(tmp_path)
    assert loaded.get_vocab() == made.get_vocab()
    assert loaded.tokenize("हिन्दी NÉ") == ["हिन्दी", "né"]


def test_the_original_vocabulary_file_is_enough(tmp_path):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "##s", "dog"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    loaded = load_wordpiece(tmp_path)
    assert loaded("Cats dog")["input_ids"] == [2, 5, 6, 7, 3]
    (tmp_path / "vocab.txt").write_text("cat\ndog\n", encoding="utf-8")
    with pytest.raises(ModelError, match=r"lacks BERT's \[PAD\], \[UNK\], \[CLS\], \[SEP\]"):
        load_wordpiece(tmp_path)


def test_no_tokenizer_or_a_broken_one_is_refused(tmp_path):
    with pytest.raises(ModelError, match="There is no tokenizer"):
        load_wordpiece(tmp_path)
    BertTokenizer(vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}).save_pretrained(tmp_path)
    load_wordpiece(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8")[:200], encoding="utf-8")
    with pytest.raises(ModelError, match="Could not load a tokenizer"):
        load_wordpiece(tmp_path)
