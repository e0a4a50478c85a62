"""The oscar candidate: its regions, its chain, its folder."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from memeblend.candidates import oscar_data
from memeblend.candidates.neural import Neural
from memeblend.candidates.oscar import Oscar
from memeblend.candidates.oscar_data import FileRows, GridRows, OscarDataset, pad_regions
from memeblend.data.manifest import Manifest
from memeblend.errors import DataError, ModelError, RecipeError
from memeblend.models.encoders import image_states
from memeblend.models.oscar_checkpoint import load_oscar
from memeblend.models.oscar_text import PairTokens
from memeblend.recipe.candidates import OscarCandidate
from memeblend.regions.boxes import MemeRegions, box_numbers
from memeblend.regions.npz import write_regions_file
from memeblend.regions.store import RegionStore
from memeblend.training.encoder import make_preprocessor
from memeblend.training.preprocessing import prepare
from memeblend.training.progress import Silent
from small_candidates import fit_context
from small_runs import small_data, small_recipe

FEATURE_SIZE = 10
SPEC = {"kind": "oscar", "copies": 1, "max_length": 24, "max_text_length": 18, "hidden_size": 16, "num_layers": 1}
SPEC |= {"num_heads": 2, "training": {"num_epochs": 2, "batch_size": 16, "learning_rate": 1e-3}}
WITHOUT = ("m3", "m13", "m16")  # a fit, a select and a report meme that the region file lacks


class Heard(Silent):
    """Keeps what was said."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return Manifest.read(small_data(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def memes(manifest, tmp_path_factory):
    preprocessor = make_preprocessor(small_recipe().encoder, manifest.texts)
    return prepare(manifest, preprocessor, cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def region_file(memes, tmp_path_factory):
    """Regions that tell the mood apart; three memes are not in the file."""
    random = np.random.default_rng(0)
    regions = {}
    for row, meme_id in enumerate(memes.meme_ids):
        if meme_id.rsplit("/", 1)[-1] in WITHOUT:
            continue
        count = row % 4 + 1
        features = random.normal(size=(count, FEATURE_SIZE)).astype(np.float32)
        features[:, 0] += 3 * (row % 2)
        corners = np.sort(random.uniform(size=(count, 2, 2)), axis=1).reshape(count, 4)
        tags = [["cat", "dog", "", "cat"][i] for i in range(count)]
        scores = np.linspace(0.2, 0.9, count).astype(np.float32)
        regions[meme_id] = MemeRegions(box_numbers(corners), features, tags, scores)
    path = tmp_path_factory.mktemp("regions") / "regions.npz"
    write_regions_file(path, regions, FEATURE_SIZE)
    return path


@pytest.fixture(scope="module")
def image(manifest, memes, tmp_path_factory):
    """An image candidate, by whether there is one model for all label tasks."""
    done = {}

    def fit_one(joint):
        if joint not in done:
            spec = next(one for one in small_recipe().candidates if one.kind == "image")
            done[joint] = Neural("image-0", spec)
            done[joint].fit(context(manifest, memes, tmp_path_factory.mktemp("image"), joint=joint))
        return done[joint]

    return fit_one


def context(manifest, memes, folder, *, joint=True, image=None, progress=None):
    recipe = small_recipe(f"joint={str(joint).lower()}")
    return fit_context(recipe, manifest, memes, Path(folder), lambda name: image(joint), progress or Heard())


@pytest.fixture(scope="module")
def fit(manifest, memes, image, tmp_path_factory):
    """Fits a candidate by its settings and gives it with what was said; each once."""
    done = {}

    def fit_one(joint=True, **changes):
        key = joint, repr(sorted(changes.items()))
        if key not in done:
            spec = OscarCandidate.model_validate(SPEC | changes)
            candidate = Oscar("oscar-0", spec, ("image-0",) if spec.regions == "grid" else ())
            progress = Heard()
            folder = tmp_path_factory.mktemp("oscar")
            candidate.fit(context(manifest, memes, folder, joint=joint, image=image, progress=progress))
            assert sorted(path.name for path in folder.iterdir()) == ["training"], "scratch files were left"
            done[key] = candidate, progress.said
        return done[key]

    return fit_one


def saved(candidate, folder):
    folder.mkdir(exist_ok=True)
    candidate.save(folder)
    return folder


@pytest.mark.parametrize("joint", [True, False], ids=["joint", "separate"])
@pytest.mark.parametrize("regions", ["grid", "file"])
def test_fit_predict_save_load(fit, memes, manifest, region_file, tmp_path, regions, joint):
    candidate, _ = fit(joint, regions="grid" if regions == "grid" else str(region_file))
    found = candidate.predict(memes)
    for task in manifest.label_tasks:
        assert found[task.name].shape == (len(memes), task.num_classes)
        np.testing.assert_allclose(found[task.name].sum(axis=1), 1, atol=1e-9)
    folder = saved(candidate, tmp_path / "folder")
    assert not [path for path in folder.rglob("*") if path.suffix in {".pkl", ".bin", ".pt", ".pth"}]
    assert (folder / "vision").is_dir() == (regions == "grid")
    loaded = Oscar.load("oscar-0", folder)
    assert (loaded.needs_text, loaded.needs_image) == (True, regions == "grid")
    for task, again in loaded.predict(memes).items():
        np.testing.assert_array_equal(again, found[task])
    again = saved(loaded, tmp_path / "again")
    assert (again / "oscar.json").read_text(encoding="utf-8") == (folder / "oscar.json").read_text(encoding="utf-8")


def test_it_reads_what_it_says_it_reads(fit, memes, region_file):
    moved = memes.take(np.roll(np.arange(len(memes)), 1))
    for regions in ("grid", str(region_file)):
        candidate, _ = fit(regions=regions)
        before = candidate.predict(memes)["level"]
        assert (candidate.predict(replace(memes, texts=moved.texts))["level"] != before).any()
        other_images = candidate.predict(replace(memes, images=moved.images))["level"]
        assert (other_images != before).any() == (regions == "grid")
        other_ids = candidate.predict(replace(memes, meme_ids=moved.meme_ids))["level"]
        assert (other_ids != before).any() == (regions != "grid")


def test_predictions_do_not_depend_on_how_many_are_asked_for(fit, memes, region_file, monkeypatch):
    for regions in ("grid", str(region_file)):
        candidate, _ = fit(regions=regions)
        whole = candidate.predict(memes)["mood"]
        monkeypatch.setattr("memeblend.candidates.oscar._PREDICT_MEMES", 7)
        np.testing.assert_allclose(candidate.predict(memes)["mood"], whole, atol=1e-5)
        np.testing.assert_allclose(candidate.predict(memes.take(np.array([5])))["mood"], whole[5:6], atol=1e-5)


def test_the_same_seed_gives_the_same_candidate(fit, manifest, memes, image, tmp_path):
    candidate, _ = fit(regions="grid")
    again = Oscar("oscar-0", candidate.spec, ("image-0",))
    again.fit(context(manifest, memes, tmp_path, image=image))
    other = Oscar("oscar-1", candidate.spec, ("image-0",))
    other.fit(context(manifest, memes, tmp_path / "other", image=image))
    found = candidate.predict(memes)["mood"]
    np.testing.assert_array_equal(again.predict(memes)["mood"], found)
    assert (other.predict(memes)["mood"] != found).any()


def test_the_image_encoder_is_a_copy_of_the_image_candidates(fit, image, memes):
    candidate, _ = fit(regions="grid")
    theirs = image(True).models["joint"].image.vision_model
    before = candidate.predict(memes)["mood"]
    kept = {name: value.clone() for name, value in theirs.state_dict().items()}
    with torch.no_grad():
        for value in theirs.parameters():
            value.zero_()
    np.testing.assert_array_equal(candidate.predict(memes)["mood"], before)
    theirs.load_state_dict(kept)


def test_memes_without_regions_are_counted_named_and_predicted(fit, memes, region_file, caplog):
    candidate, said = fit(regions=str(region_file))
    first, second, _ = (next(one for one in memes.meme_ids if one.endswith(f"/{name}")) for name in WITHOUT)
    assert [line for line in said if "have no regions" in line] == [
        f"oscar-0: 2 of 48 memes have no regions in '{region_file}' and go in with their text alone: {first}, {second}."
    ]
    new = replace(memes, meme_ids=[f"new/{number}" for number in range(len(memes))])
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="memeblend"):
        found = candidate.predict(new)["mood"]
    assert np.isfinite(found).all()
    (record,) = caplog.records
    assert f"{len(memes)} of {len(memes)} memes have no regions" in record.message
    assert record.message.endswith("new/0, new/1, new/2, new/3, new/4, new/5, new/6, new/7, new/8, new/9 and 50 more.")


