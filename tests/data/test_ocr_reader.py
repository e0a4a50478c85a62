"""Images to text with a made-up engine: cache, limits, manifests; then the real engines on a drawn picture."""

import io
import multiprocessing
import shutil
import sqlite3
import stat
import threading

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from memeblend.data.images import ImageLimits
from memeblend.data.loose import loose_memes
from memeblend.data.manifest import Manifest
from memeblend.data.ocr import OcrLine, OcrSettings, TextReader, available, find_engine
from memeblend.data.ocr.cache import OcrCache
from memeblend.data.ocr.engines import fit_for_reading
from memeblend.data.ocr.memes import read_memes
from memeblend.data.ocr.tesseract import TesseractEngine, parse_tsv, white_letters
from memeblend.errors import DataError, ImageError, MissingExtraError


class Colours:
    """An engine that reads the colour of the first pixel, and counts what it is asked."""

    name = "colours"

    def __init__(self, version="1"):
        self.version = version
        self.num_read = 0

    def lines(self, pixels):
        self.num_read += 1
        if tuple(pixels[0, 0]) == (0, 0, 0):
            raise ImageError("black can't be read")
        return [OcrLine("imgflip.com", 0.9, (0, 20, 5, 25)), OcrLine(str(pixels[0, 0].tolist()), 0.6, (0, 0, 5, 5))]


def reader(tmp_path=None, engine=None, notes=None, **settings):
    cache = None if tmp_path is None else OcrCache(tmp_path / "ocr.sqlite", (notes if notes is not None else []).append)
    return TextReader(engine or Colours(), OcrSettings(**settings), cache)


def pixels(colour=(1, 2, 3), size=(4, 6)):
    return np.full((*size, 3), colour, dtype=np.uint8)


def png(colour=(1, 2, 3), size=(4, 6)):
    stream = io.BytesIO()
    Image.fromarray(pixels(colour, size)).save(stream, "png")
    return stream.getvalue()


def test_pixels_and_files_are_read(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    ours = reader()
    for found in (
        ours.read(pixels()),
        ours.read_file(tmp_path / "a.png"),
        ours.read_file(str(tmp_path / "a.png")),
        ours.read_file(png()),
    ):
        assert found.text == "[1, 2, 3]"
        assert found.confidence == pytest.approx(0.6)
        assert found.lines[0].box == (0, 0, 5, 5)


def test_what_was_read_is_not_read_again_and_choices_are_made_afterwards(tmp_path):
    first = Colours()
    assert reader(tmp_path, first).read_file(png()).text == "[1, 2, 3]"
    again = Colours()
    assert reader(tmp_path, again).read_file(png()).text == "[1, 2, 3]"
    assert reader(tmp_path, again, drop_watermarks=False).read_file(png()).text == "[1, 2, 3] imgflip.com"
    assert reader(tmp_path, again, min_confidence=0.7).read_file(png()).text == ""
    assert (first.num_read, again.num_read) == (1, 0)


def test_other_content_engines_and_versions_are_read_anew(tmp_path):
    engine = Colours()
    ours = reader(tmp_path, engine)
    ours.read(pixels())
    ours.read(pixels((1, 2, 4)))
    ours.read(pixels(size=(6, 4)))  # the same bytes in another shape
    assert engine.num_read == 3
    newer = Colours("2")
    reader(tmp_path, newer).read(pixels())
    assert newer.num_read == 1


def test_many_images_come_in_order_and_errors_stand_in_their_places(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    found = list(
        reader().read_many([png(), tmp_path / "text.png", tmp_path / "absent.png", b"", png((0, 0, 0)), png((9, 9, 9))])
    )
    assert [one.text if not isinstance(one, ImageError) else None for one in found] == [
        "[1, 2, 3]",
        None,
        None,
        None,
        None,
        "[9, 9, 9]",
    ]


def test_failures_are_not_kept(tmp_path):
    engine = Colours()
    ours = reader(tmp_path, engine)
    for _ in range(2):
        with pytest.raises(ImageError, match="black"):
            ours.read_file(png((0, 0, 0)))
    assert engine.num_read == 2


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)], ids=str
)
def test_pixels_of_another_kind_are_refused(wrong):
    with pytest.raises(ValueError, match="expected uint8"):
        reader().read(wrong)


