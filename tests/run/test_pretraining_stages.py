"""Pre-training stages of a recipe: each starts from what its arrow names, and again when that has changed."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from builders import draw_image, write_csv
from memeblend.candidates.making import load_candidate
from memeblend.data.manifest import Manifest
from memeblend.errors import DataError, ModelError
from memeblend.models.pair import load_encoders
from memeblend.recipe import load_recipe
from memeblend.run import Run, carry_out
from memeblend.run.places import stage_folder, with_places
from memeblend.run.pretraining import contrastive_settings
from memeblend.training.contrastive.work import fingerprint_of
from memeblend.training.encoder import make_preprocessor
from memeblend.training.progress import Silent
from memeblend.tuning import TuneSettings, tune
from small_runs import CHAINED, small_data

RECIPE = (
    """
name = "chained"
joint = false
copies = 2
only_label_tasks = ["mood", "level"]

"""
    + CHAINED
    + """learning_rate = 1e-4

[pretraining.contrast]
kind = "contrastive"
data = ["PAIRS"]
num_epochs = 1
settings = { batch_size = 8, num_validation = 4, validation_batch_size = 4 }

[pretraining.rude]
kind = "classify"
data = ["RUDE"]
candidates = [{ kind = "text", lstm_hidden_size = 8 }, { kind = "image" }]

[[candidates]]
kind = "text"
start = "rude"
chain = true
lstm_hidden_size = 8

[[candidates]]
kind = "image"
copies = 1
start = "rude"

