"""Runs: going on after a kill, doing nothing twice, and what can't be run."""

import importlib
import json
import shutil
import subprocess
import sys

import pytest

from builders import write_csv
from memeblend.data.manifest import Manifest
from memeblend.errors import (
    DataError,
    MissingExtraError,
    ModelError,
    OutputError,
    PredictionError,
    RecipeError,
)
from memeblend.run import Run, carry_out, read_labelled
from memeblend.training.progress import Silent
from small_runs import every_kind_recipe, small_data, small_recipe, small_rows


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return Manifest.read(small_data(tmp_path_factory.mktemp("data")))


def run_in(folder, manifest, recipe=None, progress=None):
    return carry_out(
        manifest, recipe or small_recipe(), folder, cache_dir=folder.parent / "cache", progress=progress or Silent()
    )


@pytest.fixture(scope="module")
def finished(manifest, tmp_path_factory):
    return run_in(tmp_path_factory.mktemp("runs") / "run", manifest)


def tables_of(run):
    return {path.name: path.read_bytes() for path in sorted((run.folder / "predictions").iterdir())}


class Killed(BaseException):
    pass


class KillsAt(Silent):
    """Ends the process's work when a piece of work begins, as a signal would."""

    def __init__(self, label, steps=0):
        self.label, self.steps, self.now = label, steps, ""

    def start(self, label, total):
        self.now = label
        if label == self.label and not self.steps:
            raise Killed

    def advance(self, num_done, note=""):
        if self.now == self.label and self.steps and num_done >= self.steps:
            raise Killed


class Listens(Silent):
    def __init__(self):
        self.labels = []

    def start(self, label, total):
        self.labels.append(label)


def test_a_run_leaves_what_it_promises(finished):
    folder = finished.folder
    for name in ("recipe.toml", "manifest.parquet", "run.json"):
        assert (folder / name).is_file()
    assert len(tables_of(finished)) == 6 * 2
    assert not list(folder.rglob("checkpoints"))
    assert set(finished.chosen.ensembles) == {"mood", "level"}
    for name, choice in finished.chosen.ensembles.items():
        best = max(finished_score(finished, candidate, name) for candidate in finished.tables)
        assert choice.score >= best - 1e-12


def finished_score(run, candidate, name):
    from sklearn.metrics import f1_score

    table = run.tables[candidate][name].of_splits(run.roles.select)
    return f1_score(table.labels, table.predicted, average="weighted", zero_division=0)


@pytest.mark.parametrize(
    ("label", "steps"), [("reading images", 0), ("text-0", 4), ("fusion-0", 0), ("align-0", 3)], ids=str
)
def test_a_killed_run_goes_on_to_the_same_predictions(finished, manifest, tmp_path, label, steps):
    with pytest.raises(Killed):
        run_in(tmp_path / "run", manifest, progress=KillsAt(label, steps))
    assert tables_of(run_in(tmp_path / "run", manifest)) == tables_of(finished)


def test_finished_stages_are_not_run_again(finished, manifest):
    listens = Listens()
    before = tables_of(finished)
    again = run_in(finished.folder, manifest, progress=listens)
    assert not {"tfidf-0", "text-0", "reading images"} & set(listens.labels)
    assert tables_of(again) == before


def test_a_stage_whose_inputs_changed_is_run_again_and_those_that_start_from_it(manifest, tmp_path):
    run_in(tmp_path / "run", manifest)
    listens = Listens()
    run_in(tmp_path / "run", manifest, small_recipe("candidates.image.head_dropout=0.3"), listens)
    trained = [label for label in listens.labels if label.endswith("-0")]
    assert trained == ["image-0", "fusion-0", "fusion_unblended-0", "align-0"]
    other = manifest.with_splits(["test" if split == "validation" else "train" for split in manifest.splits])
    listens = Listens()
    run_in(tmp_path / "run", other, small_recipe("candidates.image.head_dropout=0.3"), listens)
    assert len([label for label in listens.labels if label.endswith("-0")]) == 6


def test_lost_prediction_tables_are_predicted_anew(finished, manifest):
    before = tables_of(finished)
    (finished.folder / "predictions" / "align-0.mood.parquet").unlink()
    assert tables_of(run_in(finished.folder, manifest)) == before


def test_a_smaller_recipe_forgets_other_candidates(manifest, tmp_path):
    run_in(tmp_path / "run", manifest)
    smaller = small_recipe().model_copy(update={"candidates": small_recipe().candidates[:1]})
    run = run_in(tmp_path / "run", manifest, smaller)
    assert set(tables_of(run)) == {"tfidf-0.mood.parquet", "tfidf-0.level.parquet"}


