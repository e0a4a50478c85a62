"""Tables of any size in pieces: the same memes as when they are read whole, and the same faults."""

import csv
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import draw_image, make_manifest, write_csv, write_jsonl
from memeblend.data import storage
from memeblend.data.manifest import Manifest
from memeblend.errors import DataError
from memeblend.scale import tables as tables_module
from memeblend.scale.ids import SeenIds, id_digest
from memeblend.scale.planning import Piece, make_plan
from memeblend.scale.tables import open_table

TEXTS = ("plain", 'with "quotes"', "two\nlines", "comma, semicolon; tab\t", "हिन्दी 😀", " spaces ", "\r\n", "")


def plan_of(path, size, tmp_path, columns=None):
    told = []
    return make_plan(path, size, columns or {}, tmp_path, told.append), told


def all_memes(plan):
    """Ids, images and texts of all pieces, in order."""
    found = {"ids": [], "images": [], "texts": [], "where": []}
    for piece in plan.pieces:
        raw = plan.layout.memes(piece)
        for name, values in found.items():
            values += getattr(raw, name)
    return found


def rows(num_memes=25, **more):
    return [
        {"id": f"m{number}", "img": f"{number % 3}.png", "text": TEXTS[number % len(TEXTS)], **more}
        for number in range(num_memes)
    ]


def write(path, given_rows):
    """The rows in the format of the suffix."""
    match path.suffix:
        case ".jsonl":
            return write_jsonl(path, given_rows)
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(given_rows), path, row_group_size=4)
            return path
        case ".tsv":
            return write_csv(path, given_rows, delimiter="\t")
    return write_csv(path, given_rows)


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        draw_image(tmp_path / f"{number}.png", number)
    return tmp_path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("size", [1, 7, 25, 1000])
