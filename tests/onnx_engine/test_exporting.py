"""An export says what its model says, is written whole or not at all, and what can't be exported is named."""

import errno
import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from memeblend import Manifest, MemeClassifier
from memeblend.candidates.oscar import Oscar
from memeblend.candidates.zeroshot import Zeroshot
from memeblend.errors import MissingExtraError, ModelError, OutputError
from memeblend.onnx_engine import exporting
from memeblend.onnx_engine.checking import TOLERANCE, compare, random_memes
from memeblend.onnx_engine.classifier import OnnxClassifier
from memeblend.onnx_engine.exporting import export_onnx
from memeblend.onnx_engine.folder import FILE
from memeblend.recipe.candidates import OscarCandidate, ZeroshotCandidate
from memeblend.training.preprocessing import Memes
from small_runs import every_kind_recipe, small_data

LONG = "word " * 500


def told(probabilities, other):
    return max(float(np.abs(probabilities[name] - other[name]).max()) for name in probabilities)


def test_export_and_model_say_the_same_of_the_data(exported):
    model, light = MemeClassifier.load(exported.model), OnnxClassifier.load(exported.folder)
    assert light.members_ == model.members_ == ("image-0", "text-0", "tfidf-0")
    assert light.reads_ == model.reads_
    assert light.scores_ == model.scores_
    assert light.data_ == model.data_
    assert light.classes_["mood"].tolist() == ["bad", "good"]
    assert told(model.predict_proba(exported.data), light.predict_proba(exported.data)) < TOLERANCE
    assert (model.predict(exported.data) == light.predict(exported.data)).all(axis=None)
    assert light.score(exported.data) == pytest.approx(model.score(exported.data))
    assert set(light.validation_) == {"mood", "level"}


@pytest.mark.parametrize("texts", [["one"], [""], [LONG], ["", LONG, "two words"]])
def test_any_number_of_memes_and_any_length_of_text(exported, texts):
    model, light = MemeClassifier.load(exported.model), OnnxClassifier.load(exported.folder)
    ready = random_memes(light.preprocessor_, len(texts), seed=1)
    memes = Memes(texts, ready.images, light.preprocessor_, ready.meme_ids, ready.paths)
    found = compare(model, light, memes)
    assert found["largest_difference"] < 1e-5
    assert found["agreement"] == 1


def test_facts_hold_contract_and_check(exported):
    facts = json.loads((exported.folder / FILE).read_text())
    export = facts["export"]
    assert export["format"] == "onnx"
    assert export["int8"] is False
    assert export["preprocessing"]["max_length"] == 12
    assert export["preprocessing"]["size"] == 16
    assert export["check"]["memes"] == "random"
    assert export["check"]["num_memes"] == 64
    assert export["check"]["largest_difference"] < 1e-5
    assert set(export["check"]["members"]) == {"image-0", "text-0", "tfidf-0"}
    assert export["num_bytes"] == sum(path.stat().st_size for path in exported.folder.rglob("*.onnx"))
    on_disk = {path.relative_to(exported.folder).as_posix() for path in exported.folder.rglob("*") if path.is_file()}
    assert set(facts["files"]) == on_disk - {FILE}


def test_int8_tells_how_far_it_agrees_and_replaces_the_export_before_it(exported, tmp_path):
    shutil.copytree(exported.folder, tmp_path / "out")
    first = json.loads((tmp_path / "out" / FILE).read_text())["export"]
    memes = Manifest.read(exported.data).limit(20, 0)
    found = export_onnx(exported.model, tmp_path / "out", int8=True, memes=memes)
    assert found["check"]["memes"] == "given"
    assert found["check"]["num_memes"] == 20
    assert found["check"]["largest_difference"] < 1e-5
    assert 0 < found["check"]["int8"]["largest_difference"] < 0.2
    assert 0.8 < found["check"]["int8"]["agreement"] <= 1
    assert found["num_bytes"] < first["num_bytes"]
    light = OnnxClassifier.load(tmp_path / "out")
    assert light.export_["int8"] is True
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_threads_do_not_change_what_is_said(exported):
    light = OnnxClassifier.load(exported.folder, num_threads=1)
    before = light.predict_proba(exported.data)
    assert light.num_threads_ == 1
    light.set_num_threads(2)
    assert light.num_threads_ == 2
    assert told(before, light.predict_proba(exported.data)) < 1e-6


