"""Readers: every layout, every label word, and every kind of bad input, all problems at once."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from builders import (
    MEMOTION1_COLUMNS,
    draw_image,
    write_csv,
    write_harmeme,
    write_hateful_memes,
    write_jsonl,
    write_memotion1,
    write_memotion3,
    write_table,
)
from memeblend.data.manifest import Manifest
from memeblend.data.readers import recognise
from memeblend.errors import DataError
from memeblend.labels import HUMOROUS, MEMOTION_LABEL_TASKS, SENTIMENT, LabelTask


def _names(manifest: Manifest) -> list[str]:
    return [task.name for task in manifest.label_tasks]


def _where(error: pytest.ExceptionInfo[DataError]) -> list[str]:
    return [problem.where for problem in error.value.problems]


def _edit(path: Path, edits: dict[int, dict[str, str]], delimiter: str = ",") -> None:
    """Change cells of a delimited file: row index (from 0, without header) -> column -> value."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter=delimiter))
    for number, cells in edits.items():
        rows[number] |= cells
    write_csv(path, rows, delimiter=delimiter)


class TestMemotion1:
    def test_rows(self, tmp_path: Path) -> None:
        manifest = Manifest.read(write_memotion1(tmp_path / "somewhere"))
        assert manifest.label_tasks == MEMOTION_LABEL_TASKS
        assert manifest.meme_ids[:2].tolist() == ["memotion1/train/image_0.jpg", "memotion1/validation/image_1.jpg"]
        assert manifest.split_names == ("train", "validation")
        assert manifest.texts[3] == "words 3"
        assert manifest.table["image"][3] == "images/image_3.jpg"
        assert manifest.table["sentiment"][:5].tolist() == ["negative", "neutral", "positive", "negative", "positive"]
        assert manifest.labels("humorous")[:6].tolist() == [0, 1, 2, 3, 0, 1]
        assert manifest.labels("sarcastic")[:4].tolist() == [0, 1, 2, 3]
        assert manifest.labels("offensive")[:4].tolist() == [0, 1, 2, 3]
        assert manifest.labels("motivational")[:2].tolist() == [0, 1]

    def test_without_splits_and_with_text_fallback(self, tmp_path: Path) -> None:
        write_memotion1(tmp_path, splits=())
        _edit(tmp_path / "labels.csv", {2: {"text_corrected": ""}, 3: {"text_corrected": "", "text_ocr": ""}})
        manifest = Manifest.read(tmp_path)
        assert manifest.split_names == ("all",)
        assert manifest.texts[1:4] == ["words 1", "OCR 2", ""]

    def test_unlabelled(self, tmp_path: Path) -> None:
        write_memotion1(tmp_path)
        table = pd.read_csv(tmp_path / "labels.csv")
        table[["image_name", "text_corrected"]].to_csv(tmp_path / "labels.csv", index=False)
        assert Manifest.read(tmp_path).label_tasks == ()

    def test_missing_single_labels_stay_missing(self, tmp_path: Path) -> None:
        write_memotion1(tmp_path)
        _edit(tmp_path / "labels.csv", {1: {"humour": ""}, 4: {"humour": "nan"}})
        labels = Manifest.read(tmp_path).labels("humorous")
        assert labels[[1, 4]].tolist() == [-1, -1]
        assert (labels >= 0).sum() == 8

    def test_all_bad_rows_at_once(self, tmp_path: Path) -> None:
        write_memotion1(tmp_path)
        _edit(
            tmp_path / "labels.csv",
            {1: {"humour": "2"}, 2: {"offensive": "rude", "sarcasm": "odd"}, 6: {"image_name": "gone.jpg"}},
        )
        with pytest.raises(DataError) as caught:
            Manifest.read(tmp_path)
        assert _where(caught) == [
            "labels.csv row 3, column humour",
            "labels.csv row 4, column sarcasm",
            "labels.csv row 4, column offensive",
            "labels.csv row 8, column image_name",
            "labels.csv row 8",
        ]
        text = str(caught.value)
        assert "unknown label 'rude'" in text
        assert "not_offensive, slight" in text
        assert "gone.jpg' has no split" in text
        assert "gone.jpg' does not exist" in text

    def test_conflicting_splits(self, tmp_path: Path) -> None:
        write_memotion1(tmp_path)
        with (tmp_path / "splits.csv").open("a") as stream:
            stream.write("image_0.jpg,validation\r\n,train\r\nimage_1.jpg,val\r\n")
        with pytest.raises(DataError) as caught:
            Manifest.read(tmp_path)
        assert _where(caught) == ["splits.csv row 12", "splits.csv row 13"]