def test_a_run_is_read_back(finished):
    again = Run.load(finished.folder)
    assert again.chosen.ensembles == finished.chosen.ensembles
    assert again.roles == finished.roles
    assert again.recipe == finished.recipe
    assert again.manifest.fingerprint == finished.manifest.fingerprint
    with pytest.raises(ModelError, match="holds no finished run"):
        Run.load(finished.folder / "stages")


def test_the_same_recipe_gives_the_same_bytes_and_another_seed_does_not(finished, manifest, tmp_path):
    assert tables_of(run_in(tmp_path / "a", manifest)) == tables_of(finished)
    other = tables_of(run_in(tmp_path / "b", manifest, small_recipe("seed=1")))
    assert other["text-0.mood.parquet"] != tables_of(finished)["text-0.mood.parquet"]


def test_a_folder_that_is_not_a_run_is_left_alone(manifest, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="is not a run"):
        run_in(tmp_path, manifest)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(OutputError, match="is a file"):
        run_in(tmp_path / "thesis.txt", manifest)


def test_a_run_of_another_version_is_refused(finished, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(finished.folder, copy)
    state = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(state | {"format": 1}))
    with pytest.raises(ModelError, match="another version"):
        Run.load(copy)


def test_more_copies_train_the_new_ones_alone(finished, manifest):
    heard = Listens()
    run_in(finished.folder, manifest, small_recipe("candidates.tfidf.copies=2"), heard)
    assert "tfidf-1" in heard.labels
    assert "tfidf-0" not in heard.labels
    run_in(finished.folder, manifest)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (["decisions.costs={humour=[[0,1],[1,0]]}"], RecipeError, "name humour, which these memes"),
        (["decisions.serving_prior={mood={awful=0.5,bad=0.5}}"], PredictionError, "awful"),
        (["ensemble.objective=quadratic_kappa"], PredictionError, "not defined here"),
    ],
)
def test_what_can_not_be_chosen_by_is_refused_before_anything_is_trained(manifest, tmp_path, settings, error, message):
    heard = Listens()
    with pytest.raises(error, match=message):
        run_in(tmp_path / "run", manifest, small_recipe(*settings), heard)
    assert not (tmp_path / "run" / "stages").exists()


def test_a_region_file_that_is_not_there_is_told_before_anything_is_trained(manifest, tmp_path):
    recipe = every_kind_recipe("candidates.oscar.regions=/nowhere/regions.tsv")
    with pytest.raises(RecipeError, match=r"no region file '/nowhere/regions\.tsv'"):
        run_in(tmp_path / "run", manifest, recipe)


def test_a_package_that_is_missing_is_told_before_anything_is_trained(manifest, tmp_path, monkeypatch):
    room = importlib.import_module("memeblend.run.inputs")
    monkeypatch.setattr(room, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="peft") as caught:
        run_in(tmp_path / "run", manifest, small_recipe("candidates.text.encoders=lora"))
    assert "memeblend[peft]" in caught.value.fix


def test_a_run_in_use_is_refused(manifest, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="Another process is working"):
            run_in(folder, manifest)
        other.communicate("")


def without(rows, *columns):
    return [{name: value for name, value in row.items() if name not in columns} for row in rows]


def test_text_only_memes_train_text_candidates_and_say_so(tmp_path):
    write_csv(tmp_path / "memes.csv", without(small_rows(tmp_path), "image"))
    run = run_in(tmp_path / "run", Manifest.read(tmp_path / "memes.csv"))
    assert list(run.tables) == ["tfidf-0", "text-0"]
    assert "no images" in run.notes[0]
    assert "align-0" in run.notes[0]


def test_image_only_memes_train_image_candidates_and_say_so(tmp_path):
    write_csv(tmp_path / "memes.csv", without(small_rows(tmp_path), "text"))
    run = run_in(tmp_path / "run", Manifest.read(tmp_path / "memes.csv"))
    assert list(run.tables) == ["image-0"]
    assert "no ocr_text" in run.notes[0]


