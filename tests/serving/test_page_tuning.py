"""The thresholds tab's routes: a proposal, what policies imply, and following one."""

import pytest
from serving_helpers import base64_of, client_of

from memeblend import MemeClassifier
from memeblend.errors import OutputError
from memeblend.policy import Policy, implied

BY_HAND = {"format": 1, "categories": {"mood": {"band": [0.2, 0.8]}}}


@pytest.fixture(scope="module")
def client(both):
    with client_of(both.served(), ocr="none") as client:
        yield client


def test_a_proposal_is_fitted_where_no_policy_is_followed(client):
    state = client.get("/ui/policy").json()
    assert state["policy"] is None
    assert state["has_file"] is False
    assert state["has_validation"] is True
    assert list(state["proposal"]["categories"]) == ["mood"]
    assert state["proposal"]["categories"]["mood"]["cost"] == {"false_alarm": 1.0, "miss": 1.0, "review": 0.2}


def test_what_a_policy_implies_is_what_the_function_says(client, both):
    found = client.post("/ui/policy/implied", json={"policy": BY_HAND}).json()
    model = MemeClassifier.load(both.folder)
    right = implied(Policy.from_dict(BY_HAND, model.label_tasks_), model.validation_)
    assert found["implied"] == right
    assert "band = [" in found["toml"]


def test_a_policy_is_followed_from_then_on_and_written(both, tmp_path):
    file = tmp_path / "policy.toml"
    model = MemeClassifier.load(both.folder)
    Policy.from_dict({"categories": {"mood": {"threshold": 1.0}}}, model.label_tasks_).write(file)
    sent = {"memes": [{"text": "a lovely thing", "image": base64_of(both.image())}]}
    with client_of(both.served(), ocr="none", policy=str(file)) as client:
        assert client.post("/v1/predict", json=sent).json()["memes"][0]["policy"]["verdict"] == "pass"
        policy = {"categories": {"mood": {"band": [0.0, 1.0]}}}
        state = client.post("/ui/policy", json={"policy": policy}).json()
        assert state["has_file"] is True
        assert state["policy"]["categories"]["mood"]["band"] == [0.0, 1.0]
        assert client.post("/v1/predict", json=sent).json()["memes"][0]["policy"]["verdict"] == "review"
    assert Policy.read(file, model.label_tasks_).categories["mood"].band == (0.0, 1.0)


@pytest.mark.parametrize(
    ("policy", "part"),
    [
        ({"categories": {"nonsense": {"threshold": 0.5}}}, "nonsense"),
        ({"categories": {"mood": {"band": [0.9, 0.1]}}}, "out of order"),
        ({"categories": {"mood": {"threshold": 2}}}, "mood"),
        ({"categories": {"mood": {}}}, "no limits"),
        ({"categories": {"mood": {"cost": {"miss": -1}}}}, "miss"),
        ({"categories": []}, "categories"),
        ({"format": 99}, "format 99"),
        ({"nonsense": 1}, "nonsense"),
        ({"fitted_on": "x" * 2_000_000}, "bytes, but 1,048,576 are the most"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("path", ["/ui/policy", "/ui/policy/implied"])
def test_wrong_policies_are_refused_in_sentences(client, path, policy, part):
    answer = client.post(path, json={"policy": policy})
    assert answer.status_code == 422, answer.text
    assert part in answer.text
    assert client.get("/ui/policy").json()["policy"] is None


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"policy": 3}', b'{"policy": {}, "more": 1}'])
def test_other_bodies_are_refused(client, body):
    answer = client.post("/ui/policy", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


def test_a_policy_that_cannot_be_written_is_not_followed(both, tmp_path, monkeypatch):
    file = tmp_path / "policy.toml"
    model = MemeClassifier.load(both.folder)
    Policy.from_dict(BY_HAND, model.label_tasks_).write(file)

    def full(self, path):
        raise OutputError(f"Could not write '{path}': No space left on device.")

    with client_of(both.served(), ocr="none", policy=str(file)) as client:
        monkeypatch.setattr(Policy, "write", full)
        answer = client.post("/ui/policy", json={"policy": {"categories": {"mood": {"threshold": 0.5}}}})
        assert answer.status_code == 500
        assert str(tmp_path) not in answer.text
        assert client.get("/ui/policy").json()["policy"]["categories"]["mood"]["band"] == [0.2, 0.8]


def test_thresholds_of_the_command_line_are_not_overruled(both):
    with client_of(both.served(), ocr="none", thresholds={"mood": 0.5}) as client:
        answer = client.post("/ui/policy", json={"policy": BY_HAND})
        assert answer.status_code == 422
        assert "--threshold" in answer.text
