"""A server that follows a policy: verdicts, moderation, and the policy exchanged while it serves."""

import threading

import pytest
from serving_helpers import base64_of, client_of

from memeblend.errors import OutputError, PolicyError
from memeblend.policy import Costs, Policy
from memeblend.policy.policy import CategoryPolicy
from memeblend.serving.policies import Policies
from memeblend.serving.settings import ServerSettings


@pytest.fixture
def fitted(both, tmp_path):
    """A policy file for the model, and the policy."""
    policy = Policy.fit(both.served().classifier.validation_, {"mood": Costs(miss=5, review=0.3)}, 0.8)
    policy.write(tmp_path / "policy.toml")
    return tmp_path / "policy.toml", policy


def by_hand(**limits):
    return Policy(categories={"mood": CategoryPolicy(**limits)})


def ask(client, both, number=1):
    meme = {"text": "a lovely happy thing", "image": base64_of(both.image(number))}
    (found,) = client.post("/v1/predict", json={"memes": [meme]}).json()["memes"]
    return found


def moderate(client, both, number=1):
    url = f"data:image/png;base64,{base64_of(both.image(number))}"
    parts = [{"type": "text", "text": "a lovely happy thing"}, {"type": "image_url", "image_url": {"url": url}}]
    (result,) = client.post("/v1/moderations", json={"input": parts}).json()["results"]
    return result


def test_predict_carries_what_the_policy_says(both, fitted):
    path, policy = fitted
    with client_of(both.served(), policy=str(path)) as client:
        for number in range(4):
            found = ask(client, both, number)
            (expected,) = policy.decide_records([found])
            assert found["policy"] == expected
            assert found["policy"]["verdict"] in ("pass", "review", "auto")
            assert set(found["policy"]["sets"]) == {"mood", "level"}


def test_without_a_policy_nothing_is_said(both):
    with client_of(both.served()) as client:
        assert "policy" not in ask(client, both)
        assert client.get("/v1/model").json()["policy"] is None


def test_the_model_shows_the_policy(both, fitted):
    path, policy = fitted
    with client_of(both.served(), policy=str(path)) as client:
        shown = client.get("/v1/model").json()["policy"]
    assert shown["fits"] is True
    assert shown["limits"] == {"mood": pytest.approx([0.06, 0.7])}
    assert Policy.from_dict(shown["content"], both.served().classifier.label_tasks_) == policy


@pytest.mark.parametrize(
    ("limits", "given"), [({"threshold": 0.0}, True), ({"band": (0.0, 1.0)}, True), ({"band": (1.0, 1.0)}, False)]
)
def test_moderation_gives_what_is_reviewed_or_acted_on(both, tmp_path, limits, given):
    by_hand(**limits).write(tmp_path / "policy.toml")
    with client_of(both.served(), policy=str(tmp_path / "policy.toml")) as client:
        result, found = moderate(client, both), ask(client, both)
    assert set(result) == {"flagged", "categories", "category_scores", "category_applied_input_types"}
    assert result["categories"] == {"mood": given}
    assert result["flagged"] is given
    assert result["category_scores"] == {"mood": found["policy"]["categories"]["mood"]["calibrated"]}


def test_moderation_scores_are_calibrated_ones(both, fitted):
    path, policy = fitted
    with client_of(both.served(), policy=str(path)) as client:
        score = moderate(client, both)["category_scores"]["mood"]
        raw = ask(client, both)["label_tasks"]["mood"]["probabilities"]["good"]
    calibration = policy.categories["mood"].calibration
    import numpy as np

    assert score == pytest.approx(float(calibration.calibrated(np.array([raw]))[0]), abs=1e-5)


def test_the_policy_is_exchanged_while_serving(both, fitted):
    path, _ = fitted
    with client_of(both.served(), policy=str(path)) as client:
        policies = client.app.state.policies
        policies.replace(by_hand(threshold=0.0))
        assert ask(client, both)["policy"]["verdict"] == "auto"
        policies.replace(by_hand(threshold=1.0))
        assert ask(client, both)["policy"]["verdict"] == "pass"
    assert Policy.read(path, both.served().classifier.label_tasks_) == by_hand(threshold=1.0)


def test_without_a_file_it_is_kept_in_memory(both, tmp_path):
    with client_of(both.served()) as client:
        client.app.state.policies.replace(by_hand(threshold=0.0))
        assert ask(client, both)["policy"]["verdict"] == "auto"
    assert list(tmp_path.iterdir()) == []


def policies_of(both, **settings):
    classifier = both.served().classifier
    return Policies(classifier.label_tasks_, classifier.validation_, ServerSettings(**settings))


def test_what_can_not_be_followed_leaves_the_policy_as_it_was(both, fitted):
    path, policy = fitted
    policies = policies_of(both, policy=str(path))
    with pytest.raises(PolicyError, match="unknown category 'rude'"):
        policies.replace(Policy(categories={"rude": CategoryPolicy(threshold=0.5)}))
    path.unlink()
    path.mkdir()
    (path / "in the way").touch()
    with pytest.raises(OutputError):
        policies.replace(by_hand(threshold=0.5))
    assert policies.current == policy
    with pytest.raises(PolicyError, match="started with --threshold"):
        policies_of(both, thresholds={"mood": 0.5}).replace(policy)


def test_many_exchange_at_once_and_file_and_memory_agree(both, fitted):
    path, _ = fitted
    policies = policies_of(both, policy=str(path))
    several = [by_hand(threshold=number / 20) for number in range(20)]
    threads = [threading.Thread(target=policies.replace, args=(policy,)) for policy in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert policies.current in several
    assert Policy.read(path, policies.label_tasks) == policies.current


def test_a_policy_of_another_model_does_not_fit(both, text_only, fitted):
    path, _ = fitted
    assert policies_of(both, policy=str(path)).fits
    assert not policies_of(text_only, policy=str(path)).fits
    with client_of(text_only.served(), policy=str(path)) as client:
        assert client.get("/v1/model").json()["policy"]["fits"] is False


def test_a_server_does_not_start_with_a_policy_that_it_can_not_follow(both, tmp_path):
    (tmp_path / "policy.toml").write_text("[categories.rude]\nthreshold = 0.5")
    for path, said in ((tmp_path / "policy.toml", "unknown category 'rude'"), (tmp_path / "none", "No such file")):
        with pytest.raises(PolicyError, match=said), client_of(both.served(), policy=str(path)):
            pass
    with pytest.raises(ValueError, match="both thresholds and a policy"):
        ServerSettings(policy="p.toml", thresholds={"mood": 0.5})