def test_a_region_file_that_is_gone_is_said_when_it_is_needed(fit, memes, region_file, tmp_path):
    folder = saved(fit(regions=str(region_file))[0], tmp_path / "folder")
    settings = json.loads((folder / "oscar.json").read_text(encoding="utf-8"))
    settings["spec"]["regions"] = str(tmp_path / "gone.npz")
    (folder / "oscar.json").write_text(json.dumps(settings), encoding="utf-8")
    loaded = Oscar.load("oscar-0", folder)
    with pytest.raises(DataError, match=r"gone\.npz"):
        loaded.predict(memes)


def test_a_relative_region_file_is_found_from_anywhere(region_file, monkeypatch):
    monkeypatch.chdir(region_file.parent)
    candidate = Oscar("oscar-0", OscarCandidate.model_validate(SPEC | {"regions": region_file.name}))
    assert candidate.spec.regions == str(region_file)


def captured_starts(monkeypatch):
    """Each model's weights before its training, and after it."""
    seen = []

    def train(model, job):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with torch.no_grad():
            for value in model.parameters():
                value.add_(torch.randn_like(value) * 0.01)
        seen.append((before, {name: value.clone() for name, value in model.state_dict().items()}))

    monkeypatch.setattr("memeblend.candidates.oscar.train", train)
    return seen


