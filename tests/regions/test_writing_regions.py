"""Making region files: once for each image, and the same bytes after any number of interruptions."""

import json
import shutil

import numpy as np
import pytest
from region_files import assert_same, save_detector

from builders import draw_image, make_manifest
from clip_checkpoint import save_clip
from memeblend.cli.regions import run_regions
from memeblend.data.manifest import Manifest
from memeblend.errors import DataError, ModelError, OutputError, RecipeError
from memeblend.regions import writing
from memeblend.regions.boxes import MemeRegions, box_numbers
from memeblend.regions.grid_engine import GridEngine
from memeblend.regions.store import RegionStore
from memeblend.regions.writing import write_regions


class PixelEngine:
    """As many regions as the first pixel's red says, made of the image's mean colour; counts what it is asked."""

    name = "pixels"
    feature_size = 3

    def __init__(self, threshold=0.5, dies_at=None):
        self.threshold, self.dies_at, self.seen = threshold, dies_at, 0

    @property
    def settings(self):
        return {"engine": self.name, "threshold": self.threshold}

    def regions(self, images):
        found = []
        for image in images:
            self.seen += 1
            if self.seen == self.dies_at:
                raise KeyboardInterrupt
            pixels = np.asarray(image, dtype=np.float32)
            num_regions = int(pixels[0, 0, 0]) % 4
            corners = np.tile([0, 0, 0.5, 1], (num_regions, 1))
            features = np.tile(pixels.mean(axis=(0, 1)).round(), (num_regions, 1)).astype(np.float32)
            tags = ["red", "green", "red"][:num_regions]
            scores = np.linspace(1, 0.5, num_regions, dtype=np.float32)
            found.append(MemeRegions(box_numbers(corners), features.reshape(num_regions, 3), tags, scores))
        return found


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(writing, "_PIECE_IMAGES", 4)


@pytest.fixture
def manifest(tmp_path):
    """Twelve memes with ten distinct images."""
    made = make_manifest(tmp_path / "data", 12)
    for copy, original in ((7, 2), (11, 0)):
        shutil.copy(tmp_path / "data" / f"{original}.png", tmp_path / "data" / f"{copy}.png")
    return made


def expected(manifest, row):
    from memeblend.data.images import load_image

    return PixelEngine().regions([load_image(manifest.image_path(row))])[0]


def test_every_meme_gets_its_image_s_regions_and_each_image_is_seen_once(manifest, tmp_path):
    told = []
    engine = PixelEngine()
    summary = write_regions(
        manifest, engine, tmp_path / "r.npz", batch_size=2, progress=lambda done, total: told.append((done, total))
    )
    assert engine.seen == 10
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (10, 10)
    store = RegionStore.open(tmp_path / "r.npz")
    assert list(store.meme_ids) == list(manifest.meme_ids)
    for row, meme_id in enumerate(manifest.meme_ids):
        assert_same(store.get(meme_id, 9), expected(manifest, row))
    made = [expected(manifest, row) for row in range(12) if row not in (7, 11)]
    tags = [tag for regions in made for tag in regions.tags]
    assert summary.num_memes == 12
    assert summary.num_images == 10
    assert summary.num_regions == len(tags) > 0
    assert summary.top_tags == (("red", tags.count("red")), ("green", tags.count("green")))
    assert summary.unreadable == ()
    assert "made by pixels" in store.description
    assert not (tmp_path / "r.npz.parts").exists()


