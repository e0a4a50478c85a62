"""`memeblend translate`, and `fit` on what it wrote."""

import json

import pandas as pd
import pytest

from builders import write_csv, write_memotion1
from calling import call
from made_up_translation import MadeUpEngine, SmallMarian
from memeblend.data.manifest import Manifest


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MEMEBLEND_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "translations.sqlite"


@pytest.fixture
def service(monkeypatch):
    """Makes an engine the web service."""

    def install(engine):
        monkeypatch.setattr("memeblend.translation.services.ServiceEngine", lambda service, timeout_s: engine)
        return engine

    monkeypatch.setattr("memeblend.translation.Pace.wait_s", lambda self, num_failed, asked_s=None: 0.0)
    return install


@pytest.fixture
def table(tmp_path):
    texts = ["kya hua", "one does not", "", "kya hua"]
    rows = [
        {"id": number, "text": text, "split": ("train", "test")[number % 2], "mood": ("up", "down")[number // 2]}
        for number, text in enumerate(texts)
    ]
    return write_csv(tmp_path / "memes.csv", rows)


def translate(table, *arguments, code=0):
    return call("translate", table, "--engine", "translators", "--per-second", 0, "--retries", 0, *arguments, code=code)


def test_texts_are_translated_marked_and_counted(table, service, tmp_path):
    service(MadeUpEngine(fails={"one does not"}))
    result = translate(table, "--out", tmp_path / "out.csv", "--json")
    assert json.loads(result.stdout) == {
        "engine": "translators",
        "source": "auto",
        "chain": ["hi", "en"],
        "out": str(tmp_path / "out.csv"),
        "num_memes": 4,
        "num_translated": 2,
        "num_failed": 1,
        "num_blank": 1,
        "num_texts": 2,
        "num_cached": 0,
        "num_requests": 3,
        "reasons": {"TooManyRequests 429": 1},
        "failed": str(tmp_path / "out.failed.csv"),
    }
    assert "1 meme(s) keep their raw text; the same command tries them again" in result.stderr
    assert "1 x TooManyRequests 429" in result.stderr
    rows = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    assert rows["ocr_text"].tolist() == ["kya hua|hi|en", "one does not", "", "kya hua|hi|en"]
    assert rows["raw_text"].tolist() == ["kya hua", "one does not", "", "kya hua"]
    assert rows["translation_status"].tolist() == ["translated", "failed", "blank", "translated"]
    assert [task.name for task in Manifest.read(tmp_path / "out.csv").label_tasks] == ["mood"]


def test_the_same_command_asks_for_what_failed_alone(table, service, tmp_path):
    service(MadeUpEngine(fails={"one does not"}))
    translate(table, "--out", tmp_path / "out.parquet")
    engine = service(MadeUpEngine())
    result = translate(table, "--out", tmp_path / "out.parquet")
    assert engine.asked == [("hi", ("one does not",)), ("en", ("one does not|hi",))]
    assert not (tmp_path / "out.failed.csv").exists()
    for number in ("4", "3", "0", "1", "2"):
        assert number in result.stdout
    engine = service(MadeUpEngine())
    own = tmp_path / "out.parquet"
    translate(own, "--out", own)
    assert engine.asked == [], "a table of translations is translated from its raw texts"
    manifest = Manifest.read(own)
    assert manifest.texts == ["kya hua|hi|en", "one does not|hi|en", "", "kya hua|hi|en"]


def test_a_service_that_is_down_is_an_error_and_what_was_got_is_kept(table, service, tmp_path, cache):
    service(MadeUpEngine(fails={"one does not", "kya hua|hi"}))
    result = translate(table, "--out", tmp_path / "out.csv", "--stop-after", 1, code=1)
    assert "Translating auto -> hi with made-up failed 1 times in a row" in result.stderr
    assert str(cache) in result.stderr
    assert "same command goes on" in " ".join(result.stderr.split())
    assert not (tmp_path / "out.csv").exists()
    engine = service(MadeUpEngine())
    translate(table, "--out", tmp_path / "out.csv")
    assert ("hi", ("kya hua",)) not in engine.asked


def test_a_data_set_folder_is_translated_and_fitted(tmp_path, service):
    folder = write_memotion1(tmp_path / "raw", 6)
    service(MadeUpEngine())
    out = tmp_path / "raw" / "back.parquet"
    translate(folder, "--reader", "memotion1", "--chain", "hi", "--out", out)
    manifest = Manifest.read(out)
    assert manifest.texts == [f"words {number}|hi" for number in range(6)]
    assert manifest.fingerprint != Manifest.read(folder).fingerprint
    for name, said in (
        (tmp_path / "raw" / "b.csv", False),
        (tmp_path / "b.csv", False),
        (tmp_path / "o" / "b.csv", True),
    ):
        assert ("--allow-outside" in translate(folder, "--chain", "hi", "--out", name).stderr) == said
        assert len(Manifest.read(name, allow_outside=said)) == 6
    raw = Manifest.read(out, columns={"ocr_text": "raw_text"})
    assert raw.fingerprint == Manifest.read(folder).fingerprint, "raw texts are those of the data set"


def test_identity_keeps_the_texts_and_asks_no_cache(table, tmp_path, cache):
    call("translate", table, "--engine", "identity", "--out", tmp_path / "out.jsonl")
    assert Manifest.read(tmp_path / "out.jsonl").texts == ["kya hua", "one does not", "", "kya hua"]
    assert not cache.exists()


def test_models_of_hugging_face_translate(table, tmp_path):
    there = SmallMarian.write(tmp_path / "there", SmallMarian.ENGLISH, SmallMarian.HINDI)
    back = SmallMarian.write(tmp_path / "back", SmallMarian.HINDI, SmallMarian.ENGLISH)
    arguments = ["translate", table, "--engine", "hf", "--model", there, "--model", back, "--beams", 1, "--json"]
    found = [json.loads(call(*arguments, "--out", tmp_path / f"{name}.csv").stdout) for name in ("a", "b")]
    assert [made["num_translated"] for made in found] == [3, 3]
    assert [made["num_requests"] for made in found] == [2, 0]
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([], 2, "Missing option"),
        (["--engine", "identity", "--out", "o.txt"], 1, "should end in .parquet, .csv"),
        (["--engine", "google", "--out", "o.csv"], 1, "no engine 'google'"),
        (["--engine", "identity", "--chain", "hi,hi", "--out", "o.csv"], 1, "from 'hi' to itself"),
        (["--engine", "identity", "--chain", "", "--out", "o.csv"], 1, "expected at least one"),
        (["--engine", "identity", "--beams", "2", "--out", "o.csv"], 1, "--beams belongs to --engine hf"),
        (["--engine", "hf", "--model", "a", "--out", "o.csv"], 1, "needs 2 model(s), found 1"),
        (["--engine", "hf", "--service", "bing", "--out", "o.csv"], 1, "--service belongs to --engine translators"),
        (["--engine", "identity", "--column", "ocr_text=none", "--out", "o.csv"], 1, "none"),
    ],
)
def test_what_can_not_be_is_refused(table, arguments, code, told):
    assert told in " ".join(call("translate", table, *arguments, code=code).stderr.split())


def test_a_cache_that_can_not_be_used_is_refused(table, service, tmp_path, monkeypatch):
    engine = service(MadeUpEngine())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEMEBLEND_CACHE", str(tmp_path / "file"))
    assert "translation cache" in translate(table, "--out", tmp_path / "o.csv", code=1).stderr
    assert engine.asked == []


def test_without_the_package_the_extra_is_named(table, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    told = translate(table, "--out", tmp_path / "o.csv", code=1).stderr
    assert 'pip install "memeblend[translators]"' in told
