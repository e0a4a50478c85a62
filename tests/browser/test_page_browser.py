"""What a person does on the page, done in a browser."""

import csv
import io
import json
import tomllib
import zipfile

import pytest
from PIL import Image
from serving_helpers import half_a_jpeg, png_that_announces

from memeblend import Manifest

pytestmark = pytest.mark.browser

TEXTS = ("a lovely thing", "an awful day", 'so "happy", truly', "two\nlines", "\u202eabc שלום \u200b", "<b>bold</b>")


def batch_of(fitted, *, compression=zipfile.ZIP_DEFLATED, extra=()):
    """A zip of six memes with their table, in a folder as archivers make it."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(("id", "image", "text"))
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", compression) as archive:
        for number, text in enumerate(TEXTS):
            writer.writerow((f"m{number}", f"{number}.png", text))
            archive.writestr(f"pictures/{number}.png", fitted.image(number))
        archive.writestr("pictures/memes.csv", table.getvalue())
        for name, data in extra:
            archive.writestr(name, data)
    return whole.getvalue()


def opened(page, address, tab="meme"):
    page.goto(f"{address}/#{tab}")
    page.wait_for_selector("html[data-ready]")
    return page


def give(page, field, name, data):
    page.set_input_files(field, {"name": name, "mimeType": "application/octet-stream", "buffer": data})


def judged(page, address, data, name="memes.zip"):
    opened(page, address, "batch")
    give(page, "#batch-file", name, data)
    page.wait_for_selector("#batch-start:enabled")
    page.click("#batch-start")
    page.wait_for_selector("#batch-progress-text:text-matches('; ')")
    return page


def refused(page):
    """The server refused something, as it should; the browser itself writes that to its console."""
    assert page.faults
    assert all(fault.startswith("said Failed to load resource") for fault in page.faults), page.faults
    page.faults.clear()


def column(page, place):
    return [cell.inner_text() for cell in page.query_selector_all(f"#batch-table tbody td:nth-child({place})")]


def test_a_meme_is_given_its_text_edited_and_answered_with_reasons(page, address, fitted):
    opened(page, address)
    give(page, "#meme-file", "0.png", fitted.image(0))
    page.wait_for_selector("#meme-canvas:visible")
    page.fill("#meme-text", "a lovely thing\u200b")
    assert "1 invisible character" in page.inner_text("#text-note")
    page.fill("#meme-text", "a lovely thing")
    page.click("#ask")
    page.wait_for_selector("[data-task=mood]")
    assert page.inner_text("#verdict").startswith("Verdict: ")
    assert "Calibrated: " in page.inner_text("[data-task=mood]")
    before = page.evaluate("document.querySelector('#meme-canvas').toDataURL()")
    page.click("#explain")
    page.wait_for_selector("#explanation")
    told = page.inner_text("#why")
    for part in (
        "Text alone",
        "Image alone",
        "Both together",
        "Without the text",
        "votes",
        "Remembered by knn-0",
        "Irony",
    ):
        assert part in told, part
    assert page.locator("#word-heat .words span").all_inner_texts() == ["a", "lovely", "thing"]
    assert page.evaluate("document.querySelector('#meme-canvas').toDataURL()") != before
    page.fill("#meme-text", "an awful thing")
    assert page.locator("#meme-answer > *").count() == 0
    page.press("#meme-text", "Control+Enter")
    page.wait_for_selector("[data-task=mood]")


def test_a_sample_is_one_click(page, address):
    opened(page, address)
    page.click("#samples button >> nth=1")
    page.wait_for_selector("[data-task=mood]")
    assert page.input_value("#meme-text")


def with_state(page, **change):
    """Lets the page believe that the server can do something else than it does."""

    def change_it(route):
        route.fulfill(response=(answer := route.fetch()), json=answer.json() | change)

    page.route("**/ui/state", change_it)


def test_text_that_the_server_reads_is_filled_in_but_overwrites_nothing(page, address, fitted):
    with_state(page, ocr=True)
    lines = [{"text": "a lovely", "confidence": 0.99}, {"text": "thinq", "confidence": 0.4}]
    held = []
    page.route("**/ui/read-text", lambda route: held.append(route))  # noqa: PLW0108
    opened(page, address)
    for typed in ("", "typed meanwhile"):
        give(page, "#meme-file", "0.png", fitted.image(0))
        page.wait_for_selector("#meme-status:has-text('Reading')")
        page.fill("#meme-text", typed)
        page.wait_for_timeout(200)
        held.pop().fulfill(json={"text": "a lovely thinq", "lines": lines})
        if not typed:
            page.wait_for_selector("#meme-status:has-text('2 lines of text read, 1 with doubts')")
        page.wait_for_timeout(200)
        assert page.input_value("#meme-text") == (typed or "a lovely thinq")


def test_who_asks_before_the_text_is_read_waits_for_it(page, address, fitted):
    with_state(page, ocr=True)
    held, asked = [], []
    page.route("**/ui/read-text", lambda route: held.append(route))  # noqa: PLW0108
    page.on("request", lambda one: asked.append(one.post_data_json) if "/v1/predict" in one.url else None)
    opened(page, address)
    give(page, "#meme-file", "0.png", fitted.image(0))
    page.wait_for_selector("#meme-status:has-text('Reading')")
    page.click("#ask")
    page.wait_for_timeout(300)
    assert not asked
    held.pop().fulfill(json={"text": "a lovely thing", "lines": [{"text": "a lovely thing", "confidence": 0.99}]})
    page.wait_for_selector("#label-tasks")
    assert [one["memes"][0]["text"] for one in asked] == ["a lovely thing"]


def test_an_engine_that_cannot_explain_offers_no_explanation(page, address, fitted):
    with_state(page, explain=False, gradients=False)
    opened(page, address)
    give(page, "#meme-file", "0.png", fitted.image(0))
    page.click("#ask")
    page.wait_for_selector("#why")
    assert "no explanation" in page.inner_text("#why")
    assert page.locator("#why button").count() == 0


@pytest.mark.parametrize(
    ("data", "part"),
    [(b"no image", "not an image"), (half_a_jpeg(), "truncated"), (png_that_announces(20_000, 10_000), "pixels")],
    ids=["text", "half", "bomb"],
)
def test_what_is_no_image_is_a_sentence(page, address, data, part):
    opened(page, address)
    give(page, "#meme-file", "x.png", data)
    page.click("#ask")
    page.wait_for_selector("#meme-status.bad")
    assert part in page.inner_text("#meme-status")
    refused(page)


def test_too_much_text_is_a_sentence(page, address, fitted):
    opened(page, address)
    give(page, "#meme-file", "0.png", fitted.image(0))
    page.fill("#meme-text", "x" * 20_001)
    assert "20,001 characters" in page.inner_text("#text-note")
    page.click("#ask")
    page.wait_for_selector("#meme-status.bad")
    assert "20,001 characters" in page.inner_text("#meme-status")
    refused(page)
    page.fill("#meme-text", "as before")
    page.evaluate(
        """number => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text", "x".repeat(number));
            const event = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
            document.querySelector("#meme-text").dispatchEvent(event);
        }""",
        10_000_000,
    )
    assert "10,000,000 characters" in page.inner_text("#text-note")
    assert page.input_value("#meme-text") == "as before"
    judged(page, address, b"text\n" + b"x" * 10_000_000 + b"\nhello\n", "memes.csv")
    assert "10,000,000 characters" in column(page, 3)[0]
    refused(page)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_a_zip_is_judged_sorted_and_taken_away(page, address, fitted, compression):
    judged(page, address, batch_of(fitted, compression=compression, extra=[("readme.md", b"x")]))
    assert "6 of 6 memes; done" in page.inner_text("#batch-progress-text")
    assert "1 file of other kinds" in page.inner_text("#batch-notes")
    assert column(page, 2) == [f"m{number}" for number in range(6)]
    assert [text.split() for text in column(page, 3)] == [text.split() for text in TEXTS]
    assert page.locator("#batch-table b").count() == 0
    page.wait_for_selector("#batch-table img[src^='blob:']")
    page.click("th[data-column=mood] button")
    assert page.get_attribute("th[data-column=mood]", "aria-sort") == "descending"
    page.click("th[data-column=meme] button")
    page.click("th[data-column=meme] button")
    assert column(page, 2) == [f"m{number}" for number in reversed(range(6))]
    with page.expect_download() as download:
        page.click("#batch-download")
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8"), newline="")))
    assert [row["text"] for row in rows] == list(TEXTS)
    for row in rows:
        assert float(row["mood_p_bad"]) + float(row["mood_p_good"]) == pytest.approx(1, abs=1e-5)
        assert row["verdict"] in ("pass", "review", "auto")


def test_one_bad_meme_spoils_no_other(page, address, fitted):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a.png", fitted.image(0))
        made.writestr("b.png", b"no image")
        made.writestr("c.png", fitted.image(1))
    judged(page, address, archive.getvalue())
    assert "1 meme could not be judged" in page.inner_text("#batch-progress-text")
    assert "not an image" in column(page, 3)[1]
    assert page.locator("#batch-table td.answer small").count() >= 2
    refused(page)


def test_a_table_without_images_says_so_row_by_row(page, address):
    judged(page, address, b"id,text\na,hello\n", "memes.csv")
    assert "is missing" in column(page, 3)[0]
    refused(page)


def bomb():
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(2**26))
    return whole.getvalue()


def liar(fitted):
    """An archive whose entry is larger than it says."""
    data = bytearray(batch_of(fitted))
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = (10).to_bytes(4, "little")
    return bytes(data)


def many():
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for number in range(20_001):
            archive.writestr(str(number), b"")
    return whole.getvalue()


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda fitted: b"", "not a whole zip"),
        (lambda fitted: b"PK\x05\x06" + bytes(3), "not a whole zip"),
        (lambda fitted: batch_of(fitted)[:-400], "not a whole zip"),
        (lambda fitted: bomb(), "200 times its size"),
        (lambda fitted: many(), "20,001 entries"),
    ],
    ids=["empty", "end", "half", "bomb", "many"],
)
def test_bad_archives_are_sentences(page, address, fitted, make, part):
    opened(page, address, "batch")
    give(page, "#batch-file", "memes.zip", make(fitted))
    page.wait_for_selector("#batch-notes:visible")
    assert part in page.inner_text("#batch-notes")


def test_an_entry_that_lies_about_its_size_is_told_in_its_row(page, address, fitted):
    judged(page, address, liar(fitted))
    assert "1 meme could not be judged" in page.inner_text("#batch-progress-text")
    assert "more than it says" in " ".join(column(page, 3))


def test_a_batch_can_be_cancelled_and_go_on(page, address, fitted):
    opened(page, address, "batch")
    give(page, "#batch-file", "memes.zip", batch_of(fitted))
    waiting = []
    page.route("**/v1/predict", lambda route: waiting.append(route))  # noqa: PLW0108 (Playwright wraps no built-in)
    page.click("#batch-start")
    page.wait_for_timeout(300)
    page.click("#batch-cancel")
    page.wait_for_selector("#batch-progress-text:has-text('cancelled')")
    page.unroute("**/v1/predict")
    page.click("#batch-start")
    page.wait_for_selector("#batch-progress-text:has-text('6 of 6 memes; done')")


def test_a_busy_server_is_waited_for(page, address, fitted):
    refusals = [(429, "1"), (503, "1"), (504, "1")]

    def busy(route):
        if not refusals:
            route.continue_()
            return
        status, after = refusals.pop(0)
        body = json.dumps({"error": {"message": "Busy.", "problems": []}})
        route.fulfill(status=status, headers={"retry-after": after}, body=body, content_type="application/json")

    page.route("**/v1/predict", busy)
    judged(page, address, batch_of(fitted))
    page.wait_for_selector("#batch-progress-text:has-text('6 of 6 memes; done')")
    assert not refusals
    refused(page)


def test_labels_by_keyboard_are_kept_on_the_server_and_downloaded(page, address, fitted, review_folder, tmp_path):
    (review_folder / "memes.csv").unlink(missing_ok=True)  # of another size of screen
    judged(page, address, batch_of(fitted))
    page.click("#tab-review")
    page.wait_for_selector(".classes")
    page.select_option("#review select >> nth=1", "table")
    page.locator("#review-text").click()
    for key in ("2", "1", "2", "u", "1", "ArrowRight", "2", "s", "ArrowLeft"):
        page.keyboard.press(key)
        page.wait_for_timeout(50)
    page.wait_for_selector("#review-line:has-text('Saved')")
    assert "4 of 6 memes labelled" in page.inner_text("#review-count")
    with page.expect_download() as download:
        page.click("#review-download")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "unpacked")
    expected = {"m0": "good", "m1": "bad", "m2": "bad", "m4": "good"}
    for folder in (tmp_path / "unpacked", review_folder):
        manifest = Manifest.read(folder)
        assert [(task.name, task.classes) for task in manifest.label_tasks] == [("mood", ("bad", "good"))]
        moods = {}
        for _, row in manifest.table.iterrows():
            name = row["meme_id"].rpartition("/")[2].partition("~")[0]
            moods[name] = row["mood"]
            assert row["ocr_text"] == TEXTS[int(name[1:])]
            with (
                Image.open(folder / row["image"]) as image,
                Image.open(io.BytesIO(fitted.image(int(name[1:])))) as sent,
            ):
                assert image.tobytes() == sent.tobytes()
        assert moods == expected
    page.reload()
    judged(page, address, batch_of(fitted))
    page.click("#tab-review")
    page.wait_for_selector("#review-count:has-text('4 of 6')")


def test_a_label_that_was_not_kept_is_told_and_sent_again_with_the_next(page, address, fitted, review_folder):
    (review_folder / "memes.csv").unlink(missing_ok=True)
    judged(page, address, batch_of(fitted))
    page.click("#tab-review")
    page.wait_for_selector(".classes")
    page.select_option("#review select >> nth=1", "table")
    failing = [503]

    def sometimes(route):
        if route.request.method == "POST" and failing:
            body = json.dumps({"error": {"message": "No room.", "problems": []}})
            route.fulfill(status=failing.pop(), body=body, content_type="application/json")
        else:
            route.continue_()

    page.route("**/ui/review", sometimes)
    page.locator("#review-text").click()
    page.keyboard.press("1")
    page.wait_for_selector("#review-line:has-text('1 meme not saved')")
    assert "No room." in page.inner_text("#review-line")
    assert not (review_folder / "memes.csv").exists()
    page.click("#review summary:has-text('What the model says')")
    page.locator("#review-text").click()
    page.keyboard.press("2")
    page.wait_for_selector("#review-line:has-text('Saved on the server.')")
    with (review_folder / "memes.csv").open(newline="", encoding="utf-8") as stream:
        assert [row["mood"] for row in csv.DictReader(stream)] == ["bad", "good"]
    assert not page.is_visible("#review .bars")  # closed once, closed for the memes after it
    refused(page)


def test_memes_that_the_server_has_to_read_come_a_few_at_a_time(page, address, fitted):
    with_state(page, ocr=True)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        for number in range(6):
            made.writestr(f"{number}.png", fitted.image(number))
    sizes = []
    page.on("request", lambda one: sizes.append(len(one.post_data_json["memes"])) if "/v1/predict" in one.url else None)
    judged(page, address, archive.getvalue())
    page.wait_for_selector("#batch-progress-text:has-text('6 of 6 memes; done')")
    assert sizes == [4, 2]


def test_a_policy_is_tuned_with_sliders_and_costs_and_written(page, address, policy_file):
    opened(page, address, "thresholds")
    page.wait_for_selector("[data-category=mood] .facts div")
    assert "The server follows this policy" in page.inner_text("#policy-state")
    page.fill("#miss-mood", "9")
    page.wait_for_selector("[data-category=mood] output:has-text('2 %')")
    page.wait_for_selector("#policy-state:has-text('not applied')")
    page.locator("#high-mood").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.wait_for_selector("[data-category=mood]:has-text('set by hand')")
    for part in ("Queue for review", "Precision, acted on", "Recall with review", "Cost a meme"):
        assert part in page.inner_text("[data-category=mood]")
    page.click("#policy-apply")
    page.wait_for_selector("#policy-line:has-text('written')")
    assert page.inner_text("#policy-state") == "The server follows this policy."
    written = tomllib.loads(policy_file.read_text())
    assert written["categories"]["mood"]["cost"]["miss"] == 9
    low, high = written["categories"]["mood"]["band"]
    assert 0 <= low <= high <= 1
    with page.expect_download() as download:
        page.click("#policy-download")
    assert tomllib.loads(download.value.path().read_text())["categories"]["mood"] == written["categories"]["mood"]
    page.fill("#miss-mood", "-1")
    page.wait_for_selector("#policy-line.bad")


def test_with_a_key_the_page_asks_for_it_once(page, bare_address):
    page.goto(bare_address)
    page.wait_for_selector("#key-dialog[open]")
    page.fill("#key-input", "wrong")
    page.press("#key-input", "Enter")
    page.wait_for_selector("#key-title:has-text('not the server')")
    page.fill("#key-input", "secret")
    page.press("#key-input", "Enter")
    page.wait_for_selector("html[data-ready]")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert not page.is_visible("#key-dialog")
    assert "secret" not in page.content()
    refused(page)


def test_labels_without_a_folder_are_not_lost_without_a_word(page, bare_address, fitted):
    page.add_init_script("sessionStorage.setItem('memeblend-key', 'secret')")
    judged(page, bare_address, batch_of(fitted))
    page.click("#tab-review")
    assert "download them before you leave" in page.inner_text("#review")
    page.click(".classes button >> nth=0")
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.reload()
    assert asked == ["beforeunload"]


def test_tabs_go_by_arrow_keys_and_nothing_is_wider_than_the_page(page, address, size):
    opened(page, address)
    page.focus("#tab-meme")
    for name in ("batch", "review", "thresholds", "meme"):
        page.keyboard.press("ArrowRight")
        assert page.get_attribute(f"#tab-{name}", "aria-selected") == "true"
        assert page.is_visible(f"#panel-{name}")
        assert page.url.endswith(f"#{name}")
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_every_control_has_a_name(page, address, fitted):
    judged(page, address, batch_of(fitted))
    for tab in ("meme", "batch", "review", "thresholds"):
        page.click(f"#tab-{tab}")
        page.wait_for_timeout(300)
        unnamed = page.evaluate(
            """[...document.querySelectorAll("main button, main input, main select, main textarea")]
            .filter((one) => one.checkVisibility() && !one.labels?.length && !one.ariaLabel && !one.textContent.trim())
            .map((one) => one.outerHTML)"""
        )
        assert unnamed == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page, address, scheme):
    """WCAG 2.2, 1.4.3: a contrast of 4.5 or more between the colours that text and grounds have here."""
    page.emulate_media(color_scheme=scheme)
    opened(page, address)
    pairs = [(text, ground) for text in ("ink", "quiet", "accent") for ground in ("ground", "card")]
    pairs += [(name, f"{name}-ground") for name in ("good", "warn", "bad")] + [
        ("on-accent", "accent"),
        ("ink", "chosen"),
    ]
    names = sorted({name for pair in pairs for name in pair})
    colours = page.evaluate(
        "names => Object.fromEntries(names.map((name) => [name, getComputedStyle(document.documentElement)"
        ".getPropertyValue('--' + name).trim()]))",
        names,
    )
    for text, ground in pairs:
        light, dark = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


def luminance(colour):
    """Relative luminance of #rrggbb, as WCAG defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
