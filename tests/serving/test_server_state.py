"""What a server says of itself: the model, health, metrics, its OpenAPI document, logs; and who may ask."""

import io
import json
import logging
import shutil
import threading
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving_helpers import base64_of, client_of, until

from memeblend import MemeClassifier
from memeblend.decisions import DecisionRule
from memeblend.errors import ModelError
from memeblend.serving.logs import JsonLines
from memeblend.serving.memes import DecodedMeme, blank_memes
from memeblend.serving.served import ServedModel
from memeblend.serving.settings import ServerSettings


@pytest.fixture(scope="module")
def client(both):
    with client_of(both.served()) as client:
        yield client


@dataclass(frozen=True, eq=False)
class Gated(ServedModel):
    """A model that reads warm-ups at once and all else when a gate opens."""

    gate: threading.Event

    def predict(self, memes):
        if not any("server starts" in meme.text for meme in memes):
            self.gate.wait(20)
        if any("poison" in meme.text for meme in memes):
            raise RuntimeError("secret words")
        return super().predict(memes)


def gated(fitted):
    model = fitted.served()
    return Gated(model.classifier, model.name, model.card, model.folder, model.digest, threading.Event())


def metrics_of(client):
    text = client.get("/metrics").text
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_model_says_what_it_is(client, both):
    found = client.get("/v1/model").json()
    model = MemeClassifier.load(both.folder)
    assert [task["name"] for task in found["label_tasks"]] == ["mood", "level"]
    assert found["label_tasks"][0]["classes"] == list(model.classes_["mood"])
    assert found["members"] == [{"name": "image-0", "reads": ["image"]}, {"name": "tfidf-0", "reads": ["text"]}]
    assert found["categories"] == [{"name": "mood", "threshold": None, "flags": True}]
    assert found["card"] == (both.folder / "README.md").read_text()
    assert found["scores"] == json.loads(json.dumps(model.scores_))
    assert found["limits"]["max_memes"] == 64
    assert found["folder_changed"] is False
    assert str(both.folder) not in json.dumps(found)


def test_health(client):
    assert client.get("/healthz").json() == client.get("/readyz").json() == {"status": "ok"}


def test_metrics_count_requests_batches_and_rejects(both):
    with client_of(both.served(), max_batch=4) as client:
        before = metrics_of(client)
        image = base64_of(both.image())
        client.post("/v1/predict", json={"memes": [{"image": image}] * 3})
        client.post("/v1/predict", content=b"")
        client.get("/somewhere/else")
        after = metrics_of(client)
    assert before["memeblend_memes_total",] == 5  # warmed up with one and with four
    assert after["memeblend_memes_total",] == 8
    assert after["memeblend_batch_size_count",] == before["memeblend_batch_size_count",] + 1
    assert after["memeblend_requests_total", "/v1/predict", "200"] == 1
    assert after["memeblend_requests_total", "404", "other"] == 1
    assert after["memeblend_rejects_total", "media_type"] == 1
    assert after["memeblend_request_seconds_count", "/v1/predict"] == 2
    assert after["memeblend_queue_memes",] == 0
    assert after["memeblend_model_info", both.served().name] == 1


def test_a_full_queue_is_told_and_drains(text_only):
    model = gated(text_only)
    with client_of(model, max_queue=2, max_memes=2, max_batch=1) as client:
        answers = []
        body = {"memes": [{"text": "a"}, {"text": "b"}]}
        waiting = threading.Thread(target=lambda: answers.append(client.post("/v1/predict", json=body)))
        waiting.start()
        until(lambda: metrics_of(client)["memeblend_queue_memes",] == 2)
        full = client.post("/v1/predict", json={"memes": [{"text": "c"}]})
        assert full.status_code == 429
        assert int(full.headers["retry-after"]) >= 1
        assert full.json()["error"]["type"] == "rate_limit_error"
        assert client.get("/healthz").status_code == 200
        model.gate.set()
        waiting.join(20)
        assert answers[0].status_code == 200
        assert metrics_of(client)["memeblend_queue_memes",] == 0
        assert client.post("/v1/predict", json={"memes": [{"text": "c"}]}).status_code == 200


