"""Chains of languages, retries, pace, cache: with a translator that fails, is empty, slow, or kills its process."""

import multiprocessing
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import make_manifest
from made_up_translation import Clock, MadeUpEngine
from memeblend.data.manifest import Manifest
from memeblend.data.sqlite_cache import SqliteCache
from memeblend.errors import DataError, OutputError, TranslationError
from memeblend.translation import Failure, Hop, Pace, Translator, translate_memes, translation_cache
from memeblend.translation.engines import IdentityEngine
from memeblend.translation.memes import raw_columns
from memeblend.translation.translator import clean


def translator(engine, path=None, *, clock=None, per_second=0.0, retries=2, **settings):
    clock = clock or Clock()
    cache = None if path is None else translation_cache(path / "translations.sqlite", notify=pytest.fail)
    pace = Pace(per_second, retries, sleep=clock.sleep, clock=clock)
    return Translator(engine, cache=cache, pace=pace, **settings)


def test_texts_go_there_and_back_and_equal_ones_once():
    engine = MadeUpEngine()
    made = translator(engine).translate(["a", "b ", "a", " b"])
    assert made.found == {"a": "a|hi|en", "b ": "b|hi|en", " b": "b|hi|en"}
    assert engine.asked == [("hi", ("a",)), ("hi", ("b",)), ("en", ("a|hi",)), ("en", ("b|hi",))]
    assert (made.num_requests, made.num_cached) == (4, 0)


def test_texts_that_meet_in_the_middle_are_asked_once_from_there():
    class Same(MadeUpEngine):
        def translate(self, texts, hop):
            super().translate(texts, hop)
            return ["one" for _ in texts]

    engine = Same()
    assert translator(engine).translate(["a", "b"]).found == {"a": "one", "b": "one"}
    assert engine.asked[2:] == [("en", ("one",))]


def test_nothing_is_asked_twice_for_the_same_engine_version_and_languages(tmp_path):
    texts = ["a", "b"]
    translator(MadeUpEngine(), tmp_path).translate(texts)
    again = MadeUpEngine()
    made = translator(again, tmp_path).translate([*texts, "c"])
    assert made.found == {text: f"{text}|hi|en" for text in "abc"}
    assert again.asked == [("hi", ("c",)), ("en", ("c|hi",))]
    assert made.num_cached == 2
    longer = MadeUpEngine()
    translator(longer, tmp_path, chain=("hi", "en", "fr")).translate(texts)
    assert longer.asked == [("fr", ("a|hi|en",)), ("fr", ("b|hi|en",))], "a longer chain goes on where others ended"
    for other, num_asked in (({"source": "en"}, 2), ({"chain": ("fr", "en")}, 4)):
        engine = MadeUpEngine()
        translator(engine, tmp_path, **other).translate(texts)
        assert engine.num_asked == num_asked
    newer = MadeUpEngine(version="2")
    translator(newer, tmp_path).translate(texts)
    assert newer.num_asked == 4


def test_a_text_that_fails_is_tried_again_and_then_next_time(tmp_path):
    clock = Clock()
    engine = MadeUpEngine(fails={"b"}, empty={"c|hi"})
    made = translator(engine, tmp_path, clock=clock).translate(["a", "b", "c"])
    assert made.found["a"] == "a|hi|en"
    assert made.found["b"] == Failure("TooManyRequests 429", "slow down")
    assert made.found["c"] == Failure("empty translation")
    assert [texts for _, texts in engine.asked[:5]] == [("a",), ("b",), ("b",), ("b",), ("c",)]
    assert clock.slept == [1, 2, 4], "the wait after the last failure comes before the next text"
    mended = MadeUpEngine()
    assert translator(mended, tmp_path).translate(["a", "b", "c"]).found["c"] == "c|hi|en"
    assert mended.asked == [("hi", ("b",)), ("en", ("b|hi",)), ("en", ("c|hi",))]


def test_a_service_that_comes_back_loses_nothing():
    clock = Clock()
    made = translator(MadeUpEngine(down=2), clock=clock).translate(["a"])
    assert made.found == {"a": "a|hi|en"}
    assert (made.num_requests, clock.slept) == (4, [1, 2])
    clock = Clock()
    translator(MadeUpEngine(down=1, wait_s=30), clock=clock).translate(["a"])
    assert clock.slept == [30], "as long as the service asked"