def body(weights):
    return {name: value for name, value in weights.items() if not name.startswith("heads.")}


@pytest.mark.parametrize("chain", [True, False])
def test_label_tasks_start_one_from_the_other_in_a_chain(manifest, memes, image, tmp_path, monkeypatch, chain):
    starts = captured_starts(monkeypatch)
    candidate = Oscar("oscar-0", OscarCandidate.model_validate(SPEC | {"chain": chain}), ("image-0",))
    candidate.fit(context(manifest, memes, tmp_path, joint=False, image=image))
    (_, first_after), (second_before, _) = starts
    same = [torch.equal(value, first_after[name]) for name, value in body(second_before).items()]
    assert all(same) == chain
    level = candidate.models["level"]
    assert list(level.config.num_classes()) == ["level"]
    assert level.heads[0].weight.shape[0] == 3, "the head is new"
    assert list(candidate.models["mood"].config.num_classes()) == ["mood"], "the first one is untouched"
    assert all(torch.equal(value, first_after[name]) for name, value in candidate.models["mood"].state_dict().items())


def test_a_fitted_candidate_is_a_start(fit, manifest, memes, image, tmp_path, monkeypatch):
    first, _ = fit(False, regions="grid")
    folder = saved(first, tmp_path / "first")
    starts = captured_starts(monkeypatch)
    progress = Heard()
    second = Oscar("oscar-1", OscarCandidate.model_validate(SPEC | {"source": str(folder)}), ("image-0",))
    second.fit(context(manifest, memes, tmp_path / "run", joint=False, image=image, progress=progress))
    expected = load_oscar(folder / "0").state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in body(starts[0][0]).items())
    assert not torch.equal(starts[0][0]["heads.0.weight"], expected["heads.0.weight"])
    assert second._tokenizer.get_vocab() == first._tokenizer.get_vocab()
    assert len(progress.said) == 2, "said once, not for each label task"
    assert "new heads for mood" in progress.said[0]
    assert "heads.0.weight, heads.0.bias" in progress.said[1]