def test_a_passed_deadline_is_told_and_the_server_is_not_ready_while_it_is_stuck(text_only):
    model = gated(text_only)
    with client_of(model, deadline_s=0.2) as client:
        late = client.post("/v1/predict", json={"memes": [{"text": "a"}]})
        assert late.status_code == 504
        assert late.json()["error"]["code"] == "deadline"
        until(lambda: client.get("/readyz").status_code == 503)
        assert "busy with one batch" in client.get("/readyz").text
        assert client.get("/healthz").status_code == 200
        model.gate.set()
        until(lambda: client.get("/readyz").status_code == 200)
        assert metrics_of(client)["memeblend_queue_memes",] == 0


def test_an_error_of_the_model_is_500_without_its_words_and_spoils_no_other(text_only):
    model = gated(text_only)
    model.gate.set()
    with client_of(model, max_wait_s=0.3) as client:
        answers = {}

        def ask(text):
            answers[text] = client.post("/v1/predict", json={"memes": [{"text": text}]})

        threads = [threading.Thread(target=ask, args=(text,)) for text in ("fine", "poison", "good")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert (answers["fine"].status_code, answers["good"].status_code) == (200, 200)
        bad = answers["poison"]
        assert bad.status_code == 500
        assert "secret" not in bad.text
        assert bad.headers["x-request-id"] in bad.json()["error"]["message"]
        assert metrics_of(client)["memeblend_model_failures_total",] >= 1


def test_the_key(text_only):
    body = {"memes": [{"text": "a"}]}
    with client_of(text_only.served(), api_key="right") as client:
        for headers in ({}, {"authorization": "right"}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer"}):
            for method, path in (("POST", "/v1/predict"), ("GET", "/v1/model"), ("GET", "/metrics"), ("GET", "/x")):
                answer = client.request(method, path, headers=headers, json=body if method == "POST" else None)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "right" not in answer.text
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        allowed = {"authorization": "bearer right"}
        assert client.post("/v1/predict", json=body, headers=allowed).status_code == 200
        document = client.get("/openapi.json", headers=allowed).json()
        assert document["paths"]["/v1/predict"]["post"]["security"] == [{"key": []}]


def test_the_key_is_not_shown():
    assert "right" not in repr(ServerSettings(api_key="right"))


def test_other_origins_are_closed_out_unless_named(text_only):
    asks = {"origin": "https://page.example", "access-control-request-method": "POST"}
    with client_of(text_only.served()) as client:
        assert client.options("/v1/predict", headers=asks).status_code == 405
        answer = client.get("/healthz", headers={"origin": "https://page.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
    with client_of(text_only.served(), cors_origins=("https://page.example",), api_key="k") as client:
        allowed = client.options("/v1/predict", headers=asks)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://page.example"
        other = client.options("/v1/predict", headers=asks | {"origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers


def test_request_ids_are_the_clients_where_they_are_harmless(client):
    assert client.get("/healthz", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert client.get("/healthz", headers={"x-request-id": "a b\tc"}).headers["x-request-id"] != "a b\tc"


@pytest.mark.parametrize(("kind", "num_examples"), [("both", 3), ("text_only", 4)])
def test_examples_of_the_openapi_document_work(request, kind, num_examples):
    with client_of(request.getfixturevalue(kind).served()) as client:
        document = client.get("/openapi.json").json()
        answers = list(example_answers(client, document))
    assert answers == [200] * num_examples
    assert document["components"]["schemas"]["PredictRequest"]["properties"]["memes"]["maxItems"] == 64
    assert set(document["paths"]["/v1/predict"]["post"]["responses"]) >= {"200", "413", "422", "429", "504"}


def example_answers(client, document):
    for path in ("/v1/predict", "/v1/moderations"):
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            yield client.post(path, json=example["value"]).status_code


@pytest.fixture
def lines():
    """What is logged, as text."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("memeblend.serving")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    yield stream, handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.parametrize("with_content", [False, True])
def test_logs_are_json_and_hold_content_only_when_asked(text_only, lines, with_content):
    stream, handler = lines
    handler.setFormatter(JsonLines(with_content))
    model = gated(text_only)
    model.gate.set()
    with client_of(model, log_content=with_content) as client:
        client.post("/v1/predict", json={"memes": [{"text": "whisper"}]})
        client.post("/v1/predict", json={"memes": [{"text": "poison"}]})
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    requests = [entry for entry in entries if entry["event"] == "request"]
    assert [entry["status"] for entry in requests] == [200, 500]
    assert requests[0]["num_memes"] == 1
    assert requests[1]["reason"] == "internal_error"
    failed = next(entry for entry in entries if entry["event"] == "the model failed")
    assert failed["error"] == "RuntimeError"
    assert failed["at"][-1].startswith("predict:")
    for secret in ("whisper", "poison", "secret words"):
        assert (secret in stream.getvalue()) is with_content
    assert [entry["event"] for entry in entries][:: len(entries) - 1] == ["ready", "stop"]


def copied(fitted, tmp_path):
    shutil.copytree(fitted.folder, tmp_path / "model")
    return replace(fitted, folder=tmp_path / "model")


def test_a_folder_that_is_swapped_changes_nothing_of_what_is_served(both, text_only, tmp_path):
    own = copied(both, tmp_path)
    memes = blank_memes(2, own.served().classifier.preprocessor_.transform)
    model = own.served()
    before = model.predict(memes)
    for path in own.folder.rglob("*"):
        if path.is_file():
            with path.open("r+b") as stream:  # in place: what is mapped into memory would change with it
                stream.truncate(1)
    assert model.predict(memes) == before
    with client_of(model) as client:
        assert client.get("/v1/model").json()["folder_changed"] is True
        assert client.post("/v1/predict", json={"memes": [{"image": base64_of(own.image())}]}).status_code == 200
        shutil.rmtree(own.folder)
        assert client.get("/v1/model").json()["folder_changed"] is True
        shutil.copytree(text_only.folder, own.folder)
        assert client.post("/v1/predict", json={"memes": [{"image": base64_of(own.image())}]}).status_code == 200
    assert own.served().name == text_only.served().name != model.name


def test_a_folder_that_changes_while_it_is_read_is_refused(both, text_only, tmp_path, monkeypatch):
    own = copied(both, tmp_path)
    load = MemeClassifier.load

    def swapped_meanwhile(folder):
        found = load(folder)
        shutil.rmtree(own.folder)
        shutil.copytree(text_only.folder, own.folder)
        return found

    monkeypatch.setattr(MemeClassifier, "load", swapped_meanwhile)
    with pytest.raises(ModelError, match="changed while it was read"):
        own.served()


def test_a_model_that_judges_tables_as_a_whole_is_refused(text_only, monkeypatch):
    load = MemeClassifier.load

    def estimating(folder):
        found = load(folder)
        task = found.label_tasks_[0]
        found.rules_[task.name] = DecisionRule(task, prior_fit=(0.5, 0.5), serving_prior="estimated")
        return found

    monkeypatch.setattr(MemeClassifier, "load", estimating)
    with pytest.raises(ModelError, match="gets its memes one by one"):
        text_only.served()


def test_what_is_said_of_a_meme_does_not_depend_on_the_batch(both):
    model = both.served()
    size = model.classifier.preprocessor_.transform.size
    random = np.random.default_rng(0)
    memes = [
        DecodedMeme(text, random.integers(0, 256, (size, size, 3), dtype=np.uint8))
        for text in ("lovely", "an awful long day with many more words than the others", "")
    ]
    together = model.predict(memes)
    for meme, record in zip(memes, together, strict=True):
        (alone,) = model.predict([meme])
        for name, entry in alone["label_tasks"].items():
            assert entry["class"] == record["label_tasks"][name]["class"]
            assert entry["probabilities"] == pytest.approx(record["label_tasks"][name]["probabilities"], abs=2e-6)


def test_settings_that_make_no_sense_are_refused_all_at_once():
    with pytest.raises(ValueError, match=r"max_batch is 0.*max_wait_s is -1.*threshold of 'a' is 2"):
        ServerSettings(max_batch=0, max_wait_s=-1, thresholds={"a": 2})
    with pytest.raises(ValueError, match="more than the 10 of max_queue"):
        ServerSettings(max_queue=10)


def test_a_model_that_fails_while_it_warms_up_does_not_start(text_only):
    @dataclass(frozen=True, eq=False)
    class Broken(ServedModel):
        def predict(self, memes):
            raise RuntimeError("broken")

    model = text_only.served()
    broken = Broken(model.classifier, model.name, model.card, model.folder, model.digest)
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="broken"), client_of(broken):
        pass
    assert time.monotonic() - began < 10