def test_a_service_that_is_down_is_given_up_and_what_was_got_stays(tmp_path):
    clock = Clock()
    texts = [f"t{number}" for number in range(9)]
    engine = MadeUpEngine(fails=set(texts[2:]))
    with pytest.raises(TranslationError, match=r"auto -> hi with made-up failed 3 times in a row.*TooManyRequests 429"):
        translator(engine, tmp_path, clock=clock, stop_after=3).translate(texts)
    assert engine.num_asked == 2 + 3 + 1 + 1, "only the first of those that fail in a row is tried again"
    assert clock.slept == [1, 2, 4, 8]
    after = MadeUpEngine()
    assert len(translator(after, tmp_path).translate(texts).found) == 9
    assert after.num_asked == 7 + 9


def test_empty_answers_in_a_row_are_a_service_that_is_down():
    texts = [f"t{number}" for number in range(5)]
    with pytest.raises(TranslationError, match="the last time: empty translation"):
        translator(MadeUpEngine(empty=set(texts)), stop_after=5).translate(texts)
    made = translator(MadeUpEngine(empty={"t0", "t1", "t3", "t4"}), stop_after=3).translate(texts)
    assert sum(isinstance(found, Failure) for found in made.found.values()) == 4


def test_texts_that_are_at_fault_themselves_stop_nothing():
    class Strict(MadeUpEngine):
        def translate(self, texts, hop):
            return [Failure("too long", of_text=True)] * len(texts)

    made = translator(Strict(), stop_after=1).translate(["a", "b"])
    assert set(made.found.values()) == {Failure("too long", of_text=True)}


def test_requests_keep_their_distance():
    clock = Clock()
    translator(MadeUpEngine(), clock=clock, per_second=4).translate(["a", "b", "c"])
    assert clock.slept == [0.25] * 5
    assert Pace(retries=9).wait_s(10) == 60
    assert Pace().wait_s(1, 10_000) == 600
    with pytest.raises(ValueError, match="retries -1"):
        Pace(retries=-1)


def test_batches_hold_texts_of_like_length_and_progress_is_told():
    engine = MadeUpEngine(batch_size=2)
    told = []
    found = translator(engine, chain=("hi",)).translate(
        ["dddd", "a", "ccc", "bb", "e"], lambda hop, done, total, note: told.append((str(hop), done, total, note))
    )
    assert [texts for _, texts in engine.asked] == [("a", "e"), ("bb", "ccc"), ("dddd",)]
    assert list(found.found) == ["dddd", "a", "ccc", "bb", "e"]
    assert told == [("auto -> hi", done, 5, "") for done in (2, 4, 5)]
    told.clear()
    translator(MadeUpEngine(fails={"a"}), chain=("hi",)).translate(
        ["a", "b"], lambda hop, done, total, note: told.append((done, note))
    )
    assert told == [
        (0, "waiting 1 s after an error"),
        (0, "waiting 2 s after an error"),
        (1, "1 failed"),
        (1, "waiting 4 s after an error"),
        (2, "1 failed"),
    ]


@pytest.mark.parametrize(
    ("chain", "source", "told"),
    [
        ((), "auto", "expected at least one"),
        (("hi", ""), "auto", "expected at least one"),
        (("hi", "hi"), "auto", "from 'hi' to itself"),
        (("en",), "en", "from 'en' to itself"),
        (("hi", "auto"), "en", "only the source"),
    ],
)
def test_chains_that_lead_nowhere_are_refused(chain, source, told):
    with pytest.raises(TranslationError, match=told):
        Translator(IdentityEngine(), chain, source)


def test_wrong_use_is_told():
    with pytest.raises(ValueError, match="stop_after is 0"):
        Translator(IdentityEngine(), stop_after=0)

    class Short(IdentityEngine):
        def translate(self, texts, hop):
            return []

    with pytest.raises(ValueError, match="0 answers to 1 texts"):
        Translator(Short()).translate(["a"])