def write_bert(folder, vocab_size=40, **sizes):
    settings = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(**(settings | {"vocab_size": vocab_size, "max_position_embeddings": 30} | sizes))
    BertModel(config).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "lovely", "good", "bad", "thing", "number", "cat", "dog"]
    BertTokenizer(vocab={word: position for position, word in enumerate(words)}).save_pretrained(folder)
    return folder


def test_any_bert_is_a_start(fit, memes, region_file, tmp_path):
    folder = write_bert(tmp_path / "bert")
    candidate, said = fit(regions=str(region_file), source=str(folder))
    assert "bert.img_embedding.weight" in next(line for line in said if "start from random weights" in line)
    assert candidate._tokenizer.convert_tokens_to_ids("lovely") == 5
    tags = FileRows(RegionStore.open(region_file), memes.meme_ids[:1], 50).tags
    tokens = candidate._inputs(memes.take(np.array([0])), GridOf(tags)).tokens[0]
    words = candidate._tokenizer.convert_ids_to_tokens(tokens.ids)
    assert words[0] == "[CLS]"
    assert words[tokens.num_text :] == ["cat", "[SEP]"]
    model = candidate.models["joint"]
    assert model.config.bert_config.hidden_dropout_prob == candidate.spec.dropout
    assert model.config.region_size == FEATURE_SIZE + 6


class GridOf:
    def __init__(self, tags):
        self.tags = tags


def oscar_from(source, **changes):
    return Oscar("oscar-0", OscarCandidate.model_validate(SPEC | {"source": str(source)} | changes), ("image-0",))


def test_a_start_that_does_not_fit_is_refused(fit, manifest, memes, image, region_file, tmp_path):
    given = context(manifest, memes, tmp_path / "run", image=image)
    short = write_bert(tmp_path / "short", max_position_embeddings=23)
    with pytest.raises(RecipeError, match=r"max_length 24, but .* at most 23 tokens"):
        oscar_from(short).fit(given)
    mixed_up = write_bert(tmp_path / "mixed", vocab_size=11)
    with pytest.raises(ModelError, match=r"has 12 tokens, its config\.json says vocab_size 11"):
        oscar_from(mixed_up).fit(given)
    of_grid = saved(fit(regions="grid")[0], tmp_path / "grid")
    with pytest.raises(ModelError, match=r"have 10 features, with the 6 numbers of a box 16, but '.*' reads 22"):
        oscar_from(of_grid, regions=str(region_file)).fit(given)
    with pytest.raises(ModelError, match="found nothing"):
        oscar_from(tmp_path / "none").fit(given)
    with pytest.raises(DataError, match=r"none\.npz"):
        oscar_from("tiny", regions=str(tmp_path / "none.npz")).fit(given)


def test_a_folder_that_is_cut_short_is_refused(fit, tmp_path):
    folder = saved(fit(regions="grid")[0], tmp_path / "folder")
    for part in ("vision/model.safetensors", "0/model.safetensors", "tokenizer/tokenizer.json", "oscar.json"):
        whole = (folder / part).read_bytes()
        (folder / part).write_bytes(whole[:100])
        with pytest.raises(ModelError, match="oscar-0"):
            Oscar.load("oscar-0", folder)
        (folder / part).write_bytes(whole)
    Oscar.load("oscar-0", folder)


@pytest.mark.parametrize("max_regions", [50, 1])
def test_grid_regions_are_the_encoders_patch_states_with_their_boxes(image, memes, max_regions):
    encoder = image(True).models["joint"].image.vision_model.eval()
    rows = GridRows(memes, encoder, max_regions, scratch=None, progress=Silent())
    pixels = memes.batch([4], text=False, image=True)["pixel_values"]
    with torch.no_grad():
        patches = image_states(encoder, pixels).tokens[0, 1:].numpy()  # 16 pixels, patches of 8: two by two
    expected = patches if max_regions == 50 else patches.mean(axis=0, keepdims=True)
    found = rows.read(4)
    np.testing.assert_allclose(found[:, :-6], expected, atol=1e-5)
    assert rows.counts.tolist() == [len(expected)] * len(memes)
    if max_regions == 1:
        np.testing.assert_allclose(found[:, -6:], [[0, 0, 1, 1, 1, 1]])
    else:
        np.testing.assert_allclose(found[1, -6:], [0.5, 0, 1, 0.5, 0.5, 0.5])


