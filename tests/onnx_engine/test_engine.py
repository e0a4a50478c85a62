"""The engine without torch: what it imports, what it refuses, and the server that runs on it."""

import base64
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from memeblend import MemeClassifier
from memeblend.cli.app import app
from memeblend.errors import MissingExtraError, ModelError
from memeblend.files import file_digest
from memeblend.onnx_engine.checking import random_memes
from memeblend.onnx_engine.classifier import OnnxClassifier
from memeblend.onnx_engine.folder import FILE
from memeblend.onnx_engine.sessions import Graph
from memeblend.serving.app import create_app
from memeblend.serving.served import ServedModel
from memeblend.serving.settings import ServerSettings

HEAVY = ("torch", "transformers")


def call(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.stdout + result.stderr + repr(result.exception)
    return result


def in_process(code, *arguments):
    """Run code in a process of its own; gives its last line."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture
def copy(exported, tmp_path):
    """An export to do harm to."""
    shutil.copytree(exported.folder, tmp_path / "copy")
    return tmp_path / "copy"


def rewrite(folder, **changes):
    """Change facts, and make the digests fit the files."""
    facts = json.loads((folder / FILE).read_text()) | changes
    facts["files"] = {name: file_digest(folder / name) for name in facts["files"] if (folder / name).is_file()}
    (folder / FILE).write_text(json.dumps(facts))


PREDICT = f"""
import sys
from memeblend.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code
print([name for name in {HEAVY} if name in sys.modules])
"""


def test_predict_imports_no_torch(exported):
    image = exported.data / "pictures" / "0.png"
    last = in_process(PREDICT, "predict", exported.folder, image, "--text", "great good thing", "--json")
    assert last == "[]"


def test_evaluate_imports_no_torch(exported):
    assert in_process(PREDICT, "evaluate", exported.folder, exported.data, "--json") == "[]"


SERVE = f"""
import sys
from fastapi.testclient import TestClient
from memeblend.serving.app import create_app
from memeblend.serving.served import ServedModel
from memeblend.serving.settings import ServerSettings
app = create_app(ServedModel.load(sys.argv[1], "onnx"), ServerSettings())
with TestClient(app, base_url="http://localhost") as client:
    import base64
    image = base64.b64encode(open(sys.argv[2], "rb").read()).decode()
    answer = client.post("/v1/predict", json={{"memes": [{{"text": "great", "image": image}}]}})
    assert answer.status_code == 200, answer.text
print([name for name in {HEAVY} if name in sys.modules])
"""


def test_serving_imports_no_torch(exported):
    assert in_process(SERVE, exported.folder, exported.data / "pictures" / "0.png") == "[]"


def test_server_answers_as_with_torch(exported):
    image = base64.b64encode((exported.data / "pictures" / "1.png").read_bytes()).decode()
    body = {"memes": [{"meme_id": "a", "text": "lovely good thing", "image": image}]}
    answers = {}
    for engine, folder in (("torch", exported.model), ("onnx", exported.folder)):
        app = create_app(ServedModel.load(folder, engine), ServerSettings(num_threads=1))
        with TestClient(app, base_url="http://localhost") as client:
            answers[engine] = client.post("/v1/predict", json=body).json()["memes"][0]["label_tasks"]
            model = client.get("/v1/model").json()
            assert model["folder_changed"] is False
            explained = client.post("/v1/explain", json={"text": "lovely", "image": image, "cheap": True})
            assert explained.status_code == (200 if engine == "torch" else 501)
    assert answers["torch"].keys() == answers["onnx"].keys()
    for name, one in answers["torch"].items():
        other = answers["onnx"][name]
        assert one["class"] == other["class"]
        assert one.get("votes") == other.get("votes")
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-4)


def test_engine_and_folder_must_fit(exported):
    with pytest.raises(ModelError, match="exported model, which torch can't run"):
        ServedModel.load(exported.folder, "torch")
    with pytest.raises(ModelError, match="is not an exported model") as caught:
        ServedModel.load(exported.model, "onnx")
    assert "memeblend export" in caught.value.fix
    assert isinstance(ServedModel.load(exported.folder).classifier, OnnxClassifier)
    assert isinstance(ServedModel.load(exported.model.parent).classifier, MemeClassifier)
    assert "no engine 'tpu'" in call("serve", exported.folder, "--engine", "tpu", code=1).stderr


def test_commands_predict_the_same(exported):
    image = exported.data / "pictures" / "2.png"
    said = [
        json.loads(call("predict", folder, image, "--text", "sad bad thing", "--json").stdout)
        for folder in (exported.model, exported.folder)
    ]
    for name, one in said[0]["memes"][0]["label_tasks"].items():
        other = said[1]["memes"][0]["label_tasks"][name]
        assert one["class"] == other["class"]
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-4)


def test_export_command_refuses(tmp_path):
    out = tmp_path / "out"
    assert "no format 'tflite'" in call("export", tmp_path, "--format", "tflite", "--out", out, code=1).stderr
    assert "Expected a memeblend model" in call("export", tmp_path, "--out", out, code=1).stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_export_command(exported, tmp_path):
    out = tmp_path / "out"
    shown = call("export", exported.model, "--out", out, "--int8").stdout
    assert "In full precision the export says what the model says on 64 random memes" in shown
    assert "text-0" in shown
    assert OnnxClassifier.load(out).export_["int8"]


def test_commands_that_need_the_model_say_so(exported):
    stderr = call("precedents", "remove", exported.folder, "m0", code=1).stderr
    assert "is an exported model" in stderr


def test_altered_and_missing_files_are_listed(copy):
    (copy / "candidates" / "text-0" / "0.onnx").write_bytes(b"other")
    (copy / "candidates" / "image-0" / "0.onnx").unlink()
    (copy / "preprocessor" / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"exported model .* is not whole") as caught:
        OnnxClassifier.load(copy)
    assert [problem.where for problem in caught.value.problems] == [
        "candidates/image-0/0.onnx",
        "candidates/text-0/0.onnx",
        "preprocessor/tokenizer.json",
    ]
    assert "export the model again" in caught.value.fix


def test_another_version_is_refused(copy):
    rewrite(copy, format=99)
    with pytest.raises(ModelError, match="exported model format 99; this memeblend reads format 1"):
        OnnxClassifier.load(copy)


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x07" * 50])
def test_a_graph_that_is_none_is_refused(copy, content):
    (copy / "candidates" / "text-0" / "0.onnx").write_bytes(content)
    rewrite(copy)
    with pytest.raises(ModelError, match="onnxruntime can't run"):
        OnnxClassifier.load(copy)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (FILE, "{"),
        (FILE, "[]"),
        (FILE, '{"files": {}, "format": 1}'),
        ("candidates/text-0/graphs.json", "{}"),
        ("candidates/text-0/graphs.json", '{"reads": ["text"], "max_length": "many", "graphs": {}}'),
        ("candidates/text-0/graphs.json", '{"reads": ["text"], "max_length": 0, "graphs": {"joint": [3]}}'),
        ("candidates/tfidf-0/tfidf.json", "{}"),
        ("preprocessor/preprocessor.json", "{}"),
        ("preprocessor/tokenizer.json", '{"version": "1.0"'),
        ("preprocessor/tokenizer_config.json", '{"pad_token": "<nowhere>"}'),
    ],
)
def test_files_that_say_nothing_are_refused(copy, file, content):
    (copy / file).write_text(content)
    if file != FILE:
        rewrite(copy)
    with pytest.raises(ModelError):
        OnnxClassifier.load(copy)


def test_members_are_read_in_their_folder_alone(copy):
    for name in ("../../elsewhere", "/etc", "..", "a/b", ""):
        rewrite(copy, candidates=["text-0", name])
        with pytest.raises(ModelError, match="is no name of a member"):
            OnnxClassifier.load(copy)


def test_a_preprocessor_of_another_model_is_refused(copy):
    path = copy / "preprocessor" / "preprocessor.json"
    settings = json.loads(path.read_text())
    settings["transform"]["size"] = 10**9
    path.write_text(json.dumps(settings))
    rewrite(copy)
    with pytest.raises(ModelError, match=r"does not fit its model: .* images of 1000000000 pixels a side, found .* 16"):
        OnnxClassifier.load(copy)


def test_a_graph_of_another_member_is_refused(copy):
    shutil.copyfile(copy / "candidates" / "image-0" / "0.onnx", copy / "candidates" / "text-0" / "0.onnx")
    rewrite(copy)
    light = OnnxClassifier.load(copy)
    meme = random_memes(light.preprocessor_, 1, seed=0)
    with pytest.raises(ModelError, match="reads pixel_values, which its member does not give"):
        light.predict_prepared(meme)


def test_what_onnxruntime_can_not_run_is_a_sentence(exported):
    graph = Graph(exported.folder / "candidates" / "text-0" / "0.onnx", 1)
    tokens = {"input_ids": np.full((1, 3), 10**6), "attention_mask": np.ones((1, 3), dtype=np.int64)}
    with pytest.raises(ModelError, match=r"onnxruntime failed on '.*0\.onnx'"):
        graph.run(tokens)


def test_numbers_beyond_all_bounds_are_refused(copy):
    path = copy / "candidates" / "text-0" / "graphs.json"
    path.write_text(path.read_text().replace('"max_length": 0', '"max_length": 1e999'))
    rewrite(copy)
    with pytest.raises(ModelError, match="could not be read"):
        OnnxClassifier.load(copy)


def test_an_export_is_told_from_a_broken_model(exported):
    with pytest.raises(ModelError, match="is an exported model") as caught:
        MemeClassifier.from_pretrained(exported.folder)
    assert "OnnxClassifier.load" in caught.value.fix
    assert "is an exported model" in call("explain", exported.folder, "--text", "great", code=1).stderr


def test_the_card_says_how_an_export_is_used(exported):
    cards = [(folder / "README.md").read_text() for folder in (exported.model, exported.folder)]
    assert ["OnnxClassifier.load" in card for card in cards] == [False, True]
    assert ["from_pretrained" in card for card in cards] == [True, False]


def test_no_folder_and_no_export(exported, tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path, exported.model):
        with pytest.raises(ModelError, match="Expected an exported model"):
            OnnxClassifier.load(folder)


def test_missing_onnxruntime_is_named(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match="onnxruntime") as caught:
        OnnxClassifier.load(exported.folder)
    assert "memeblend[onnx]" in caught.value.fix
