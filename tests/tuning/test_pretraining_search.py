"""Searches of pre-training stages: a contrastive one by its held-back loss or a recall, the candidates of another."""

import json

import pandas as pd
import pytest
from tuning_helpers import Seen, with_report_scrambled

from memeblend.data import cache
from memeblend.data.manifest import Manifest
from memeblend.errors import DataError, OutputError, RecipeError, TrainingError
from memeblend.recipe import load_recipe
from memeblend.recipe.searched import Searched
from memeblend.run import carry_out
from memeblend.run.places import stage_folder
from memeblend.training.progress import Silent
from memeblend.tuning import TuneSettings, tune
from memeblend.tuning.grounds import Preparing, read_stages
from memeblend.tuning.searching import Asked
from memeblend.tuning.setup import Setup
from memeblend.tuning.training import Maker
from small_runs import CHAINED, small_data

RECIPE = (
    """
name = "chained"
copies = 1
only_label_tasks = ["mood"]

"""
    + CHAINED
    + """learning_rate = 1e-3

[pretraining.contrast]
kind = "contrastive"
data = ["DATA"]
num_epochs = 2
settings = { batch_size = 16, num_validation = 16, validation_batch_size = 4 }

[pretraining.rude]
kind = "classify"
data = ["DATA"]
only_label_tasks = ["level"]
candidates = [{ kind = "text", lstm_hidden_size = 8 }, { kind = "image" }]

[[candidates]]
kind = "text"
start = "rude"
lstm_hidden_size = 8

[[candidates]]
kind = "image"
start = "rude"

[search]
num_trials = 3
sampler = "random"
"""
)
OF_PAIRS, OF_RUDE = "pretraining.contrast.settings.", "pretraining.rude.candidates.text."
RATE = f"{OF_PAIRS}learning_rate"
RUDE_RATE = f"{OF_RUDE}training.learning_rate"
TEXT_RATE = "candidates.text.training.learning_rate"


@pytest.fixture(scope="module")
def memes(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("memes") / "memes", 120)


@pytest.fixture
def recipe_of(memes, tmp_path):
    """The recipe with these fields searched, each from a list of values."""

    def made(space, *settings, data=memes):
        path = tmp_path / "chained.toml"
        path.write_text(RECIPE.replace("DATA", str(data)), encoding="utf-8")
        entries = ", ".join(f'"{key}" = {{choice = {json.dumps(values)}}}' for key, values in space.items())
        return load_recipe(path, [f"search.space={{{entries}}}", *settings])

    return made


@pytest.fixture
def search(memes, tmp_path):
    def carried_out(recipe, folder="run", watch=None, **settings):
        where = {"cache_dir": tmp_path / "cache", "progress": Silent(), "watch": watch or Seen()}
        return tune(Manifest.read(memes), recipe, tmp_path / folder, TuneSettings(**settings), **where)

    return carried_out


def told(trials):
    return [(trial.values, trial.value, trial.curves) for trial in trials]


def test_a_contrastive_stage_is_searched_by_its_loss(recipe_of, search, tmp_path, monkeypatch):
    decoded = []
    load_image = cache.load_image
    monkeypatch.setattr(cache, "load_image", lambda *args: decoded.append(args) or load_image(*args))
    recipe, seen = recipe_of({RATE: [1e-5, 1e-2], f"{OF_PAIRS}batch_size": [8, 16]}, "search.num_trials=4"), Seen()
    found = search(recipe, watch=seen, stage="pretraining.contrast")
    trials = found.trials["pretraining.contrast"]
    assert len(decoded) == 72  # the images that train are decoded for the first trial alone
    assert seen.last["pretraining.contrast"] == (list(trials), 4)
    made = [trial for trial in trials if trial.state != "repeated"]
    assert {trial.metric for trial in made} == {"loss"}
    # A validation after each epoch, whatever the batch; the value is that of the weights that are kept.
    assert all(len(trial.curves["pairs"]) == 2 for trial in made)
    assert all(trial.value == pytest.approx(min(trial.curves["pairs"]), rel=1e-4) for trial in made)
    best, second = found.adopted["pretraining.contrast"]
    assert best.value == min(trial.value for trial in made)
    assert best.values != second.values
    # The recipe has its values, and nothing was trained but the trials, of which metrics are left.
    settings = load_recipe(found.path).pretraining["contrast"].settings
    assert (settings.learning_rate, settings.batch_size) == (best.values[RATE], best.values[f"{OF_PAIRS}batch_size"])
    assert not (tmp_path / "run" / "pretraining").exists()
    kept = tmp_path / "run" / "tune" / "pretraining.contrast" / "trials" / "000"
    assert sorted(path.name for path in kept.rglob("*") if path.is_file()) == ["metrics.jsonl", "result.json"]
    table = pd.read_parquet(tmp_path / "run" / "tune" / "trials.parquet")
    assert set(table["metric"]) == {"loss"}
    assert table.loc[best.number, "candidate"] == "pretraining.contrast"
    assert table.loc[second.number, "candidate"] == "second best of pretraining.contrast"


