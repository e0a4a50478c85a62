"""Pairs gathered from memes, cut, drawn into batches."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import draw_image
from memeblend.errors import DataError
from memeblend.training.contrastive.pairs import PairBatches, PairDataset, Pairs, gather
from memeblend.training.encoder import image_transform, make_preprocessor
from memeblend.training.progress import Silent
from pair_memes import meme_rows, read, small


def gathered(manifests, recipe=None):
    recipe = recipe or small()
    return gather(manifests, recipe.splits, image_transform(recipe.encoder), None, Silent())


@pytest.fixture(scope="module")
def pairs(manifest):
    return gathered([manifest])


def dataset(pairs, recipe):
    preprocessor = make_preprocessor(recipe.encoder, pairs.texts)
    return PairDataset(pairs, np.arange(len(pairs)), preprocessor.token_ids(pairs.texts), preprocessor, recipe)


def test_each_image_and_text_is_there_once(pairs):
    assert len(pairs) == 40
    assert len(pairs.pixels) == 17
    assert len(pairs.texts) == 40
    assert np.bincount(pairs.image).tolist() == [24] + [1] * 16
    assert pairs.templates(10).tolist() == [True] + [False] * 16
    assert pairs.skipped == {}


def test_the_same_picture_of_two_data_sets_is_one(manifest, pairs, tmp_path):
    other = read(tmp_path, meme_rows(tmp_path, num_template=3, num_own=2))
    both = gathered([manifest, other])
    assert len(both) == 45
    assert len(both.pixels) == 17
    assert len(both.texts) == 40


def test_what_gives_no_pair_is_counted(tmp_path):
    rows = meme_rows(tmp_path)
    rows[0]["text"] = " \n"
    rows[1]["split"] = "test"
    (tmp_path / "0.png").write_bytes(b"no picture")
    found = gathered([read(tmp_path, rows)])
    assert found.skipped == {"no text": 1, "other split": 1, "image can't be decoded": 1}
    assert len(found) == 37
    assert len(found.pixels) == len(found.paths) == 16


@pytest.mark.parametrize(("num_template", "num_own"), [(20, 0), (1, 0), (0, 1)])
def test_a_single_image_can_not_be_told_from_others(tmp_path, num_template, num_own):
    with pytest.raises(DataError, match=r"two images and two texts, found 1 image"):
        gathered([read(tmp_path, meme_rows(tmp_path, num_template, num_own))])


def test_no_meme_of_these_splits(manifest):
    with pytest.raises(DataError, match=r"found 0 image\(s\) and 0 text\(s\) in the splits nowhere"):
        gathered([manifest], small('splits=["nowhere"]'))


def test_memes_without_images_are_counted(tmp_path):
    rows = [{key: value for key, value in row.items() if key != "image"} for row in meme_rows(tmp_path)]
    with pytest.raises(DataError, match="found 0 image"):
        gathered([read(tmp_path, rows)])


def test_no_text_is_on_both_sides(tmp_path):
    rows = meme_rows(tmp_path)
    for row in rows[::2]:
        row["text"] = "the same old joke"
    found = gathered([read(tmp_path, rows)])
    for seed in range(10):
        fit, held_back = found.cut(6, seed)
        assert len(fit) + len(held_back) == len(found)
        assert len(held_back)
        assert not set(found.text[fit]) & set(found.text[held_back])


def test_at_most_a_fifth_is_held_back(pairs):
    fit, held_back = pairs.cut(10_000, 0)
    assert (len(fit), len(held_back)) == (32, 8)


@pytest.mark.parametrize(
    ("counts", "num_held_back"), [((1, 99), 1), ((5, 5, 90), 5), ((50, 50), 50), ((30, 30, 30), 30)]
)
@pytest.mark.parametrize("seed", range(3))
def test_a_text_that_most_pairs_share_leaves_something_to_train_on(counts, num_held_back, seed):
    text = np.repeat(np.arange(len(counts)), counts)
    image = np.arange(len(text)) % 3
    pixels = np.zeros((3, 2, 2, 3), dtype=np.uint8)
    sources = np.array(["s"] * len(text))
    found = Pairs([str(number) for number in range(len(counts))], pixels, [Path("x")] * 3, text, image, sources)
    fit, held_back = found.cut(2000, seed)
    assert (len(fit), len(held_back)) == (len(text) - num_held_back, num_held_back)


def test_a_batch_encodes_each_distinct_image_once(pairs):
    recipe = small("rendering.share=0")
    found = dataset(pairs, recipe).collate([(row, 0) for row in range(20, 28)])
    assert found["pixel_values"].shape == (5, 3, 16, 16)
    assert sorted(found["image_index"].bincount().tolist()) == [1, 1, 1, 1, 4]
    lengths = found["attention_mask"].sum(dim=1)
    assert lengths.diff().ge(0).all()
    assert int(found["fits"].sum()) == 4 * 4 + 4


def test_a_batch_holds_the_images_of_its_pairs(pairs):
    data = dataset(pairs, small("rendering.share=0"))
    rows = [3, 30, 20, 31, 30]
    found = data.collate([(row, 0) for row in rows])
    expected = data.preprocessor.pixel_values(pairs.pixels[pairs.image[rows]])
    shown = found["pixel_values"][found["image_index"]]
    assert sorted(image.sum().item() for image in shown) == pytest.approx(sorted(i.sum().item() for i in expected))


def test_drawn_templates_differ_from_step_to_step_and_are_the_same_when_asked_again(pairs):
    data = dataset(pairs, small("rendering.share=1"))
    items = [(row, 7) for row in range(20, 28)]
    found, again, later = data.collate(items), data.collate(items), data.collate([(row, 8) for row, _ in items])
    assert len(found["pixel_values"]) == 8  # each drawing is an image of its own
    assert found["fits"].sum() == 8
    assert found["pixel_values"].equal(again["pixel_values"])
    assert not found["pixel_values"].equal(later["pixel_values"])


def test_a_template_stays_blank_where_the_font_lacks_the_text(tmp_path):
    rows = meme_rows(tmp_path)
    for row, text in zip(rows, ("\U0001f602", "नमस्ते दुनिया", "❤\ufe0f\ufe0f दुनिया"), strict=False):
        row["text"] = text
    pairs = gathered([read(tmp_path, rows)])
    found = dataset(pairs, small("rendering.share=1", "rendering.font=anton")).collate([(row, 0) for row in range(5)])
    assert len(found["pixel_values"]) == 3  # one blank template, and two with their texts
    assert sorted(found["image_index"].bincount().tolist()) == [1, 1, 3]
    # A blank one fits all five texts; the other two fit their own.
    assert sorted(found["fits"].sum(dim=0).tolist()) == [1, 1, 5, 5, 5]


@settings(deadline=None, max_examples=40)
@given(num_pairs=st.integers(1, 40), batch_size=st.integers(2, 9), seed=st.integers(0, 99))
def test_every_pair_comes_once_before_any_comes_again(num_pairs, batch_size, seed):
    recipe = small(f"batch_size={batch_size}", "num_steps=10", f"seed={seed}")
    items = list(PairBatches(np.arange(num_pairs), recipe))
    assert len(items) == len(PairBatches(np.arange(num_pairs), recipe)) == 10 * batch_size
    assert [step for _, step in items] == [step for step in range(10) for _ in range(batch_size)]
    rows = [row for row, _ in items]
    for start_of in range(0, len(rows), num_pairs):
        part = rows[start_of : start_of + num_pairs]
        assert len(set(part)) == len(part)


def test_hard_negatives_are_of_the_others_images():
    image = np.repeat(np.arange(50), 20)
    recipe = small("batch_size=20", "hard_share=0.5", "num_steps=30")
    items = list(PairBatches(image, recipe))
    assert items == list(PairBatches(image, recipe))
    for step in range(30):
        rows = np.array([row for row, at in items if at == step])
        assert set(image[rows[10:]]) <= set(image[rows[:10]])


def test_a_pair_is_no_hard_negative_of_itself():
    image = np.repeat(np.arange(500), 2)[np.random.default_rng(0).permutation(1000)]
    items = list(PairBatches(image, small("batch_size=2", "hard_share=0.5", "num_steps=400")))
    rows = np.array([row for row, _ in items]).reshape(-1, 2)
    assert (rows[:, 0] != rows[:, 1]).all()
    assert (image[rows[:, 0]] == image[rows[:, 1]]).all()


def test_hard_negatives_where_no_image_has_two_texts():
    assert len(list(PairBatches(np.arange(5), small("hard_share=0.5")))) == 48


def test_unreadable_pictures_of_all_memes(tmp_path):
    rows = meme_rows(tmp_path, 4, 2)
    for name in ("template.png", "0.png"):
        (tmp_path / name).write_bytes(b"\x89PNG")
    draw_image(tmp_path / "1.png", 1)
    with pytest.raises(DataError, match=r"found 1 image\(s\) and 1 text"):
        gathered([read(tmp_path, rows)])
