"""`memeblend ocr`, and `predict` on memes that come without text."""

import csv
import json

import pytest

from calling import call
from made_up_ocr import MadeUpEngine, install
from memeblend import MemeClassifier
from memeblend.data.manifest import Manifest
from small_runs import small_data, small_recipe

WORDS = "an awful day"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    recipe = small_recipe("ensemble.method=all")
    kept = tuple(candidate for candidate in recipe.candidates if candidate.kind == "tfidf")
    run = tmp_path_factory.mktemp("run") / "run"
    MemeClassifier(recipe.model_copy(update={"candidates": kept}), out=run).fit(data)
    return run


@pytest.fixture
def engine(monkeypatch, tmp_path):
    monkeypatch.setenv("MEMEBLEND_CACHE", str(tmp_path / "cache"))
    return install(monkeypatch, MadeUpEngine(WORDS))


@pytest.fixture
def pictures(data, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.png").write_bytes((data / "pictures" / f"{number}.png").read_bytes())
    return folder


def memes_of(result):
    return json.loads(result.stdout)["memes"]


def test_predict_reads_images_that_come_without_text(model, pictures, engine, tmp_path):
    (read,) = memes_of(call("predict", model, pictures / "0.png", "--json"))
    assert (read["ocr_text"], read["ocr"]) == (WORDS, {"engine": "rapidocr", "confidence": 0.75})
    (given,) = memes_of(call("predict", model, pictures / "0.png", "--text", WORDS, "--json"))
    assert "ocr_text" not in given
    assert given["label_tasks"] == read["label_tasks"]
    assert f"rapidocr read: {WORDS} (confidence 0.75)" in call("predict", model, pictures / "0.png").stdout
    call("predict", model, pictures, "--out", tmp_path / "p.csv")
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text("utf-8").splitlines()))
    assert [(row["ocr_text"], row["ocr_confidence"]) for row in rows] == [(WORDS, "0.75")] * 2
    assert engine.num_read == 2, "each image once, then from the cache"


def test_predict_reads_a_table_without_texts(model, pictures, engine):
    (pictures / "memes.csv").write_text("image\n0.png\n1.png\n")
    assert [meme["ocr_text"] for meme in memes_of(call("predict", model, pictures / "memes.csv", "--json"))] == [
        WORDS
    ] * 2
    (pictures / "memes.csv").write_text("image,text\n0.png,one has a text\n1.png,\n")
    assert all("ocr_text" not in meme for meme in memes_of(call("predict", model, pictures / "memes.csv", "--json")))


def test_an_empty_text_is_a_text(model, pictures, engine):
    (meme,) = memes_of(call("predict", model, pictures / "0.png", "--text", "", "--json"))
    assert "ocr_text" not in meme
    assert engine.num_read == 0


def test_without_ocr_predict_says_so_and_how_to_have_it(model, pictures, engine, monkeypatch):
    result = call("predict", model, pictures / "0.png", "--ocr", "none", "--json")
    assert "ocr_text" not in memes_of(result)[0]
    assert "come without text" in result.stderr
    assert "pip install" not in result.stderr
    install(monkeypatch, None)
    said = call("predict", model, pictures / "0.png", "--json").stderr
    assert 'pip install "memeblend[ocr]"' in said
    assert "needs rapidocr" in call("predict", model, pictures / "0.png", "--ocr", "rapidocr", code=1).stderr


def test_an_unknown_engine_is_refused(model, pictures):
    for arguments in (("predict", model, pictures / "0.png", "--ocr", "abc"), ("ocr", pictures, "--engine", "abc")):
        assert "no OCR engine 'abc'" in call(*arguments, code=1).stderr


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_ocr_writes_a_table_that_predict_reads(model, pictures, engine, tmp_path, suffix):
    out = tmp_path / f"texts.{suffix}"
    call("ocr", pictures, "--out", out)
    manifest = Manifest.read(out, notify=lambda line: None)
    assert manifest.texts == [WORDS] * 2
    assert manifest.label_tasks == ()
    assert [manifest.image_path(row).name for row in range(2)] == ["0.png", "1.png"]
    call("predict", model, out, "--json")
    assert engine.num_read == 2


def test_ocr_keeps_labels_and_the_texts_that_are_there(pictures, engine):
    (pictures / "memes.csv").write_text("id,image,text,mood\na,0.png,,up\nb,1.png,mine,down\n")
    found = json.loads(call("ocr", pictures / "memes.csv", "--out", pictures / "out.csv", "--json").stdout)
    assert (found["num_memes"], found["num_read"], found["num_with_text"]) == (2, 1, 2)
    assert [(meme["ocr_text"], meme["confidence"]) for meme in found["memes"]] == [(WORDS, 0.75), ("mine", None)]
    manifest = Manifest.read(pictures / "out.csv", notify=lambda line: None)
    assert manifest.texts == [WORDS, "mine"]
    assert [task.name for task in manifest.label_tasks] == ["mood"]
    assert memes_of(call("ocr", pictures / "memes.csv", "--again", "--json"))[1]["ocr_text"] == WORDS


def test_ocr_shows_texts_and_lists_what_it_can_not_read(pictures, engine):
    (pictures / "bad.png").write_bytes(b"no image")
    result = call("ocr", pictures)
    assert f"0.png: rapidocr read: {WORDS} (confidence 0.75)" in result.stdout
    assert "1 image(s) can't be read" in result.stderr
    assert "bad.png" in result.stderr
    assert json.loads(call("ocr", pictures, "--json").stdout)["unreadable"][0]["meme_id"] == "bad.png"
    assert f"{WORDS} imgflip.com" in call("ocr", pictures / "0.png", "--keep-watermarks").stdout
    assert "0.png: rapidocr read nothing" in call("ocr", pictures / "0.png", "--min-confidence", "0.8").stdout
    assert engine.num_read == 2


def test_ocr_says_when_images_lie_elsewhere(pictures, engine, tmp_path):
    out = tmp_path / "elsewhere" / "texts.csv"
    assert "--allow-outside" in call("ocr", pictures, "--out", out).stderr
    assert Manifest.read(out, allow_outside=True, notify=lambda line: None).texts == [WORDS] * 2


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["ocr"], 2, "Missing argument"),
        (["ocr", "nothing.png"], 1, "no file or folder 'nothing.png'"),
        (["ocr", "{pictures}", "--out", "t.docx"], 1, "should end in"),
        (["ocr", "{pictures}", "--engine", "none"], 1, "nothing to do"),
        (["ocr", "{pictures}", "--min-confidence", "2"], 2, "min-confidence"),
        (["ocr", "{pictures}", "--out", "/proc/none/t.csv"], 1, "Could not write"),
        (["ocr", "{pictures}/texts.csv"], 1, "no images to read"),
    ],
)
def test_ocr_refuses_in_sentences(pictures, engine, arguments, code, told):
    (pictures / "texts.csv").write_text("text\nonly a text\n")
    result = call(*(argument.format(pictures=pictures) for argument in arguments), code=code)
    assert told in result.stderr


def test_ocr_without_an_engine_says_how_to_get_one(pictures, monkeypatch):
    install(monkeypatch, None)
    assert 'pip install "memeblend[ocr]"' in call("ocr", pictures, code=1).stderr
