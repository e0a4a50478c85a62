"""The whole explanation: agreement with predictions, JSON, the page, missing images and texts, refusals."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from memeblend.candidates.knn import Knn
from memeblend.cli.explain import ExplainRequest, run_explain
from memeblend.errors import DataError, ImageError, MissingExtraError
from memeblend.explain import gradients
from memeblend.explain.explaining import explain
from memeblend.explain.inputs import Meme, ready

TEXT = "lovely good thing number 4"
HOSTILE = "<script>alert(1)</script> \"><img src=x onerror=alert(2)> </style><b>'&amp; \u202egnp.exe"


@pytest.fixture(scope="module")
def found(model, picture, background):
    return explain(model, picture, TEXT, background=background)


def predicted(model, picture, text=TEXT):
    meme = Meme.make(picture, text, model.preprocessor_)
    return model.predict_prepared(ready([meme.whole], model.preprocessor_))


def test_it_explains_what_the_model_predicts(model, picture, found):
    said = predicted(model, picture)
    for task in found.label_tasks:
        table = said.tables[task.label_task.name]
        assert task.decided == task.explained == table.predicted[0]
        np.testing.assert_allclose(task.probabilities, table.probabilities[0], atol=1e-6)
        np.testing.assert_allclose([split.value for split in task.splits], table.probabilities[0], atol=1e-6)
        members = {one.candidate: one for one in said.members[task.label_task.name]}
        assert [vote.member for vote in task.votes] == list(model.choices_[task.label_task.name].members)
        for vote, split in zip(task.votes, task.member_splits, strict=True):
            np.testing.assert_allclose(vote.probabilities, members[vote.member].probabilities[0], atol=1e-6)
            assert split.value == pytest.approx(vote.probabilities[task.explained], abs=1e-6)


def test_the_model_explains_itself(model, picture, found, background):
    itself = model.explain(picture, TEXT, background=background, cheap=True, label_task="level")
    (of_level,) = [task for task in found.label_tasks if task.label_task.name == "level"]
    assert [task.label_task.name for task in itself.label_tasks] == ["level"]
    assert itself.label_tasks[0].splits == of_level.splits


def test_every_member_is_attributed_in_the_ways_of_its_kind(model, found):
    for task in found.label_tasks:
        methods = {}
        for one in task.attributions:
            methods.setdefault(one.of, []).append(one.method)
        neural = ["integrated_gradients", "rollout", "occlusion"]
        own = {"tfidf": ["linear", "occlusion"], "ensemble": ["occlusion"]}
        own |= dict.fromkeys(("text", "image", "fusion", "fusion_unblended", "align"), neural)
        for name, given in methods.items():
            assert given == own.get(name.rsplit("-", 1)[0], ["occlusion"]), name
        assert set(methods) == {"ensemble", *model.choices_[task.label_task.name].members}
        assert all(one.complete for one in task.attributions if one.complete is not None)


def test_members_that_read_one_modality_get_nothing_from_the_other(found):
    for task in found.label_tasks:
        splits = {vote.member: split for vote, split in zip(task.votes, task.member_splits, strict=True)}
        for name in ("tfidf-0", "text-0"):
            assert (splits[name].image, splits[name].interaction) == pytest.approx((0, 0), abs=1e-6)
        assert (splits["image-0"].text, splits["image-0"].interaction) == pytest.approx((0, 0), abs=1e-6)
        occlusions = {one.of: one for one in task.attributions if one.method == "occlusion"}
        assert occlusions["text-0"].patches is None
        assert occlusions["image-0"].words is None
        assert len(occlusions["text-0"].words) == 5
        assert np.shape(occlusions["image-0"].patches) == (6, 6)


def test_irony_of_branches_is_told_where_they_were_trained(found):
    for task in found.label_tasks:
        assert {name for name, _ in task.branch_ironies} == {"fusion-0", "align-0"}
        assert all(0 <= one.index <= 1 for _, one in task.branch_ironies)
        fusion = dict(task.branch_ironies)["fusion-0"]
        votes = {vote.member: vote for vote in task.votes}
        np.testing.assert_allclose(fusion.fused, votes["fusion-0"].probabilities, atol=1e-5)


def test_precedents_are_those_of_the_nearest_neighbour_member(model, picture, found):
    knn = model.candidates_["knn-0"]
    assert isinstance(knn, Knn)
    memes = ready([Meme.make(picture, TEXT, model.preprocessor_).whole], model.preprocessor_)
    for task in found.label_tasks:
        ((name, precedents),) = task.precedents
        assert name == "knn-0"
        assert list(precedents) == knn.precedents(memes, 5, task.label_task.name)[0]


def test_backgrounds_are_told_and_neutral_ones_warned_of(model, picture, found):
    assert (found.background, found.num_backgrounds) == ("memes", 5)
    assert found.notes == ()
    assert found["mood"].splits[0].standard_errors is not None
    plain = explain(model, picture, TEXT, label_task="mood", cheap=True)
    assert (plain.background, plain.num_backgrounds) == ("neutral", 1)
    assert "empty text" in plain.notes[0]
    assert plain["mood"].splits[0].standard_errors is None
    with pytest.raises(KeyError):
        plain["level"]


def test_another_class_can_be_explained(model, picture):
    decided = explain(model, picture, TEXT, label_task="mood", cheap=True)["mood"]
    other = decided.label_task.classes[1 - decided.decided]
    found = explain(model, picture, TEXT, label_task="mood", class_name=other, cheap=True)["mood"]
    assert found.decided == decided.decided
    assert found.explained == 1 - decided.decided
    first, second = found.attributions[0], decided.attributions[0]  # of two classes one gains what the other loses
    np.testing.assert_allclose(first.words, -np.array(second.words), atol=1e-9)


def test_it_is_plain_json(found):
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["words"] == TEXT.split()
    mood = data["label_tasks"]["mood"]
    assert mood["class"] in ("bad", "good")
    assert set(mood["modalities"]) == {"bad", "good"}
    split = mood["modalities"]["good"]
    assert split["value"] == pytest.approx(mood["probabilities"]["good"], abs=1e-6)
    assert split["shapley"]["text"] + split["shapley"]["image"] == pytest.approx(split["value"] - split["baseline"])
    assert mood["attributions"][0]["of"] == "ensemble"
    assert found.to_dict() == data


class Page(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text, self.styles = [], [], "", ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "style":
            self.styles += data
        self.text += data


def test_the_page_escapes_hostile_texts_and_loads_nothing(model, picture):
    page = Page(explain(model, picture, HOSTILE, label_task="mood", cheap=True).to_html())
    assert not {"script", "img", "iframe", "link", "object", "form"} & set(page.tags)
    assert "<script>alert(1)</script>" in page.text
    assert [name for name, _ in page.attributes if name.startswith("on")] == []
    assert ("content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in page.attributes
    assert all(value.startswith("#") for name, value in page.attributes if name in ("href", "src", "action"))
    assert page.styles.count("url(") == 1
    assert 'url("data:image/png;base64,' in page.styles
    assert "prefers-color-scheme: dark" in page.styles


def test_the_page_shows_what_was_found(found):
    text = Page(found.to_html()).text
    for expected in (
        "Irony index",
        "Who voted what",
        "knn-0",
        "integrated gradients",
        "5 other memes",
        "Precedents of",
    ):
        assert expected in text


def test_a_text_alone_is_explained_where_no_member_reads_images(text_model):
    found = explain(text_model, None, TEXT)
    assert found.picture is None
    for task in found.label_tasks:
        assert all(one.patches is None for one in task.attributions)
        assert [split.image for split in task.splits] == pytest.approx([0] * len(task.splits), abs=1e-6)
        assert [split.interaction for split in task.splits] == pytest.approx([0] * len(task.splits), abs=1e-6)
        assert task.irony.index == pytest.approx(0, abs=1e-6)
        assert task.precedents == ()
    assert "no image" in Page(found.to_html()).text


def test_an_image_that_no_member_reads_does_no_harm(text_model, picture):
    with_image, without = (explain(text_model, image, TEXT, label_task="mood", cheap=True) for image in (picture, None))
    assert with_image.picture is not None
    assert with_image["mood"].attributions == without["mood"].attributions


def test_an_empty_text_is_explained(model, picture):
    found = explain(model, picture, "", label_task="mood")
    assert found.words == ()
    task = found["mood"]
    assert [split.text for split in task.splits] == pytest.approx([0, 0], abs=1e-6)  # it is the neutral text
    assert all(one.words in ((), None) for one in task.attributions)
    assert "(no text)" in Page(found.to_html()).text


def test_an_image_in_memory_is_explained_as_its_file_is(model, picture):
    with Image.open(picture) as image:
        image.load()
    first, second = (explain(model, one, TEXT, label_task="mood", cheap=True) for one in (image, picture))
    assert first == second


def test_a_background_without_images_will_do_where_nobody_looks_at_them(text_model, picture, background):
    found = explain(text_model, picture, TEXT, background=replace(background, images=None), cheap=True)
    assert found.num_backgrounds == len(background)
    for task in found.label_tasks:
        assert all(abs(split.image) < 1e-6 for split in task.splits)


def test_what_can_not_be_explained_is_refused(model, text_model, picture, background, tmp_path):
    with pytest.raises(DataError, match=r"image-0.* read images, but there is none"):
        explain(model, None, TEXT)
    with pytest.raises(DataError, match=r"no trained label task 'moood'(.|\n)*Did you mean 'mood'"):
        explain(model, picture, TEXT, label_task="moood")
    with pytest.raises(DataError, match=r"no class 'goood'(.|\n)*Did you mean 'good'"):
        explain(model, picture, TEXT, label_task="mood", class_name="goood")
    with pytest.raises(DataError, match="Name its label task too"):
        explain(model, picture, TEXT, class_name="good")
    with pytest.raises(DataError, match="no memes in the background"):
        explain(model, picture, TEXT, background=background.take(np.array([], dtype=np.int64)))
    with pytest.raises(DataError, match="background have no images"):
        explain(
            model,
            picture,
            TEXT,
            background=ready([Meme.make(None, "a", model.preprocessor_).whole], model.preprocessor_),
        )
    (tmp_path / "no.png").write_bytes(b"no image")
    with pytest.raises(ImageError):
        explain(model, tmp_path / "no.png", TEXT)


def test_only_gradients_need_captum(model, picture, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(gradients, "import_module", missing)
    found = explain(model, picture, TEXT, label_task="mood", cheap=True)
    assert "integrated_gradients" not in {one.method for one in found["mood"].attributions}
    with pytest.raises(MissingExtraError, match="memeblend"):
        explain(model, picture, TEXT, label_task="mood")


def test_the_command_writes_page_and_json(model, data, picture, tmp_path, capsys):
    model.save(tmp_path / "model")
    request = ExplainRequest(
        tmp_path / "model", picture, TEXT, label_task="mood", background=data, num_background=3, cheap=True,
        out=tmp_path / "page.html",
    )  # fmt: skip
    run_explain(request, json_output=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["num_backgrounds"] == 3
    assert list(printed["label_tasks"]) == ["mood"]
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    run_explain(
        ExplainRequest(tmp_path / "model", picture, TEXT, cheap=True, out=tmp_path / "e.json"), json_output=False
    )
    shown = capsys.readouterr().out
    assert "irony index" in shown
    assert "pivotal" in shown
    assert set(json.loads((tmp_path / "e.json").read_text())["label_tasks"]) == {"mood", "level"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"image": None, "text": ""}, "nothing to explain"), ({"out": "page.pdf"}, "should end in .html or .json")],
)
def test_the_command_refuses_before_it_loads(tmp_path, changes, message):
    if "out" in changes:
        changes = {"out": tmp_path / changes["out"]}
    with pytest.raises(DataError, match=message):
        run_explain(ExplainRequest(tmp_path / "none", **({"text": "x"} | changes)), json_output=False)
