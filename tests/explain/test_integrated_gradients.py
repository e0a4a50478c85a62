"""Integrated gradients: known answers, completeness on every neural kind, threads, the missing extra."""

import threading

import numpy as np
import pytest
import torch

from memeblend.candidates.neural import Neural
from memeblend.errors import MissingExtraError
from memeblend.explain import gradients
from memeblend.explain.gradients import MOST_STEPS, integrate, integrated_gradients
from memeblend.explain.inputs import Meme, ready

pytest.importorskip("captum")


def test_a_linear_function_gives_weight_times_change():
    weights = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    inputs, baselines = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.ones(1, 2, 2)
    path = integrate(lambda one: (one * weights).sum(dim=(1, 2)) + 7, [inputs], [baselines])
    np.testing.assert_allclose(path.attributions[0], (weights * (inputs - baselines))[0].numpy(), rtol=1e-6)
    assert (path.value, path.baseline) == (20.5, 11.5)
    assert path.delta < 1e-5


def test_a_product_is_shared_evenly_by_two_inputs():
    path = integrate(
        lambda a, b: (a * b).sum(dim=1), [torch.tensor([[3.0]]), torch.tensor([[4.0]])], [torch.zeros(1, 1)] * 2
    )
    assert [float(one[0]) for one in path.attributions] == pytest.approx([6.0, 6.0], rel=1e-5)


def test_a_step_that_gradients_do_not_see_is_told_of():
    path = integrate(
        lambda one: (one.sum(dim=1) > 0.5).float() + 0 * one.sum(dim=1), [torch.ones(1, 1)], [torch.zeros(1, 1)]
    )
    assert path.num_steps == MOST_STEPS
    assert path.delta == pytest.approx(1)
    assert path.delta > path.tolerance


def members(model):
    return {name: one for name, one in model.candidates_.items() if isinstance(one, Neural)}


@pytest.mark.parametrize("name", ["text-0", "image-0", "fusion-0", "fusion_unblended-0", "align-0"])
def test_scores_sum_to_what_the_margin_gained(model, picture, name):
    candidate, preprocessor = members(model)[name], model.preprocessor_
    meme = Meme.make(picture, "lovely good thing number 4", preprocessor, side=3)
    said = candidate.predict(ready([meme.whole], preprocessor))["level"][0]
    logs = np.log(said)
    for index in range(3):
        found = integrated_gradients(candidate, meme, preprocessor, "level", index)
        assert found.value == pytest.approx(logs[index] - logs.mean(), abs=1e-4)
        assert found.complete
        assert found.delta <= 0.02 * max(1, abs(found.value - found.baseline))
        assert (found.words is not None) == candidate.needs_text
        assert (found.patches is not None) == candidate.needs_image
        if found.words is not None:
            assert len(found.words) == 5
            assert np.abs(found.words).max() > 0
        if found.patches is not None:
            assert np.shape(found.patches) == (3, 3)


def test_margins_of_all_classes_cancel(model, picture):
    candidate, preprocessor = members(model)["align-0"], model.preprocessor_
    meme = Meme.make(picture, "sad bad thing", preprocessor, side=2)
    found = [integrated_gradients(candidate, meme, preprocessor, "level", index) for index in range(3)]
    tolerance = sum(one.tolerance for one in found)  # each path is as fine as its class needs
    np.testing.assert_allclose(sum(np.array(one.words) for one in found), 0, atol=tolerance)
    np.testing.assert_allclose(sum(np.array(one.patches) for one in found), 0, atol=tolerance)


def test_a_text_without_words_has_no_scores(model):
    preprocessor = model.preprocessor_
    found = integrated_gradients(members(model)["text-0"], Meme.make(None, " ", preprocessor), preprocessor, "mood", 0)
    assert found.words == ()
    assert found.total == found.rest == pytest.approx(0, abs=1e-6)


def test_other_threads_predict_as_ever_while_one_explains(model, background):
    candidate = members(model)["text-0"]
    before = candidate.predict(background)["mood"]
    seen = {}
    embedding = gradients._embedding(candidate.models["joint"])
    with gradients._output_replaced(embedding, torch.zeros(5, 12, 16)):
        thread = threading.Thread(target=lambda: seen.update(other=candidate.predict(background)["mood"]))
        thread.start()
        thread.join()
        assert embedding(torch.zeros(1, 1, dtype=torch.int64)).shape == (5, 12, 16)
    np.testing.assert_array_equal(seen["other"], before)
    np.testing.assert_array_equal(candidate.predict(background)["mood"], before)


def test_without_captum_the_extra_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(gradients, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"memeblend\[explain\]"):
        integrate(lambda one: one.sum(dim=1), [torch.ones(1, 1)], [torch.zeros(1, 1)])
