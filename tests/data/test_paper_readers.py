"""Readers of the paper's data sets: native layouts with their quirks, and every kind of bad copy."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import made_up_sets
from memeblend.data.manifest import Manifest
from memeblend.data.readers import missing_parts, recognise
from memeblend.data.sets import READER_NAMES, SETS
from memeblend.errors import DataError


def edit_json(path: Path, change: Any) -> None:
    value = json.loads(path.read_text())
    changed = change(value)
    path.write_text(json.dumps(value if changed is None else changed))


def faults(path: Path, **options: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        Manifest.read(path, **options)
    return [str(problem) for problem in caught.value.problems] or [str(caught.value)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All the sets; not to be changed."""
    root = made_up_sets.write_all(tmp_path_factory.mktemp("raw"))
    made_up_sets.write_memotion(root / "memotion2", "memotion2")
    return root


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Any:
    """Copies a set, to be damaged."""
    return lambda name: Path(shutil.copytree(made / name, tmp_path / name))


@pytest.mark.parametrize(
    ("name", "renamed"),
    [
        ("imgflip575k", ("dataset", "dataset/memes", "dataset/templates", "dataset/templates/img")),
        ("mmhs150k", ("img_resized", "img_txt", "splits", "splits/val_ids.txt")),
        ("hateful_memes", ("img", "dev_seen.jsonl")),
        ("memotion3", ("image", "image/train", "val.csv")),
    ],
)
def test_the_case_of_names_varies_between_copies(made: Path, copy: Any, name: str, renamed: tuple[str, ...]) -> None:
    folder = copy(name)
    for path in sorted(renamed, reverse=True):  # what is inside goes first
        (folder / path).rename((folder / path).with_name(Path(path).name.title()))
    assert recognise(folder) == name
    assert missing_parts(folder, name) == []
    found, expected = Manifest.read(folder), Manifest.read(made / name)
    assert found.meme_ids.tolist() == expected.meme_ids.tolist()
    assert found.texts == expected.texts
    assert found.image_digests() == expected.image_digests()


@pytest.mark.parametrize("name", ["imgflip575k", "mmhs150k", "hateful_memes", "mami", "memotion2", "memotion3"])
def test_the_folder_tells_its_reader(made: Path, name: str, tmp_path: Path) -> None:
    assert recognise(made / name) == name
    manifest = Manifest.read(made / name)
    assert set(manifest.table["source"]) == {name}
    assert len(manifest) == 40
    assert len(set(manifest.texts)) == len([text for text in manifest.texts if text]) + ("" in manifest.texts)
    manifest.write(tmp_path / "m.parquet")
    again = Manifest.read(tmp_path / "m.parquet")
    assert (again.fingerprint, again.label_tasks) == (manifest.fingerprint, manifest.label_tasks)


def test_reader_names_are_those_that_read(made: Path) -> None:
    assert set(READER_NAMES) == {*SETS, "mmf", "table"}
    assert "imgflip575k, mmhs150k" in faults(made / "mami", reader="maami")[0]
    assert "wants the data set's folder" in faults(made / "mami" / "training.csv", reader="mami")[0]


