"""The image cache: decoded once, by content; safe against crashes, damage and company."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from builders import draw_image, make_manifest
from memeblend.data import cache as cache_module
from memeblend.data.cache import cached_images, default_cache_dir, unreadable_images
from memeblend.data.images import ImageTransform, load_image
from memeblend.data.manifest import Manifest
from memeblend.errors import DataError, ImageError, OutputError

_TRANSFORM = ImageTransform(8, "letterbox")


def _direct(manifest: Manifest, transform: ImageTransform = _TRANSFORM) -> np.ndarray:
    paths = [manifest.image_path(row) for row in range(len(manifest))]
    return np.stack([transform.apply(load_image(path)) for path in paths if path is not None])


def _fresh(manifest: Manifest) -> Manifest:
    """The same manifest without digests that were computed before."""
    return Manifest(manifest.table, manifest.label_tasks, manifest.root)


def test_equals_direct_decoding_and_decodes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = make_manifest(tmp_path / "data", 7)
    told: list[tuple[int, int]] = []
    pixels = cached_images(manifest, _TRANSFORM, tmp_path / "cache", lambda done, total: told.append((done, total)))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, _direct(manifest))
    assert told == [(done, 7) for done in range(1, 8)]

    monkeypatch.setattr(cache_module, "load_image", lambda path: pytest.fail("decoded a second time"))
    order = np.array([5, 0, 3])
    np.testing.assert_array_equal(cached_images(manifest.take(order), _TRANSFORM, tmp_path / "cache"), pixels[order])


def test_cached_by_content_not_by_name(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path / "data", 3)
    before = cached_images(manifest, _TRANSFORM, tmp_path / "cache")
    draw_image(tmp_path / "data" / "1.png", 99)
    shutil.copy(tmp_path / "data" / "0.png", tmp_path / "data" / "2.png")
    changed = _fresh(manifest)
    after = cached_images(changed, _TRANSFORM, tmp_path / "cache")
    np.testing.assert_array_equal(after, _direct(changed))
    assert (after[1] != before[1]).any()
    assert (after[2] == after[0]).all()


def test_same_image_in_many_memes_is_decoded_once(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path / "data", 4)
    for name in ("1.png", "3.png"):
        shutil.copy(tmp_path / "data" / "0.png", tmp_path / "data" / name)
    told: list[int] = []
    pixels = cached_images(manifest, _TRANSFORM, tmp_path / "cache", lambda done, total: told.append(total))
    assert told == [2, 2]
    np.testing.assert_array_equal(pixels, _direct(manifest))


def test_transforms_do_not_mix(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path / "data", 3)
    for transform in (_TRANSFORM, ImageTransform(8, "crop"), ImageTransform(9, "crop")):
        np.testing.assert_array_equal(
            cached_images(manifest, transform, tmp_path / "cache"), _direct(manifest, transform)
        )


def test_many_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SHARD_BYTES", 3 * 8 * 8 * 3)
    manifest = make_manifest(tmp_path / "data", 10)
    np.testing.assert_array_equal(cached_images(manifest, _TRANSFORM, tmp_path / "cache"), _direct(manifest))
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 4


@pytest.mark.parametrize("damage", ["cut", "junk", "empty", "other"])
def test_damaged_shards_are_made_anew(tmp_path: Path, damage: str) -> None:
    manifest = make_manifest(tmp_path / "data", 5)
    cached_images(manifest, _TRANSFORM, tmp_path / "cache")
    (shard,) = (tmp_path / "cache").rglob("*.npy")
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-100])
    elif damage == "other":
        np.save(shard, np.zeros(3))
    else:
        shard.write_bytes(b"junk" if damage == "junk" else b"")
    np.testing.assert_array_equal(cached_images(manifest, _TRANSFORM, tmp_path / "cache"), _direct(manifest))


def test_a_killed_run_leaves_nothing_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = make_manifest(tmp_path / "data", 5)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            cached_images(manifest, _TRANSFORM, tmp_path / "cache")
    assert list((tmp_path / "cache").rglob("*.npy")) == []
    np.testing.assert_array_equal(cached_images(manifest, _TRANSFORM, tmp_path / "cache"), _direct(manifest))


def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = make_manifest(tmp_path / "data", 5)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        cached_images(manifest, _TRANSFORM, tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_many_at_once(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path / "data", 12)
    expected = _direct(manifest)
    with ThreadPoolExecutor(4) as pool:
        parts = [_fresh(manifest) for _ in range(4)]
        results = list(pool.map(lambda part: cached_images(part, _TRANSFORM, tmp_path / "cache"), parts))
    for pixels in results:
        np.testing.assert_array_equal(pixels, expected)


def test_all_undecodable_images_at_once_then_rejected(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path / "data", 6)
    (tmp_path / "data" / "1.png").write_text("no picture")
    whole = (tmp_path / "data" / "4.png").read_bytes()
    (tmp_path / "data" / "4.png").write_bytes(whole[:60])
    manifest = _fresh(manifest)
    ids = manifest.meme_ids.tolist()
    with pytest.raises(ImageError) as caught:
        cached_images(manifest, _TRANSFORM, tmp_path / "cache")
    assert [problem.meme_id for problem in caught.value.problems] == [ids[1], ids[4]]
    assert "skip_bad" in str(caught.value)

    problems = unreadable_images(manifest, _TRANSFORM, tmp_path / "cache")
    assert problems == list(caught.value.problems)
    told: list[str] = []
    kept = manifest.reject(problems, tmp_path / "rejected.csv", told.append)
    assert kept.meme_ids.tolist() == [ids[0], ids[2], ids[3], ids[5]]
    assert "dropped 2 of 6" in told[0]
    np.testing.assert_array_equal(cached_images(kept, _TRANSFORM, tmp_path / "cache"), _direct(kept))


def test_file_replaced_after_it_was_hashed(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path / "data", 3)
    manifest.image_digests()
    draw_image(tmp_path / "data" / "1.png", 77)
    (problem,) = unreadable_images(manifest, _TRANSFORM, tmp_path / "cache")
    assert "was changed" in problem.what


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        cached_images(make_manifest(tmp_path, 3, images=False), _TRANSFORM, tmp_path / "cache")


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEMEBLEND_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_dir() == tmp_path / "own"
    manifest = make_manifest(tmp_path / "data", 2)
    cached_images(manifest, _TRANSFORM)
    assert list((tmp_path / "own").rglob("*.npy"))
    monkeypatch.delenv("MEMEBLEND_CACHE")
    assert default_cache_dir() == tmp_path / "xdg" / "memeblend"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache" / "memeblend"
