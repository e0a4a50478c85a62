"""Memes that come without text to a server that has OCR."""

import threading

import pytest
from serving_helpers import base64_of, client_of, half_a_jpeg

from made_up_ocr import MadeUpEngine, install
from memeblend.errors import DataError, MissingExtraError
from memeblend.serving.app import create_app
from memeblend.serving.schemas import ModerationAnswer, PredictAnswer
from memeblend.serving.settings import ServerSettings

WORDS = "an awful day"
READ = {"ocr_text": WORDS, "ocr": {"engine": "rapidocr", "confidence": 0.75}}


@pytest.fixture
def engine(monkeypatch):
    return install(monkeypatch, MadeUpEngine(WORDS))


def predict(client, *memes):
    answer = client.post("/v1/predict", json={"memes": list(memes)})
    assert answer.status_code == 200, answer.text
    PredictAnswer.model_validate(answer.json())
    return answer.json()["memes"]


def test_a_meme_without_text_is_read_and_judged_as_if_it_had_come_with_it(both, engine):
    image = base64_of(both.image())
    with client_of(both.served(), ocr="auto") as client:
        read, given = predict(client, {"image": image}, {"image": image, "text": WORDS})
    assert {name: read[name] for name in READ} == READ
    assert "ocr_text" not in given
    assert read["label_tasks"] == given["label_tasks"]


def test_an_empty_text_is_a_text(both, engine):
    image = base64_of(both.image())
    with client_of(both.served(), ocr="auto") as client:
        started = engine.num_read  # warm
        empty, absent, null = predict(
            client, {"image": image, "text": ""}, {"image": image}, {"image": image, "text": None}
        )
    assert "ocr_text" not in empty
    assert (absent["ocr_text"], null["ocr_text"]) == (WORDS, WORDS)
    assert (started, engine.num_read) == (1, 3)


def test_forms_without_texts_are_read(both, engine):
    files = [("image", (f"{number}.png", both.image(number), "image/png")) for number in range(2)]
    with client_of(both.served(), ocr="rapidocr") as client:
        read = client.post("/v1/predict", files=files).json()["memes"]
        given = client.post("/v1/predict", files=files, data={"text": ["", "b"]}).json()["memes"]
    assert [meme["ocr_text"] for meme in read] == [WORDS, WORDS]
    assert all("ocr_text" not in meme for meme in given)


def test_moderation_reads_images_that_come_alone(both, engine):
    address = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64_of(both.image())}"}}
    with client_of(both.served(), ocr="auto") as client:
        alone = client.post("/v1/moderations", json={"input": [address]})
        beside = client.post("/v1/moderations", json={"input": [{"type": "text", "text": WORDS}, address]})
    assert alone.status_code == 200, alone.text
    ModerationAnswer.model_validate(alone.json())
    (read,), (given,) = alone.json()["results"], beside.json()["results"]
    assert read.pop("ocr_text") == WORDS
    assert read["category_scores"] == given["category_scores"]
    assert "ocr_text" not in given
    assert all("text" not in kinds for kinds in read["category_applied_input_types"].values())


def test_the_model_route_names_the_engine(both, engine):
    with client_of(both.served(), ocr="auto") as client:
        assert client.get("/v1/model").json()["ocr"] == "rapidocr"
    with client_of(both.served()) as client:
        assert client.get("/v1/model").json()["ocr"] is None


def test_without_ocr_nothing_is_read(both, engine):
    with client_of(both.served()) as client:
        (meme,) = predict(client, {"image": base64_of(both.image())})
    assert "ocr_text" not in meme
    assert engine.num_read == 0


def test_auto_serves_without_an_engine_but_a_named_one_must_be_there(both, monkeypatch):
    install(monkeypatch, None)
    with client_of(both.served(), ocr="auto") as client:
        (meme,) = predict(client, {"image": base64_of(both.image())})
    assert "ocr_text" not in meme
    with pytest.raises(MissingExtraError, match="rapidocr"):
        create_app(both.served(), ServerSettings(ocr="rapidocr"))
    monkeypatch.undo()
    with pytest.raises(DataError, match="no OCR engine 'abc'"):
        create_app(both.served(), ServerSettings(ocr="abc"))


def test_an_engine_that_fails_leaves_the_meme_without_text(both, engine):
    with client_of(both.served(), ocr="auto") as client:
        engine.fails = True
        (meme,) = predict(client, {"image": base64_of(both.image())})
    assert meme["ocr_text"] == ""
    assert meme["ocr"]["confidence"] == 0


def test_images_that_can_not_be_decoded_are_refused_unread(both, engine):
    with client_of(both.served(), ocr="auto") as client:
        answer = client.post("/v1/predict", json={"memes": [{"image": base64_of(half_a_jpeg())}]})
        assert answer.status_code == 422
        assert answer.json()["error"]["code"] == "bad_image"
    assert engine.num_read == 1


def test_reading_counts_toward_the_deadline_and_others_go_on(both, engine):
    go_on = threading.Event()
    image = base64_of(both.image())
    with client_of(both.served(), ocr="auto", deadline_s=1.5) as client:
        lines = engine.lines

        def slow(pixels):
            go_on.wait(20)
            return lines(pixels)

        engine.lines = slow
        try:
            answer = client.post("/v1/predict", json={"memes": [{"image": image}] * 3})
            assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline")
            (meme,) = predict(client, {"image": image, "text": "sent along"})
            assert "ocr_text" not in meme
        finally:
            go_on.set()
    assert engine.num_read <= 2  # what nobody waits for any more is not begun