class TestMemotion3:
    def test_rows(self, tmp_path: Path) -> None:
        manifest = Manifest.read(write_memotion3(tmp_path))
        assert manifest.label_tasks == MEMOTION_LABEL_TASKS
        assert manifest.meme_ids[[0, 8]].tolist() == ["memotion3/train/0", "memotion3/validation/0"]
        assert manifest.table["image"][8] == "image/val/0.jpg"
        assert manifest.texts[9] == "bolo 1"
        assert manifest.table["sarcastic"][:4].tolist() == [
            "not_sarcastic",
            "general",
            "twisted_meaning",
            "very_twisted",
        ]

    def test_unlabelled_split_beside_labelled_ones(self, tmp_path: Path) -> None:
        write_memotion3(tmp_path, 4, splits=("train", "secret"))
        table = pd.read_csv(tmp_path / "secret.csv", sep="\t")
        table[["id", "ocr"]].to_csv(tmp_path / "secret.csv", sep="\t", index=False)
        manifest = Manifest.read(tmp_path)
        assert manifest.split_names == ("train", "secret")
        for name in _names(manifest):
            assert manifest.labels(name).tolist()[4:] == [-1] * 4
            assert min(manifest.labels(name)[:4]) == 0

    def test_id_under_the_empty_name_and_original_header(self, tmp_path: Path) -> None:
        write_memotion3(tmp_path, 3, splits=("train",))
        table = pd.read_csv(tmp_path / "train.csv", sep="\t")
        table = table.rename(columns={"id": "", "ocr": "OCR text", "image_url": "image url"})
        table.to_csv(tmp_path / "train.csv", sep="\t", index=False)
        manifest = Manifest.read(tmp_path)
        assert manifest.meme_ids.tolist() == [f"memotion3/train/{i}" for i in range(3)]
        assert manifest.texts == ["bolo 0", "bolo 1", "bolo 2"]

    def test_words_in_other_spelling(self, tmp_path: Path) -> None:
        write_memotion3(tmp_path, 4, splits=("train",))
        edits = {
            0: {"overall": "Very Positive"},
            1: {"sarcastic": "Extremely Sarcastic"},
            2: {"offensive": "not-offensive"},
        }
        _edit(tmp_path / "train.csv", edits, "\t")
        table = Manifest.read(tmp_path).table
        assert (table["sentiment"][0], table["sarcastic"][1], table["offensive"][2]) == (
            "positive",
            "very_twisted",
            "not_offensive",
        )

    def test_numbers_are_not_guessed(self, tmp_path: Path) -> None:
        write_memotion3(tmp_path, 4, splits=("train",))
        _edit(tmp_path / "train.csv", {i: {"humour": str(i)} for i in range(4)}, "\t")
        with pytest.raises(DataError) as caught:
            Manifest.read(tmp_path)
        assert _where(caught) == [f"train.csv row {i}, column humour" for i in range(2, 6)]


