"""Searches of the small recipe in one process: what becomes of the trials, and what is refused."""

import pandas as pd
import pytest
from tuning_helpers import RATE, Seen, small_search, with_report_scrambled

from memeblend.errors import DataError, MissingExtraError, OutputError, RecipeError, TrainingError
from memeblend.recipe import load_recipe
from memeblend.recipe.search import Search
from memeblend.recipe.searched import Searched
from memeblend.run import read_labelled
from memeblend.training.progress import Silent
from memeblend.tuning import on_ray, work
from memeblend.tuning.adopting import tuned, write_table
from memeblend.tuning.searching import Course
from memeblend.tuning.trials import Trial

TFIDF = {"candidates.tfidf.class_weights": {"choice": ["none", "balanced"]}}


def test_a_search_ends_in_a_recipe_and_a_table(data, run_tune, tmp_path):
    space = {RATE: {"choice": [1e-3, 1e-2]}, "candidates.fusion.losses.default.class_weights": {"choice": ["balanced"]}}
    recipe = small_search(space)
    seen = Seen()
    found = run_tune(read_labelled(data, recipe), recipe, watch=seen)
    last, total = seen.last["fusion"]
    assert total == 2
    assert [trial.state for trial in last] == [trial.state for trial in found.trials["fusion"]]
    assert all(trial.num_epochs == 2 for trial in last)
    best, *rest = found.adopted["fusion"]
    assert best.value == max(trial.value for trial in last)
    again = load_recipe(found.path)
    assert again == found.recipe
    fusion = next(spec for spec in again.candidates if spec.kind == "fusion" and spec.blending == "fixed")
    assert fusion.variant(0).training.learning_rate == best.values[RATE]
    assert again.loss_of("mood", fusion.variant(0)).class_weights == "balanced"
    assert again.loss_of("mood").class_weights == "none"
    assert again.copies_of(fusion) == 1 + len(rest)
    table = pd.read_parquet(tmp_path / "run" / "tune" / "trials.parquet")
    assert table["value"].tolist() == [trial.value for trial in last]
    assert set(table["candidate"]) >= {"fusion-0"}
    # What its training started from is a stage of the run; of the trials only metrics are left.
    assert (tmp_path / "run" / "stages" / "text-0" / "stage.json").is_file()
    assert not list((tmp_path / "run" / "tune").rglob("*.safetensors"))
    # A killed driver's successor makes nothing again.
    once_more = run_tune(read_labelled(data, recipe), recipe, resume=True)
    assert once_more.trials == found.trials
    with pytest.raises(OutputError, match="holds a search already"):
        run_tune(read_labelled(data, recipe), recipe)
    with pytest.raises(OutputError, match="of other memes, another recipe or other settings"):
        run_tune(read_labelled(data, recipe), small_search(space, "seed=3"), resume=True)


def test_labels_of_memes_that_report_change_nothing(data, run_tune, tmp_path):
    recipe = small_search({"candidates.text.training.learning_rate": {"loguniform": [1e-4, 1e-2]}})
    found = run_tune(read_labelled(data, recipe), recipe)
    other = with_report_scrambled(data, tmp_path / "scrambled" / data.name)
    manifest = read_labelled(other, recipe)
    assert manifest.fingerprint != read_labelled(data, recipe).fingerprint
    scrambled = run_tune(manifest, recipe, folder="other")

    def told(trials):
        return [(trial.values, trial.value, trial.curves) for trial in trials["text"]]

    assert told(scrambled.trials) == told(found.trials)
    assert scrambled.recipe == found.recipe


def test_a_kind_without_epochs_and_fields_of_the_whole_recipe_are_searched(data, run_tune):
    recipe = small_search({**TFIDF, "encoder.max_length": {"choice": [8, 10]}}, num_trials=4)
    found = run_tune(read_labelled(data, recipe), recipe)
    best = found.adopted["tfidf"][0]
    assert found.recipe.encoder.max_length == best.values["encoder.max_length"]
    assert all(
        trial.values["encoder.max_length"] == found.recipe.encoder.max_length for trial in found.adopted["tfidf"]
    )
    assert "encoder.max_length" not in found.recipe.search.space