def test_images_beyond_the_limits_never_reach_the_engine(tmp_path):
    engine = Colours()
    ours = reader(engine=engine, image_limits=ImageLimits(max_bytes=2000, max_pixels=100))
    with pytest.raises(ImageError, match="120 pixels"):
        ours.read(pixels(size=(10, 12)))
    with pytest.raises(ImageError, match="120 pixels"):
        ours.read_file(png(size=(10, 12)))
    (tmp_path / "big").write_bytes(bytes(5000))
    with pytest.raises(ImageError, match="2,001 bytes"):
        ours.read_file(tmp_path / "big")
    with pytest.raises(ImageError, match="can't be read"):
        ours.read_file(tmp_path)
    assert engine.num_read == 0
    assert ours.read(np.zeros((0, 5, 3), np.uint8)).text == ""


def test_a_broken_cache_is_set_aside_and_made_anew(tmp_path):
    notes = []
    (tmp_path / "ocr.sqlite").write_bytes(b"this is no database, though long enough to be one" * 100)
    ours = reader(tmp_path, notes=notes)
    assert ours.read(pixels()).text == "[1, 2, 3]"
    assert len(notes) == 1
    assert "set aside as ocr.sqlite.broken and made anew" in notes[0]
    assert (tmp_path / "ocr.sqlite.broken").is_file()
    engine = Colours()
    reader(tmp_path, engine).read(pixels())
    assert engine.num_read == 0


def test_a_cache_that_breaks_in_the_middle_is_made_anew(tmp_path):
    notes = []
    cache = OcrCache(tmp_path / "ocr.sqlite", notes.append)
    cache.put("a", [])
    cache._connection.execute("DROP TABLE readings")  # what OperationalError stands for: no such table
    assert cache.get("a") is None
    assert "read without it" in notes[0]
    cache.put("a", [])  # nothing happens
    assert cache.get("a") is None
    cache.close()


def test_rows_of_something_else_are_read_anew(tmp_path):
    cache = OcrCache(tmp_path / "ocr.sqlite", lambda note: None)
    for text in ("nonsense", "5", '[["a"]]', '["abc"]', "[null]", '{"a": 1}'):
        cache._connection.execute("INSERT OR REPLACE INTO readings VALUES ('k', ?)", (text,))
        cache._connection.commit()
        assert cache.get("k") is None
    cache.put("k", [OcrLine("a", 0.5, (0, 0, 1, 1))])
    assert cache.get("k") == [OcrLine("a", 0.5, (0, 0, 1, 1))]
    cache.close()


def test_reading_goes_on_where_no_cache_can_be_had(tmp_path):
    notes = []
    (tmp_path / "file").write_text("")
    ours = TextReader(Colours(), OcrSettings(), OcrCache(tmp_path / "file" / "ocr.sqlite", notes.append))
    assert ours.read(pixels()).text == "[1, 2, 3]"
    assert "texts are read without it" in notes[0]
    notes = []
    (tmp_path / "folder.sqlite").mkdir()
    assert OcrCache(tmp_path / "folder.sqlite", notes.append).get("a") is None
    assert notes


def _write_many(path, who):
    cache = OcrCache(path, print)
    for number in range(50):
        cache.put(f"{who}-{number}", [OcrLine(f"{who}", 1.0, (0, 0, 1, 1))])
    cache.close()