class TestMmf:
    def test_hateful_memes(self, tmp_path: Path) -> None:
        manifest = Manifest.read(write_hateful_memes(tmp_path / "hm", splits=("dev", "train", "test_seen")))
        assert manifest.split_names == ("train", "validation", "test_seen")
        assert manifest.label_tasks == (LabelTask("hateful", "binary", ("not_hateful", "hateful")),)
        assert manifest.meme_ids[0] == "hm/train/10000"
        assert manifest.table["image"][0] == "img/10000.png"
        assert manifest.labels("hateful").tolist() == [0, 1] * 9

    def test_harmeme(self, tmp_path: Path) -> None:
        manifest = Manifest.read(write_harmeme(tmp_path / "hm"))
        assert _names(manifest) == ["harm", "harm_target"]
        assert manifest.labels("harm")[:3].tolist() == [0, 1, 2]
        assert manifest.labels("harm_target")[:3].tolist() == [-1, 0, 3]
        assert manifest.label_task("harm").intensity
        assert manifest.table["image"][0] == "images/meme_0_0.png"
        assert manifest.texts[0] == "line 0\nend\n"

    def test_unlabelled_split_of_any_name(self, tmp_path: Path) -> None:
        write_harmeme(tmp_path / "hm", splits=("heldout",))
        rows = [json.loads(line) for line in (tmp_path / "hm" / "heldout.jsonl").read_text().splitlines()]
        write_jsonl(
            tmp_path / "hm" / "heldout.jsonl", [{key: row[key] for key in ("id", "image", "text")} for row in rows]
        )
        manifest = Manifest.read(tmp_path / "hm")
        assert manifest.split_names == ("heldout",)
        assert manifest.label_tasks == ()
        assert len(manifest) == 6

    def test_one_file_of_a_folder(self, tmp_path: Path) -> None:
        folder = write_harmeme(tmp_path / "hm")
        assert Manifest.read(folder / "val.jsonl").meme_ids.tolist() == Manifest.read(folder).meme_ids.tolist()[6:]
        hateful = write_hateful_memes(tmp_path / "fb")
        assert _names(Manifest.read(hateful / "train.jsonl")) == ["hateful"]

    def test_all_bad_lines_at_once(self, tmp_path: Path) -> None:
        folder = write_harmeme(tmp_path / "hm", splits=("train",))
        good = (folder / "train.jsonl").read_text().splitlines()
        base = {"image": "meme_0_0.png", "text": "x"}
        bad = [
            json.dumps(base | {"id": "a", "labels": ["rather harmful"]}),
            "{broken",
            "[1, 2]",
            "",
            json.dumps(base | {"id": "b", "labels": ["very harmful", "martians"]}),
            json.dumps(base | {"id": "c", "labels": ["not harmful", "society"]}),
            json.dumps(base | {"id": "d", "labels": "very harmful"}),
            json.dumps(base | {"id": "", "labels": ["very harmful"]}),
            json.dumps(base | {"id": "e", "text": 7}),
            json.dumps({"id": "f", "text": "no image"}),
            json.dumps({"id": "g", "image": 5, "text": "odd image"}),
            json.dumps(base | {"id": "h", "labels": []}),
        ]
        (folder / "train.jsonl").write_text("\n".join([*good, *bad]))
        with pytest.raises(DataError) as caught:
            Manifest.read(folder)
        found = {problem.where: problem.what for problem in caught.value.problems}
        assert sorted(found) == sorted(
            [
                "train.jsonl line 7, column labels",
                "train.jsonl line 8",
                "train.jsonl line 9",
                "train.jsonl line 11, column labels",
                "train.jsonl line 12, column labels",
                "train.jsonl line 13, column labels",
                "train.jsonl line 14, column id",
                "train.jsonl line 15, column text",
                "train.jsonl line 16",
                "train.jsonl line 17, column img",
                "train.jsonl line 17",
            ]
        )
        assert "not valid JSON" in found["train.jsonl line 8"]

        kept = Manifest.read(folder, skip_bad=True, rejected_to=tmp_path / "rejected.csv")
        assert len(kept) == 7
        assert kept.table["harm"].tolist()[-1] is None
        rejected = pd.read_csv(tmp_path / "rejected.csv")
        assert rejected["where"].nunique() == len(found)
        assert rejected.columns.tolist() == ["meme_id", "where", "reason", "image"]
        unlabelled = Manifest.read(folder, label_tasks=None, skip_bad=True, rejected_to=tmp_path / "rejected.csv")
        assert len(unlabelled) == 11


