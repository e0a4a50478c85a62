"""Perceptual hashes, near-duplicates, repeated texts, and the groups they make."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from builders import draw_image, make_manifest
from memeblend.data import duplicates
from memeblend.data.duplicates import (
    BLANK,
    NO_HASH,
    duplicate_groups,
    find_duplicates,
    hash_images,
    image_hash,
    near_pairs,
    perceptual_hashes,
    words,
)
from memeblend.data.images import load_image
from memeblend.data.manifest import Manifest
from memeblend.errors import ImageError


def picture(seed, size=(200, 160)):
    """A picture with a spectrum like a photograph's: the finer, the fainter."""
    random = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0], 3))
    for side in (2, 4, 8, 16, 32):
        blocks = Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8))
        total += np.asarray(blocks.resize(size, Image.Resampling.BICUBIC), dtype=float) / side
    return Image.fromarray((total * 255 / total.max()).astype(np.uint8))


def distance(first, second):
    return int(first ^ second).bit_count()


def manifest_of(folder, images, texts=None, splits=None):
    """A manifest of these images (pictures, bytes, or None) and texts."""
    paths = []
    for number, image in enumerate(images):
        path = folder / f"{number}.png"
        if isinstance(image, bytes):
            path.write_bytes(image)
        elif image is not None:
            image.save(path)
        paths.append(None if image is None else path.name)
    table = pd.DataFrame(
        {
            "meme_id": [f"made/all/{number}" for number in range(len(images))],
            "image": paths,
            "ocr_text": texts or [f"nothing like number {number}" for number in range(len(images))],
            "split": splits or ["train"] * len(images),
            "source": "made",
        }
    )
    return Manifest(table, (), folder)


@pytest.mark.parametrize("seed", range(5))
def test_copies_of_an_image_hash_alike_and_other_images_do_not(tmp_path, seed):
    image = picture(seed)
    image.save(tmp_path / "low.jpg", quality=40)
    copies = [image.resize((100, 80)), load_image(tmp_path / "low.jpg"), image.point(lambda value: value * 0.9 + 10)]
    for copy in copies:
        assert distance(image_hash(image), image_hash(copy)) <= duplicates.NEAR_DISTANCE
    assert distance(image_hash(image), image_hash(picture(seed + 100))) > 2 * duplicates.NEAR_DISTANCE


def test_hash_sets_half_of_the_bits():
    assert int(image_hash(picture(3))).bit_count() == 32


def test_images_that_tell_nothing_have_no_hash():
    assert image_hash(Image.new("RGB", (64, 64), "white")) == BLANK
    assert image_hash(Image.new("RGB", (1, 1), "navy")) == BLANK
    stripes = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[None, :, None], 32, axis=0).repeat(3, axis=2)
    assert image_hash(Image.fromarray(stripes)) == NO_HASH


def test_blank_images_join_nobody_but_striped_copies_do(tmp_path):
    blank = Image.new("RGB", (32, 32), "white")
    stripes = Image.fromarray(np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))).convert("RGB")
    manifest = manifest_of(tmp_path, [blank, blank, blank, stripes, stripes])
    assert duplicate_groups(manifest, cache_dir=tmp_path / "c").tolist() == [0, 1, 2, 3, 3]


def test_groups_join_what_is_linked_through_others(tmp_path):
    # 0 and 2 share their bytes, 2 and 3 their words, 3 and 5 are near-duplicate images; 1 and 4 stand alone
    images = [picture(0), picture(1), picture(0), picture(3), picture(4), picture(3).resize((100, 80))]
    texts = ["a cat sits", "a dog sits", "The SAME joke!", "the same... joke", "a cow sits", "a fish sits"]
    manifest = manifest_of(tmp_path, images, texts)
    found = find_duplicates(manifest, perceptual_hashes(manifest, cache_dir=tmp_path / "c"))
    assert found.identical.tolist() == [0, 1, 0, 2, 3, 4]
    assert found.near.tolist() == [0, 1, 0, 2, 3, 2]
    assert found.repeated_text.tolist() == [0, 1, 2, 2, 3, 4]
    assert found.groups.tolist() == [0, 1, 0, 0, 2, 0]
    assert duplicate_groups(manifest, cache_dir=tmp_path / "c").tolist() == [0, 1, 0, 0, 2, 0]