def test_a_failed_trial_is_told_of_and_all_failing_is_refused(data, run_tune, monkeypatch):
    recipe = small_search(TFIDF, num_trials=2, sampler="tpe")
    from memeblend.candidates.tfidf import Tfidf

    fit = Tfidf.fit

    def fails_balanced(self, context):
        if self.spec.class_weights == "balanced":
            raise ValueError("no balance today")
        fit(self, context)

    monkeypatch.setattr(Tfidf, "fit", fails_balanced)
    recipe = small_search(TFIDF, num_trials=6, batch_size=6)
    found = run_tune(read_labelled(data, recipe), recipe)
    states = {trial.values["candidates.tfidf.class_weights"]: trial for trial in found.trials["tfidf"]}
    assert len(states) == 2
    failed = [trial for trial in found.trials["tfidf"] if trial.state == "failed"]
    assert [trial.error for trial in failed] == ["ValueError: no balance today"]

    def fails(self, context):
        raise ValueError("never")

    monkeypatch.setattr(Tfidf, "fit", fails)
    with pytest.raises(TrainingError, match=r"All 6 trials of stage tfidf failed:\n.*trial 0: ValueError: never"):
        run_tune(read_labelled(data, recipe), recipe, folder="all")


@pytest.mark.parametrize(
    ("space", "settings", "message"),
    [
        ({}, {}, "has no field of any stage"),
        (TFIDF, {"stage": "fusion"}, "has no field of stage 'fusion'"),
        (TFIDF, {"stage": "fusoin"}, "has no stage 'fusoin'"),
        ({RATE: {"choice": [1e-3, -1.0, "fast"]}}, {}, r"(?s)-1.0 can't be tried.*\"fast\" can't be tried"),
        ({"candidates.fusion.encoders": {"choice": ["frozen"]}}, {}, "another kind of candidate"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused_before_anything_is_trained(
    space, settings, message, data, run_tune, tmp_path
):
    recipe = small_search(space)
    with pytest.raises(RecipeError, match=message):
        run_tune(read_labelled(data, recipe), recipe, **settings)
    assert not (tmp_path / "run").exists()


def test_a_metric_that_the_stage_does_not_report_is_refused(data, run_tune):
    recipe = small_search({RATE: {"choice": [1e-3]}}, metric="macro_f1")
    with pytest.raises(RecipeError, match=r"macro_f1, which stage fusion does not report: its training.metric is"):
        run_tune(read_labelled(data, recipe), recipe)
    with pytest.raises(
        RecipeError, match=r"search.metric: input should be 'weighted_f1', 'macro_f1', 'accuracy', 'loss'"
    ):
        small_search({RATE: {"choice": [1e-3]}}, metric="bleu")


def test_too_few_memes_to_select_by_are_refused(data, run_tune):
    recipe = small_search(TFIDF)
    few = read_labelled(data, recipe).limit(40, 0)
    with pytest.raises(DataError, match=r"(?s)too few to tell trials apart.*label task mood: \d labelled memes"):
        run_tune(few, recipe)


def test_workers_without_ray_say_what_to_install(data, run_tune, monkeypatch):
    recipe = small_search(TFIDF)

    def missing(why):
        raise MissingExtraError(f"{why} need ray.")

    monkeypatch.setattr(work, "need_ray", missing)

    with pytest.raises(MissingExtraError, match="Several workers and clusters need ray"):
        run_tune(read_labelled(data, recipe), recipe, num_workers=2)


def test_without_optuna_trials_are_drawn_at_random(data, run_tune, monkeypatch):
    said = []

    class Told(Silent):
        def say(self, text):
            said.append(text)

    recipe = small_search(TFIDF, sampler="tpe")
    monkeypatch.setattr(work, "has_optuna", lambda: False)
    found = run_tune(read_labelled(data, recipe), recipe, progress=Told())
    assert found.recipe.search.sampler == "random"
    assert "Optuna is not installed" in said[0]


def fusion_trial(number, value, state="finished", **values):
    return Trial(number, {RATE: 1e-3, **values}, state, value)


def test_the_best_two_that_are_distinct_and_share_the_recipes_fields():
    recipe = small_search({RATE: {"choice": [1e-3]}, "joint": {"choice": [True, False]}})
    trials = [
        fusion_trial(0, 0.5, joint=True),
        fusion_trial(1, 0.9, joint=False),
        fusion_trial(2, 0.9, "repeated", joint=False),
        Trial(3, {RATE: 1e-4, "joint": True}, "finished", 0.8),
        Trial(4, {RATE: 1e-5, "joint": False}, "stopped", 0.3),
        Trial(5, {RATE: 1e-6, "joint": False}, "failed", None),
    ]
    found, adopted = tuned(recipe, Searched("", "fusion", 3), trials)
    assert [trial.number for trial in adopted] == [1, 4]
    assert not found.joint
    fusion = next(spec for spec in found.candidates if spec.kind == "fusion" and spec.blending == "fixed")
    assert [fusion.variant(number).training.learning_rate for number in (0, 1)] == [1e-3, 1e-5]
    assert found.copies_of(fusion) == 2
    assert list(found.search.space) == [RATE]


def test_the_table_keeps_values_of_any_type(tmp_path):
    trials = [Trial(0, {"a": 1, "b": {"c": 1}, "d": True}, "finished", 0.5), Trial(1, {"a": "x", "b": [1]}, "failed")]
    write_table(tmp_path / "t.parquet", {"s": trials, "t": [Trial(0, {"e": 2.5})]}, {"s": trials[:1], "t": []})
    table = pd.read_parquet(tmp_path / "t.parquet")
    assert table["a"].tolist()[:2] == ["1", '"x"']
    assert table["b"].tolist()[:2] == ['{"c": 1}', "[1]"]
    assert table["e"].tolist()[2] == 2.5
    assert table["candidate"].tolist() == ["s-0", "", ""]


def test_the_table_keeps_the_trials_of_stages_that_were_searched_before(tmp_path):
    path = tmp_path / "t.parquet"
    pairs = [Trial(0, {"p": 16, "q": "a"}, "finished", 4.5, metric="loss"), Trial(1, {"p": 32, "q": "b"}, "failed")]
    write_table(path, {"pretraining.pairs": pairs}, {"pretraining.pairs": pairs[:1]})
    pd.read_parquet(path).drop(columns="metric").to_parquet(path)  # as it was before it had one
    write_table(path, {"text": [Trial(0, {"a": [1]}, "finished", 0.5)]}, {"text": []})
    again = [Trial(0, {"a": 2}, "finished", 0.25, metric="accuracy")]
    write_table(path, {"text": again}, {"text": again})
    table = pd.read_parquet(path)
    assert table["stage"].tolist() == ["pretraining.pairs", "pretraining.pairs", "text"]
    assert table["metric"].tolist() == ["", "", "accuracy"]
    assert table["candidate"].tolist() == ["pretraining.pairs", "", "text-0"]
    assert table["p"].tolist()[:2] == [16, 32]
    assert table["q"].tolist()[:2] == ['"a"', '"b"']
    assert table["a"].tolist()[2] == 2
    path.write_text("no table")
    write_table(path, {"text": again}, {"text": again})
    assert len(pd.read_parquet(path)) == 1


def test_what_ray_tune_copies_holds_neither_files_nor_a_screen(tmp_path):
    """Ray Tune pickles its searcher and its callbacks when it begins, and the command's watch draws on a terminal."""
    pytest.importorskip("ray")
    from ray import cloudpickle

    told = []
    with (tmp_path / "file").open("w") as stream:
        here = on_ray.Here(Course(Search(num_trials=1), {}, 0, tmp_path), lambda: told.append(stream))
        searcher, watcher = on_ray.make_searcher(here), on_ray.make_watcher(here)
        assert cloudpickle.dumps([searcher, watcher])
        assert searcher.suggest("a")["asked"]["number"] == 0
        assert told == [stream]


def test_an_ended_trial_comes_back_as_it_was(tmp_path, monkeypatch):
    """Ray Tune hands a searcher results whose tables it has taken apart."""
    pytest.importorskip("ray")
    from ray import tune as ray_tune
    from ray.tune.utils import flatten_dict

    course = Course(Search(num_trials=1), {}, 0, tmp_path)
    searcher = on_ray.make_searcher(on_ray.Here(course, lambda: None))
    config = searcher.suggest("a")
    made = Trial(0, {}, "finished", 0.5, {"joint": [0.4, 0.5]}, 2.0)

    class Makes:
        def make(self, asked, told):
            told(0, "joint", [0.4])
            return made

    reported = []
    monkeypatch.setattr(ray_tune, "report", reported.append)
    monkeypatch.setattr(on_ray, "_maker", lambda setup: Makes())
    on_ray._trial(config, None)
    searcher.on_trial_complete("a", flatten_dict(reported[-1]))
    assert course.trials == {0: made}


def test_a_full_disk_ends_a_search_on_ray(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    here = on_ray.Here(Course(Search(num_trials=5), {}, 0, tmp_path), lambda: None)
    searcher = on_ray.make_searcher(here)
    searcher.suggest("a")
    monkeypatch.setattr(Trial, "write", lambda self, folder: (_ for _ in ()).throw(OutputError("full")))
    searcher.on_trial_complete("a", error=True)
    assert str(here.failure) == "full"
    assert searcher.suggest("b") == "FINISHED"


def test_on_ray_nothing_is_started_for_a_search_that_is_over():
    class Over:
        is_over = True

    on_ray.run_on_ray(Over(), None, lambda: None, num_workers=2)
