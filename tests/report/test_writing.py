"""The written files: complete, self-contained, and deaf to what strangers wrote."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from report_results import HOSTILE, results

from memeblend.errors import OutputError
from memeblend.labels import SENTIMENT, LabelTask
from memeblend.report import ReportInput, build_report, pictures, write_report, wrong_meme_ids


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 3), "red").save(stream, "PNG")
    return stream.getvalue()


class Page(HTMLParser):
    """Collects the tags and the visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def report(given: ReportInput) -> dict[str, Any]:
    return build_report(given)


@pytest.fixture(scope="module")
def folder(report: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(report, {meme_id: png() for meme_id in wrong_meme_ids(report)[1:]}, folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_three_files_are_written(folder: Path, report: dict[str, Any]) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json", "report.md"]
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == report


def test_page_is_well_formed_and_self_contained(page: Page) -> None:
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base", "video", "audio"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            if name in attributes:
                assert re.match(r"data:image/(png|svg\+xml);base64,|#", attributes[name] or "")
    policies = [attributes for tag, attributes in page.tags if attributes.get("http-equiv")]
    assert policies[0]["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_page_shows_hostile_text_as_text(folder: Path, page: Page) -> None:
    raw = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in raw
    assert "<script>alert('x')</script>" in page.text


def test_page_has_pictures_thumbnails_and_alternatives(page: Page) -> None:
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    kinds = [(attributes["src"] or "").partition(";")[0] for attributes in images]
    # An overview, the curves, and three pictures for each of the three trained label tasks.
    assert kinds.count("data:image/svg+xml") == 2 + 3 * 3
    assert kinds.count("data:image/png") == 11
    assert all("alt" in attributes for attributes in images)
    assert page.text.count("no image") == 1


def test_page_says_what_counts(page: Page, report: dict[str, Any]) -> None:
    text = page.text
    assert "These memes are synthetic." in text
    for entry in report["label_tasks"].values():
        ensemble = entry["ensemble"]
        low, high = ensemble["interval"]
        assert f"{ensemble['weighted_f1']:.3f} [{low:.3f}, {high:.3f}]" in text
        assert f"{ensemble['baselines']['chance']:.3f}" in text
    assert "selected on dev" in text
    assert "reported on test" in text
    for meme in report["wrong_memes"]:
        assert meme["meme_id"] in text


def test_markdown_escapes_strangers_words_and_keeps_its_tables(folder: Path, report: dict[str, Any]) -> None:
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "<script" not in text.replace("\\<script", "")
    assert "](javascript" not in text
    tables = re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE)
    num_trained = sum(entry["derived_from"] is None for entry in report["label_tasks"].values())
    assert len(tables) == 3 + 2 * len(report["label_tasks"]) + num_trained  # and the ways to decide
    for table in tables:
        rows = [re.sub(r"\\.", "", row) for row in table.splitlines()]
        assert len({row.count("|") for row in rows}) == 1, table
        assert set(rows[1]) == {"|", "-"}
    for one in report["summary"]:
        assert f"{report['label_tasks'][one['label_task']]['ensemble']['weighted_f1']:.3f}" in text


def test_same_report_same_bytes(folder: Path, report: dict[str, Any], tmp_path: Path) -> None:
    write_report(report, {meme_id: png() for meme_id in wrong_meme_ids(report)[1:]}, tmp_path)
    for name in ("report.json", "report.md", "report.html"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_one_label_task_without_curves_notes_or_thumbnails(tmp_path: Path) -> None:
    arguments = results(60, tasks=(LabelTask("hateful", "binary", ("no", "yes")),))
    arguments |= {"curves": {}, "notes": (), "seconds": {}, "synthetic": False, "texts": {}}
    report = build_report(ReportInput(**arguments))
    assert report["means"]["ensemble"] == {}
    write_report(report, {}, tmp_path / "new" / "folder")
    page = Page((tmp_path / "new" / "folder" / "report.html").read_text(encoding="utf-8"))
    assert "synthetic" not in page.text
    assert "Memotion" not in page.text
    assert "ROC-AUC" in page.text
    assert "(no text)" in page.text


def test_thumbnails_must_be_png(report: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no PNG files: meme-1"):
        write_report(report, {"meme-1": b"GIF89a"}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused(report: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="Could not write"):
        write_report(report, {}, tmp_path / "file" / "folder")


def svg_texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_pictures_follow_the_readers_scheme(report: dict[str, Any]) -> None:
    drawn = [
        pictures.overview(report["label_tasks"]),
        pictures.candidates(report["label_tasks"]["topic"]),
        pictures.confusion(report["label_tasks"]["topic"]),
        pictures.class_balance(report["class_balance"]["sentiment"], SENTIMENT.classes, True),
        pictures.curves(report["curves"]),
    ]
    for svg in drawn:
        assert "@media(prefers-color-scheme:dark)" in svg
        body = re.sub(r"<style>.*?</style>", "", svg, flags=re.DOTALL)
        # Colours outside the palette would stay light in a dark page.
        assert not re.findall(r"#[0-9a-f]{6}\b", re.sub(r'"[^"]*(url\(|href)[^"]*"', "", body))
        assert svg_texts(svg)


def test_pictures_show_every_number_and_name_as_text(report: dict[str, Any]) -> None:
    entry = report["label_tasks"]["sentiment"]
    texts = svg_texts(pictures.confusion(entry))
    shown = " ".join(texts)
    for row in entry["ensemble"]["confusion"]:
        for count in row:
            assert str(count) in shown
    assert {"negative", "neutral", "positive"} <= set(texts)
    assert {"text-0", "fusion-0", "tfidf-0", "ensemble"} <= set(svg_texts(pictures.candidates(entry)))
    assert "sarcastic_present" in svg_texts(pictures.overview(report["label_tasks"]))
    # Not read as mathematics, and no need for the glyph in matplotlib's own font.
    names = ["$x_1^{$", "मौसम"]
    balance = {"train": {"role": "fit", "counts": dict.fromkeys(names, 1)}}
    named = svg_texts(pictures.class_balance(balance, names, False))
    assert {"$x_1^{$", "मौसम"} <= set(named)


def test_many_classes_still_make_a_picture() -> None:
    classes = [f"c{index}" for index in range(40)]
    diagonal = [[7 * (true == said) for said in range(40)] for true in range(40)]
    texts = svg_texts(pictures.confusion({"classes": classes, "ensemble": {"confusion": diagonal}}))
    assert texts.count("c39") == 2
    assert "7" not in texts  # cells are shaded, not written in
    balance = {"train": {"role": "fit", "counts": dict.fromkeys(classes, 1)}}
    assert svg_texts(pictures.class_balance(balance, classes, False)).count("c11") == 1


def test_curves_of_losses_alone() -> None:
    svg = pictures.curves({"text-0 humorous": [{"epoch": 1.0, "train_loss": 0.5}]})
    assert "training loss (fit role)" in svg_texts(svg)
    assert "text-0 humorous" in svg_texts(svg)


@pytest.mark.parametrize(
    ("name", "kind"), [("fusion-1", "fusion"), ("text-0 humorous", "text"), ("ink-0", "other"), (HOSTILE, "other")]
)
def test_colours_are_by_kind(name: str, kind: str) -> None:
    assert pictures.kind_of(name) == kind