def test_large_grids_are_kept_on_disk(image, memes, monkeypatch, tmp_path):
    encoder = image(True).models["joint"].image.vision_model.eval()
    inside = GridRows(memes, encoder, 50, scratch=tmp_path / "a" / "x.npy", progress=Silent())
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(oscar_data, "LARGE_BYTES", 10)
    mapped = GridRows(memes, encoder, 50, scratch=tmp_path / "a" / "x.npy", progress=Silent())
    assert (tmp_path / "a" / "x.npy").is_file()
    for row in range(len(memes)):
        np.testing.assert_array_equal(mapped.read(row), inside.read(row))


def test_file_regions_are_the_best_with_features_before_boxes(region_file, memes):
    store = RegionStore.open(region_file)
    ids = [memes.meme_ids[7], "unknown"]
    rows = FileRows(store, ids, 2)
    assert rows.counts.tolist() == [2, 0]
    assert rows.without_regions == ["unknown"]
    best = store.get(ids[0], 2)
    assert best.scores.tolist() == sorted(store.get(ids[0], 50).scores.tolist(), reverse=True)[:2]
    np.testing.assert_array_equal(rows.read(0)[:, :FEATURE_SIZE], best.features)
    np.testing.assert_array_equal(rows.read(0)[:, FEATURE_SIZE:], best.boxes)
    assert rows.read(1).shape == (0, FEATURE_SIZE + 6)
    assert rows.tags == [["cat"], []], "the region between has no name"


def test_regions_are_padded_and_masked():
    features, mask = pad_regions([np.ones((2, 3), np.float32), np.zeros((0, 3), np.float32)])
    assert features.tolist() == [[[1, 1, 1], [1, 1, 1]], [[0, 0, 0], [0, 0, 0]]]
    assert mask.tolist() == [[1, 1], [0, 0]]
    features, mask = pad_regions([np.zeros((0, 3), np.float32)] * 2)
    assert (features.shape, mask.shape) == ((2, 0, 3), (2, 0))


class Lone:
    counts = np.array([1, 0])
    tags = ((), ())

    def read(self, row):
        return np.full((self.counts[row], 4), row, np.float32)


def test_a_batch_of_the_dataset():
    tokens = [PairTokens([2, 7, 3, 8, 9, 3], 3), PairTokens([2, 3], 2)]
    dataset = OscarDataset(tokens, 0, Lone(), np.array([[1], [-1]]))
    assert dataset.lengths().tolist() == [7, 2]
    batch = {name: value.tolist() for name, value in dataset.collate([1, 0]).items()}
    assert batch.pop("region_features") == [[[0, 0, 0, 0]], [[0, 0, 0, 0]]]
    assert batch == {
        "input_ids": [[2, 3, 0, 0, 0, 0], [2, 7, 3, 8, 9, 3]],
        "attention_mask": [[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]],
        "token_type_ids": [[0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1]],
        "region_mask": [[0], [1]],
        "labels": [[-1], [1]],
    }


def test_dropped_tokens_leave_the_marks():
    tokens = [PairTokens([2, *range(10, 60), 3, *range(60, 80), 3], 52)]
    torch.manual_seed(0)
    dataset = OscarDataset(tokens, 0, Lone(), np.array([[0]]), token_dropout=0.5)
    batch = dataset.collate([0])
    ids, kinds = batch["input_ids"][0].tolist(), batch["token_type_ids"][0].tolist()
    assert 20 < len(ids) < 60
    first_tag = kinds.index(1)
    assert (ids[0], ids[first_tag - 1], ids[-1]) == (2, 3, 3)
    assert all(token >= 60 for token in ids[first_tag:-1])
    assert ids.count(3) == 2