def _translate_and_die(path):
    translator(MadeUpEngine(kills_at=5), path).translate(["a", "b", "c"])


def test_a_killed_call_goes_on_where_it_was(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=_translate_and_die, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    engine = MadeUpEngine()
    made = translator(engine, tmp_path).translate(["a", "b", "c"])
    assert made.found == {text: f"{text}|hi|en" for text in "abc"}
    assert engine.asked == [("en", ("c|hi",))], "five of six answers were kept"


TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(str.strip), max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=TEXTS, second=TEXTS, fails=st.sets(st.integers(0, 7)), size=st.integers(1, 3))
def test_a_cache_changes_what_is_asked_and_never_what_is_found(tmp_path_factory, first, second, fails, size):
    folder = tmp_path_factory.mktemp("cache")
    bad = {first[number].strip() for number in fails if number < len(first)}
    with_cache = translator(MadeUpEngine(fails=bad, batch_size=size), folder, stop_after=99, retries=0)
    found = with_cache.translate(first).found
    engine = MadeUpEngine(batch_size=size)
    again = translator(engine, folder).translate([*first, *second])
    plain = translator(MadeUpEngine()).translate([*first, *second])
    assert again.found == plain.found == {text: plain.found[text] for text in [*first, *second]}
    asked = [text for target, texts in engine.asked if target == "hi" for text in texts]
    assert len(asked) == len(set(asked))
    done = {text.strip() for text, answer in found.items() if isinstance(answer, str)}
    assert set(asked) == {text.strip() for text in [*first, *second]} - done
    assert all(isinstance(answer, str) or answer.reason == "TooManyRequests 429" for answer in found.values())
    with_cache.cache.close()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"])),
            st.text(st.characters(exclude_categories=["Cs"])),
            max_size=4,
        ),
        max_size=4,
    ),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
)
def test_the_cache_is_a_dictionary(tmp_path_factory, writes, others):
    path = tmp_path_factory.mktemp("cache") / "c.sqlite"
    expected = {}
    for values in writes:
        cache = translation_cache(path, notify=pytest.fail)
        cache.keep(values)
        expected |= values
        cache.close()
    cache = translation_cache(path, notify=pytest.fail)
    keys = [*expected, *others]
    assert cache.find(keys) == {key: expected[key] for key in keys if key in expected}
    cache.close()
    assert cache.find(keys) == {}


def test_many_keys_are_found_at_once(tmp_path):
    cache = translation_cache(tmp_path / "c.sqlite", notify=pytest.fail)
    cache.keep({str(number): str(-number) for number in range(1201)})
    assert cache.find(map(str, range(1300))) == {str(number): str(-number) for number in range(1201)}
    cache.close()


def test_without_a_cache_that_can_be_used_nothing_is_asked(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"translation cache .* can't be used"):
        translation_cache(tmp_path / "file" / "c.sqlite")
    cache = translation_cache(tmp_path / "c.sqlite")
    with sqlite3.connect(tmp_path / "c.sqlite") as other:
        other.execute("DROP TABLE translations")
    other.close()
    engine = MadeUpEngine()
    with pytest.raises(OutputError, match="no such table"):
        Translator(engine, cache=cache).translate(["a"])
    assert engine.num_asked == 0


def test_a_broken_cache_is_set_aside(tmp_path):
    (tmp_path / "c.sqlite").write_bytes(b"no database, though long enough to be taken for one" * 100)
    notes = []
    cache = translation_cache(tmp_path / "c.sqlite", notes.append)
    assert "set aside as c.sqlite.broken" in notes[0]
    cache.keep({"a": "b"})
    assert cache.find("a") == {"a": "b"}
    cache.close()


def test_a_blank_in_the_cache_is_no_translation(tmp_path):
    path = tmp_path / "translations.sqlite"
    translator(MadeUpEngine(), tmp_path, chain=("hi",)).translate(["a"])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE translations SET translation = ' '")
    connection.close()
    engine = MadeUpEngine()
    assert translator(engine, tmp_path, chain=("hi",)).translate(["a"]).found == {"a": "a|hi"}
    assert engine.num_asked == 1