@pytest.mark.parametrize("dies_at", [1, 4, 5, 6, 9, 10])
def test_killed_and_started_again_equals_never_killed(manifest, tmp_path, dies_at):
    write_regions(manifest, PixelEngine(), tmp_path / "whole.npz", batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        write_regions(manifest, PixelEngine(dies_at=dies_at), tmp_path / "r.npz", batch_size=2)
    assert not (tmp_path / "r.npz").exists()
    again = PixelEngine()
    write_regions(manifest, again, tmp_path / "r.npz", batch_size=2)
    assert again.seen == 10 - 4 * ((dies_at - 1) // 4)
    assert (tmp_path / "r.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert not (tmp_path / "r.npz.parts").exists()


def test_a_piece_cut_short_is_made_again(manifest, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_regions(manifest, PixelEngine(dies_at=9), tmp_path / "r.npz", batch_size=2)
    piece = sorted((tmp_path / "r.npz.parts").glob("*.npz"))[0]
    piece.write_bytes(piece.read_bytes()[:-50])
    again = PixelEngine()
    write_regions(manifest, again, tmp_path / "r.npz", batch_size=2)
    assert again.seen == 6
    write_regions(manifest, PixelEngine(), tmp_path / "whole.npz", batch_size=2)
    assert (tmp_path / "r.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_another_engine_does_not_go_on_with_what_one_began(manifest, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_regions(manifest, PixelEngine(dies_at=9), tmp_path / "r.npz", batch_size=2)
    with pytest.raises(OutputError, match="unfinished regions by another engine or other settings"):
        write_regions(manifest, PixelEngine(threshold=0.6), tmp_path / "r.npz", batch_size=2)
    anew = PixelEngine(threshold=0.6)
    write_regions(manifest, anew, tmp_path / "r.npz", batch_size=2, resume=False)
    assert anew.seen == 10


def test_a_finished_file_gives_what_it_has_and_is_never_overwritten_by_another_engine(manifest, tmp_path):
    write_regions(manifest.take(np.arange(6)), PixelEngine(), tmp_path / "r.npz", batch_size=2)
    more = PixelEngine()
    write_regions(manifest, more, tmp_path / "r.npz", batch_size=2)
    assert more.seen == 4
    store = RegionStore.open(tmp_path / "r.npz")
    for row, meme_id in enumerate(manifest.meme_ids):
        assert_same(store.get(meme_id, 9), expected(manifest, row))
    before = (tmp_path / "r.npz").read_bytes()
    same = PixelEngine()
    write_regions(manifest, same, tmp_path / "r.npz", batch_size=2)
    assert same.seen == 0
    assert (tmp_path / "r.npz").read_bytes() == before
    with pytest.raises(OutputError, match="holds regions by pixels with other settings"):
        write_regions(manifest, PixelEngine(threshold=0.6), tmp_path / "r.npz")
    assert (tmp_path / "r.npz").read_bytes() == before


def test_foreign_files_in_the_way_are_left_alone(manifest, tmp_path):
    (tmp_path / "r.npz").write_text("mine")
    with pytest.raises(OutputError, match="no region file"):
        write_regions(manifest, PixelEngine(), tmp_path / "r.npz")
    (tmp_path / "s.npz.parts").mkdir()
    (tmp_path / "s.npz.parts" / "mine.txt").write_text("mine")
    for resume in (True, False):
        with pytest.raises(OutputError, match="in the way"):
            write_regions(manifest, PixelEngine(), tmp_path / "s.npz", resume=resume)
    (tmp_path / "t.npz.parts").write_text("mine")
    with pytest.raises(OutputError, match="in the way"):
        write_regions(manifest, PixelEngine(), tmp_path / "t.npz")
    assert (tmp_path / "s.npz.parts" / "mine.txt").read_text() == "mine"
    assert (tmp_path / "r.npz").read_text() == "mine"


@pytest.mark.parametrize("dies_at", [None, 7])
def test_unreadable_images_are_skipped_and_listed(manifest, tmp_path, dies_at):
    for row in (2, 7):  # one image, two memes
        (tmp_path / "data" / f"{row}.png").write_bytes(b"no image")
    if dies_at:
        with pytest.raises(KeyboardInterrupt):
            write_regions(manifest, PixelEngine(dies_at=dies_at), tmp_path / "r.npz", batch_size=2)
    summary = write_regions(manifest, PixelEngine(), tmp_path / "r.npz", batch_size=2)
    ids = manifest.meme_ids
    assert [problem.meme_id for problem in summary.unreadable] == [ids[2], ids[7]]
    assert "not an image" in summary.unreadable[0].what
    store = RegionStore.open(tmp_path / "r.npz")
    assert summary.num_memes == len(store) == 10
    assert ids[2] not in store
    assert_same(store.get(ids[3], 9), expected(manifest, 3))
    again = write_regions(manifest, PixelEngine(), tmp_path / "r.npz", batch_size=2)
    assert again == summary


def test_no_readable_image_at_all(manifest, tmp_path):
    for path in (tmp_path / "data").glob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="None of the images can be read") as caught:
        write_regions(manifest, PixelEngine(), tmp_path / "r.npz")
    assert len(caught.value.problems) == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_an_engine_that_gives_nan_writes_nothing(manifest, tmp_path):
    class Broken(PixelEngine):
        def regions(self, images):
            found = super().regions(images)
            for one in found:
                one.features[:] = np.nan
            return found

    with pytest.raises(ModelError, match="does not work") as caught:
        write_regions(manifest, Broken(), tmp_path / "r.npz")
    assert str(tmp_path / "data") in str(caught.value.problems[0])
    assert not (tmp_path / "r.npz").exists()


def test_memes_without_images_and_other_wrong_calls(manifest, tmp_path):
    without = make_manifest(tmp_path, 3, images=False)
    with pytest.raises(DataError, match="have no images"):
        write_regions(without, PixelEngine(), tmp_path / "r.npz")
    with pytest.raises(DataError, match=r"written as \.npz"):
        write_regions(manifest, PixelEngine(), tmp_path / "r.tsv")
    with pytest.raises(ValueError, match="batch_size is 0"):
        write_regions(manifest, PixelEngine(), tmp_path / "r.npz", batch_size=0)


def test_an_image_that_changes_while_it_is_read_is_not_kept_under_its_old_digest(manifest, tmp_path):
    manifest.image_digests()
    draw_image(tmp_path / "data" / "4.png", 99)
    summary = write_regions(manifest, PixelEngine(), tmp_path / "r.npz")
    assert [problem.meme_id for problem in summary.unreadable] == [manifest.meme_ids[4]]
    assert "was changed" in summary.unreadable[0].what


def test_the_grid_of_a_clip(manifest, tmp_path):
    engine = GridEngine.load(save_clip(tmp_path / "clip"))
    write_regions(manifest, engine, tmp_path / "r.npz", batch_size=3)
    store = RegionStore.open(tmp_path / "r.npz")
    assert store.feature_size == engine.feature_size
    from memeblend.data.images import load_image

    (direct,) = engine.regions([load_image(manifest.image_path(5))])
    found = store.get(manifest.meme_ids[5], 50)
    np.testing.assert_allclose(found.features, direct.features, rtol=2e-3, atol=1e-3)  # float16
    np.testing.assert_array_equal(found.boxes, direct.boxes)


def written_manifest(manifest, tmp_path):
    manifest.write(tmp_path / "memes.csv")
    return tmp_path / "memes.csv"


def test_command_with_a_detector_and_json(manifest, tmp_path, capsys):
    (tmp_path / "data" / "4.png").write_bytes(b"no image")
    detector = save_detector(tmp_path / "detector", "rt_detr")
    data = written_manifest(manifest, tmp_path)
    run_regions(data, "detector", str(detector), tmp_path / "r.npz", 4, 6, 0.0, True)
    shown = json.loads(capsys.readouterr().out)
    ids = Manifest.read(data).meme_ids
    assert shown["engine"] == "detector"
    assert (shown["num_memes"], shown["num_images"], shown["num_regions"]) == (11, 9, 54)
    assert shown["feature_size"] == 16
    assert sum(shown["top_tags"].values()) == 54
    assert [entry["meme_id"] for entry in shown["unreadable"]] == [ids[4]]
    assert list(RegionStore.open(shown["regions"]).meme_ids) == [meme_id for meme_id in ids if meme_id != ids[4]]


def test_command_with_a_grid_shows_a_table(manifest, tmp_path, capsys):
    (tmp_path / "data" / "4.png").write_bytes(b"no image")
    data = written_manifest(manifest, tmp_path)
    run_regions(data, "grid", str(save_clip(tmp_path / "clip")), tmp_path / "r.npz", 4, 50, 0.2, False)
    shown = capsys.readouterr().out
    assert "1 meme(s) were skipped" in shown
    assert "r.npz" in shown
    assert "none" in shown


def test_command_with_an_engine_that_is_not_there(manifest, tmp_path):
    with pytest.raises(RecipeError, match="no region engine 'yolo'"):
        run_regions(written_manifest(manifest, tmp_path), "yolo", "x", tmp_path / "r.npz", 4, 50, 0.2, True)
