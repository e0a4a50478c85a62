"""`/v1/predict`: the same answers as the model on files, and a refusal in sentences for everything else."""

import json
import time

import pytest
from serving_helpers import base64_of, client_of, half_a_jpeg, png_that_announces

from memeblend import MemeClassifier
from memeblend.serving.schemas import PredictAnswer

WORDS = ("a lovely thing", "an awful day", "")


@pytest.fixture(scope="module")
def client(both):
    with client_of(both.served(), max_memes=8, max_body_bytes=400_000, max_text_characters=2_000) as client:
        yield client


@pytest.fixture(scope="module")
def expected(both, tmp_path_factory):
    """What the model says of three memes that lie in files."""
    folder = tmp_path_factory.mktemp("three")
    rows = [{"id": str(i), "image": f"{i}.png", "text": text} for i, text in enumerate(WORDS)]
    for number in range(3):
        (folder / f"{number}.png").write_bytes(both.image(number))
    (folder / "memes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return MemeClassifier.load(both.folder).predict_tables(folder).to_records()


def memes(both):
    return [{"text": text, "image": base64_of(both.image(number))} for number, text in enumerate(WORDS)]


def assert_same(answer, expected):
    assert len(answer["memes"]) == len(expected)
    for found, right in zip(answer["memes"], expected, strict=True):
        assert set(found["label_tasks"]) == set(right["label_tasks"])
        for name, entry in found["label_tasks"].items():
            assert entry["class"] == right["label_tasks"][name]["class"]
            assert entry.get("votes") == right["label_tasks"][name].get("votes")
            assert entry["probabilities"] == pytest.approx(right["label_tasks"][name]["probabilities"], abs=3e-6)


def problems_of(answer, status=422):
    assert answer.status_code == status, answer.text
    return {problem["where"]: problem["what"] for problem in answer.json()["error"]["problems"]}


def test_json_gives_what_the_model_says_of_the_same_files(client, both, expected):
    answer = client.post("/v1/predict", json={"memes": memes(both)})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert_same(answer.json(), expected)
    PredictAnswer.model_validate(answer.json())


def test_multipart_gives_the_same(client, both, expected):
    files = [("image", (f"{i}.png", both.image(i), "image/png")) for i in range(3)]
    answer = client.post("/v1/predict", files=files, data={"text": list(WORDS), "meme_id": ["a", "b", "a"]})
    assert answer.status_code == 200, answer.text
    assert_same(answer.json(), expected)
    assert [meme["meme_id"] for meme in answer.json()["memes"]] == ["a", "b", "a"]


def test_a_data_uri_is_read_like_bare_base64_and_text_may_be_left_out(client, both, expected):
    uri = f"data:image/png;base64,{base64_of(both.image(2))}"
    answer = client.post("/v1/predict", json={"memes": [{"image": uri}, {"image": uri, "meme_id": "x", "text": None}]})
    assert_same(answer.json(), [expected[2], expected[2]])
    assert [meme["meme_id"] for meme in answer.json()["memes"]] == ["0", "x"]
    only_file = client.post("/v1/predict", files={"image": both.image(2)})
    assert_same(only_file.json(), [expected[2]])


def test_a_model_of_text_alone_takes_memes_without_images_among_others(text_only):
    with client_of(text_only.served()) as client:
        sent = [{"text": "lovely"}, {"text": "lovely", "image": base64_of(text_only.image())}]
        first, second = client.post("/v1/predict", json={"memes": sent}).json()["memes"]
        assert first["label_tasks"] == second["label_tasks"]
        assert (
            client.post("/v1/predict", files=[("text", (None, "lovely")), ("text", (None, "sad"))]).status_code == 200
        )


def test_an_image_that_members_read_has_to_be_there(client):
    found = problems_of(client.post("/v1/predict", json={"memes": [{"text": "no picture"}]}))
    assert found == {"memes[0].image": "is missing, but the model's members image-0 read images"}


def test_every_problem_of_a_request_is_told_at_once(client, both):
    sent = [
        {"text": "fine", "image": base64_of(both.image())},
        {"text": "x" * 2_001, "image": "not base64!"},
        {"text": "", "image": "https://example.org/meme.png"},
        {"image": "data:image/png,%00"},
        {"image": "file:///etc/passwd"},
    ]
    found = problems_of(client.post("/v1/predict", json={"memes": sent}))
    assert list(found) == [*("memes[1].text", "memes[1].image", "memes[2].image", "memes[3].image", "memes[4].image")]
    assert found["memes[1].text"] == "has 2,001 characters, more than the 2,000 that are allowed"
    assert "never fetched" in found["memes[2].image"]
    assert "never fetched" in found["memes[4].image"]
    bad = problems_of(client.post("/v1/predict", json={"memes": [{"image": base64_of(b"no")}] * 3}))
    assert list(bad) == ["memes[0].image", "memes[1].image", "memes[2].image"]


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b'{"memes": [{"text": "\\ud800"}]}', 400, "not JSON"),
        (b"[" * 5_000, 400, "not JSON"),
        (b"[" * 100_000, 422, "far more values"),
        (b'{"memes": [' + b"{}," * 100_000 + b"{}]}", 422, "far more values"),
        (b'{"memes": [' + b"1," * 8_000 + b"1]}", 422, "more problems are not listed"),
        (b"{" + b'"a":1,' * 60_000 + b'"memes": []}', 422, "far more values"),
        (b'{"memes": [{"text": "' + b'[{,\\"' * 50_000 + b'"}]}', 422, "characters, more than the 2,000"),
        (b"[]", 422, "should be an object"),
        (b"null", 422, "should be an object"),
        (b"{}", 422, "required"),
        (b'{"memes": []}', 422, "at least 1"),
        (b'{"memes": [{}]}', 422, "neither text nor image"),
        (b'{"memes": [{"text": " ", "image": null}]}', 422, "neither text nor image"),
        (b'{"memes": [{"text": 5}]}', 422, "valid string"),
        (b'{"memes": [{"caption": "x"}]}', 422, "not permitted"),
        (b'{"memes": [{"meme_id": "' + b"x" * 201 + b'", "text": "x"}]}', 422, "at most 200"),
        (b'{"memes": [' + b",".join([b'{"text": "x"}'] * 9) + b"]}", 422, "more than the 8"),
    ],
    ids=lambda value: value[:20].decode(errors="replace") if isinstance(value, bytes) else None,
)
def test_bodies_that_say_nothing_sensible(client, body, status, part):
    answer = client.post("/v1/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert part in answer.text


def test_a_body_of_tiny_values_is_refused_before_it_is_read(client):
    body = b'{"memes": [' + b"1," * 195_000 + b"1]}"
    began = time.process_time()
    problems_of(client.post("/v1/predict", content=body, headers={"content-type": "application/json"}))
    assert time.process_time() - began < 1  # telling of each took ten


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image"),
        (b"PK\x03\x04" + bytes(100), "not an image"),
        (half_a_jpeg(), "truncated or corrupt"),
        (png_that_announces(20_000, 10_000), "announces far more than 25,000,000 pixels"),
        (png_that_announces(6_000, 5_000), "30,000,000 pixels, more than the 25,000,000"),
        (png_that_announces(2**31 - 1, 2**31 - 1), "pixels"),
    ],
    ids=["empty", "svg", "postscript", "zip", "half", "bomb", "large", "absurd"],
)
def test_what_is_no_image_is_refused_and_the_server_goes_on(client, both, data, part):
    for answer in (
        client.post("/v1/predict", json={"memes": [{"image": base64_of(data)}]}),
        client.post("/v1/predict", files={"image": ("x.png", data)}),
    ):
        assert answer.status_code in (413, 422)
        assert part in answer.text or answer.status_code == 413
        assert "BytesIO" not in answer.text
    assert client.post("/v1/predict", json={"memes": memes(both)}).status_code == 200