class TestImgflip:
    def test_rows(self, made: Path, tmp_path: Path) -> None:
        told: list[str] = []
        manifest = Manifest.read(made / "imgflip575k", notify=told.append, listed_to=tmp_path / "listed.csv")
        row = manifest.table["image"].tolist().index("templates/img/Made-Up-1.png")
        assert manifest.meme_ids[row].startswith("imgflip575k/")
        assert manifest.meme_ids[row].endswith("/Made-Up-1/10000")
        assert manifest.texts[row] == made_up_sets.text_of("imgflip575k", 10).upper()
        assert manifest.label_tasks == ()
        assert told == ["imgflip575k: 1 template(s) without captions: Never-Captioned"]
        listed = pd.read_csv(tmp_path / "listed.csv")
        assert listed["where"].tolist() == ["templates/img/Never-Captioned.jpg"]

    def test_both_folders_are_read(self, made: Path) -> None:
        inner = Manifest.read(made / "imgflip575k" / "dataset")
        assert inner.fingerprint == Manifest.read(made / "imgflip575k").fingerprint

    def test_the_lowest_digests_are_held_back(self, tmp_path: Path) -> None:
        made_up_sets.write_imgflip575k(tmp_path, captions=300, templates=2)
        manifest = Manifest.read(tmp_path)
        held_back = manifest.take(manifest.splits == "test")
        assert len(held_back) == round(600 * 2000 / 575_948) == 2
        names = [name.split("/", 2)[2] for name in manifest.meme_ids]
        lowest = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:2]
        assert {name.split("/", 2)[2] for name in held_back.meme_ids} == set(lowest)

    def test_captions_without_a_picture_are_left_out_and_listed(self, copy: Any, tmp_path: Path) -> None:
        folder = copy("imgflip575k")
        (folder / "dataset" / "templates" / "img" / "Made-Up-2.jpg").unlink()
        told: list[str] = []
        manifest = Manifest.read(folder, notify=told.append, listed_to=tmp_path / "listed.csv")
        assert len(manifest) == 30
        assert told[0] == "imgflip575k: 10 caption(s) left out, whose template has no picture"
        assert "10 captions left out" in (tmp_path / "listed.csv").read_text()

    def test_bad_captions_all_at_once(self, copy: Any, tmp_path: Path) -> None:
        folder = copy("imgflip575k")
        memes = folder / "dataset" / "memes"
        broken = (memes / "Made-Up-0.json").read_text().splitlines()
        broken[20] = '"boxes": ['
        (memes / "Made-Up-0.json").write_text("\n".join(broken))
        edit_json(memes / "Made-Up-1.json", lambda rows: rows[3].update(boxes="no list"))
        edit_json(memes / "Made-Up-2.json", lambda rows: {"captions": rows})
        edit_json(memes / "Made-Up-3.json", lambda rows: [*rows[:4], "words", rows[0]])
        found = faults(folder)
        assert found[0].startswith("memes/Made-Up-0.json: none of its captions can be read: ")
        assert "is not valid JSON" in found[0]
        assert found[1:4] == [
            "Made-Up-1.json caption 4: has no list 'boxes' of texts",
            "memes/Made-Up-2.json: should hold a JSON list of captions",
            "Made-Up-3.json caption 5: has no list 'boxes' of texts",
        ]
        assert "was used already by Made-Up-3.json caption 1" in found[4]
        kept = Manifest.read(folder, skip_bad=True, rejected_to=tmp_path / "rejected.csv")
        assert len(kept) == 9 + 4
        assert len(pd.read_csv(tmp_path / "rejected.csv")) == 5

    def test_what_a_mac_leaves_in_archives_is_no_caption(self, made: Path, copy: Any) -> None:
        folder = copy("imgflip575k")
        (folder / "dataset" / "memes" / "._Made-Up-0.json").write_bytes(b"\x00\x05\x16\x07")
        assert len(Manifest.read(folder)) == len(Manifest.read(made / "imgflip575k"))

    def test_half_a_set(self, copy: Any) -> None:
        folder = copy("imgflip575k")
        shutil.rmtree(folder / "dataset" / "templates")
        with pytest.raises(DataError) as caught:
            Manifest.read(folder, reader="imgflip575k")
        assert [problem.where for problem in caught.value.problems] == ["templates/img/"]
        assert "dataset/memes/<template>.json" in str(caught.value)
        assert "https://github.com/schesa" in str(caught.value)


