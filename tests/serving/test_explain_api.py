"""`/v1/explain`: what `explain` says, one at a time, beside predictions."""

import threading

import pytest
from PIL import Image
from serving_helpers import base64_of, client_of, half_a_jpeg, png_that_announces, until

from memeblend import MemeClassifier
from memeblend.explain.explaining import explain
from memeblend.serving import explaining
from memeblend.serving.schemas import ExplainAnswer

TEXT = "a lovely thing"


@pytest.fixture(scope="module")
def client(both):
    with client_of(both.served(), ocr="none", max_text_characters=2_000) as client:
        yield client


def meme(both, **more):
    return {"text": TEXT, "image": base64_of(both.image()), **more}


@pytest.mark.parametrize("cheap", [True, False])
def test_it_says_what_the_function_says(client, both, cheap):
    answer = client.post("/v1/explain", json=meme(both, cheap=cheap))
    assert answer.status_code == 200, answer.text
    said = ExplainAnswer.model_validate(answer.json())
    image = Image.open(both.data / "pictures" / "0.png")
    right = explain(MemeClassifier.load(both.folder), image, TEXT, cheap=cheap).to_dict()
    assert said.cheap is cheap
    assert said.fitted is not None
    assert (said.fitted.size, said.fitted.fit) == (16, "letterbox")
    found = said.explanation
    assert found["words"] == right["words"] == ["a", "lovely", "thing"]
    for name, task in right["label_tasks"].items():
        mine = found["label_tasks"][name]
        assert mine["class"] == task["class"]
        assert mine["probabilities"] == pytest.approx(task["probabilities"], abs=1e-5)
        assert [one["method"] for one in mine["attributions"]] == [one["method"] for one in task["attributions"]]


def test_one_label_task_and_class_may_be_named(client, both):
    answer = client.post("/v1/explain", json=meme(both, cheap=True, label_task="mood", class_name="good")).json()
    assert list(answer["explanation"]["label_tasks"]) == ["mood"]
    assert answer["explanation"]["label_tasks"]["mood"]["explained_class"] == "good"


def test_without_captum_gradients_are_left_out(both, monkeypatch):
    monkeypatch.setattr(explaining, "find_spec", lambda name: None)
    with client_of(both.served(), ocr="none") as client:
        assert client.get("/ui/state").json()["gradients"] is False
        assert client.post("/v1/explain", json=meme(both)).json()["cheap"] is True


def test_a_model_of_text_alone_needs_no_image(text_only):
    with client_of(text_only.served(), ocr="none") as client:
        answer = client.post("/v1/explain", json={"text": TEXT, "cheap": True})
        assert answer.status_code == 200, answer.text
        assert answer.json()["fitted"] is None


@pytest.mark.parametrize(
    ("change", "status", "part"),
    [
        ({"image": None}, 422, "read images"),
        ({"image": base64_of(b"no image")}, 422, "not an image"),
        ({"image": base64_of(half_a_jpeg())}, 422, "truncated or corrupt"),
        ({"image": base64_of(png_that_announces(20_000, 10_000))}, 422, "pixels"),
        ({"image": "https://example.org/a.png"}, 422, "never fetched"),
        ({"image": None, "text": None}, 422, "neither text nor image"),
        ({"text": "x" * 2_001}, 422, "2,001 characters"),
        ({"label_task": "nonsense"}, 422, "no trained label task 'nonsense'"),
        ({"label_task": "mood", "class_name": "nonsense"}, 422, "no class 'nonsense'"),
        ({"class_name": "good"}, 422, "Name its label task"),
        ({"nonsense": 1}, 422, "Extra inputs"),
        ({"cheap": "perhaps"}, 422, "boolean"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_sentences(client, both, change, status, part):
    answer = client.post("/v1/explain", json=meme(both, cheap=True) | change)
    assert answer.status_code == status
    assert part in answer.text
    assert str(both.folder) not in answer.text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"null"])
def test_other_bodies_are_refused(client, body):
    answer = client.post("/v1/explain", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert client.post("/v1/explain", content=body, headers={"content-type": "text/plain"}).status_code == 415


@pytest.mark.parametrize("text", ["\u202eabc\u2066 def", "\u200b\u200d\ufeff", "שלום 😀 עולם", "a\0b", "x " * 900])
def test_odd_texts_are_explained(client, both, text):
    assert client.post("/v1/explain", json=meme(both, cheap=True) | {"text": text}).status_code == 200


def test_an_engine_without_members_says_that_it_cannot(both, monkeypatch):
    monkeypatch.setattr(explaining.Explainer, "available", False)
    with client_of(both.served(), ocr="none") as client:
        assert client.get("/ui/state").json()["explain"] is False
        answer = client.post("/v1/explain", json=meme(both))
        assert answer.status_code == 501
        assert answer.json()["error"]["code"] == "no_explanations"


def test_predictions_go_on_while_one_is_explained_and_more_than_may_wait_are_refused(both, monkeypatch):
    begun, go_on, made = threading.Event(), threading.Event(), []
    plain = explaining.Explainer.__init__

    def slow(*_, **__):
        begun.set()
        go_on.wait(20)
        return explain(*_, **__)

    def noted(self, service):
        plain(self, service)
        made.append(self)

    monkeypatch.setattr(explaining.Explainer, "__init__", noted)
    monkeypatch.setattr("memeblend.explain.explaining.explain", slow)
    with client_of(both.served(), ocr="none", deadline_s=20) as client:
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(client.post("/v1/explain", json=meme(both, cheap=True))))
            for _ in range(explaining.MAX_WAITING)
        ]
        for thread in threads:
            thread.start()
        assert begun.wait(10)
        until(lambda: made[0].num_places_taken == explaining.MAX_WAITING)
        assert client.post("/v1/explain", json=meme(both, cheap=True)).status_code == 429
        assert client.post("/v1/predict", json={"memes": [meme(both)]}).status_code == 200
        go_on.set()
        for thread in threads:
            thread.join(20)
        assert [answer.status_code for answer in answers] == [200] * explaining.MAX_WAITING
        assert client.post("/v1/explain", json=meme(both, cheap=True)).status_code == 200


def test_one_that_takes_too_long_is_answered_in_time(both, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr("memeblend.explain.explaining.explain", lambda *_, **__: go_on.wait(20))
    with client_of(both.served(), ocr="none", deadline_s=0.3) as client:
        answer = client.post("/v1/explain", json=meme(both, cheap=True))
        assert answer.status_code == 504
        go_on.set()
