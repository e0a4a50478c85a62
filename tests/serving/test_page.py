"""The page's files and the routes that only it asks."""

import base64
import io
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving_helpers import base64_of, client_of, half_a_jpeg, png_that_announces

from memeblend.data.ocr import OcrLine, OcrText
from memeblend.serving.page import page_files

FILES = page_files()


@pytest.fixture(scope="module")
def client(both):
    with client_of(both.served(), ocr="none", max_text_characters=2_000, max_body_bytes=400_000) as client:
        yield client


@pytest.mark.parametrize("path", FILES)
def test_every_file_is_served_as_what_it_is_under_a_strict_policy(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    kinds = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", "": "text/html"}
    assert answer.headers["content-type"].partition(";")[0] == kinds[Path(path).suffix]
    rules = dict(rule.strip().split(" ", 1) for rule in answer.headers["content-security-policy"].split(";"))
    assert rules["default-src"] == "'self'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", FILES)
def test_no_file_names_another_server_or_makes_html_of_data(path):
    text = FILES[path][0].decode()
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text)
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=\"", text)


def test_every_module_and_style_that_is_named_is_there():
    names = {
        name for path in FILES for name in re.findall(r"""["'](?:\./|/ui/)([\w.]+)["']""", FILES[path][0].decode())
    }
    assert names
    assert {f"/ui/{name}" for name in names if "." in name} <= set(FILES)


def test_there_is_no_other_file(client):
    for path in ("/ui/", "/ui/nothing.js", "/ui/../page.py", "/ui/%2e%2e/page.py", "/index.html"):
        assert client.get(path).status_code == 404, path


def test_the_page_is_open_but_what_it_asks_wants_the_key(both):
    with client_of(both.served(), ocr="none", api_key="secret") as client:
        for path in FILES:
            assert client.get(path).status_code == 200
        for path in ("/ui/state", "/ui/samples", "/ui/policy", "/v1/model"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"authorization": "Bearer secret"}).status_code == 200


def test_routes_of_the_page_are_not_in_the_api(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert not [path for path in paths if path == "/" or path.startswith("/ui")]
    assert "/v1/explain" in paths


def test_state_says_what_the_server_can_do(client):
    assert client.get("/ui/state").json() == {
        "explain": True,
        "gradients": True,
        "fitted": {"size": 16, "fit": "letterbox"},
        "ocr": False,
        "review_folder": False,
    }


def test_samples_are_pictures_with_words_that_the_model_takes(client):
    samples = client.get("/ui/samples").json()
    assert len(samples) == 8
    for sample in samples:
        data = base64.b64decode(sample["image"].partition(",")[2])
        assert Image.open(io.BytesIO(data)).size == (256, 256)
    first = samples[0]
    answer = client.post("/v1/predict", json={"memes": [{"text": first["text"], "image": first["image"]}]})
    assert answer.status_code == 200


def test_without_ocr_the_page_is_told_so(client, both):
    answer = client.post("/ui/read-text", json={"image": base64_of(both.image())})
    assert answer.status_code == 501
    assert "extra `ocr`" in answer.json()["error"]["message"]


def test_with_ocr_the_lines_come_with_their_confidence(client, both, monkeypatch):
    texts = client.app.state.service.texts if hasattr(client.app.state, "service") else None
    assert texts is None  # nothing of the server hangs on the application's state
    monkeypatch.setattr("memeblend.serving.reading.find_engine", lambda name: "made-up")
    monkeypatch.setattr("memeblend.serving.reading.TextReader", MadeUpReader)
    with client_of(both.served()) as reading:
        assert reading.get("/ui/state").json()["ocr"] is True
        answer = reading.post("/ui/read-text", json={"image": base64_of(both.image())})
        assert answer.json() == {
            "text": "one two",
            "lines": [{"text": "one", "confidence": 0.5}, {"text": "two", "confidence": 0.75}],
        }
        for broken in (b"no image", half_a_jpeg(), png_that_announces(20_000, 10_000)):
            refused = reading.post("/ui/read-text", json={"image": base64_of(broken)})
            assert refused.status_code == 422
            assert refused.json()["error"]["problems"][0]["where"] == "image"


class MadeUpReader:
    """An engine that reads the same two lines everywhere."""

    class engine:  # noqa: N801 (an attribute of readers)
        name = "made-up"

    @classmethod
    def make(cls, *_, **__):
        return cls()

    def read(self, pixels):
        assert pixels.dtype == np.uint8
        return self.read_file(b"")

    def read_file(self, source):
        lines = (OcrLine("one", 0.5, (0, 0, 9, 9)), OcrLine("two", 0.75, (0, 10, 9, 19)))
        return OcrText("one two", lines)


@pytest.mark.parametrize("path", ["/ui/read-text", "/ui/policy", "/ui/policy/implied"])
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_only_json_is_taken_so_that_other_origins_have_to_ask(client, path, kind):
    assert client.post(path, content=b"{}", headers={"content-type": kind}).status_code == 415


def test_samples_are_drawn_once(client):
    client.get("/ui/samples")
    began = time.monotonic()
    client.get("/ui/samples")
    assert time.monotonic() - began < 0.5