class TestMmhs:
    def test_rows(self, made: Path, tmp_path: Path) -> None:
        told: list[str] = []
        manifest = Manifest.read(made / "mmhs150k", notify=told.append, listed_to=tmp_path / "listed.csv")
        assert manifest.split_names == ("train", "validation", "test")
        assert manifest.meme_ids[0] == "mmhs150k/train/1114679353714016256"
        assert manifest.texts[:4] == [*(made_up_sets.text_of("mmhs150k", number) for number in range(3)), ""]
        assert manifest.labels("hate_type")[:9].tolist() == [0, 1, 2, 3, 4, 5, 0, -1, 2]
        assert told == [
            "mmhs150k: 5 tweet(s) on which the annotators tie have no hate_type",
            "mmhs150k: 30 of 40 tweets have a text in their picture",
        ]
        reasons = pd.read_csv(tmp_path / "listed.csv")["reason"]
        assert set(reasons) == {"tie of the annotators, no hate_type: not_hate, sexist, other_hate"}

    def test_majorities(self, copy: Any) -> None:
        folder = copy("mmhs150k")

        def change(tweets: dict[str, Any]) -> None:
            for tweet, labels in zip(tweets.values(), ([1, 1, 4], [5, 5, 5], [3], [], [0, 1], [2, 0, 0]), strict=False):
                tweet["labels"] = labels

        edit_json(folder / "MMHS150K_GT.json", change)
        assert Manifest.read(folder).labels("hate_type")[:6].tolist() == [1, 5, 3, -1, -1, 0]

    def test_bad_tweets_all_at_once(self, copy: Any) -> None:
        folder = copy("mmhs150k")
        names = list(json.loads((folder / "MMHS150K_GT.json").read_text()))

        def change(tweets: dict[str, Any]) -> None:
            tweets[names[0]]["labels"] = [0, 6, 0]
            tweets[names[1]]["labels"] = [True, 1, 1]
            tweets[names[2]] = "gone"
            tweets["7"] = tweets[names[4]]

        edit_json(folder / "MMHS150K_GT.json", change)
        (folder / "img_txt" / f"{names[4]}.json").write_text('{"img_text": "cut sho')
        (folder / "img_txt" / f"{names[5]}.json").write_text('{"img_text": 5}')
        (folder / "img_resized" / f"{names[6]}.jpg").unlink()
        (folder / "splits" / "val_ids.txt").write_text(
            f"{names[0]}\n{names[8]}\n{names[18]}\n12\n{names[28]} {names[38]}"
        )
        found = "\n".join(faults(folder))
        assert "val_ids.txt id 1: " in found
        assert "val_ids.txt id 4: '12' is not in MMHS150K_GT.json" in found
        assert "column labels: holds [0, 6, 0], expected a list of whole numbers from 0 to 5" in found
        assert "holds [True, 1, 1]" in found
        assert "holds None" in found
        assert "tweet 7: is in none of the lists in splits/" in found
        assert "its text can't be read" in found
        assert "has no text img_text" in found
        assert f"img_resized/{names[6]}.jpg' does not exist" in found

    @pytest.mark.parametrize("text", ["[]", "{", "", "\x00", "[" * 100_000, "[" + "1" * 5_000 + "]"])
    def test_labels_that_are_no_object(self, copy: Any, text: str) -> None:
        folder = copy("mmhs150k")
        (folder / "MMHS150K_GT.json").write_text(text)
        assert "MMHS150K_GT.json" in faults(folder)[0]

    def test_half_a_set(self, copy: Any) -> None:
        folder = copy("mmhs150k")
        shutil.rmtree(folder / "img_txt")
        (folder / "splits" / "test_ids.txt").unlink()
        assert faults(folder) == ["img_txt: is not there", "splits/test_ids.txt: is not there"]