def test_words_fold_case_width_and_punctuation_and_keep_hindi_vowels():
    assert words("  When-you SEE\tit... ＯＫ! ") == ["when", "you", "see", "it", "ok"]
    assert words("किताब की") == ["किताब", "की"]


def test_short_texts_repeat_by_chance_and_join_nobody(tmp_path):
    manifest = manifest_of(tmp_path, [None] * 5, ["null", "null", "", "", "brace yourself!"])
    assert duplicate_groups(manifest, cache_dir=tmp_path / "c").tolist() == [0, 1, 2, 3, 4]


def test_unreadable_images_are_compared_by_their_bytes_and_named(tmp_path):
    manifest = manifest_of(tmp_path, [picture(0), b"no image", b"no image", b"other"])
    assert duplicate_groups(manifest, cache_dir=tmp_path / "c").tolist() == [0, 1, 1, 2]
    hashes, problems = hash_images(manifest, cache_dir=tmp_path / "c")
    assert hashes[1:].tolist() == [NO_HASH] * 3
    assert [problem.meme_id for problem in problems] == ["made/all/1", "made/all/2", "made/all/3"]
    with pytest.raises(ImageError, match="3 image") as caught:
        perceptual_hashes(manifest, cache_dir=tmp_path / "c")
    assert len(caught.value.problems) == 3


def brute_force(hashes, max_distance):
    pairs = itertools.combinations(range(len(hashes)), 2)
    return [[i, j] for i, j in pairs if distance(hashes[i], hashes[j]) <= max_distance]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.lists(st.integers(0, 63), max_size=6)), max_size=12),
    st.integers(0, 6),
)
def test_near_pairs_are_those_of_brute_force(bases, flips, max_distance):
    values = set(bases)
    for which, bits in flips:
        values.add(bases[which % len(bases)] ^ sum(1 << bit for bit in set(bits)))
    hashes = np.array(sorted(values), dtype=np.uint64)
    assert near_pairs(hashes, max_distance).tolist() == brute_force(hashes, max_distance)


def test_near_pairs_among_twenty_thousand_hashes():
    random = np.random.default_rng(0)
    hashes = random.integers(1, 2**63, 20_000, dtype=np.uint64)
    hashes[10_000:] = hashes[:10_000] ^ np.uint64(0b1011)
    pairs = near_pairs(np.unique(hashes))
    assert len(pairs) == 10_000


def test_hashes_are_kept_and_not_made_again(tmp_path, monkeypatch):
    manifest = make_manifest(tmp_path / "memes")
    calls = []
    first = perceptual_hashes(manifest, lambda *count: calls.append(count), cache_dir=tmp_path / "c")
    assert calls[-1] == (12, 12)
    monkeypatch.setattr(duplicates, "load_image", lambda path: pytest.fail("decoded again"))
    assert perceptual_hashes(manifest, cache_dir=tmp_path / "c").tolist() == first.tolist()


def test_new_images_join_the_cache_and_a_damaged_cache_is_made_anew(tmp_path):
    manifest = make_manifest(tmp_path / "memes")
    part = perceptual_hashes(manifest.take([0, 1, 2]), cache_dir=tmp_path / "c")
    whole = perceptual_hashes(manifest, cache_dir=tmp_path / "c")
    assert whole[:3].tolist() == part.tolist()
    (cache,) = (tmp_path / "c").rglob("*.npy")
    for damage in (b"", cache.read_bytes()[:-9], b"something else"):
        cache.write_bytes(damage)
        assert perceptual_hashes(manifest, cache_dir=tmp_path / "c").tolist() == whole.tolist()


def test_an_image_replaced_by_another_is_hashed_anew(tmp_path):
    before = perceptual_hashes(make_manifest(tmp_path / "memes", 2), cache_dir=tmp_path / "c")
    draw_image(tmp_path / "memes" / "1.png", 77)
    (tmp_path / "memes" / "0.png").touch()
    table = make_manifest(tmp_path / "other", 2).table
    after = perceptual_hashes(Manifest(table, (), tmp_path / "memes"), cache_dir=tmp_path / "c")
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_cache_that_can_not_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("in the way")
    manifest = make_manifest(tmp_path / "memes", 3)
    assert len(perceptual_hashes(manifest, cache_dir=tmp_path / "file")) == 3
