"""`/v1/moderations`: the shape of the OpenAI moderation API over the model's label tasks."""

import pytest
from serving_helpers import base64_of, client_of

from memeblend.errors import ModelError
from memeblend.labels import HUMOROUS, MOTIVATIONAL, LabelTask
from memeblend.serving.moderation import Category, moderate


def parts(both, text="an awful day", number=1):
    url = f"data:image/png;base64,{base64_of(both.image(number))}"
    return [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]


@pytest.fixture(scope="module")
def client(both):
    with client_of(both.served()) as client:
        yield client


def test_a_meme_of_text_and_image_has_one_result(client, both):
    answer = client.post("/v1/moderations", json={"model": "omni-moderation-latest", "input": parts(both)})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"id", "model", "results"}
    assert body["id"].startswith("modr-")
    assert body["model"].startswith("memeblend-")
    (result,) = body["results"]
    assert set(result) == {"flagged", "categories", "category_scores", "category_applied_input_types"}
    assert list(result["categories"]) == ["mood"]  # level has no class for absence
    assert result["category_applied_input_types"] == {"mood": ["text", "image"]}
    assert result["flagged"] is result["categories"]["mood"]


def test_it_says_what_predict_says(client, both):
    for number, text in enumerate(("a lovely happy thing", "an awful sad day", "great", "terrible")):
        image = base64_of(both.image(number))
        mood = client.post("/v1/predict", json={"memes": [{"text": text, "image": image}]}).json()["memes"][0][
            "label_tasks"
        ]["mood"]
        (result,) = client.post("/v1/moderations", json={"input": parts(both, text, number)}).json()["results"]
        assert result["categories"]["mood"] is (mood["class"] == "good")
        assert result["category_scores"]["mood"] == pytest.approx(mood["probabilities"]["good"], abs=1e-6)


def test_texts_have_a_result_each(text_only):
    with client_of(text_only.served()) as client:
        one = client.post("/v1/moderations", json={"input": "lovely"}).json()["results"]
        two = client.post("/v1/moderations", json={"input": ["awful", "lovely"]}).json()["results"]
        joined = client.post("/v1/moderations", json={"input": [{"type": "text", "text": "lovely"}]}).json()["results"]
    assert (len(one), len(two)) == (1, 2)
    assert one[0] == two[1] == joined[0]
    assert one[0]["category_applied_input_types"] == {"mood": ["text"]}
    assert two[0] != two[1]


def test_an_image_alone_is_applied_alone(client, both):
    (result,) = client.post("/v1/moderations", json={"input": parts(both)[1:]}).json()["results"]
    assert result["category_applied_input_types"] == {"mood": ["image"]}


def test_thresholds_and_flags_are_the_servers(both):
    for threshold, expected in ((0.0, True), (1.0, False)):
        with client_of(both.served(), thresholds={"mood": threshold}) as client:
            (result,) = client.post("/v1/moderations", json={"input": parts(both)}).json()["results"]
            assert result["categories"] == {"mood": expected}
            assert result["flagged"] is expected
            assert client.get("/v1/model").json()["categories"] == [
                {"name": "mood", "threshold": threshold, "flags": True}
            ]
    for wrong in ({"thresholds": {"rude": 0.5}}, {"flagging": ("rude",)}):
        with (
            pytest.raises(ModelError, match=r"no category rude(.|\n)*Its categories are mood"),
            client_of(both.served(), **wrong),
        ):
            pass


@pytest.mark.parametrize(
    ("given", "where", "what"),
    [
        (
            [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}],
            "input[0].image_url.url",
            "is an address; remote images are never fetched, so send the image itself in base64, as a data: URI",
        ),
        ([{"type": "image_url", "image_url": {"url": ""}}], "input[0].image_url.url", "is an address"),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}], "input[0].image_url.url", "is not"),
        ([{"type": "image_url"}], "input[0].image_url", "Field required"),
        ([{"type": "video"}], "input[0]", "Input tag 'video'"),
        ([{"type": "text", "text": "x", "more": 1}], "input[0].more", "Extra inputs are not permitted"),
        (["a", 5], "input[1]", "Input should be a valid string"),
        ([], "input", "List should have at least 1 item"),
        (5, "input", "Input should be a valid string"),
        (None, "input", "Input should be a valid string"),
        ("", "input[0]", "holds neither text nor image"),
        ("no picture", "input[0]", "is missing, but the model's members image-0 read images"),
        ("x" * 20_001, "input[0]", "has 20,001 characters"),
        (["x"] * 65, "input", "holds 65 items"),
    ],
)
def test_inputs_that_can_not_be_moderated(client, given, where, what):
    answer = client.post("/v1/moderations", json={"input": given})
    assert answer.status_code == 422, answer.text
    problems = {problem["where"]: problem["what"] for problem in answer.json()["error"]["problems"]}
    assert problems[where].startswith(what)


def test_one_image_at_most(client, both):
    answer = client.post("/v1/moderations", json={"input": parts(both) + parts(both)})
    assert answer.json()["error"]["problems"] == [
        {"where": "input[3]", "what": "is a second image, expected one at most"}
    ]


def record(task, decided, *probabilities):
    return {
        "label_tasks": {
            task.name: {"class": decided, "probabilities": dict(zip(task.classes, probabilities, strict=True))}
        }
    }


@pytest.mark.parametrize(
    ("threshold", "decided", "given"),
    [(None, "not_funny", False), (None, "hilarious", True), (0.6, "not_funny", True), (0.61, "hilarious", False)],
)
def test_an_intensity_label_task_is_there_above_its_first_level(threshold, decided, given):
    category = Category(HUMOROUS, threshold, True, ("text", "image"))
    result = moderate(record(HUMOROUS, decided, 0.4, 0.3, 0.2, 0.1), [category], ["text"])
    assert result.category_scores == {"humorous": pytest.approx(0.6)}
    assert result.categories == {"humorous": given}
    assert result.flagged is given
    assert result.category_applied_input_types == {"humorous": ["text"]}


def test_only_flagging_categories_flag():
    kind = Category(MOTIVATIONAL, None, False, ("text",))
    rude = Category(LabelTask("rude", "binary", ("no", "yes")), None, True, ("text",))
    said = {
        "label_tasks": record(MOTIVATIONAL, "motivational", 0.1, 0.9)["label_tasks"]
        | record(rude.label_task, "no", 0.8, 0.2)["label_tasks"]
    }
    result = moderate(said, [kind, rude], ["text"])
    assert result.categories == {"motivational": True, "rude": False}
    assert not result.flagged


def test_a_model_without_categories_says_so(text_only):

    model = text_only.served()
    model.classifier.label_tasks_ = tuple(task for task in model.classifier.label_tasks_ if task.name == "level")
    with client_of(model) as client:
        answer = client.post("/v1/moderations", json={"input": "x"})
        assert answer.status_code == 422
        assert "use /v1/predict instead" in answer.text
    with pytest.raises(ModelError, match="It has none"), client_of(model, thresholds={"level": 0.5}):
        pass
