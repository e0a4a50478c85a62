"""`boosting`: trees as arrays predict what the libraries predict, and end where *select* says."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss

from memeblend.candidates.boosting import Boosting
from memeblend.candidates.trees import BoostingData, NodeTrees, XgboostTrees
from memeblend.errors import MissingExtraError
from memeblend.labels import MISSING
from memeblend.recipe import load_recipe
from memeblend.recipe.candidates import BoostingCandidate

NAMES = ("text-0", "image-0", "fusion-0")


def spec(**fields):
    return BoostingCandidate(kind="boosting", **({"num_trees": 40, "learning_rate": 0.3, "patience": 5} | fields))


def drawn(num_classes, num_memes=200, seed=0, noise=1.0):
    """States on a coarse grid (so that many equal a threshold) and labels that follow from them, both halves alike."""
    random = np.random.default_rng(seed)
    states = np.round(random.normal(size=(num_memes, 6)) * 4) / 4
    score = states[:, 0] + states[:, 1] * states[:, 2] + noise * random.normal(size=num_memes)
    labels = np.digitize(score, np.quantile(score, np.arange(1, num_classes) / num_classes)).astype(np.int64)
    half = num_memes // 2
    return BoostingData(states[:half], labels[:half], num_classes, states[half:], labels[half:])


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 4), st.integers(1, 7), st.integers(1, 12), st.integers(0, 1000))
def test_the_walk_is_scikit_learns_predict_proba(num_classes, max_depth, num_trees, seed):
    data = drawn(num_classes, seed=seed)
    model = HistGradientBoostingClassifier(
        max_iter=num_trees, max_depth=max_depth, min_samples_leaf=2, early_stopping=False
    )
    model.fit(data.states, data.labels)
    trees = NodeTrees.from_model(model, num_trees)
    thresholds = np.concatenate([tree.nodes["num_threshold"] for round_ in model._predictors for tree in round_])
    at_thresholds = np.resize(thresholds, (70, 6))
    for states in (data.states, data.select_states, at_thresholds):
        np.testing.assert_allclose(trees.probabilities(states), model.predict_proba(states), rtol=0, atol=1e-12)
    again = NodeTrees.from_tensors(trees.tensors())
    np.testing.assert_array_equal(again.probabilities(data.states), trees.probabilities(data.states))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_trees_end_at_the_least_log_loss_on_select(num_classes):
    data = drawn(num_classes, num_memes=600, noise=0.3)
    trees = NodeTrees.fit(spec(num_trees=150, learning_rate=0.1), data)
    longer = HistGradientBoostingClassifier(
        max_iter=150,
        max_depth=7,
        max_leaf_nodes=None,
        max_bins=63,
        learning_rate=0.1,
        early_stopping=False,
    ).fit(data.states, data.labels)
    losses = [log_loss(data.select_labels, found) for found in longer.staged_predict_proba(data.select_states)]
    rounds = next(  # the first that no later one of the next five betters
        i for i in range(len(losses)) if min(losses[i + 1 : i + 6], default=np.inf) >= min(losses[: i + 1]) == losses[i]
    )
    assert 1 < trees.num_rounds == rounds + 1 < 150
    staged = list(longer.staged_predict_proba(data.select_states))[rounds]
    np.testing.assert_allclose(trees.probabilities(data.select_states), staged, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_last_bits_of_a_state_change_nothing(num_classes):
    data = drawn(num_classes, num_memes=600)
    random = np.random.default_rng(1)
    fine = random.normal(size=data.states.shape)  # more values than bins, so that thresholds are chosen among them
    data = BoostingData(fine, data.labels, num_classes, data.select_states, data.select_labels)
    trees = NodeTrees.fit(spec(patience=0), data)
    for change in (1 - 1e-7, 1 + 1e-7):
        np.testing.assert_array_equal(trees.probabilities(fine * change), trees.probabilities(fine))


@pytest.mark.parametrize("engine", [NodeTrees, XgboostTrees])
def test_without_patience_or_select_all_trees_are_kept(engine):
    if engine is XgboostTrees:
        pytest.importorskip("xgboost")
    data = drawn(2)
    empty = BoostingData(data.states, data.labels, 2, data.states[:0], data.labels[:0])
    assert engine.fit(spec(patience=0), data).num_rounds == 40
    assert engine.fit(spec(patience=5), empty).num_rounds == 40
    assert engine.fit(spec(patience=5), data).num_rounds < 40


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("patience", [0, 5])
def test_xgboost_is_its_own_classifier(num_classes, patience):
    xgboost = pytest.importorskip("xgboost")
    data = drawn(num_classes)
    trees = XgboostTrees.fit(spec(patience=patience), data)
    model = xgboost.XGBClassifier(
        n_estimators=40, max_depth=7, learning_rate=0.3, early_stopping_rounds=patience or None
    )
    model.fit(data.states, data.labels, eval_set=[(data.select_states, data.select_labels)], verbose=False)
    expected = model.predict_proba(data.select_states)
    np.testing.assert_allclose(trees.probabilities(data.select_states), expected, atol=1e-6)
    if patience:
        assert trees.num_rounds == model.best_iteration + 1 < 40
    again = XgboostTrees.from_tensors(trees.tensors())
    np.testing.assert_array_equal(again.probabilities(data.states), trees.probabilities(data.states))
    assert again.num_rounds == trees.num_rounds


def test_xgboost_in_a_candidate(setting, tmp_path):
    pytest.importorskip("xgboost")
    candidate = Boosting("boosting-0", spec(engine="xgboost"), 0, NAMES)
    candidate.fit(setting.context())
    found = candidate.predict(setting.memes)
    candidate.save(tmp_path)
    loaded = Boosting.load("boosting-0", tmp_path)
    for task in setting.label_tasks:
        np.testing.assert_array_equal(loaded.predict(setting.memes)[task.name], found[task.name])
        assert found[task.name].shape == (len(setting.memes), task.num_classes)
        assert loaded.num_rounds(task.name) == candidate.num_rounds(task.name) <= 40


def test_a_saved_booster_without_xgboost_names_the_extra(joint, tmp_path, monkeypatch):
    pytest.importorskip("xgboost")
    candidate = Boosting("boosting-0", spec(engine="xgboost"), 0, NAMES)
    candidate.fit(joint.context())
    candidate.save(tmp_path)
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(MissingExtraError, match=r"memeblend\[boost\]"):
        Boosting.load("boosting-0", tmp_path)


def test_fitting_without_xgboost_names_the_other_engine(joint, monkeypatch):
    candidate = Boosting("boosting-0", spec(engine="xgboost"), 0, NAMES)
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(MissingExtraError, match=r'engine = "sklearn"'):
        candidate.fit(joint.context())


def test_loading_and_predicting_need_no_scikit_learn_trees(joint, tmp_path, monkeypatch):
    candidate = Boosting("boosting-0", spec(), 0, NAMES)
    candidate.fit(joint.context())
    found = candidate.predict(joint.memes)["level"]
    candidate.save(tmp_path)
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    np.testing.assert_array_equal(Boosting.load("boosting-0", tmp_path).predict(joint.memes)["level"], found)


def test_select_labels_of_unseen_classes_and_missing_ones_do_not_stop_it(joint):
    labels = joint.labels[joint.rows("train")]
    labels[labels[:, 1] == 1, 1] = MISSING
    select = joint.labels[joint.rows("validation")]
    select[:, 1] = np.where(np.arange(len(select)) % 2, 1, MISSING)
    candidate = Boosting("boosting-0", spec(), 0, NAMES)
    candidate.fit(joint.context(fit_labels=labels, select_labels=select))
    assert candidate.num_rounds("level") == 40
    assert candidate.num_rounds("mood") < 40


def test_the_released_codes_settings_are_a_preset():
    recipe = load_recipe("boosting-as-released")
    boosting = next(one for one in recipe.candidates if one.kind == "boosting")
    assert (boosting.engine, boosting.features, boosting.patience) == ("xgboost", ("fused",), 0)
    assert (boosting.num_trees, boosting.max_depth, boosting.learning_rate) == (800, 7, 0.03)
    assert {one.kind for one in recipe.candidates} == {"text", "image", "fusion", "boosting"}
    paper = load_recipe("memotion3-direct")
    assert recipe.encoder == paper.encoder.model_copy(update={"image_fit": "crop"})
    assert recipe.losses == paper.losses
    assert not recipe.joint
    assert [one for one in recipe.candidates if one.kind != "boosting"] == list(paper.candidates[:3])
