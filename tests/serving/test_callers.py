"""Pages of the web that have their visitor's browser ask: names, origins, and what is never open to other pages."""

import pytest
from serving_helpers import OWN, base64_of, client_of

from memeblend.serving.callers import API

EVIL = "https://evil.example"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client(both, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    with client_of(
        both.served(), review_folder=str(folder / "labels"), cors_origins=("https://ours.example",)
    ) as client:
        client.folder = folder / "labels"
        yield client


def reads_and_changes(both):
    """A request to each route that reads or changes something."""
    meme = {"text": "lovely", "image": base64_of(both.image())}
    return [
        *(("GET", path, None) for path in ("/", "/ui/state", "/ui/samples", "/ui/policy", "/ui/review", "/v1/model")),
        *(("GET", path, None) for path in ("/metrics", "/openapi.json")),
        ("POST", "/v1/predict", {"memes": [meme]}),
        ("POST", "/v1/moderations", {"input": "lovely"}),
        ("POST", "/v1/explain", {**meme, "cheap": True}),
        ("POST", "/ui/read-text", meme),
        ("POST", "/ui/policy", {"policy": {"categories": {"mood": {"threshold": 0.1}}}}),
        ("POST", "/ui/policy/implied", {"policy": {"categories": {"mood": {"threshold": 0.1}}}}),
        ("POST", "/ui/review", {"meme_id": "a", **meme, "labels": {"mood": "good"}}),
    ]


def code_of(answer):
    return answer.json()["error"]["code"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", ""]
)
def test_a_page_whose_name_leads_here_reaches_nothing(client, both, host):
    for method, path, body in reads_and_changes(both):
        answer = client.request(method, path, json=body, headers={"host": host, "origin": f"http://{host}"})
        assert (answer.status_code, code_of(answer)) == (421, "unknown_host"), path
    assert not (client.folder / "memes.csv").exists()
    assert client.app.state.policies.current is None
    assert client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:9", "127.0.0.1:8000", "192.168.0.7", "[::1]:8000", "[fe80::1]"]
)
def test_addresses_and_localhost_are_the_servers_own(client, host):
    assert client.get("/v1/model", headers={"host": host}).status_code == 200


def test_names_that_were_told_or_a_key_open_the_server(text_only):
    asked = {"host": "memes.example:8000"}
    with client_of(text_only.served(), allowed_hosts=("Memes.Example",)) as client:
        assert client.get("/v1/model", headers=asked).status_code == 200
        assert client.get("/v1/model", headers={"host": "other.example"}).status_code == 421
    with client_of(text_only.served(), allowed_hosts=("*",)) as client:
        assert client.get("/v1/model", headers=asked).status_code == 200
    with client_of(text_only.served(), api_key="k") as client:
        assert client.get("/v1/model", headers=asked).status_code == 401
        assert client.get("/v1/model", headers={**asked, "authorization": "Bearer k"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": EVIL},
        {"origin": "null"},
        {"origin": OWN.replace("8000", "9000")},
        {"origin": "http://localhost.evil.example:8000"},
        {"origin": EVIL, "sec-fetch-site": "cross-site"},
        {"origin": OWN, "sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_what_a_page_of_another_origin_sends_is_refused(client, both, headers):
    for method, path, body in reads_and_changes(both):
        if method == "POST":
            answer = client.post(path, json=body, headers=headers)
            assert (answer.status_code, code_of(answer)) == (403, "other_origin"), path
    form = client.post("/v1/predict", files={"image": both.image()}, headers=headers)  # needs no leave to be sent
    assert form.status_code == 403
    assert not (client.folder / "memes.csv").exists()
    assert client.app.state.policies.current is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": OWN},
        {"origin": OWN, "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        # a proxy in front that has another name, and a browser that says that it is one site for all that
        {"origin": "https://front.example", "sec-fetch-site": "same-origin"},
    ],
    ids=lambda headers: " ".join(headers.values()) or "a program",
)
def test_its_own_page_and_programs_are_served(client, both, headers):
    for method, path, body in reads_and_changes(both):
        if path not in ("/ui/policy", "/ui/review", "/ui/read-text", "/v1/moderations") and method == "POST":
            assert client.post(path, json=body, headers=headers).status_code == 200, path


def test_an_origin_that_is_named_may_ask_the_api_but_not_the_pages_own_routes(client, both):
    ours = {"origin": "https://ours.example", "sec-fetch-site": "cross-site"}
    for method, path, body in reads_and_changes(both):
        answer = client.request(method, path, json=body, headers=ours)
        if path.startswith(API):
            assert answer.headers["access-control-allow-origin"] == "https://ours.example", path
            assert answer.status_code in (200, 422), path
        else:
            assert "access-control-allow-origin" not in answer.headers, path
            assert answer.status_code == (200 if method == "GET" else 403), path
    asks = ours | {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    assert "access-control-allow-origin" not in client.options("/ui/policy", headers=asks).headers
    assert client.options("/v1/predict", headers=asks).status_code == 200