@pytest.mark.parametrize(
    "text",
    ["\u202eevil\u202c \u0634\u0643\u0631\u0627", "\u200b" * 500, "a\x00b", "\U0001f600" * 300, "e" + "\u0301" * 1500],
    ids=["right to left", "zero width", "NUL", "emoji", "combining"],
)
def test_odd_texts_are_read(client, both, text):
    image = base64_of(both.image())
    assert client.post("/v1/predict", json={"memes": [{"text": text, "image": image}]}).status_code == 200
    assert client.post("/v1/predict", files={"image": both.image()}, data={"text": text}).status_code == 200


def test_ten_megabytes_of_text_are_refused(both):
    body = {"memes": [{"text": "ha " * 3_500_000}]}
    with client_of(both.served()) as client:
        assert "more than the 20,000" in client.post("/v1/predict", json=body).text
        form = client.post("/v1/predict", files={"image": both.image()}, data={"text": "ha " * 3_500_000})
        assert "more than the 20,000" in form.text
    with client_of(both.served(), max_body_bytes=1_000_000) as client:
        answer = client.post("/v1/predict", json=body)
        assert answer.status_code == 413
        assert answer.headers["connection"] == "close"


def test_a_body_without_its_length_is_cut_off_too(client):
    def endless():
        for _ in range(10):
            yield b"x" * 100_000

    answer = client.post("/v1/predict", content=endless(), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"


def test_bodies_of_all_requests_together_are_bounded(both):
    with client_of(both.served(), max_buffered_bytes=1_000) as client:
        answer = client.post("/v1/predict", json={"memes": [{"text": "x" * 2_000}]})
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1"
        assert client.post("/v1/predict", json={"memes": [{"text": "x"}]}).status_code == 422


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "media_type"),
        ({"content-type": "text/plain"}, "media_type"),
        ({"content-type": "application/json", "content-encoding": "gzip"}, "content_encoding"),
    ],
)
def test_other_media_types_are_refused(client, headers, code):
    answer = client.post("/v1/predict", content=b"{}", headers=headers)
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == code