def test_a_search_of_a_stage_goes_on_with_more_trials_and_is_refused_with_others(recipe_of, search):
    space = {RATE: [1e-5, 1e-4, 1e-3, 1e-2]}
    few = search(recipe_of(space, "search.num_trials=1"))
    with pytest.raises(OutputError, match="holds a search already"):
        search(recipe_of(space))
    with pytest.raises(OutputError, match="of other memes, another recipe or other settings"):
        search(recipe_of(space, "seed=3"), resume=True)
    more = search(recipe_of(space), resume=True)
    assert more.trials["pretraining.contrast"][:1] == few.trials["pretraining.contrast"]  # with its seconds
    whole = search(recipe_of(space), folder="whole")
    assert told(whole.trials["pretraining.contrast"]) == told(more.trials["pretraining.contrast"])
    assert whole.recipe == more.recipe


def test_a_contrastive_stage_is_searched_by_a_recall(recipe_of, search):
    space = {RATE: [1e-5, 1e-2], f"{OF_PAIRS}same_pairs": ["mask", "plain"]}
    found = search(recipe_of(space, "pretraining.contrast.num_epochs=1"), metric="text_recall@5")
    assert found.recipe.search.stages["pretraining.contrast"].metric == "text_recall@5"
    best = found.adopted["pretraining.contrast"][0]
    assert best.value == max(trial.value for trial in found.trials["pretraining.contrast"])
    assert 0 <= best.value <= 1


def setup_of(recipe, tmp_path):
    setup = Setup(tmp_path / "run", tmp_path / "cache", recipe, Searched("contrast", ""))
    of_stages = read_stages(recipe, [setup.searched], Silent())
    Preparing(None, of_stages, Silent()).grounds(setup)
    return setup


def test_a_trial_that_falls_behind_stops_and_a_killed_one_goes_on(recipe_of, tmp_path):
    epochs = ["pretraining.contrast.num_epochs=3"]
    setup = setup_of(recipe_of({RATE: [1e-3]}, *epochs), tmp_path)

    def nobody(number, key, scores):
        pass

    whole = Maker(setup).make(Asked(0, {RATE: 1e-3}, {}), nobody)
    assert (whole.state, len(whole.curves["pairs"])) == ("finished", 3)
    # A loss of 0 is demanded after the second epoch; what is kept is the better of the two.
    stopped = Maker(setup).make(Asked(1, {RATE: 1e-3}, {"pairs": {2: 0.0}}), nobody)
    assert (stopped.state, stopped.curves["pairs"]) == ("stopped", whole.curves["pairs"][:2])
    assert stopped.value == pytest.approx(min(stopped.curves["pairs"]), rel=1e-4)

    def killed(number, key, scores):
        if len(scores) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Maker(setup).make(Asked(2, {RATE: 1e-3}, {}), killed)
    heard = []
    again = Maker(setup).make(Asked(2, {RATE: 1e-3}, {}), lambda number, key, scores: heard.append(list(scores)))
    assert (again.value, again.curves) == (whole.value, whole.curves)
    assert len(heard) < 3  # what was trained before the kill is not trained again


def test_a_loss_that_is_no_number_fails_its_trial_and_all_failing_is_refused(recipe_of, search, monkeypatch):
    from memeblend.training.contrastive.validation import Validation

    found = search(recipe_of({RATE: [1e-3, 1e30]}, "search.num_trials=8", "search.batch_size=8"))
    states = {trial.values[RATE]: trial for trial in found.trials["pretraining.contrast"] if trial.state != "repeated"}
    assert states[1e-3].state == "finished"
    assert states[1e30].state == "failed"
    assert "no number" in states[1e30].error
    scores = Validation.scores
    monkeypatch.setattr(Validation, "scores", lambda self, model: scores(self, model) | {"loss": float("nan")})
    with pytest.raises(
        TrainingError, match=r"(?s)All 3 trials of stage pretraining.contrast failed.*trial 0.*no number"
    ):
        search(recipe_of({RATE: [1e-3, 1e-2]}), folder="all")


def test_a_candidate_of_a_stage_is_searched_on_the_stages_own_memes(recipe_of, search, memes, tmp_path):
    space = {RUDE_RATE: [1e-4, 1e-3, 1e-2], f"{OF_RUDE}losses.default.class_weights": ["balanced"]}
    recipe = recipe_of(space)
    found = search(recipe, stage="pretraining.rude")
    trials = found.trials["pretraining.rude.text"]
    assert {trial.metric for trial in trials} == {"weighted_f1"}
    assert all(len(trial.curves["joint"]) == 1 for trial in trials)
    best = found.adopted["pretraining.rude.text"][0]
    assert best.value == max(trial.value for trial in trials)
    text, image = load_recipe(found.path).pretraining["rude"].candidates
    assert text.training.learning_rate == best.values[RUDE_RATE]
    assert text.losses["default"].class_weights == "balanced"
    assert image == recipe.pretraining["rude"].candidates[1]
    # What it starts from is trained; it and the rest of its stage are not, and fit will do so with what was found.
    run = tmp_path / "run"
    assert (stage_folder(run, "contrast") / "stage.json").is_file()
    assert [path.name for path in (stage_folder(run, "rude") / "stages").iterdir()] == ["preprocessor"]
    again = search(recipe, stage="pretraining.rude.text", resume=True)
    assert again.trials == found.trials
    # Labels of memes that report in the stage's own data change nothing.
    scrambled = with_report_scrambled(memes, tmp_path / "scrambled" / memes.name)
    other = search(recipe_of(space, data=scrambled), folder="other", stage="pretraining.rude")
    assert told(other.trials["pretraining.rude.text"]) == told(trials)