class TestTable:
    @pytest.mark.parametrize("name", ["memes.csv", "memes.tsv", "memes.jsonl"])
    def test_folder_and_file_say_the_same(self, tmp_path: Path, name: str) -> None:
        folder = write_table(tmp_path / "mine", name=name)
        told: list[str] = []
        manifest = Manifest.read(folder, notify=told.append)
        assert manifest.meme_ids[:2].tolist() == ["mine/train/000", "mine/train/001"]
        assert manifest.label_tasks == (
            LabelTask("mood", "nominal", ("bad", "good", "mixed")),
            LabelTask("rude", "binary", ("non-rude", "rude")),
        )
        assert any("image from 'image'" in line and "ocr_text from 'text'" in line for line in told)
        assert "label task 'rude' from 'rude' (binary): non-rude, rude" in told
        assert Manifest.read(folder / name).fingerprint == manifest.fingerprint

    def test_formats_and_places_give_one_fingerprint(self, tmp_path: Path) -> None:
        prints = {
            Manifest.read(write_table(tmp_path / f"place{i}", name=name)).fingerprint
            for i, name in enumerate(["memes.csv", "memes.tsv", "memes.jsonl"])
        }
        assert len(prints) == 1

    def test_parquet_of_pandas(self, tmp_path: Path) -> None:
        write_table(tmp_path)
        table = pd.read_csv(tmp_path / "memes.csv", dtype={"id": str})
        table["level"] = pd.Series([0, 1, 2, None, 1, 0], dtype="float64")
        table["seen"] = [True, False, None, True, False, True]
        table["tags"] = [["a"]] * 6
        (tmp_path / "memes.csv").unlink()
        table.to_parquet(tmp_path / "memes.parquet")
        told: list[str] = []
        manifest = Manifest.read(tmp_path, notify=told.append)
        assert manifest.label_task("level") == LabelTask("level", "ordinal", ("0", "1", "2"))
        assert manifest.label_task("seen") == LabelTask("seen", "binary", ("false", "true"))
        assert manifest.labels("level").tolist() == [0, 1, 2, -1, 1, 0]
        assert manifest.labels("seen").tolist() == [1, 0, -1, 1, 0, 1]
        assert any("'tags'" in line for line in told)

    def test_two_tables_in_one_folder(self, tmp_path: Path) -> None:
        write_table(tmp_path)
        write_table(tmp_path, name="memes.tsv")
        with pytest.raises(DataError, match=r"memes\.csv and memes\.tsv"):
            Manifest.read(tmp_path)

    def test_images_found_in_their_folder(self, tmp_path: Path) -> None:
        write_table(tmp_path)
        _edit(tmp_path / "memes.csv", {i: {"image": f"{i}.png"} for i in range(6)})
        told: list[str] = []
        assert Manifest.read(tmp_path, notify=told.append).table["image"][1] == "images/1.png"
        assert "images were found in 'images/'" in told

    def test_text_only_image_only_and_neither(self, tmp_path: Path) -> None:
        texts = Manifest.read(
            write_csv(tmp_path / "t.csv", [{"text": "a", "good": "yes"}, {"text": "b", "good": "no"}])
        )
        assert (texts.has_images, texts.has_texts) == (False, True)
        assert texts.meme_ids.tolist() == ["t/all/1", "t/all/2"]
        assert texts.label_tasks == (LabelTask("good", "binary", ("no", "yes")),)
        assert texts.image_path(0) is None
        assert texts.image_digests() == ["", ""]

        draw_image(tmp_path / "a.png", 1)
        images = Manifest.read(write_csv(tmp_path / "i.csv", [{"image": "a.png"}]))
        assert (images.has_images, images.has_texts) == (True, False)
        assert images.meme_ids.tolist() == ["i/all/a.png"]
        assert images.texts == [""]

        with pytest.raises(DataError, match="neither a column of images nor one of texts; its columns are 'a', 'b'"):
            Manifest.read(write_csv(tmp_path / "n.csv", [{"a": 1, "b": 2}]))

    def test_column_mapping(self, tmp_path: Path) -> None:
        draw_image(tmp_path / "p.png", 1)
        rows = [
            {"nr": str(i), "foto": "p.png", "words": "w", "part": "dev", "Stimmung": m} for i, m in enumerate("abab")
        ]
        path = write_csv(tmp_path / "x.csv", rows)
        mapping = {"meme_id": "nr", "image": "foto", "ocr_text": "words", "split": "part", "mood": "Stimmung"}
        manifest = Manifest.read(path, columns=mapping)
        assert manifest.meme_ids[1] == "x/validation/1"
        assert _names(manifest) == ["mood"]
        with pytest.raises(DataError, match=r"no column photo[\s\S]*'foto'"):
            Manifest.read(path, columns={"image": "photo"})
        with pytest.raises(DataError, match="one value only"):
            Manifest.read(path, columns=mapping | {"mood": "words"} | {"ocr_text": "Stimmung"})

    def test_mapping_is_refused_where_columns_are_known(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no use"):
            Manifest.read(write_memotion1(tmp_path), columns={"image": "image_name"})


class TestInference:
    @pytest.mark.parametrize(
        ("values", "kind", "classes"),
        [
            (["0", "1", "0", "1"], "binary", ("0", "1")),
            (["1.0", "0.0", "", "1.0"], "binary", ("0", "1")),
            (["yes", "no", "yes", "no"], "binary", ("no", "yes")),
            (["TRUE", "FALSE", "TRUE", "FALSE"], "binary", ("FALSE", "TRUE")),
            (["hate", "not hate", "hate", "hate"], "binary", ("not hate", "hate")),
            (["bad", "none", "none", "bad"], "binary", ("none", "bad")),
            (["b", "a", "a", "b"], "binary", ("a", "b")),
            (["0", "2", "1", "0", "1", "2"], "ordinal", ("0", "1", "2")),
            (["10", "1", "2", "3", "4", "5", "6", "7", "8", "9"] * 2, "ordinal", tuple(map(str, range(1, 11)))),
            (["0", "2", "5", "0", "2", "5"], "nominal", ("0", "2", "5")),
            (["x", "z", "y", "x", "y", "z"], "nominal", ("x", "y", "z")),
        ],
    )
    def test_kinds(self, tmp_path: Path, values: Sequence[str], kind: str, classes: tuple[str, ...]) -> None:
        path = write_csv(tmp_path / "t.csv", [{"text": f"t{i}", "label": v} for i, v in enumerate(values)])
        assert Manifest.read(path).label_tasks == (LabelTask("label", kind, classes),)

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            (["x"] * 6, "has one value only ('x')"),
            ([""] * 6, "is empty"),
            ([f"v{i}" for i in range(30)] * 2, "has 30 different values"),
            (["a long sentence of very many words", "b"] * 3, "free text"),
            (["0.25", "0.5", "0.25", "0.5", "0.75", "0.75"], "measurements"),
            (["a1", "b2", "c3", "d4", "e5", "f6"], "another value in every row"),
        ],
    )
    def test_columns_that_are_no_label_tasks(self, tmp_path: Path, values: Sequence[str], reason: str) -> None:
        path = write_csv(tmp_path / "t.csv", [{"text": f"t{i}", "thing": v} for i, v in enumerate(values)])
        told: list[str] = []
        assert Manifest.read(path, notify=told.append).label_tasks == ()
        assert [line for line in told if "column 'thing'" in line and reason in line and "not a label task" in line]

    def test_columns_that_are_never_labels(self, tmp_path: Path) -> None:
        rows = [
            {"text": f"t{i}", "URL": "ab"[i % 2], "image url": "ab"[i % 2], "": i % 2, "ocr": "cd"[i % 2]}
            for i in range(8)
        ]
        assert Manifest.read(write_csv(tmp_path / "t.csv", rows)).label_tasks == ()

    def test_known_words_under_a_known_name(self, tmp_path: Path) -> None:
        rows = [{"text": "t", "sentiment": w} for w in ("positive", "Neutral", "positive", "Neutral")]
        manifest = Manifest.read(write_csv(tmp_path / "t.csv", rows))
        assert manifest.label_tasks == (SENTIMENT,)
        assert manifest.labels("sentiment").tolist() == [2, 1, 2, 1]

    def test_derived_columns_are_not_trained(self, tmp_path: Path) -> None:
        rows = [{"text": "t", "humorous": w, "humorous_present": p} for w, p in (("funny", 1), ("not_funny", 0))] * 2
        assert Manifest.read(write_csv(tmp_path / "t.csv", rows)).label_tasks == (HUMOROUS,)

    def test_two_memes_only(self, tmp_path: Path) -> None:
        manifest = Manifest.read(
            write_csv(tmp_path / "t.csv", [{"text": "a", "mood": "x"}, {"text": "b", "mood": "y"}])
        )
        assert len(manifest) == 2
        assert _names(manifest) == ["mood"]