@pytest.mark.parametrize(
    ("fields", "files", "problem"),
    [
        ({"text": ["a", "b"]}, 1, ("text", "comes 2 times for 1 memes")),
        ({"meme_id": ["a"]}, 2, ("meme_id", "comes 1 times for 2 memes")),
        ({"caption": ["a"]}, 1, ("caption", "is not a field of this form; they are image, text, meme_id")),
        ({"image": ["words"]}, 0, ("image[0]", "is text, expected a file")),
        ({"meme_id": ["a"]}, 0, ("form", "holds neither image nor text")),
        ({"text": ["x" * 2_001]}, 1, ("text[0]", "has 2,001 characters")),
        ({"text": [b"\xff"]}, 1, ("text[0]", "is not UTF-8")),
        ({"meme_id": ["x" * 201]}, 1, ("meme_id[0]", "has more than 200 characters")),
    ],
)
def test_forms_that_do_not_fit_together(client, both, fields, files, problem):
    sent = [("image", ("m.png", both.image()))] * files
    sent += [(name, (None, value)) for name, values in fields.items() for value in values]
    found = problems_of(client.post("/v1/predict", files=sent))
    assert found[problem[0]].startswith(problem[1])


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"no boundary here"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nhal',
        ),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nno name\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n"),
        ("multipart/form-data; boundary=" + "x" * 300, b"--x--"),
        ("multipart/form-data; boundary=x", b""),
    ],
    ids=["no boundary named", "none there", "half", "no headers", "no name", "long boundary", "empty"],
)
def test_multipart_that_is_none(client, content_type, body):
    answer = client.post("/v1/predict", content=body, headers={"content-type": content_type})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["message"]


def test_too_many_files_are_refused(client, both):
    answer = client.post("/v1/predict", files=[("image", ("m.png", both.image()))] * 9)
    assert problems_of(answer) == {"image": "holds 9 items, more than the 8 of one request"}
    answer = client.post("/v1/predict", files=[("image", ("m.png", both.image()))] * 25)
    assert answer.status_code == 400
    assert "more than the 24 parts" in answer.text


def test_refusals_have_one_shape_and_tell_nothing_of_the_machine(client, both):
    answers = [
        client.get("/v1/nothing"),
        client.get("/v1/predict"),
        client.get("/docs"),
        client.post("/v1/predict", content=b"{"),
        client.post("/v1/predict", json={"memes": [{"image": base64_of(half_a_jpeg())}]}),
    ]
    assert [answer.status_code for answer in answers] == [404, 405, 404, 415, 422]
    for answer in answers:
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "code", "param", "problems"}
        assert str(both.folder.parent) not in answer.text
        assert "Traceback" not in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert answers[1].headers["allow"] == "POST"
