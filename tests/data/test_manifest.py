"""The manifest: validation, round trips, fingerprints, parts, bad paths, rejected rows."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import draw_image, make_manifest, write_csv, write_table
from memeblend.data.manifest import Manifest
from memeblend.data.sampling import shares
from memeblend.errors import DataError, ImageError, OutputError, Problem
from memeblend.labels import MEMOTION_LABEL_TASKS, SENTIMENT, LabelTask

_MOOD = LabelTask("mood", "nominal", ("sad", "glad", "mad"))


def _rows(manifest: Manifest) -> list[tuple[object, ...]]:
    return list(manifest.table.itertuples(index=False, name=None))


def _texts(texts: list[str], root: Path) -> Manifest:
    table = pd.DataFrame(
        {
            "meme_id": [f"d/train/{i}" for i in range(len(texts))],
            "image": None,
            "ocr_text": texts,
            "split": "train",
            "source": "d",
            "mood": [(*_MOOD.classes, None)[i % 4] for i in range(len(texts))],
        }
    )
    return Manifest(table, (_MOOD,), root)


class TestValidation:
    def test_any_string_type_becomes_plain(self, tmp_path: Path) -> None:
        made = make_manifest(tmp_path, 3)
        table = made.table.astype({"ocr_text": "string", "split": "category"})
        table.loc[1, "sentiment"] = float("nan")
        manifest = Manifest(table.set_index(pd.Index([7, 8, 9])), made.label_tasks, tmp_path)
        assert manifest.table["sentiment"][1] is None
        assert list(manifest.table.index) == [0, 1, 2]
        assert {type(value) for value in manifest.table["ocr_text"]} == {str}
        assert manifest.labels("sentiment").tolist() == [0, -1, 2]

    def test_all_problems_at_once(self, tmp_path: Path) -> None:
        table = make_manifest(tmp_path, 4).table.copy()
        table.loc[1, "meme_id"] = table.loc[0, "meme_id"]
        table.loc[2, "sentiment"] = "gloomy"
        table.loc[3, "split"] = None
        table.loc[3, "image"] = None
        with pytest.raises(DataError) as caught:
            Manifest(table, MEMOTION_LABEL_TASKS, tmp_path)
        assert {problem.where for problem in caught.value.problems} == {
            "row 1",
            "row 2, column sentiment",
            "row 3, column split",
            "row 3, column image",
        }

    def test_columns(self, tmp_path: Path) -> None:
        table = make_manifest(tmp_path, 2).table
        with pytest.raises(DataError, match="split missing"):
            Manifest(table.drop(columns="split"), (), tmp_path)
        with pytest.raises(DataError, match="mood missing"):
            Manifest(table, (_MOOD,), tmp_path)
        with pytest.raises(DataError, match="named twice"):
            Manifest(table, (SENTIMENT, SENTIMENT), tmp_path)
        with pytest.raises(DataError, match="named twice"):
            Manifest(table, (LabelTask("split", "binary", ("train", "validation")),), tmp_path)
        assert list(Manifest(table, (), tmp_path).table.columns) == ["meme_id", "image", "ocr_text", "split", "source"]


class TestRoundTrip:
    @pytest.mark.parametrize("name", ["m.parquet", "m.csv", "m.tsv", "m.jsonl"])
    @given(
        texts=st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
            min_size=8,
            max_size=9,
        )
    )
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_text(self, tmp_path: Path, name: str, texts: list[str]) -> None:
        manifest = _texts(texts, tmp_path)
        manifest.write(tmp_path / name)
        again = Manifest.read(tmp_path / name, label_tasks=[_MOOD])
        assert _rows(again) == _rows(manifest)
        assert again.fingerprint == manifest.fingerprint

    @pytest.mark.parametrize("place", [".", "sub", "../elsewhere"])
    def test_parquet_keeps_label_tasks_and_root(self, tmp_path: Path, place: str) -> None:
        made = make_manifest(tmp_path / "data", 6)
        path = tmp_path / "data" / place / "m.parquet"
        made.with_splits(["select"] * 6).write(path)
        again = Manifest.read(path)
        assert again.label_tasks == MEMOTION_LABEL_TASKS
        assert again.meme_ids.tolist() == made.meme_ids.tolist()
        assert again.split_names == ("select",)
        assert again.image_digests() == made.image_digests()
        assert [task.name for task in Manifest.read(path, label_tasks=[SENTIMENT]).label_tasks] == ["sentiment"]
        assert Manifest.read(path, label_tasks=None).label_tasks == ()

    def test_parquet_inside_its_root_moves_with_it(self, tmp_path: Path) -> None:
        made = make_manifest(tmp_path / "data", 4)
        made.write(tmp_path / "data" / "lists" / "m.parquet")
        digests = made.image_digests()
        (tmp_path / "data").rename(tmp_path / "moved")
        again = Manifest.read(tmp_path / "moved" / "lists" / "m.parquet")
        assert again.image_digests() == digests

    def test_text_formats_above_beside_and_outside_the_images(self, tmp_path: Path) -> None:
        made = make_manifest(tmp_path / "data" / "pictures", 6)
        for place, image in (("data/pictures", "0.png"), ("data", "pictures/0.png")):
            made.write(tmp_path / place / "m.csv")
            again = Manifest.read(tmp_path / place / "m.csv")
            assert again.table["image"][0] == image
            assert again.meme_ids.tolist() == made.meme_ids.tolist()
            assert again.fingerprint == made.fingerprint
        made.write(tmp_path / "out" / "m.csv")
        with pytest.raises(DataError, match="absolute path"):
            Manifest.read(tmp_path / "out" / "m.csv")
        assert Manifest.read(tmp_path / "out" / "m.csv", allow_outside=True).fingerprint == made.fingerprint

    def test_missing_labels(self, tmp_path: Path) -> None:
        table = make_manifest(tmp_path, 6).table.copy()
        table.loc[2, "sentiment"] = None
        made = Manifest(table, MEMOTION_LABEL_TASKS, tmp_path)
        for name in ("m.parquet", "m.csv", "m.tsv", "m.jsonl"):
            made.write(tmp_path / name)
            assert Manifest.read(tmp_path / name).labels("sentiment").tolist() == [0, 1, -1, 0, 1, 2]

    def test_other_suffix_and_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made = make_manifest(tmp_path / "data", 3)
        with pytest.raises(ValueError, match=r"not '\.xlsx'"):
            made.write(tmp_path / "m.xlsx")
        made.write(tmp_path / "m.parquet")
        before = (tmp_path / "m.parquet").read_bytes()

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("memeblend.data.storage.pq.write_table", full)
        with pytest.raises(OutputError, match="No space left"):
            made.with_splits(["x"] * 3).write(tmp_path / "m.parquet")
        assert (tmp_path / "m.parquet").read_bytes() == before
        assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "m.parquet"]

    def test_description_that_was_damaged(self, tmp_path: Path) -> None:
        import pyarrow.parquet as pq

        make_manifest(tmp_path, 3).write(tmp_path / "m.parquet")
        table = pq.read_table(tmp_path / "m.parquet")
        pq.write_table(table.drop_columns(["sentiment"]), tmp_path / "m.parquet")
        with pytest.raises(DataError, match=r"without its column\(s\) sentiment"):
            Manifest.read(tmp_path / "m.parquet")
        pq.write_table(table.replace_schema_metadata({b"memeblend.manifest": b"{}"}), tmp_path / "m.parquet")
        with pytest.raises(DataError, match="can't be read"):
            Manifest.read(tmp_path / "m.parquet")


class TestFingerprint:
    def test_follows_content_and_nothing_else(self, tmp_path: Path) -> None:
        made = make_manifest(tmp_path / "a", 6)
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        same = Manifest(made.table, made.label_tasks, tmp_path / "b")
        assert same.fingerprint == made.fingerprint
        renamed = made.table.assign(source="other", meme_id=[i.replace("made/", "other/") for i in made.meme_ids])
        assert Manifest(renamed, made.label_tasks, tmp_path / "a").fingerprint == made.fingerprint

        different = [
            made.take(np.arange(5)),
            made.take(np.array([1, 0, 2, 3, 4, 5])),
            made.with_splits(["train"] * 6),
            made.with_label_tasks(["sentiment"]),
            Manifest(made.table.assign(ocr_text="x"), made.label_tasks, made.root),
            Manifest(made.table.assign(sentiment="neutral"), made.label_tasks, made.root),
        ]
        draw_image(tmp_path / "b" / "3.png", 50)
        different.append(Manifest(made.table, made.label_tasks, tmp_path / "b"))
        assert len({made.fingerprint, *(manifest.fingerprint for manifest in different)}) == 8

    def test_digests_are_handed_on(self, tmp_path: Path) -> None:
        made = make_manifest(tmp_path, 4)
        digests = made.image_digests()
        shutil.rmtree(tmp_path)
        assert made.take([2, 0]).image_digests() == [digests[2], digests[0]]
        assert made.with_splits(["a"] * 4).image_digests() == digests
        assert made.with_label_tasks([]).image_digests() == digests

    def test_images_that_vanished(self, tmp_path: Path) -> None:
        made = make_manifest(tmp_path, 4)
        for name in ("1.png", "2.png"):
            (tmp_path / name).unlink()
        with pytest.raises(ImageError) as caught:
            made.image_digests()
        assert [problem.meme_id for problem in caught.value.problems] == made.meme_ids[1:3].tolist()


class TestParts:
    def test_take(self, tmp_path: Path) -> None:
        made = make_manifest(tmp_path, 5)
        ids = made.meme_ids
        assert made.take(np.array([3, 1])).meme_ids.tolist() == [ids[3], ids[1]]
        assert made.take(np.array([True, False, False, True, False])).meme_ids.tolist() == [ids[0], ids[3]]
        assert len(made.take([])) == 0
        with pytest.raises(ValueError, match="mask"):
            made.take(np.array([True]))
        with pytest.raises(IndexError):
            made.take([5])

    def test_split_names_in_their_usual_order(self, tmp_path: Path) -> None:
        made = make_manifest(tmp_path, 8, splits=("zoo", "test", "validation", "apple", "train"))
        assert made.split_names == ("train", "validation", "test", "zoo", "apple")

    def test_label_tasks(self, tmp_path: Path) -> None:
        made = make_manifest(tmp_path, 4)
        assert [task.name for task in made.with_label_tasks(["offensive", "sentiment"]).label_tasks] == [
            "offensive",
            "sentiment",
        ]
        with pytest.raises(DataError, match=r"no label task 'mood'[\s\S]*sentiment, humorous"):
            made.with_label_tasks(["mood"])
        with pytest.raises(ValueError, match="3 split names for 4 memes"):
            made.with_splits(["a"] * 3)

    def test_limit_keeps_proportions(self, tmp_path: Path) -> None:
        made = make_manifest(tmp_path, 120, splits=("train", "train", "train", "validation"), images=False)
        part = made.limit(40, seed=1)
        assert part.table["split"].value_counts().to_dict() == {"train": 30, "validation": 10}
        assert part.take(part.splits == "train").table["sentiment"].value_counts().to_dict() == {
            "negative": 10,
            "neutral": 10,
            "positive": 10,
        }
        assert part.meme_ids.tolist() == [i for i in made.meme_ids if i in set(part.meme_ids)]
        assert made.limit(40, seed=1).meme_ids.tolist() == part.meme_ids.tolist()
        assert made.limit(40, seed=2).meme_ids.tolist() != part.meme_ids.tolist()
        assert made.limit(500, seed=1) is made

    def test_limit_keeps_every_split(self, tmp_path: Path) -> None:
        made = make_manifest(tmp_path, 60, splits=("train",) * 29 + ("test",), images=False)
        assert made.limit(2, seed=0).split_names == ("train", "test")
        with pytest.raises(ValueError, match="2 splits"):
            made.limit(1, seed=0)

    @given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.data())
    def test_shares(self, sizes: list[int], data: st.DataObject) -> None:
        counts = np.array(sizes, dtype=np.int64)
        total = data.draw(st.integers(0, int(counts.sum())))
        taken = shares(counts, total)
        assert taken.sum() == total
        assert ((taken >= 0) & (taken <= counts)).all()
        assert (taken >= 1).all() or total < len(sizes)
        exact = counts * total / counts.sum()
        assert (taken - exact < 1 + (exact < 1)).all()


class TestPaths:
    def _faults(self, folder: Path) -> dict[str, str]:
        with pytest.raises(DataError) as caught:
            Manifest.read(folder)
        return {problem.where: problem.what for problem in caught.value.problems}

    def _with_images(self, folder: Path, images: list[str]) -> Path:
        write_csv(folder / "memes.csv", [{"id": i, "image": image, "text": "t"} for i, image in enumerate(images)])
        return folder

    def test_each_kind_of_bad_path(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        draw_image(root / "good.png", 1)
        outside = draw_image(tmp_path / "outside.png", 2)
        (root / "empty.png").touch()
        (root / "folder").mkdir()
        (root / "link.png").symlink_to(outside)
        (root / "out").symlink_to(tmp_path)
        (root / "inner.png").symlink_to(root / "good.png")
        (root / "loop.png").symlink_to(root / "loop.png")
        images = ["good.png", "../outside.png", str(outside), "link.png", "out/outside.png", "none.png", "empty.png"]
        images += ["folder", "", "x" * 5000, "loop.png", "inner.png", "./good.png"]
        faults = self._faults(self._with_images(root, images))
        expected = ["'..'", "absolute path", "symbolic link", "symbolic link", "does not exist", "empty file"]
        expected += ["is not a file", "names no image", "can't be opened", "can't be opened"]
        assert list(faults) == [f"memes.csv row {row}" for row in range(3, 13)]
        for fault, word in zip(faults.values(), expected, strict=True):
            assert word in fault

        self._with_images(root, [images[i] for i in (0, 1, 2, 3, 4, 11, 12)])
        allowed = Manifest.read(root, allow_outside=True)
        assert allowed.table["image"][0] == "good.png"
        assert len(set(allowed.image_digests())) == 2
        assert allowed.table["image"][6] == "good.png"
        assert allowed.table["image"][1] == os.path.realpath(outside)

    def test_root_that_is_a_link_itself(self, tmp_path: Path) -> None:
        write_table(tmp_path / "real")
        (tmp_path / "linked").symlink_to(tmp_path / "real")
        assert len(Manifest.read(tmp_path / "linked")) == 6

    def test_relative_path_to_the_data(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_table(tmp_path / "here")
        monkeypatch.chdir(tmp_path / "here")
        assert Manifest.read("memes.csv").meme_ids[0] == "here/train/000"
        assert Manifest.read(".").meme_ids[0] == "here/train/000"


class TestSkipBad:
    def test_duplicates_and_missing_images(self, tmp_path: Path) -> None:
        draw_image(tmp_path / "a.png", 1)
        rows = [("1", "a.png"), ("2", "gone.png"), ("1", "a.png"), ("3", "a.png"), ("1", "gone.png")]
        path = write_csv(tmp_path / "t.csv", [{"id": i, "image": image, "text": "t"} for i, image in rows])
        with pytest.raises(DataError, match="4 problems") as caught:
            Manifest.read(path)
        assert "already by t.csv row 2" in str(caught.value)
        with pytest.raises(ValueError, match="rejected_to"):
            Manifest.read(path, skip_bad=True)
        told: list[str] = []
        rejected = tmp_path / "out" / "rejected.csv"
        kept = Manifest.read(path, skip_bad=True, rejected_to=rejected, notify=told.append)
        assert kept.meme_ids.tolist() == ["t/all/1", "t/all/3"]
        assert f"dropped 3 of 5 rows; the reasons are in {rejected}" in told
        listed = pd.read_csv(rejected)
        assert listed["where"].tolist() == ["t.csv row 3", "t.csv row 4", "t.csv row 6", "t.csv row 6"]
        assert listed["image"].tolist() == ["gone.png", "a.png", "gone.png", "gone.png"]
        assert listed["meme_id"].tolist() == ["t/all/2", "t/all/1", "t/all/1", "t/all/1"]

        later = kept.reject([Problem("meme t/all/3", "broken", "t/all/3")], rejected, told.append)
        assert later.meme_ids.tolist() == ["t/all/1"]
        assert pd.read_csv(rejected)["reason"].tolist()[-1] == "broken"
        assert len(pd.read_csv(rejected)) == 5
        with pytest.raises(DataError, match="No meme is left"):
            later.reject([Problem("meme t/all/1", "broken", "t/all/1")], rejected)

    def test_nothing_left(self, tmp_path: Path) -> None:
        path = write_csv(tmp_path / "t.csv", [{"id": "1", "image": "gone.png"}])
        with pytest.raises(DataError, match="No row of"):
            Manifest.read(path, skip_bad=True, rejected_to=tmp_path / "r.csv")
        assert len(pd.read_csv(tmp_path / "r.csv")) == 1

    def test_nothing_wrong(self, tmp_path: Path) -> None:
        kept = Manifest.read(write_table(tmp_path / "d"), skip_bad=True, rejected_to=tmp_path / "r.csv")
        assert len(kept) == 6
        assert not (tmp_path / "r.csv").exists()