class TestDeclared:
    def test_classes_of_a_model_serve_a_part_of_them(self, tmp_path: Path) -> None:
        path = write_csv(
            tmp_path / "t.csv", [{"text": "a", "Humorous": "Very Funny"}, {"text": "b", "Humorous": "hilarious"}]
        )
        manifest = Manifest.read(path, label_tasks=[HUMOROUS])
        assert manifest.label_tasks == (HUMOROUS,)
        assert manifest.labels("humorous").tolist() == [2, 3]

    def test_whole_numbers_that_pandas_wrote_as_floats(self, tmp_path: Path) -> None:
        path = write_csv(tmp_path / "t.csv", [{"text": "a", "level": "1.0"}, {"text": "b", "level": ""}])
        manifest = Manifest.read(path, label_tasks=[LabelTask("level", "ordinal", ("0", "1", "2"))])
        assert manifest.labels("level").tolist() == [1, -1]

    def test_classes_that_differ_in_spelling_only(self, tmp_path: Path) -> None:
        path = write_csv(tmp_path / "t.csv", [{"text": "a", "k": "A"}, {"text": "b", "k": "a"}] * 2)
        assert Manifest.read(path, label_tasks=[LabelTask("k", "nominal", ("a", "A"))]).labels("k").tolist() == [
            1,
            0,
            1,
            0,
        ]

    def test_absent_column(self, tmp_path: Path) -> None:
        path = write_csv(tmp_path / "t.csv", [{"text": "a", "mood": "x"}, {"text": "b", "mood": "y"}])
        with pytest.raises(DataError, match=r"no labels for: humorous, sentiment[\s\S]*mood"):
            Manifest.read(path, label_tasks=[HUMOROUS, SENTIMENT])
        assert Manifest.read(path, label_tasks=[HUMOROUS], require_label_tasks=False).label_tasks == ()
        with pytest.raises(DataError, match=r"no labels for: mood[\s\S]*sentiment, humorous"):
            Manifest.read(write_memotion1(tmp_path / "m"), label_tasks=[LabelTask("mood", "binary", ("x", "y"))])

    def test_empty_column(self, tmp_path: Path) -> None:
        path = write_csv(tmp_path / "t.csv", [{"text": "a", "mood": ""}, {"text": "b", "mood": ""}])
        task = LabelTask("mood", "binary", ("x", "y"))
        with pytest.raises(DataError, match="No row has a label in column mood"):
            Manifest.read(path, label_tasks=[task])
        assert Manifest.read(path, label_tasks=[task], require_label_tasks=False).label_tasks == ()

    def test_unknown_labels_in_every_row(self, tmp_path: Path) -> None:
        path = write_csv(tmp_path / "t.csv", [{"text": "a", "mood": "p"}, {"text": "b", "mood": "q"}])
        with pytest.raises(DataError) as caught:
            Manifest.read(path, label_tasks=[LabelTask("mood", "binary", ("x", "y"))])
        assert _where(caught) == ["t.csv row 2, column mood", "t.csv row 3, column mood"]

    def test_some_of_a_known_layout(self, tmp_path: Path) -> None:
        write_memotion1(tmp_path)
        _edit(tmp_path / "labels.csv", {1: {"offensive": "rude"}})
        manifest = Manifest.read(tmp_path, label_tasks=[SENTIMENT, HUMOROUS])
        assert _names(manifest) == ["sentiment", "humorous"]
        assert Manifest.read(tmp_path, label_tasks=None).label_tasks == ()
        with pytest.raises(DataError, match="rude"):
            Manifest.read(tmp_path)


