"""A model sent to a hub on loopback and fetched again, by the hub's own library."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fake_hub as hubs
import pytest
from huggingface_hub import constants, file_download

from memeblend import MemeClassifier
from memeblend.errors import HubError, ModelError
from memeblend.model.hub import fetch, push
from small_runs import small_data, small_recipe

REPO = "someone/memes"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=")  # of the hub's own upload


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    data = small_data(tmp_path_factory.mktemp("data"))
    return MemeClassifier(small_recipe(), out=tmp_path_factory.mktemp("runs") / "run").fit(data), data


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with hubs.fake_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        template = running.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the hub on loopback stores no chunks
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


def test_what_is_fetched_predicts_the_same(fitted, hub):
    model, data = fitted
    address = model.push(REPO, token=hubs.TOKEN)
    assert address.startswith(f"{hub.address}/{REPO}/commit/")
    again = MemeClassifier.from_pretrained(REPO)
    assert again.predict(data).equals(model.predict(data))
    assert again.scores_ == model.scores_
    card = hub.files(REPO)["README.md"].decode()
    assert card.startswith("---\nlibrary_name: memeblend\n")
    weighted = model.scores_["label_tasks"]["mood"]["weighted_f1"]
    assert f"value: {round(weighted, 4)}" in card
    assert "manifest fingerprint" in card
    assert "interval" in card
    assert "## Limits" in card


def test_a_folder_wins_over_a_repository_of_its_name(fitted, hub):
    model, data = fitted
    assert MemeClassifier.from_pretrained(model.out).predict(data).equals(model.predict(data))
    assert hub.requests == []


def test_a_second_push_takes_files_away_that_the_model_lacks(fitted, hub):
    model, _ = fitted
    push(model.out, REPO, token=hubs.TOKEN)
    hub.files(REPO)["candidates/old-0/model.safetensors"] = b"old"
    push(model.out, REPO, token=hubs.TOKEN)
    files = hub.files(REPO)
    assert "candidates/old-0/model.safetensors" not in files
    assert {name for name in files if name != ".gitattributes"} == {
        path.relative_to(model.out / "model").as_posix() for path in (model.out / "model").rglob("*") if path.is_file()
    }


def test_repositories_are_private_unless_asked_otherwise_and_branches_are_made(fitted, hub):
    model, _ = fitted
    push(model.out, REPO, token=hubs.TOKEN, revision="second")
    push(model.out, "someone/open", private=False, token=hubs.TOKEN)
    assert hub.private == {REPO: True, "someone/open": False}
    assert "memeblend.json" in hub.files(REPO, "second")
    assert "memeblend.json" not in hub.files(REPO, "main")
    assert MemeClassifier.from_pretrained(REPO, revision="second").members_ == model.members_
    with pytest.raises(ModelError, match=r"no memeblend\.json"):
        MemeClassifier.from_pretrained(REPO)


def test_what_was_fetched_once_is_read_without_the_hub(fitted, hub):
    model, _ = fitted
    push(model.out, REPO, token=hubs.TOKEN)
    fetch(REPO)
    asked = len(hub.requests)
    assert MemeClassifier.from_pretrained(REPO, local_files_only=True).members_ == model.members_
    assert len(hub.requests) == asked


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("preprocessor/preprocessor.json", None) or files.pop("recipe.toml"), "is missing"),
        (lambda files: files.__setitem__("recipe.toml", b"name = 'other'"), "cut short or altered"),
        (lambda files: files.__setitem__("memeblend.json", b"{"), "could not be read"),
        (lambda files: _add_file(files, "../../other/secret"), "leads out of the model's folder"),
    ],
)
def test_a_damaged_repository_is_refused(fitted, hub, change, message):
    model, _ = fitted
    push(model.out, REPO, token=hubs.TOKEN)
    change(hub.files(REPO))
    with pytest.raises(ModelError, match=message):
        MemeClassifier.from_pretrained(REPO)


def test_a_card_that_was_edited_on_the_hub_is_no_damage(fitted, hub):
    model, _ = fitted
    push(model.out, REPO, token=hubs.TOKEN)
    hub.files(REPO)["README.md"] += b"\nlicence: ask us\n"
    assert MemeClassifier.from_pretrained(REPO).members_ == model.members_


@pytest.mark.parametrize("token", ["", " ", "hf_secret\x00", "hf_secret two", "hf_s\u00e9cret"])
def test_a_token_that_can_be_none_is_refused_unshown(fitted, hub, token):
    for ask in (lambda: push(fitted[0].out, REPO, token=token), lambda: fetch(REPO, token=token)):
        with pytest.raises(HubError, match="hf auth login") as caught:
            ask()
        assert "hf_s" not in str(caught.value)
        assert caught.value.__cause__ is None
    assert not hub.requests


def test_a_token_with_the_line_end_of_its_file_is_taken(fitted, hub):
    model, _ = fitted
    assert push(model.out, REPO, token=f"{hubs.TOKEN}\n").startswith(hub.address)


def _add_file(files, name):
    state = json.loads(files["memeblend.json"])
    state["files"][name] = "0" * 64
    files["memeblend.json"] = json.dumps(state).encode()


def test_who_is_not_logged_in_or_asks_for_what_is_not_there_is_told(fitted, hub):
    model, _ = fitted
    with pytest.raises(HubError, match=r"401.*\n.*hf auth login"):
        push(model.out, REPO, token="hf_wrong")
    with pytest.raises(HubError, match="There is no 'someone/else'"):
        fetch("someone/else")
    push(model.out, REPO, token=hubs.TOKEN)
    with pytest.raises(HubError, match="no such revision"):
        fetch(REPO, revision="third")
    with pytest.raises(HubError, match="no name of a repository"):
        fetch("not/a/folder/either")


def test_a_hub_that_fails_or_is_not_there_is_a_sentence(fitted, hub, monkeypatch):
    model, _ = fitted
    hub.broken = 500
    with pytest.raises(HubError, match="answered 500"):
        push(model.out, REPO, token=hubs.TOKEN)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(HubError, match="not in the cache"):
        fetch(REPO)
    with pytest.raises(HubError, match="could not be reached"):
        push(model.out, REPO, token=hubs.TOKEN)


def test_who_sends_while_the_hub_is_switched_off_is_told_by_what(fitted, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match=rf"'{REPO}' at .* was not asked, since HF_HUB_OFFLINE is set.\nUnset it"):
        push(fitted[0].out, REPO)


def test_half_a_model_is_not_sent(fitted, hub, tmp_path):
    model, _ = fitted
    copy = tmp_path / "model"
    shutil.copytree(Path(model.out) / "model", copy)
    (copy / "recipe.toml").unlink()
    with pytest.raises(ModelError, match="not whole"):
        push(copy, REPO, token=hubs.TOKEN)
    assert hub.requests == []


def test_the_command_sends_and_prints_the_commit(fitted, hub, tmp_path):
    model, _ = fitted
    environment = os.environ | {
        "HF_ENDPOINT": hub.address,
        "HF_TOKEN": hubs.TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "home"),
    }
    command = [sys.executable, "-c", "from memeblend.cli import main; main()", "push", str(model.out), "--repo", REPO]
    done = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["commit"].startswith(f"{hub.address}/{REPO}/commit/")
    assert "memeblend.json" in hub.files(REPO)
    refused = subprocess.run(
        command, env=environment | {"HF_TOKEN": "hf_wrong"}, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "hf auth login" in refused.stderr
    assert "Traceback" not in refused.stderr