def test_translations_are_made_fit_for_tables():
    assert clean("\ud83d a\x00b\r\nc\t\x7f ") == "� a b \nc"
    assert clean(" \x07 ") == ""


def manifest_of(folder, texts):
    found = make_manifest(folder, len(texts), images=False)
    return Manifest(found.table.assign(ocr_text=texts), found.label_tasks, found.root)


def test_memes_keep_their_raw_text_where_translation_fails(tmp_path):
    manifest = manifest_of(tmp_path, ["a", "b", " ", "a", "c"])
    made = translate_memes(manifest, translator(MadeUpEngine(fails={"b"}, empty={"c"})))
    assert made.manifest.texts == ["a|hi|en", "b", " ", "a|hi|en", "c"]
    assert made.raw_texts == ("a", "b", " ", "a", "c")
    assert made.statuses == ("translated", "failed", "blank", "translated", "failed")
    assert made.reasons == {"TooManyRequests 429": 1, "empty translation": 1}
    assert [problem.meme_id for problem in made.failed] == manifest.meme_ids[[1, 4]].tolist()
    assert (made.num_texts, made.num_cached) == (3, 0)
    assert manifest.texts == ["a", "b", " ", "a", "c"]
    assert translate_memes(manifest, Translator(IdentityEngine())).manifest.texts == manifest.texts


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_written_memes_are_read_translated_or_raw(tmp_path, suffix):
    manifest = manifest_of(tmp_path, ["an a", 'b, "b"\nb', "", "it's c"] * 3)
    out = tmp_path / f"out.{suffix}"
    listed = translate_memes(manifest, translator(MadeUpEngine(fails={"it's c"}))).write(out)
    assert listed == tmp_path / "out.failed.csv"
    assert listed.read_text("utf-8").count("TooManyRequests 429: slow down") == 3
    read = Manifest.read(out, notify=lambda line: None)
    assert read.texts == ["an a|hi|en", 'b, "b"\nb|hi|en', "", "it's c"] * 3
    assert {task.name for task in read.label_tasks} == {task.name for task in manifest.label_tasks}
    raw = Manifest.read(out, columns={"ocr_text": "raw_text"}, notify=lambda line: None)
    assert raw.texts == manifest.texts
    assert raw.meme_ids.tolist() == manifest.meme_ids.tolist()
    assert raw_columns(out, {}) == {"ocr_text": "raw_text"}
    assert raw_columns(out, {"ocr_text": "other"}) == {"ocr_text": "other"}
    assert translate_memes(raw, translator(MadeUpEngine())).write(out) is None
    assert not listed.exists()


def test_a_manifest_has_no_column_of_that_name(tmp_path):
    manifest_of(tmp_path, ["a", "b"]).write(tmp_path / "m.parquet")
    with pytest.raises(DataError, match="has no column raw_text"):
        Manifest.read(tmp_path / "m.parquet", columns={"ocr_text": "raw_text"})
    assert raw_columns(tmp_path / "m.parquet", {}) == {}
    assert raw_columns(tmp_path, {"image": "x"}) == {"image": "x"}


def test_memes_without_texts_are_refused(tmp_path):
    with pytest.raises(DataError, match="no texts to translate"):
        translate_memes(manifest_of(tmp_path, ["", " "]), translator(MadeUpEngine()))


def test_hops_are_the_steps_of_a_chain():
    hops = Translator(IdentityEngine(), ("hi", "fr", "en"), "de").hops
    assert hops == [Hop(0, "de", "hi"), Hop(1, "hi", "fr"), Hop(2, "fr", "en")]
    assert str(hops[1]) == "hi -> fr"


def test_a_cache_that_is_no_loss_is_done_without(tmp_path):
    notes = []
    (tmp_path / "file").write_text("")
    path = Path(tmp_path / "file" / "c.sqlite")
    cache = SqliteCache(path, "small cache", ("t", "k", "v"), without="all is well", notify=notes.append)
    cache.keep({"a": "b"})
    assert cache.find("a") == {}
    assert "The small cache" in notes[0]
    assert notes[0].endswith("all is well.")