class TestHatefulMemes:
    def test_both_phases_are_merged_on_the_id(self, made: Path) -> None:
        manifest = Manifest.read(made / "hateful_memes")
        assert {name: int((manifest.splits == name).sum()) for name in manifest.split_names} == {
            "train": 24,
            "validation": 8,
            "test": 8,
        }
        assert manifest.meme_ids[0] == "hateful_memes/train/1000"
        assert manifest.table["image"][0] == "img/01000.png"
        labels = manifest.labels("hateful")
        assert labels[:32].tolist() == [0, 1] * 16
        assert labels[32:].tolist() == [0, 1, 0, 1, -1, -1, -1, -1]

    def test_a_label_of_either_file_counts_and_two_must_agree(self, copy: Any) -> None:
        folder = copy("hateful_memes")
        lines = (folder / "test_seen.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        first = [{key: row[key] for key in ("id", "img", "text")} for row in rows]
        (folder / "test_seen.jsonl").write_text("".join(json.dumps(row) + "\r\n" for row in first))
        unseen = [json.loads(line) for line in (folder / "test_unseen.jsonl").read_text().splitlines()]
        unseen[0] |= {"label": 1}
        unseen[1] |= {"text": "other words"}
        (folder / "test_unseen.jsonl").write_text("".join(json.dumps(row) + "\n" for row in unseen))
        assert faults(folder) == [
            f"test_seen.jsonl line 4, column text: test_unseen.jsonl line 2 says otherwise: 'other words', "
            f"here '{rows[3]['text']}'"
        ]
        unseen[1] |= {"text": rows[3]["text"]}
        (folder / "test_unseen.jsonl").write_text("".join(json.dumps(row) + "\n" for row in unseen))
        assert Manifest.read(folder).labels("hateful")[32:].tolist() == [-1, -1, 1, -1, -1, -1, -1, -1]

    def test_bad_lines_all_at_once(self, copy: Any) -> None:
        folder = copy("hateful_memes")
        with (folder / "train.jsonl").open("a") as stream:
            stream.write('{"id": 1, "img": "img/01000.png", "label": 2, "text": "w"}\n{"id": 2, "img"\n')
            stream.write('{"id": "", "img": 7, "label": 1, "text": ["a"]}\n')
            stream.write('{"id": 1024, "img": "img/01024.png", "label": 0, "text": "also dev"}\n')
            stream.write('{"id": 3, "img": "img/../../up.png", "text": "no label"}\n')
        found = "\n".join(faults(folder))
        assert "train.jsonl line 25, column label: unknown label '2'" in found
        assert "train.jsonl line 26: is not valid JSON" in found
        assert "train.jsonl line 27, column id: has no id" in found
        assert "train.jsonl line 27, column img: holds 7" in found
        assert "train.jsonl line 27, column text: holds ['a']" in found
        assert "dev_seen.jsonl line 1, column id: the id '1024' is also in the split train" in found
        assert "train.jsonl line 29, column label: has no label" in found
        assert "leads upwards" in found

    def test_half_a_set(self, copy: Any) -> None:
        folder = copy("hateful_memes")
        (folder / "test_unseen.jsonl").unlink()
        assert faults(folder) == ["test_unseen.jsonl: is not there"]


class TestMami:
    def test_rows(self, made: Path) -> None:
        manifest = Manifest.read(made / "mami")
        names = ["misogynous", "shaming", "stereotype", "objectification", "violence"]
        assert [task.name for task in manifest.label_tasks] == names
        assert manifest.meme_ids[[0, 30]].tolist() == ["mami/train/001.jpg", "mami/test/031.jpg"]
        assert manifest.table["image"][[0, 30]].tolist() == ["TRAINING/001.jpg", "Test/031.jpg"]
        assert manifest.texts[5] == made_up_sets.text_of("mami", 5).replace(" meets ", "\nmeets\t")
        assert manifest.labels("misogynous").tolist() == [0, 1] * 20
        assert manifest.labels("stereotype")[:6].tolist() == [0, 0, 0, 1, 0, 0]
        assert manifest.table["violence"][7] == "violence"

    def test_tables_in_the_folders_of_pictures_and_no_answers(self, copy: Any) -> None:
        folder = copy("mami")
        (folder / "TRAINING").rename(folder / "training")
        (folder / "training.csv").rename(folder / "training" / "Training.csv")
        (folder / "Test.csv").rename(folder / "Test" / "test.csv")
        (folder / "test_labels.txt").unlink()
        told: list[str] = []
        manifest = Manifest.read(folder, notify=told.append)
        assert manifest.table["image"][0] == "training/001.jpg"
        assert manifest.labels("misogynous")[30:].tolist() == [-1] * 10
        assert any("no test_labels.txt" in line for line in told)

    def test_bad_rows_all_at_once(self, copy: Any) -> None:
        folder = copy("mami")
        table = (folder / "training.csv").read_bytes().replace(b"002.jpg\t1", b"002.jpg\t5")
        (folder / "training.csv").write_bytes(table + b"too\tfew\r\n\t1\t0\t0\t0\t0\tw\r\n")
        answers = (folder / "test_labels.txt").read_text().splitlines()
        answers[0] = answers[0].replace("031.jpg", "999.jpg")
        answers[1] = answers[2]
        answers[3] = "034.jpg\t1"
        (folder / "test_labels.txt").write_text("\n".join(answers))
        (folder / "Test" / "040.jpg").write_bytes(b"")
        found = "\n".join(faults(folder))
        assert "training.csv row 3, column misogynous: unknown label '5'" in found
        assert "training.csv row 32: has 2 cells, expected 7" in found
        assert "training.csv row 33, column file_name: names no meme" in found
        assert "test_labels.txt line 1: labels '999.jpg', which Test.csv does not name" in found
        assert "test_labels.txt line 3: '033.jpg' has labels already" in found
        assert "test_labels.txt line 4: has 2 cells, expected 6" in found
        assert "Test.csv row 2, column file_name: '031.jpg' has no labels in test_labels.txt" in found
        assert "'Test/040.jpg' is an empty file" in found

    def test_columns_that_are_missing(self, copy: Any) -> None:
        folder = copy("mami")
        text = (folder / "training.csv").read_text(encoding="utf-8-sig")
        (folder / "training.csv").write_text(text.replace("violence", "force", 1))
        assert "has no column(s) violence" in faults(folder)[0]
        (folder / "Test.csv").write_text("name\ttext\na\tb\n")
        assert "needs the columns file_name and Text Transcription" in faults(folder)[0]

    def test_half_a_set(self, copy: Any) -> None:
        folder = copy("mami")
        shutil.rmtree(folder / "Test")
        (folder / "Test.csv").unlink()
        assert faults(folder) == ["Test.csv: is not there", "test/: is not there"]


class TestMemotion:
    def test_a_test_split_without_labels(self, made: Path) -> None:
        for name in ("memotion2", "memotion3"):
            manifest = Manifest.read(made / name)
            assert manifest.split_names == ("train", "validation", "test")
            assert manifest.meme_ids[-1] == f"{name}/test/5"
            for task in manifest.label_tasks:
                assert manifest.labels(task.name)[34:].tolist() == [-1] * 6
                assert manifest.labels(task.name)[:34].min() == 0
            assert manifest.texts[0] == made_up_sets.text_of(name, 0).replace(" of ", "\r\nof ")

    def test_the_reader_overrides_the_name(self, made: Path) -> None:
        manifest = Manifest.read(made / "memotion3", reader="memotion2")
        assert manifest.meme_ids[0] == "memotion2/train/0"

    def test_half_a_set(self, copy: Any) -> None:
        folder = copy("memotion3")
        shutil.rmtree(folder / "image" / "test")
        assert faults(folder) == ["image/test/: is not there"]
        shutil.rmtree(folder / "image")
        found = faults(folder, reader="memotion3")
        assert found == [f"image/{split}/: is not there" for split in ("train", "val", "test")]

    def test_images_without_their_table_are_half_a_split(self, copy: Any) -> None:
        folder = copy("memotion3")
        (folder / "val.csv").unlink()
        assert faults(folder) == ["val.csv: is not there"]
        shutil.rmtree(folder / "image" / "val")  # a part of the set is no half of one
        assert Manifest.read(folder).split_names == ("train", "test")
        assert missing_parts(folder, "memotion3") == ["val.csv", "image/val/"]