def test_the_same_memes_get_the_same_bytes(exported):
    first, second = (OnnxClassifier.load(exported.folder).predict_proba(exported.data) for _ in range(2))
    assert all((first[name] == second[name]).all() for name in first)


def test_an_export_that_says_something_else_is_not_written(exported, tmp_path, monkeypatch):
    found = {"num_memes": 1, "largest_difference": 0.3, "agreement": 0.5, "members": {"text-0": {}}}
    found["members"]["text-0"] = {"largest_difference": 0.3, "agreement": 0.5}
    monkeypatch.setattr(exporting, "compare", lambda *_: found)
    monkeypatch.setattr(exporting, "_write_neural", lambda *_: None)
    monkeypatch.setattr(
        exporting, "OnnxClassifier", SimpleNamespace(load=lambda _: OnnxClassifier.load(exported.folder))
    )
    with pytest.raises(ModelError, match=r"'text-0' differ by up to 0\.3 .* 50\.0% of the classes agree"):
        export_onnx(exported.model, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_what_was_there(exported, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exporting, "write_graph", full)
    with pytest.raises(OutputError, match="No space left"):
        export_onnx(exported.model, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_lies_beside_the_model_is_not_exported(exported, tmp_path, monkeypatch):
    shutil.copytree(exported.model, tmp_path / "model")
    (tmp_path / "model" / "memes").mkdir()
    (tmp_path / "model" / "memes" / "private.txt").write_text("secret")
    (tmp_path / "model" / "keys").symlink_to(exported.data)
    monkeypatch.setattr(
        exporting, "_write_neural", lambda candidate, folder, _: _copied(exported, candidate.name, folder)
    )
    export_onnx(tmp_path / "model", tmp_path / "out")
    there = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert there == {
        path.relative_to(exported.folder).as_posix() for path in exported.folder.rglob("*") if path.is_file()
    }


def _copied(exported, name, folder):
    """The member's graphs as they were exported before, which saves the time."""
    shutil.copytree(exported.folder / "candidates" / name, folder, dirs_exist_ok=True)


def test_a_folder_of_other_files_is_not_replaced(exported, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="holds other files"):
        export_onnx(exported.model, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_all_members_that_cannot_be_exported_are_named():
    candidates = {
        "oscar-0": Oscar("oscar-0", OscarCandidate(kind="oscar", regions="somewhere.npz")),
        "oscar_grid-0": Oscar("oscar_grid-0", OscarCandidate(kind="oscar")),
        "zeroshot-0": Zeroshot("zeroshot-0", ZeroshotCandidate(kind="zeroshot")),
    }
    with pytest.raises(ModelError, match="can't be exported") as caught:
        exporting._check_members(candidates)
    assert [problem.where for problem in caught.value.problems] == ["oscar-0", "zeroshot-0"]
    assert "ensemble search" in caught.value.fix


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_missing_packages_are_named(exported, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=f"package {package}") as caught:
        export_onnx(exported.model, tmp_path / "out")
    assert "memeblend[export]" in caught.value.fix


@pytest.mark.slow
def test_every_kind_of_member_in_every_form(tmp_path):
    recipe = every_kind_recipe("ensemble.method=all", "ensemble.pools={}", 'ensemble.pool=""')
    kept = tuple(one for one in recipe.candidates if one.kind != "zeroshot")
    data = small_data(tmp_path / "data")
    MemeClassifier(recipe.model_copy(update={"candidates": kept}), out=tmp_path / "run").fit(data)
    found = export_onnx(tmp_path / "run", tmp_path / "export")
    kinds = {name.split("-")[0].split("_")[0] for name in found["check"]["members"]}
    assert kinds == {"tfidf", "text", "image", "fusion", "align", "oscar", "linear", "boosting", "knn"}
    assert any("lora" in name for name in found["check"]["members"])
    assert any("frozen" in name for name in found["check"]["members"])
    model, light = MemeClassifier.load(tmp_path / "run"), OnnxClassifier.load(tmp_path / "export")
    assert told(model.predict_proba(data), light.predict_proba(data)) < TOLERANCE