def test_threads_and_processes_share_a_cache(tmp_path):
    path = tmp_path / "ocr.sqlite"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_many, args=(path, who)) for who in ("a", "b")]
    for process in processes:
        process.start()
    notes = []
    cache = OcrCache(path, notes.append)
    threads = [threading.Thread(target=lambda: [cache.put(f"t-{n}", []) for n in range(50)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for worker in (*threads, *processes):
        worker.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert notes == []
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT COUNT(*) FROM readings").fetchone() == (150,)
    connection.close()
    cache.close()


def test_engines_are_found_by_name(monkeypatch):
    monkeypatch.setattr("memeblend.data.ocr.engines.available", lambda name: name == "tesseract")
    assert find_engine() == "tesseract"
    assert find_engine("tesseract") == "tesseract"
    assert find_engine("none") is None
    with pytest.raises(MissingExtraError, match=r"memeblend\[ocr\]"):
        find_engine("rapidocr")
    monkeypatch.setattr("memeblend.data.ocr.engines.available", lambda name: False)
    assert find_engine() is None
    with pytest.raises(MissingExtraError, match="No OCR engine"):
        TextReader.make()
    with pytest.raises(MissingExtraError, match="apt install tesseract-ocr"):
        find_engine("tesseract")


def test_an_unknown_engine_is_refused():
    for ask in (available, find_engine, TextReader.make):
        with pytest.raises(DataError, match="no OCR engine 'abc'"):
            ask("abc")


def test_a_library_that_does_not_load_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rapidocr", None)
    monkeypatch.setattr("memeblend.data.ocr.engines.available", lambda name: True)
    with pytest.raises(MissingExtraError, match="can't be used"):
        TextReader.make("rapidocr")


@pytest.mark.parametrize(
    ("size", "expected", "scale"),
    [
        ((800, 900), (800, 900), 1.0),
        ((3000, 2000), (3000, 2000), 1.0),
        ((368, 400), (736, 800), 2.0),
        ((300, 600), (480, 960), 1.6),
        ((3, 2400), (100, 2400), 1.0),
        ((1, 1), (736, 736), 736.0),
    ],
)
def test_images_are_fitted_for_reading(size, expected, scale):
    found, by = fit_for_reading(pixels(size=size))
    assert (found.shape, by) == ((*expected, 3), scale)


def test_memes_without_text_are_read_once_an_image(tmp_path):
    for name, colour in (("a.png", (1, 1, 1)), ("b.png", (0, 0, 0)), ("c.png", (3, 3, 3))):
        (tmp_path / name).write_bytes(png(colour))
    rows = "id,image,text,mood\n1,a.png,,up\n2,a.png, ,down\n3,b.png,,up\n4,c.png,has one,down\n"
    (tmp_path / "memes.csv").write_text(rows)
    manifest = Manifest.read(tmp_path / "memes.csv", notify=lambda note: None)
    engine, told = Colours(), []
    found = read_memes(manifest, reader(engine=engine), progress=lambda *counts: told.append(counts))
    assert found.manifest.texts == ["[1, 1, 1]", "[1, 1, 1]", "", "has one"]
    assert found.manifest.labels("mood").tolist() == manifest.labels("mood").tolist()
    assert [text is not None for text in found.texts] == [True, True, False, False]
    assert [(problem.meme_id, problem.what) for problem in found.unreadable] == [
        (manifest.meme_ids[2], "black can't be read")
    ]
    assert (engine.num_read, told) == (2, [(1, 2), (2, 2)])
    again = read_memes(manifest, reader(), again=True)
    assert again.manifest.texts[3] == "[3, 3, 3]"


def test_memes_without_images_are_refused():
    with pytest.raises(DataError, match="no images"):
        read_memes(loose_memes([], ["a text"]), reader())


TSV = """level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext
1\t1\t0\t0\t0\t0\t0\t0\t600\t400\t-1\t
4\t1\t1\t1\t1\t0\t10\t20\t100\t30\t-1\t
5\t1\t1\t1\t1\t1\t10\t20\t40\t30\t90\tSO
5\t1\t1\t1\t1\t2\t60\t22\t50\t26\t60.5\ttrue\t!
5\t1\t2\t1\t1\t1\t10\t300\t80\t40\t-1\t \u0020
5\t1\t3\t1\t1\t1\t10\t300\t80\t40\t130\tx
5\t1\t3\t1\t2\t1\tnot\ta\tnumber\t40\t50\ty
half a row\t5
"""


def test_tesseract_answers_become_lines():
    first, second = parse_tsv(TSV, scale=2.0)
    assert first.text == "SO true\t!"
    assert first.box == (5, 10, 55, 25)
    assert first.confidence == pytest.approx((2 * 0.9 + 6 * 0.605) / 8)
    assert (second.text, second.confidence, second.box) == ("x", 1.0, (5, 150, 45, 170))
    assert parse_tsv("") == []


def test_white_letters_turn_black_on_white():
    image = np.full((10, 10, 3), 100, np.uint8)
    image[2:4, 2:8] = 240
    found = white_letters(image)
    assert found is not None
    assert (found == 0).all(axis=2).sum() == 12
    assert set(np.unique(found)) == {0, 255}
    assert white_letters(np.full((10, 10, 3), 100, np.uint8)) is None
    assert white_letters(np.full((10, 10, 3), 255, np.uint8)) is None


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Puts a made-up tesseract first on the path."""

    def make(answer, languages="eng\nhin\nosd"):
        path = tmp_path / "bin" / "tesseract"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            "#!/bin/sh\ncase $1 in\n--version) echo 'tesseract 9.8.7' ;;\n"
            f"--list-langs) printf 'List of languages:\\n{languages}\\n' ;;\n*) {answer} ;;\nesac\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")

    return make


ROW = r"5\t1\t1\t1\t1\t1\t0\t0\t736\t73\t80\t"


def test_tesseract_is_run_with_the_languages_that_it_has(program):
    program(f'cat > /dev/null; printf "{ROW}%s" "$4"')
    ours = TextReader.make("tesseract")
    assert isinstance(ours.engine, TesseractEngine)
    assert ours.engine.version == "9.8.7 eng+hin"
    found = ours.read(pixels((100, 0, 0), (10, 10)))
    assert (found.text, found.confidence) == ("eng+hin", 0.8)
    assert found.lines[0].box == pytest.approx((0, 0, 10, 73 / 73.6))
    notes = []
    program(f'cat > /dev/null; printf "{ROW}%s" "$4"', languages="eng")
    assert TextReader.make("tesseract", notify=notes.append).read(pixels()).text == "eng"
    assert notes == ["tesseract reads without hin, not installed (on Debian: apt install tesseract-ocr-hin)."]
    program("true", languages="deu")
    with pytest.raises(DataError, match="none of the languages eng, hin"):
        TextReader.make("tesseract")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("cat > /dev/null; echo 'out of ink' >&2; exit 3", r"failed on the image \(exit 3\): out of ink"),
        ("exit 1", r"exit 1"),
        ("kill -SEGV $$", "exit -11"),
        ("exec sleep 20", "did not read the image within 0.3 s"),
    ],
)
def test_tesseract_that_fails_is_an_error_of_that_image(program, answer, told):
    program(answer)
    with pytest.raises(ImageError, match=told):
        TextReader.make("tesseract", OcrSettings(time_limit_s=0.3)).read(pixels())


def test_tesseract_that_says_anything_at_all_is_survived(program):
    program(r'cat > /dev/null; printf "\377\376\000nonsense\n5\t\t\t\t\t\t\t\t\t\t\t\n"')
    assert TextReader.make("tesseract").read(pixels()).text == ""


def test_tesseract_that_does_not_run_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "tesseract"
    path.write_bytes(b"\x7fELF nothing")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="does not run"):
        TextReader.make("tesseract")


def drawn(*lines):
    """White letters with a black outline on green, as memes have them."""
    image = Image.new("RGB", (600, 500), (60, 120, 60))
    brush = ImageDraw.Draw(image)
    for text, top, size in lines:
        brush.text((300, top), text, "white", ImageFont.load_default(size), "ma", stroke_width=2, stroke_fill="black")
    return np.asarray(image)


@pytest.mark.slow
@pytest.mark.skipif(not available("rapidocr"), reason="the extra ocr is not installed")
def test_rapidocr_reads_a_meme():
    ours = TextReader.make("rapidocr")
    meme = drawn(("WHEN THE BUS IS LATE", 10, 44), ("AND IT RAINS", 420, 44), ("imgflip.com", 475, 18))
    found = ours.read(meme)
    assert found.text == "WHEN THE BUS IS LATE AND IT RAINS"
    assert found.confidence > 0.8
    top, bottom = found.lines
    assert top.box[0] > 20
    assert top.box[3] < 80
    assert bottom.box[1] > 400
    assert ours.read(pixels()).text == ""


@pytest.mark.slow
@pytest.mark.skipif(not available("rapidocr"), reason="the extra ocr is not installed")
@pytest.mark.parametrize("size", [(1, 1), (3, 3000), (3000, 3), (40, 60)])
def test_rapidocr_survives_odd_shapes(size):
    assert TextReader.make("rapidocr").read(pixels(size=size)).text == ""


@pytest.mark.slow
@pytest.mark.skipif(not available("rapidocr"), reason="the extra ocr is not installed")
def test_rapidocr_may_be_used_from_several_threads():
    ours = TextReader.make("rapidocr")
    found = {}
    words = ("MONDAY", "TUESDAY", "FRIDAY")

    def read(word):
        found[word] = ours.read(drawn((word, 200, 60))).text

    threads = [threading.Thread(target=read, args=(word,)) for word in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {word: word for word in words}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")
def test_tesseract_reads_a_page_and_a_meme():
    ours = TextReader.make("tesseract")
    page = Image.new("RGB", (600, 200), "white")
    ImageDraw.Draw(page).text((20, 40), "When the bus is late", "black", ImageFont.load_default(40))
    assert ours.read(np.asarray(page)).text == "When the bus is late"
    assert "LATE" in ours.read(drawn(("WHEN THE BUS IS LATE", 10, 44))).text
    assert ours.read(pixels()).text == ""