def test_pieces_hold_the_memes_of_the_whole_table(folder, suffix, size):
    path = write(folder / f"table{suffix}", rows(split="test"))
    plan, _ = plan_of(path, size, folder)
    whole = Manifest.read(path, reader="table", label_tasks=None)
    found = all_memes(plan)
    assert found["ids"] == whole.meme_ids.tolist()
    assert found["texts"] == whole.texts
    assert found["images"] == whole.table["image"].tolist()
    assert plan.num_rows == 25
    assert [piece.number for piece in plan.pieces] == list(range(-(-25 // size)))
    assert [Piece.from_dict(json.loads(json.dumps(piece.to_dict()))) for piece in plan.pieces] == list(plan.pieces)
    assert [piece.size for piece in plan.pieces[:-1]] == [size] * (len(plan.pieces) - 1)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=12
    ),
    size=st.integers(1, 5),
)
def test_any_text_survives_the_cut(tmp_path, texts, size):
    path = tmp_path / "any.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        writer.writerow(["id", "text"])
        writer.writerows(enumerate(texts))
    assert all_memes(plan_of(path, size, tmp_path)[0])["texts"] == texts


def test_a_manifest_keeps_its_own_ids(tmp_path):
    manifest = make_manifest(tmp_path, 9)
    manifest.write(tmp_path / "kept.parquet")
    plan, _ = plan_of(tmp_path / "kept.parquet", 4, tmp_path)
    assert all_memes(plan)["ids"] == manifest.meme_ids.tolist()
    assert len(plan.pieces) == 3


def test_a_manifest_is_read_by_the_columns_that_are_named(tmp_path):
    manifest = make_manifest(tmp_path, 3)
    raw = [f"raw {number}" for number in range(3)]
    storage.write(tmp_path / "kept.parquet", manifest.table.assign(raw_text=raw), manifest.label_tasks, manifest.root)
    for columns, texts in (({}, manifest.texts), ({"ocr_text": "raw_text"}, raw)):
        plan, _ = plan_of(tmp_path / "kept.parquet", 2, tmp_path, columns)
        assert all_memes(plan)["texts"] == texts
    with pytest.raises(DataError, match=r"without its column\(s\) none"):
        plan_of(tmp_path / "kept.parquet", 2, tmp_path, {"ocr_text": "none"})


def test_a_folder_of_parquet_files_is_one_table(folder):
    (folder / "parts").mkdir()
    for part in range(3):
        frame = pd.DataFrame({"id": [f"{part}-{i}" for i in range(4)], "text": ["a"] * 4})
        frame.to_parquet(folder / "parts" / f"part-{part}.parquet")
    plan, _ = plan_of(folder / "parts", 3, folder)
    assert all_memes(plan)["ids"] == [f"parts/all/{part}-{i}" for part in range(3) for i in range(4)]
    assert len(plan.pieces) == 6
    pd.DataFrame({"text": ["a"]}).to_parquet(folder / "parts" / "part-0.parquet")
    with pytest.raises(DataError, match="no column of ids"):
        plan_of(folder / "parts", 3, folder)


def test_a_folder_of_images(folder):
    (folder / "notes.txt").write_text("no image")
    plan, _ = plan_of(folder, 2, folder)
    found = all_memes(plan)
    assert found["ids"] == found["images"] == ["0.png", "1.png", "2.png"]
    assert found["texts"] == ["", "", ""]
    assert [piece.size for piece in plan.pieces] == [2, 1]


def test_rows_without_a_column_of_ids(folder):
    unique = [{"img": f"{number}.png", "text": "a"} for number in range(3)]
    plan, told = plan_of(write(folder / "a.csv", unique), 2, folder)
    assert all_memes(plan)["ids"] == ["a/all/0.png", "a/all/1.png", "a/all/2.png"]
    assert "the image's name is the id" in told[-1]
    plan, told = plan_of(write(folder / "b.csv", unique * 2), 4, folder)
    assert all_memes(plan)["ids"] == [f"b/all/{number}" for number in range(1, 7)]
    assert "numbered" in told[-1]
    assert all_memes(plan)["ids"] == Manifest.read(folder / "b.csv", label_tasks=None).meme_ids.tolist()


def test_ids_that_come_twice_are_refused_with_their_places(folder):
    path = write(folder / "twice.csv", [*rows(20), rows(3)[2]])
    with pytest.raises(DataError, match=r"1 id\(s\).*more than once") as caught:
        plan_of(path, 6, folder)
    assert str(caught.value.problems[0]) == (
        "twice.csv row 22: the id 'twice/all/m2' was used already by twice.csv row 4"
    )


def test_the_same_id_in_two_splits_is_two_memes(folder):
    path = write(folder / "s.csv", [*rows(5, split="train"), *rows(5, split="test")])
    assert len(set(all_memes(plan_of(path, 3, folder)[0])["ids"])) == 10


def test_the_fingerprint_follows_content_and_cut(folder):
    path = write(folder / "t.csv", rows())
    one = plan_of(path, 7, folder)[0].fingerprint
    assert plan_of(path, 7, folder)[0].fingerprint == one
    assert plan_of(path, 8, folder)[0].fingerprint != one
    assert plan_of(path, 7, folder, {"ocr_text": "id"})[0].fingerprint != one
    write(path, rows(26))
    assert plan_of(path, 7, folder)[0].fingerprint != one


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\n\n", "is empty"),
        ("a.csv", b"id,text\n", "has no rows"),
        ("a.csv", b"id,text\n1,a\0b\n", "NUL bytes"),
        ("a.csv", b"id,text\n1,\xff\xfe\n", "not UTF-8"),
        ("a.csv", "id,text\n1,a\n".encode("utf-16"), "not UTF-8|NUL"),
        ("a.csv", b'id,text\n1,a\n2,"never closed\nmore\n', "quote that is never closed"),
        ("a.csv", b"id,id,text\n1,2,3\n", "names a column twice"),
        ("a.csv", b"number,mood\n1,2\n", "neither a column of images nor one of texts"),
        ("a.jsonl", b"", "is empty"),
        ("a.parquet", b"PAR1 but no parquet", "not a parquet file"),
        ("a.txt", b"words", "no table that can be read"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        plan_of(tmp_path / name, 2, tmp_path)


def test_nothing_to_score(tmp_path):
    with pytest.raises(DataError, match="no file or folder"):
        plan_of(tmp_path / "nowhere.csv", 2, tmp_path)
    with pytest.raises(DataError, match="neither images nor a table"):
        plan_of(tmp_path, 2, tmp_path)


def test_lines_and_cells_have_limits(tmp_path, monkeypatch):
    path = tmp_path / "long.csv"
    path.write_text("id,text\n1," + "a" * 5000 + "\n")
    monkeypatch.setattr(tables_module, "_MAX_LINE", 1000)
    with pytest.raises(DataError, match="line of more than 1,000 bytes"):
        plan_of(path, 2, tmp_path)
    monkeypatch.setattr(tables_module, "_MAX_LINE", 10_000)
    monkeypatch.setattr(tables_module, "MAX_CELL", 1000)
    with pytest.raises(DataError, match="field larger than field limit"):
        plan_of(path, 2, tmp_path)


def test_rows_that_can_not_be_parsed_count_and_have_their_places(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\nid,text\n1,a\n\n2\n3,c,d\n4,e\n")
    plan, _ = plan_of(path, 2, tmp_path)
    problems = [str(one.problem) for piece in plan.pieces for one in plan.layout.memes(piece).problems]
    assert plan.num_rows == 4
    assert [text.split(":")[0] for text in problems] == ["t.csv row 5", "t.csv row 6"]
    assert all_memes(plan)["where"] == ["t.csv row 3", "t.csv row 7"]
    path = write_jsonl(tmp_path / "t.jsonl", [{"id": 1, "text": "a"}])
    with path.open("a") as stream:
        stream.write("no json\n[1]\n" + json.dumps({"id": 2, "text": ["x"]}) + "\n" + "[" * 100_000 + "\n")
    plan, _ = plan_of(path, 1, tmp_path)
    problems = [str(one.problem) for piece in plan.pieces for one in plan.layout.memes(piece).problems]
    assert len(problems) == 4
    assert "not valid JSON" in problems[0]
    assert "not a JSON object" in problems[1]
    assert "holds a list or an object" in problems[2]
    assert "nested too deeply" in problems[3]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_table_can_be_entered_where_it_was_left(folder, suffix):
    table = open_table(write(folder / f"t{suffix}", rows()))
    place, seen = table.begin, []
    for size in (1, 5, 2, 100, 3):
        part, place = table.read(place, size)
        seen += part.column("id")
    assert seen == [f"m{number}" for number in range(25)]


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(st.integers(0, 30), max_size=60), in_memory=st.integers(1, 20))
def test_repeated_ids_are_found_on_disk_as_in_memory(tmp_path, numbers, in_memory):
    names = [f"id {number}" for number in numbers]
    counts = np.bincount(numbers, minlength=31) if numbers else np.zeros(31)
    expected = {id_digest(f"id {number}") for number in np.flatnonzero(counts > 1)}
    with SeenIds(tmp_path, in_memory) as seen:
        for start in range(0, len(names), 7):
            seen.add(names[start : start + 7])
        assert seen.repeated() == expected
    assert list(tmp_path.glob(".ids-*")) == []
