"""A real browser at a real server: Debian's Chromium driven by Playwright, and nothing but loopback."""

import os
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))

ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
WAIT_MS = 30_000


@pytest.fixture(scope="session")
def chromium():
    """The browser."""
    from playwright.sync_api import sync_playwright

    found = os.environ.get("MEMEBLEND_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        pytest.exit("There is no Chromium: apt-get install chromium, or name one in MEMEBLEND_CHROMIUM.", returncode=1)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def fitted(tmp_path_factory):
    """A small model of text and image, one of whose members remembers memes."""
    from serving_helpers import Fitted

    from memeblend import MemeClassifier
    from memeblend.recipe.candidates import KnnCandidate
    from small_runs import small_data, small_recipe

    folder = tmp_path_factory.mktemp("fitted")
    recipe = small_recipe("ensemble.method=all")
    kept = [candidate for candidate in recipe.candidates if candidate.kind in ("tfidf", "image")]
    kept.append(KnnCandidate(kind="knn", start="encoder", features=("image",)))
    data = small_data(folder / "data")
    MemeClassifier(recipe.model_copy(update={"candidates": tuple(kept)}), out=folder / "run").fit(data)
    return Fitted(data, folder / "run" / "model")


@pytest.fixture(scope="session")
def policy_file(tmp_path_factory):
    return tmp_path_factory.mktemp("policy") / "policy.toml"


@pytest.fixture(scope="session")
def review_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("review") / "kept"


@pytest.fixture(scope="session")
def address(fitted, policy_file, review_folder):
    """A server that keeps labels and policies."""
    from serving_helpers import live

    from memeblend.policy import Policy

    model = fitted.served()
    Policy.fit(model.classifier.validation_, coverage=0).write(policy_file)
    with live(model, ocr="none", policy=str(policy_file), review_folder=str(review_folder)) as ((host, port), _):
        yield f"http://{host}:{port}"


@pytest.fixture(scope="session")
def bare_address(fitted):
    """A server that keeps nothing and asks for a key."""
    from serving_helpers import live

    with live(fitted.served(), ocr="none", api_key="secret") as ((host, port), _):
        yield f"http://{host}:{port}"


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def size(request):
    return request.param


@pytest.fixture
def page(chromium, size):
    """A page that may say nothing on its console and ask nobody but loopback."""
    context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, accept_downloads=True)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    faults = []
    page.on("request", lambda request: _local(request.url) or faults.append(f"asked {request.url}"))
    page.on("pageerror", lambda error: faults.append(f"threw {error}"))
    page.on("console", lambda message: faults.append(f"said {message.text}") if message.type == "error" else None)
    page.faults = faults
    yield page
    context.close()
    assert not faults


def _local(url):
    parts = urlsplit(url)
    return parts.scheme in ("blob", "data") or parts.hostname in ("127.0.0.1", "localhost")
