"""Labels that the page sends are in a table that the manifest reads."""

import csv
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_helpers import base64_of, client_of, half_a_jpeg

from memeblend import Manifest
from memeblend.data.images import ImageLimits
from memeblend.errors import DataError, OutputError
from memeblend.labels import LabelTask
from memeblend.serving.review import ReviewFolder

TASKS = (LabelTask("mood", "binary", ("bad", "good")), LabelTask("level", "ordinal", ("0", "1", "2")))
LIMITS = ImageLimits()


def rows_of(folder):
    with (folder / "memes.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_label_is_on_disk_replaced_and_taken_back(both, tmp_path):
    folder = ReviewFolder(tmp_path / "kept", TASKS)
    first = folder.save("a.png", "so happy", both.image(0), {"mood": "good"}, LIMITS)
    folder.save("b.png", "so sad", both.image(1), {"mood": "bad", "level": "2"}, LIMITS)
    folder.save("a.png", "so happy", both.image(0), {"mood": "bad"}, LIMITS)
    rows = rows_of(tmp_path / "kept")
    assert [(row["mood"], row["level"], row["text"]) for row in rows] == [
        ("bad", "", "so happy"),
        ("bad", "2", "so sad"),
    ]
    assert (tmp_path / "kept" / rows[0]["image"]).read_bytes() == both.image(0)
    assert first["id"].startswith("a.png~")
    assert folder.save("a.png", "so happy", both.image(0), {}, LIMITS) is None
    assert [row["text"] for row in rows_of(tmp_path / "kept")] == ["so sad"]
    folder.save("b.png", "so sad", both.image(1), {}, LIMITS)
    assert folder.rows() == []
    assert not [path for path in (tmp_path / "kept").rglob("*") if path.name.startswith(".")]


def test_the_manifest_reads_what_was_kept(both, tmp_path):
    folder = ReviewFolder(tmp_path / "kept", TASKS)
    texts = ["plain", 'with "quotes", commas', "two\nlines\rand\r\nmore", "שלום\u202e x", "=1+1", "", "\u200b", "nul\0"]
    for number, text in enumerate(texts):
        labels = {"mood": TASKS[0].classes[number % 2], "level": str(number % 3)}
        folder.save(f"m{number}", text, both.image(number), labels, LIMITS)
    manifest = Manifest.read(tmp_path / "kept")
    assert {task.name: task.classes for task in manifest.label_tasks} == {
        "mood": ("bad", "good"),
        "level": ("0", "1", "2"),
    }
    assert manifest.table["ocr_text"].tolist() == [text.replace("\0", "") for text in texts]
    assert all((tmp_path / "kept" / image).is_file() for image in manifest.table["image"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(st.characters(codec="utf-8"), max_size=20), text=st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_name_and_text_come_back_and_never_leave_the_folder(tmp_path_factory, name, text):
    root = tmp_path_factory.mktemp("any")
    folder = ReviewFolder(root / "kept", TASKS)
    row = folder.save(name, text, None, {"mood": "good"}, LIMITS)
    assert row is not None
    (read,) = ReviewFolder(root / "kept", TASKS).rows()
    assert read == row
    assert read["text"] == text.replace("\0", "")
    assert sorted(path.name for path in root.iterdir()) == ["kept"]
    assert sorted(path.name for path in (root / "kept").rglob("*")) == ["images", "memes.csv"]


@pytest.mark.parametrize(
    "table", ["id,image,text\na,b,c\n", "", "\0", "id,image,text,mood,level\nx,y\n", "not a table"]
)
def test_a_folder_with_another_table_is_refused_and_left_alone(tmp_path, table):
    (tmp_path / "memes.csv").write_text(table)
    with pytest.raises(DataError):
        ReviewFolder(tmp_path, TASKS)
    assert (tmp_path / "memes.csv").read_text() == table


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        ReviewFolder(tmp_path / "file", TASKS)


def test_many_at_once_are_all_kept(tmp_path):
    folder = ReviewFolder(tmp_path, TASKS)
    threads = [
        threading.Thread(target=folder.save, args=(f"m{number}", "x", None, {"mood": "good"}, LIMITS))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folder.rows()) == 12


def test_over_http_labels_are_kept_shown_again_and_refused_in_sentences(both, tmp_path):
    with client_of(both.served(), ocr="none", review_folder=str(tmp_path / "kept")) as client:
        assert client.get("/ui/state").json()["review_folder"] is True
        assert client.get("/ui/review").json() == []
        sent = {"meme_id": "a b", "text": "so happy", "image": base64_of(both.image()), "labels": {"mood": "good"}}
        assert client.post("/ui/review", json=sent).json() == {"kept": True}
        assert client.get("/ui/review").json() == [{"meme_id": "a b", "text": "so happy", "labels": {"mood": "good"}}]
        wrong = client.post("/ui/review", json=sent | {"labels": {"mood": "grand", "nonsense": "x"}})
        assert wrong.status_code == 422
        assert [one["where"] for one in wrong.json()["error"]["problems"]] == ["labels.mood", "labels.nonsense"]
        for image in (b"no image", half_a_jpeg()):
            assert client.post("/ui/review", json=sent | {"image": base64_of(image)}).status_code == 422
        assert client.post("/ui/review", json={"text": "x"}).status_code == 422
        assert client.post("/ui/review", content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
        (tmp_path / "kept" / "memes.csv").write_text("other,columns\n1,2\n")
        spoiled = client.post("/ui/review", json=sent)
        assert spoiled.status_code == 500
        assert str(tmp_path) not in spoiled.text
        assert client.get("/healthz").status_code == 200


def test_without_a_folder_there_is_no_such_route(both):
    with client_of(both.served(), ocr="none") as client:
        assert client.post("/ui/review", json={}).status_code == 404
