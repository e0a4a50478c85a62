"""`MemeClassifier`: the scikit-learn contract, predictions, evaluation, save and load."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import f1_score

from builders import write_csv
from memeblend import Manifest, MemeClassifier
from memeblend.errors import DataError, ImageError, ModelError, OutputError
from small_runs import small_data, small_recipe, small_rows


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def fitted(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return MemeClassifier(small_recipe(), out=out).fit(data)


def test_constructor_only_stores_and_params_can_be_set():
    model = MemeClassifier("tiny", out="x")
    assert model.get_params() == {"recipe": "tiny", "out": "x", "progress": None}
    assert model.set_params(out="y") is model
    assert model.out == "y"
    with pytest.raises(ValueError, match="no parameter nonsense"):
        model.set_params(nonsense=1)
    assert not [name for name in vars(model) if name.endswith("_")]


@pytest.mark.parametrize("use", ["predict", "predict_proba", "evaluate", "score", "save"])
def test_an_unfitted_model_says_so(use, data):
    with pytest.raises(ModelError, match="not fitted"):
        getattr(MemeClassifier(), use)(data)


def test_a_finished_run_holds_report_and_model(fitted):
    folder = fitted.out
    for name in ("report.json", "report.md", "report.html", "model/memeblend.json", "model/README.md"):
        assert (folder / name).is_file(), name
    assert not [path for path in (folder / "model").rglob("*") if path.suffix in {".pkl", ".bin", ".pt", ".pth"}]
    card = (folder / "model" / "README.md").read_text()
    assert "| mood | binary | bad, good |" in card
    assert f"{fitted.report_['label_tasks']['mood']['ensemble']['weighted_f1']:.3f}" in card


def test_predict_gives_a_class_for_each_label_task_and_the_most_probable_one(fitted, data):
    frame = fitted.predict(data)
    probabilities = fitted.predict_proba(data)
    assert list(frame.columns) == ["mood", "level"]
    for name, values in probabilities.items():
        np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-9)
        decided = np.array([list(fitted.classes_[name]).index(label) for label in frame[name]])
        np.testing.assert_allclose(values[np.arange(len(values)), decided], values.max(axis=1))


def test_predictions_name_the_votes_and_the_vote_decides(fitted, data):
    for record in fitted.predict_tables(data).to_records():
        for name, entry in record["label_tasks"].items():
            assert set(entry["votes"]) == set(fitted.choices_[name].members)
            votes = list(entry["votes"].values())
            assert votes.count(entry["class"]) == max(votes.count(vote) for vote in votes)


def test_evaluate_equals_the_report_and_scikit_learn(fitted, data):
    found = fitted.evaluate(data)
    assert found["split"] == "test"
    manifest = Manifest.read(data)
    test = manifest.take(manifest.splits == "test")
    frame = fitted.predict(test)
    for task in fitted.label_tasks_:
        entry = found["label_tasks"][task.name]
        expected = f1_score(test.table[task.name], frame[task.name], average="weighted", zero_division=0)
        assert entry["weighted_f1"] == pytest.approx(expected)
        reported = fitted.report_["label_tasks"][task.name]["ensemble"]
        assert entry["weighted_f1"] == pytest.approx(reported["weighted_f1"])
        assert entry["interval"] == pytest.approx(reported["interval"])
        assert entry["baselines"] == pytest.approx(reported["baselines"])


def test_evaluate_on_all_and_on_split_names_never_seen_before(fitted, tmp_path):
    rows = [row | {"split": "from_2031"} for row in small_rows(tmp_path, 20)]
    write_csv(tmp_path / "memes.csv", rows)
    assert fitted.evaluate(tmp_path)["split"] == "from_2031"
    assert fitted.evaluate(tmp_path, "all")["num_memes"] == 20
    assert fitted.score(tmp_path) == pytest.approx(
        np.mean([entry["weighted_f1"] for entry in fitted.evaluate(tmp_path)["label_tasks"].values()])
    )
    with pytest.raises(DataError, match=r"no split 'test'(.|\n)*from_2031, all"):
        fitted.evaluate(tmp_path, "test")


def test_evaluate_where_only_some_classes_or_label_tasks_occur(fitted, tmp_path):
    rows = [{k: v for k, v in row.items() if k != "level"} for row in small_rows(tmp_path, 20) if row["mood"] == "good"]
    write_csv(tmp_path / "memes.csv", rows)
    found = fitted.evaluate(tmp_path, "all")["label_tasks"]
    assert list(found) == ["mood"]
    assert found["mood"]["roc_auc"] is None


def test_unlabelled_memes_are_predicted_and_not_scored(fitted, tmp_path):
    rows = [{k: v for k, v in row.items() if k in ("id", "image", "text")} for row in small_rows(tmp_path, 5)]
    write_csv(tmp_path / "memes.csv", rows)
    assert len(fitted.predict(tmp_path)) == 5
    with pytest.raises(DataError, match="nothing to score"):
        fitted.evaluate(tmp_path)


def test_memes_that_the_members_can_not_read_are_refused(data, tmp_path):
    only_image = small_recipe().model_copy(update={"candidates": small_recipe().candidates[2:3]})
    model = MemeClassifier(only_image, out=tmp_path / "run").fit(data)
    write_csv(tmp_path / "memes.csv", [{"id": "a", "text": "no picture here"}])
    with pytest.raises(DataError, match=r"image-0 read images, but 1 meme"):
        model.predict(tmp_path)
    rows = small_rows(tmp_path, 3)
    (tmp_path / rows[1]["image"]).write_bytes(b"GIF89a not really")
    write_csv(tmp_path / "memes.csv", rows)
    with pytest.raises(ImageError, match="can't be decoded"):
        model.predict(tmp_path)


def test_save_and_load_give_the_same_predictions(fitted, data, tmp_path):
    fitted.save(tmp_path / "model")
    for folder in (tmp_path / "model", fitted.out, fitted.out / "model"):
        loaded = MemeClassifier.load(folder)
        for name, values in loaded.predict_proba(data).items():
            np.testing.assert_array_equal(values, fitted.predict_proba(data)[name])
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again" / "recipe.toml").read_text() == (fitted.out / "model" / "recipe.toml").read_text()


def test_the_folder_keeps_what_is_said_of_the_memes_that_chose(fitted, data):
    manifest = Manifest.read(data)
    chose = manifest.take(manifest.splits == "validation")
    said, loaded = fitted.predict_tables(chose).tables, MemeClassifier.load(fitted.out)
    for model in (fitted, loaded):
        assert set(model.validation_) == {"mood", "level"}
        for name, table in model.validation_.items():
            np.testing.assert_array_equal(table.meme_ids, chose.meme_ids)
            np.testing.assert_allclose(table.probabilities, said[name].probabilities, atol=1e-6)
            np.testing.assert_array_equal(table.predicted, said[name].predicted)
            np.testing.assert_array_equal(table.labels, chose.labels(name))


def test_a_model_loads_in_a_process_that_has_no_network_and_no_training_data(fitted, tmp_path):
    shutil.copytree(fitted.out / "model", tmp_path / "model")
    rows = small_rows(tmp_path / "new", 3)
    write_csv(tmp_path / "new" / "memes.csv", rows)
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "from memeblend import MemeClassifier\n"
        "print(MemeClassifier.load(sys.argv[1]).predict(sys.argv[2]).to_json())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model"), str(tmp_path / "new")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == json.loads(fitted.predict(tmp_path / "new").to_json())


def broken(folder, how):
    shutil.copytree(folder, how)
    return how


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "memeblend.json").unlink(), "no memeblend.json"),
        (lambda folder: (folder / "memeblend.json").write_text("{"), "could not be read"),
        (lambda folder: (folder / "memeblend.json").write_text('{"format": 99, "files": {}}'), "format 99"),
        (
            lambda folder: (folder / "memeblend.json").write_text('{"format": 4, "files": {}}'),
            "not what memeblend wrote",
        ),
        (lambda folder: next(folder.rglob("*.safetensors")).write_bytes(b"x"), "cut short or altered"),
        (lambda folder: (folder / "preprocessor" / "tokenizer.json").unlink(), "tokenizer.json: is missing"),
        (lambda folder: (folder / "recipe.toml").write_text("name = 'x'"), "cut short or altered"),
        (lambda folder: (folder / "validation" / "mood.parquet").unlink(), r"validation/mood\.parquet: is missing"),
    ],
    ids=["no file", "no JSON", "newer format", "nothing in it", "weights", "tokenizer", "recipe", "validation"],
)
def test_a_model_folder_that_is_not_whole_is_refused(fitted, tmp_path, break_it, message):
    folder = broken(fitted.out / "model", tmp_path / "model")
    break_it(folder)
    with pytest.raises(ModelError, match=message):
        MemeClassifier.load(folder)


def test_other_folders_are_not_models(tmp_path):
    with pytest.raises(ModelError, match="Expected a memeblend model"):
        MemeClassifier.load(tmp_path)
    with pytest.raises(ModelError, match="Expected a memeblend model"):
        MemeClassifier.load(tmp_path / "none")


def test_fit_without_out_leaves_nothing_behind(data, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    only_tfidf = small_recipe().model_copy(update={"candidates": small_recipe().candidates[:1]})
    model = MemeClassifier(only_tfidf).fit(data)
    assert list(tmp_path.iterdir()) == []
    assert len(model.predict(data)) == 60


@pytest.mark.parametrize(
    ("suffix", "read"),
    [
        (".csv", lambda path: len(path.read_text().splitlines()) - 1),
        (".jsonl", lambda path: len([json.loads(line) for line in path.read_text().splitlines()])),
        (".parquet", lambda path: len(__import__("pandas").read_parquet(path))),
    ],
)
def test_predictions_are_written(fitted, data, tmp_path, suffix, read):
    fitted.predict_tables(data).write(tmp_path / f"p{suffix}")
    assert read(tmp_path / f"p{suffix}") == 60
    with pytest.raises(DataError, match="should end in"):
        fitted.predict_tables(data).write(tmp_path / "p.xlsx")


def test_intensity_label_tasks_have_derived_ones_everywhere(tmp_path):
    rows = [
        {**{k: v for k, v in row.items() if k != "level"}, "offensive": ("not_offensive", "slight")[number % 2]}
        for number, row in enumerate(small_rows(tmp_path))
    ]
    write_csv(tmp_path / "memes.csv", rows)
    recipe = small_recipe().model_copy(update={"candidates": small_recipe().candidates[:1]})
    model = MemeClassifier(recipe, out=tmp_path / "run").fit(tmp_path)
    assert "offensive_present" in model.evaluate(tmp_path)["label_tasks"]
    frame = model.predict(tmp_path)
    assert ((frame["offensive"] != "not_offensive") == (frame["offensive_present"] == "present")).all()
    assert "votes" not in model.predict_tables(tmp_path).to_records()[0]["label_tasks"]["offensive_present"]


def test_evaluate_matches_classes_by_name_whatever_their_order(fitted, data):
    from memeblend import LabelTask

    manifest = Manifest.read(data)
    tasks = [LabelTask(task.name, task.kind, task.classes[::-1]) for task in manifest.label_tasks]
    turned = Manifest(manifest.table, tasks, manifest.root)
    assert fitted.evaluate(turned, "all") == fitted.evaluate(data, "all")
    other = manifest.table.assign(mood="furious")
    with pytest.raises(DataError, match="'furious' is not one of bad, good"):
        fitted.evaluate(Manifest(other, [LabelTask("mood", "binary", ("furious", "calm"))], manifest.root), "all")


def test_memes_that_trained_or_chose_are_counted_and_left_out_by_default(tmp_path):
    write_csv(tmp_path / "memes.csv", [row | {"split": ""} for row in small_rows(tmp_path)])
    recipe = small_recipe().model_copy(update={"candidates": small_recipe().candidates[:1]})
    model = MemeClassifier(recipe, out=tmp_path / "run").fit(tmp_path)
    unseen, everything = model.evaluate(tmp_path), model.evaluate(tmp_path, "all")
    assert (unseen["num_seen"], everything["num_memes"]) == (0, 60)
    assert unseen["num_memes"] == 60 - everything["num_seen"]
    assert 6 <= unseen["num_memes"] <= 20
    loaded = MemeClassifier.load(tmp_path / "run")
    assert loaded.evaluate(tmp_path) == unseen
    assert loaded.scores_ == model.scores_


def test_a_model_never_replaces_a_folder_of_others(fitted, tmp_path):
    (tmp_path / "thesis").write_text("years of work")
    with pytest.raises(OutputError, match="holds other files"):
        fitted.save(tmp_path)
    assert (tmp_path / "thesis").read_text() == "years of work"


def test_decisions_of_the_recipe_are_fitted_saved_and_applied(data, tmp_path):
    recipe = small_recipe("decisions.calibration=temperature", "decisions.thresholds=macro_f1")
    recipe = recipe.model_copy(update={"candidates": recipe.candidates[:1]})
    model = MemeClassifier(recipe, out=tmp_path / "run").fit(data)
    plain = MemeClassifier(small_recipe().model_copy(update={"candidates": recipe.candidates})).fit(data)
    assert plain.rules_["level"].is_identity
    for task in ("mood", "level"):
        rule = model.rules_[task]
        assert rule.temperature != 1
        assert rule.class_weights is not None
        found, before = model.predict_proba(data)[task], plain.predict_proba(data)[task]
        scaled = before ** (1 / rule.temperature)
        np.testing.assert_allclose(found, scaled / scaled.sum(axis=1, keepdims=True), atol=1e-9)
        decided = (found * rule.class_weights).argmax(axis=1)
        classes = np.array(model.classes_[task])[decided].tolist()
        assert model.predict(data)[task].tolist() == classes
        assert MemeClassifier.load(tmp_path / "run").predict(data)[task].tolist() == classes
    assert model.report_["label_tasks"]["mood"]["decisions"]["applied"] is not None
