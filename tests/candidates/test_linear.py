"""`linear` against scikit-learn's pipeline."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from memeblend.candidates.features import States
from memeblend.candidates.linear import Linear
from memeblend.candidates.logistic import Logistic, softmax
from memeblend.recipe.candidates import LinearCandidate

NAMES = ("text-0", "image-0", "fusion-0")


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize(("number", "strength"), [(0, 0.1), (1, 3.0), (2, 0.1)])
def test_it_is_a_scaler_and_a_logistic_regression(setting, number, strength, class_weights):
    spec = LinearCandidate(kind="linear", inverse_regularization=(0.1, 3.0), class_weights=class_weights)
    candidate = Linear("linear-0", spec, number, NAMES)
    candidate.fit(setting.context())
    train = setting.rows("train")
    states = candidate.reader.read(setting.memes)
    found = candidate.predict(setting.memes)
    fit_states = candidate.reader.read(setting.memes.take(train))
    for column, task in enumerate(setting.label_tasks):
        weight = "balanced" if class_weights == "balanced" else None
        pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight=weight, max_iter=1000))
        pipeline.fit(fit_states.of(task.name), setting.labels[train, column])
        expected = pipeline.predict_proba(states.of(task.name))
        np.testing.assert_allclose(found[task.name], expected, atol=1e-6)


def test_a_state_that_never_changes_does_no_harm(joint, monkeypatch):
    candidate = Linear("linear-0", LinearCandidate(kind="linear"), 0, NAMES)

    def read(memes, *watched):
        part = np.random.default_rng(0).normal(size=(len(memes), 3)).astype(np.float32)
        part[:, 1] = 7.0
        return States({"joint": (part,)})

    candidate.fit(joint.context())
    candidate.reader.read = read
    candidate._learn(joint.context(), read(joint.context().fit))
    found = candidate.predict(joint.memes)["level"]
    assert np.isfinite(found).all()
    assert (found != found[0]).any()


def test_logistic_regression_goes_through_arrays():
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(40, 3)), random.integers(0, 2, 40) * 2
    fitted = Logistic.fit(features, labels, 4, strength=1.0, class_weights="none")
    found = fitted.probabilities(features)
    assert (found[:, [1, 3]] == 0).all()
    again = Logistic.from_tensors(fitted.tensors(3), 3)
    np.testing.assert_array_equal(again.probabilities(features), found)


def test_softmax_by_hand():
    found = softmax(np.array([[0.0, np.log(3.0), -np.inf], [1000.0, 1000.0, 1000.0]]))
    np.testing.assert_allclose(found, [[0.25, 0.75, 0.0], [1 / 3, 1 / 3, 1 / 3]])