[[candidates]]
kind = "fusion"
copies = 1
start = "best"
num_blocks = 1
num_heads = 2
"""
)


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def rude_data(folder: Path) -> Path:
    """Memes of another data set with a label task of its own."""
    rows = []
    for number in range(30):
        draw_image(folder / f"{number}.png", 500 + number)
        rude = ("polite", "rude")[number % 2]
        split = ("train", "train", "test")[number // 2 % 3]
        rows.append({"id": f"r{number}", "image": f"{number}.png", "text": f"{rude} words {number}", "split": split})
        rows[-1]["manners"] = rude
    write_csv(folder / "memes.csv", rows)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return small_data(folder / "small"), rude_data(folder / "rude")


@pytest.fixture(scope="module")
def recipe_file(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "chained.toml"
    path.write_text(RECIPE.replace("PAIRS", str(data[0])).replace("RUDE", str(data[1])), encoding="utf-8")
    return path


def carried(recipe_file, data, folder, *settings):
    heard = Heard()
    manifest = Manifest.read(data[0])
    run = carry_out(manifest, load_recipe(recipe_file, settings), folder, cache_dir=folder.parent / "c", progress=heard)
    return run, heard.said


@pytest.fixture(scope="module")
def run(recipe_file, data, tmp_path_factory):
    return carried(recipe_file, data, tmp_path_factory.mktemp("run") / "run")


def marks(folder, *names):
    """When the work in each of these folders of a run was finished."""
    return [(folder / name / "stage.json").stat().st_mtime_ns for name in names]


STAGES = ("pretraining/contrast", "pretraining/rude/stages/text-0", "pretraining/rude/stages/image-0")
CANDIDATES = ("stages/text-0", "stages/image-0", "stages/fusion-0")


def test_every_stage_is_carried_out_and_says_what_starts_anew(run):
    run, said = run
    encoder = stage_folder(run.folder, "contrast") / "encoder"
    stage = "pretraining/rude/stages/text-0/candidate"
    assert "pretraining contrast: the encoder starts from random weights, as a whole; started anew: nothing." in said
    lines = [line for line in said if "started anew" in line]
    text = next(line for line in lines if line.startswith(f"text-0 mood starts from '{stage}'"))
    heads = ("text.pooled_heads of {0}", "text.sequence_heads of {0}")
    mood, manners = (", ".join(heads).format(name) for name in ("mood", "manners"))
    assert text.endswith(f"started anew: {mood}; not used: {manners}.")
    assert any(line.startswith("text-0 level starts from its own model of mood: ") for line in lines)
    fusion = next(line for line in lines if line.startswith("fusion-0 level starts from text-"))
    assert fusion.endswith("started anew: blocks, fused_heads of level, image_projection.")
    of_encoder = next(line for line in lines if line.startswith("text-0 starts from the encoder"))
    assert "the encoder 'pretraining/contrast/encoder': " in of_encoder
    assert of_encoder.endswith(f"started anew: text.lstm, {manners}.")
    assert load_encoders(encoder).config.text_config.hidden_size == 16
    assert run.recipe.encoder.source == "contrast"
    assert Run.load(run.folder).recipe == run.recipe


def test_fusion_starts_from_the_copy_that_is_best_on_select_by_label_task(run):
    run, said = run
    for task in run.manifest.label_tasks:
        line = next(line for line in said if line.startswith(f"fusion-0 {task.name} starts from"))
        for kind in ("text", "image"):
            scores = {}
            for number in (0, 1) if kind == "text" else (0,):
                path = run.folder / f"stages/{kind}-{number}/training/{task.name}/metrics.jsonl"
                entries = [json.loads(entry) for entry in path.read_text().splitlines()]
                scores[number] = max(entry["eval_weighted_f1"] for entry in entries if "eval_weighted_f1" in entry)
            best = max(scores, key=scores.__getitem__)  # the first of equals
            assert f"{kind}-{best} (weighted_f1 {scores[best]:.3f} on select)" in line


@pytest.mark.slow
def test_the_same_again_trains_nothing_and_a_changed_stage_all_that_starts_from_it(run, recipe_file, data, tmp_path):
    shutil.copytree(run[0].folder, tmp_path / "run", copy_function=shutil.copy2)
    # Where a run lies is part of what its candidates start from, so the copy is carried out once.
    before, _ = carried(recipe_file, data, tmp_path / "run")
    first = marks(before.folder, *STAGES, *CANDIDATES)
    again, said = carried(recipe_file, data, tmp_path / "run")
    assert marks(again.folder, *STAGES, *CANDIDATES) == first
    assert not [line for line in said if "started anew" in line]
    changed, _ = carried(recipe_file, data, tmp_path / "run", "pretraining.rude.candidates.image.head_dropout=0.2")
    assert [old == new for old, new in zip(first, marks(changed.folder, *STAGES, *CANDIDATES), strict=True)] == [
        *(True, True, False),
        *(True, False, False),
    ]
    changed, _ = carried(recipe_file, data, tmp_path / "run", "pretraining.contrast.num_epochs=2")
    assert all(old != new for old, new in zip(first, marks(changed.folder, *STAGES, *CANDIDATES), strict=True))


@pytest.mark.slow
def test_a_finished_candidate_of_a_folder_is_a_start_and_another_kind_or_tokenizer_is_not(
    run, recipe_file, data, tmp_path
):
    run, _ = run
    candidate, encoder = run.folder / "stages/text-1/candidate", stage_folder(run.folder, "contrast") / "encoder"
    settings = ["pretraining={}", f"encoder.source={encoder}", "copies=1", "candidates.fusion.start=encoder"]
    settings += ["candidates.text.chain=false", "candidates.text.start=encoder", "candidates.image.start=encoder"]
    folder = tmp_path / "run"
    _, said = carried(recipe_file, data, folder, *settings, f"candidates.text.start={candidate}")
    line = next(line for line in said if line.startswith("text-0 mood starts from"))
    assert line.endswith("started anew: nothing.")  # the label task and its classes are the same, so are its heads
    with pytest.raises(ModelError, match="expected a fitted image candidate there, found one of the kind text"):
        carried(recipe_file, data, folder, *settings, f"candidates.image.start={candidate}")
    with pytest.raises(ModelError, match=r"lstm.* has shape \[32, 16\] there, expected \[16, 16\]"):
        wider = "candidates.text.lstm_hidden_size=4"
        carried(recipe_file, data, folder, *settings, f"candidates.text.start={candidate}", wider)
    other = tmp_path / "other" / "stages"
    shutil.copytree(candidate, other / "text-0" / "candidate")
    (other / "preprocessor" / "preprocessor").mkdir(parents=True)
    words = ["quite other words here"] * 3
    make_preprocessor(load_recipe(recipe_file).first_encoder(), words).save(other / "preprocessor" / "preprocessor")
    with pytest.raises(ModelError, match="reads texts as other tokens"):
        carried(recipe_file, data, folder, *settings, f"candidates.text.start={other / 'text-0' / 'candidate'}")


def test_memes_of_a_stage_that_are_not_there_are_told_before_anything_is_trained(recipe_file, data, tmp_path):
    wrong = ['pretraining.rude.data=["nowhere/a.csv"]', 'pretraining.contrast.data=["nowhere/b.csv"]']
    with pytest.raises(DataError, match=r"nowhere/a\.csv") as caught:
        carried(recipe_file, data, tmp_path / "run", *wrong)
    assert len(caught.value.problems) == 2
    assert not (tmp_path / "run" / "pretraining").exists()


def test_epochs_of_a_contrastive_stage_become_steps_over_the_pairs_that_train(recipe_file, data):
    recipe = load_recipe(recipe_file)
    manifest = Manifest.read(data[0])  # 60 memes, 36 of them train; 4 held back; batches of 8
    settings = contrastive_settings(recipe, recipe.pretraining["contrast"], [manifest], Path("run"))
    assert settings.num_steps == 4
    assert settings.eval_every == 4
    assert settings.encoder.source == "tiny"
    assert settings.encoder.max_length == 12


def test_files_where_a_command_is_called_are_no_part_of_a_pre_training(recipe_file, data, tmp_path, monkeypatch):
    recipe, manifests = load_recipe(recipe_file), [Manifest.read(data[0])]
    settings = contrastive_settings(recipe, recipe.pretraining["contrast"], manifests, Path("run"))
    monkeypatch.chdir(tmp_path)
    before = fingerprint_of(manifests, settings)
    (tmp_path / "notes.txt").write_text("changed meanwhile")
    assert fingerprint_of(manifests, settings) == before


def test_names_of_stages_become_folders(recipe_file):
    recipe = with_places(load_recipe(recipe_file), Path("/runs/a"))
    by_kind = {spec.kind: spec for spec in recipe.candidates}
    assert recipe.encoder.source == "/runs/a/pretraining/contrast/encoder"
    assert by_kind["image"].start == "/runs/a/pretraining/rude/stages/image-0/candidate"
    assert by_kind["fusion"].start == "best"
    assert with_places(recipe, Path("/elsewhere")) is recipe


def test_a_stage_gives_its_weights_and_not_its_heads(run):
    run, _ = run
    stage = load_candidate("text-0", stage_folder(run.folder, "rude") / "stages/text-0/candidate")
    mine = run.candidate("text-0")
    weights = stage.models["joint"].state_dict()
    assert [task["name"] for task in stage.models["joint"].config.label_tasks] == ["manners"]
    # One epoch at a small learning rate moves nothing far from where it started.
    for name, value in mine.models["mood"].state_dict().items():
        if "heads" not in name:
            assert torch.allclose(value, weights[name], atol=5e-3), name


@pytest.mark.slow
def test_a_search_starts_its_trials_from_the_stages_and_a_fit_goes_on_from_it(recipe_file, data, tmp_path):
    class Unwatched:
        def trials(self, stage, trials, total):
            pass

    space = '{"candidates.fusion.training.learning_rate" = {choice = [1e-3, 1e-4]}}'
    settings = ["copies=1", f"search.space={space}", "search.num_trials=2", "search.sampler=random"]
    recipe, folder, heard = load_recipe(recipe_file, settings), tmp_path / "run", Heard()
    watched = {"cache_dir": tmp_path / "c", "progress": heard, "watch": Unwatched()}
    found = tune(Manifest.read(data[0]), recipe, folder, TuneSettings(), **watched)
    assert [trial.state for trial in found.trials["fusion"]] == ["finished", "finished"], found.trials
    assert found.recipe.pretraining == recipe.pretraining
    assert found.recipe.encoder.source == "contrast"
    before = marks(folder, *STAGES, "stages/text-0", "stages/image-0")
    carried(found.path, data, folder)
    assert marks(folder, *STAGES, "stages/text-0", "stages/image-0") == before
    assert (folder / "stages/fusion-1/stage.json").is_file()