class TestFiles:
    def _read(self, tmp_path: Path, data: bytes, name: str = "t.csv") -> Manifest:
        (tmp_path / name).write_bytes(data)
        return Manifest.read(tmp_path / name)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="There is no file or folder"):
            Manifest.read(tmp_path / "none.csv")

    @pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
    @pytest.mark.parametrize("data", [b"", b" \n\n", b"\xef\xbb\xbf"])
    def test_empty(self, tmp_path: Path, name: str, data: bytes) -> None:
        with pytest.raises(DataError, match="is empty"):
            self._read(tmp_path, data, name)

    def test_header_only(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="a header but no rows"):
            self._read(tmp_path, b"id,text\n")

    @pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
    def test_nul_bytes_and_other_encodings(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(DataError, match="line 2 holds NUL bytes"):
            self._read(tmp_path, b"id,text\n1,a\0b\n", name)
        with pytest.raises(DataError, match="NUL bytes"):
            self._read(tmp_path, "id,text\n1,a\n".encode("utf-16"), name)
        with pytest.raises(DataError, match="line 3 is not UTF-8"):
            self._read(tmp_path, "id,text\n1,a\n2,\u00e9\n".encode("latin-1"), name)

    def test_bom_crlf_quoted_line_breaks_and_leading_zeros(self, tmp_path: Path) -> None:
        data = '\ufeffid,text\r\n007,"one\r\ntwo, ""three"""\r\n\r\n010,\u0939\u093e\u0901\r\n'.encode()
        manifest = self._read(tmp_path, data)
        assert manifest.meme_ids.tolist() == ["t/all/007", "t/all/010"]
        assert manifest.texts == ['one\r\ntwo, "three"', "\u0939\u093e\u0901"]

    @pytest.mark.parametrize(("delimiter", "word"), [("\t", "tabs"), (";", "semicolons"), ("|", "vertical bars")])
    def test_other_delimiter(self, tmp_path: Path, delimiter: str, word: str) -> None:
        path = write_csv(tmp_path / "t.csv", [{"id": "1", "text": "a, b", "x": "1"}], delimiter=delimiter)
        told: list[str] = []
        assert Manifest.read(path, notify=told.append).texts == ["a, b"]
        assert f"t.csv: cells are separated by {word}, not commas" in told

    def test_ragged_rows_all_at_once(self, tmp_path: Path) -> None:
        data = b"id,text\n1,a\n2\n3,b,c\n4,d\n"
        with pytest.raises(DataError) as caught:
            self._read(tmp_path, data)
        assert _where(caught) == ["t.csv row 3", "t.csv row 4"]
        kept = Manifest.read(tmp_path / "t.csv", skip_bad=True, rejected_to=tmp_path / "r.csv")
        assert kept.meme_ids.tolist() == ["t/all/1", "t/all/4"]

    def test_quote_that_is_never_closed(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"row 3 \(line 3\) opens a quote"):
            self._read(tmp_path, b'id,text\n1,a\n2,"b\n3,c\n')

    def test_column_named_twice(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="names a column twice: text"):
            self._read(tmp_path, b"id,text,text\n1,a,b\n")

    def test_unknown_suffix_and_broken_parquet(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"Tables are \.csv"):
            self._read(tmp_path, b"id", "t.xlsx")
        with pytest.raises(DataError, match="not a parquet file"):
            self._read(tmp_path, b"PAR1 nonsense", "t.parquet")

    def test_deeply_nested_json(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            self._read(tmp_path, b'{"id": 1, "text": "a"}\n' + b"[" * 100_000, "t.jsonl")
        assert _where(caught) == ["t.jsonl line 2"]


class TestRecognition:
    def test_layouts(self, tmp_path: Path) -> None:
        assert recognise(write_memotion1(tmp_path / "a", 2)) == "memotion1"
        assert recognise(write_memotion3(tmp_path / "b", 2)) == "memotion3"
        assert recognise(write_harmeme(tmp_path / "c", 2)) == "mmf"
        assert recognise(write_hateful_memes(tmp_path / "d", 2)) == "mmf"
        assert recognise(write_table(tmp_path / "e", 2, name="memes.jsonl")) == "table"

    def test_a_folder_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("x")
        with pytest.raises(DataError, match=r"it holds notes\.txt"):
            Manifest.read(tmp_path)

    def test_unknown_reader(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="There is no reader 'coco'"):
            Manifest.read(write_table(tmp_path), reader="coco")
        with pytest.raises(DataError, match="wants the data set's folder"):
            Manifest.read(write_memotion1(tmp_path / "m") / "labels.csv", reader="memotion1")


def test_builders_know_every_memotion_word() -> None:
    assert set(MEMOTION1_COLUMNS) == {task.name for task in MEMOTION_LABEL_TASKS}