def test_memes_without_text_and_image_candidates_are_refused(tmp_path):
    write_csv(tmp_path / "memes.csv", without(small_rows(tmp_path), "image"))
    recipe = small_recipe()
    only_image = recipe.model_copy(update={"candidates": recipe.candidates[2:3]})
    with pytest.raises(DataError, match="None of the recipe's candidates"):
        run_in(tmp_path / "run", Manifest.read(tmp_path / "memes.csv"), only_image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: without(rows, "mood", "level"), "no labels"),
        (
            lambda rows: [row | {"mood": "good" if row["split"] == "train" else row["mood"]} for row in rows],
            "only 'good'",
        ),
        (lambda rows: [row | {"mood": "" if row["split"] == "test" else row["mood"]} for row in rows], "role report"),
        (
            lambda rows: [row | {"mood": "" if row["split"] == "train" else row["mood"]} for row in rows],
            "no label at all",
        ),
    ],
    ids=["no labels", "one class", "no labels to report on", "no labels to fit on"],
)
def test_labels_that_can_not_be_learned_are_refused(tmp_path, change, message):
    write_csv(tmp_path / "memes.csv", change(small_rows(tmp_path)))
    with pytest.raises(DataError, match=message):
        run_in(tmp_path / "run", Manifest.read(tmp_path / "memes.csv"))


def test_two_memes_only_are_refused(tmp_path):
    write_csv(tmp_path / "memes.csv", [row | {"split": ""} for row in small_rows(tmp_path, 2)])
    with pytest.raises(DataError):
        run_in(tmp_path / "run", Manifest.read(tmp_path / "memes.csv"))


def test_missing_labels_are_masked(tmp_path):
    rows = [row | {"level": "" if number % 4 == 0 else row["level"]} for number, row in enumerate(small_rows(tmp_path))]
    write_csv(tmp_path / "memes.csv", rows)
    run = run_in(tmp_path / "run", Manifest.read(tmp_path / "memes.csv"))
    assert (run.tables["align-0"]["level"].labels == -1).any()
    assert run.chosen.ensembles["level"].num_memes < run.chosen.ensembles["mood"].num_memes


def test_an_unlabelled_split_without_a_role_is_left_alone(tmp_path):
    rows = small_rows(tmp_path)
    rows += [row | {"id": row["id"] + "x", "split": "extra"} for row in small_rows(tmp_path / "more", 6)]
    write_csv(tmp_path / "memes.csv", [row | {"image": row["image"]} for row in rows])
    run = run_in(tmp_path / "run", Manifest.read(tmp_path / "memes.csv"))
    assert "extra" not in run.tables["tfidf-0"]["mood"].split_names


def test_declared_label_tasks_join_the_inferred_ones(tmp_path):
    recipe = small_recipe('label_tasks.level={kind="ordinal", classes=["2", "1", "0"], intensity=true}')
    lines = []
    manifest = read_labelled(small_data(tmp_path), recipe, notify=lines.append)
    kinds = {task.name: (task.kind, task.classes, task.intensity) for task in manifest.label_tasks}
    assert kinds == {"mood": ("binary", ("bad", "good"), False), "level": ("ordinal", ("2", "1", "0"), True)}
    assert any("as the recipe declares it" in line for line in lines)
    with pytest.raises(DataError, match="no labels for: anger"):
        read_labelled(tmp_path, small_recipe('label_tasks.anger={kind="binary", classes=["no", "yes"]}'))


@pytest.mark.parametrize("joint", ["true", "false"])
def test_label_tasks_may_have_any_name(tmp_path, joint):
    odd = {"mood": "../mood/α.b", "level": "level, 'x'"}
    rows = [{odd.get(name, name): value for name, value in row.items()} for row in small_rows(tmp_path)]
    write_csv(tmp_path / "memes.csv", rows)
    run = run_in(tmp_path / "run", Manifest.read(tmp_path / "memes.csv"), small_recipe(f"joint={joint}"))
    assert set(run.chosen.ensembles) == set(odd.values())
    assert {path.name for path in tmp_path.iterdir()} == {"memes.csv", "pictures", "run", "cache"}
    assert Run.load(run.folder).chosen.ensembles == run.chosen.ensembles


def test_a_label_task_named_like_a_derived_one_is_refused(tmp_path):
    recipe = small_recipe('label_tasks.mood={kind="binary", classes=["bad", "good"], intensity=true}')
    write_csv(tmp_path / "memes.csv", [row | {"mood_present": row["mood"]} for row in small_rows(tmp_path)])
    with pytest.raises(DataError, match="mood_present is derived from mood"):
        run_in(tmp_path / "run", read_labelled(tmp_path / "memes.csv", recipe), recipe)