def test_a_field_of_a_whole_stage_holds_for_the_rest_of_it(recipe_of, search):
    space = {"pretraining.rude.training.learning_rate": [1e-4, 1e-2]}
    with pytest.raises(RecipeError, match="no field of any stage"):
        search(recipe_of(space))
    with pytest.raises(RecipeError, match=r"(?s)names pretraining.rude.training.learning_rate, but no .*--stage"):
        search(recipe_of({**space, TEXT_RATE: [1e-3]}))
    found = search(recipe_of(space, "search.num_trials=2"), stage="pretraining.rude.image")
    best = found.adopted["pretraining.rude.image"][0]
    stage = found.recipe.pretraining["rude"]
    rates = {stage.training.learning_rate, *(spec.training.learning_rate for spec in stage.candidates)}
    assert rates == set(best.values.values())
    assert found.recipe.training.learning_rate == 1e-3
    assert found.recipe.search.space == {}


@pytest.mark.slow
def test_all_stages_are_searched_in_order_and_fit_goes_on_with_what_was_found(recipe_of, search, memes, tmp_path):
    recipe = recipe_of({TEXT_RATE: [1e-3, 1e-2], RUDE_RATE: [1e-3, 1e-2], RATE: [1e-3, 1e-2]}, "search.sampler=tpe")
    found = search(recipe)
    assert list(found.trials) == ["pretraining.contrast", "pretraining.rude.text", "text"]
    assert search(recipe, resume=True).trials == found.trials
    stages = [stage_folder(tmp_path / "run", name) for name in ("contrast", "rude/stages/text-0")]
    before = [(stage / "stage.json").stat().st_mtime_ns for stage in stages]
    tuned = load_recipe(found.path)
    where = {"cache_dir": tmp_path / "cache", "progress": Silent()}
    run = carry_out(Manifest.read(memes), tuned, tmp_path / "run", **where)
    assert [(stage / "stage.json").stat().st_mtime_ns for stage in stages] == before  # as the text's trials began
    facts = json.loads((stages[0] / "encoder" / "pretraining.json").read_text())
    assert facts["settings"]["learning_rate"] == found.adopted["pretraining.contrast"][0].values[RATE]
    assert {"text-0", "text-1"} <= set(run.tables)


@pytest.mark.parametrize(
    ("space", "settings", "how", "message"),
    [
        ({}, [], {"stage": "pretraining.contrast"}, "has no field of stage 'pretraining.contrast'"),
        (
            {RATE: [1e-3]},
            [],
            {"stage": "contrast"},
            r"(?s)has no stage 'contrast'.*pretraining.contrast, pretraining.r",
        ),
        ({RATE: [1e-3]}, [], {"stage": "candidates"}, "has no field of stage 'candidates'"),
        ({RATE: [1e-3, -1.0]}, [], {}, r"learning_rate: -1.0 can't be tried: pretraining.contrast.*settings"),
        ({RATE: [1e-3]}, [], {"metric": "weighted_f1"}, "which stage pretraining.contrast does not report; it .* loss"),
        ({RUDE_RATE: [1e-3]}, [], {"metric": "loss"}, "loss, which stage pretraining.rude.text does not report"),
        ({RUDE_RATE: [1e-3]}, [], {"metric": "macro_f1"}, "does not report: its training.metric is weighted_f1"),
        ({RATE: [1e-3]}, [], {"metric": "bleu"}, r"(?s)No stage reports the metric 'bleu'.*image_recall@10"),
        ({f"{OF_PAIRS}same_pairs": ["mask"]}, [], {}, "same_pairs, which says what the loss is"),
        ({f"{OF_RUDE}encoders": ["frozen"]}, [], {}, "another kind of candidate"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_trained(
    recipe_of, search, tmp_path, space, settings, how, message
):
    with pytest.raises(RecipeError, match=message):
        search(recipe_of(space, *settings), **how)
    assert not (tmp_path / "run").exists()


def test_memes_that_are_too_few_or_not_there_are_told_before_anything_is_trained(recipe_of, search, tmp_path):
    with pytest.raises(DataError, match=r"pretraining.contrast holds back 3 pairs, which are too few"):
        search(recipe_of({RATE: [1e-3]}, "pretraining.contrast.settings.num_validation=3"))
    nowhere = 'pretraining.rude.data=["nowhere.csv"]'
    with pytest.raises(DataError, match=r"no file or folder 'nowhere.csv'"):
        search(recipe_of({RUDE_RATE: [1e-3]}, nowhere))
    assert not (tmp_path / "run").exists()
    search(recipe_of({RATE: [1e-3]}, nowhere, "search.num_trials=1"))  # which needs no memes of the other stage
