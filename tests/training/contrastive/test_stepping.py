"""Gradient caching gives the gradients of one big batch, with dropout and without."""

import copy

import pytest
import torch

from memeblend.training.contrastive.pairs import PairDataset, gather
from memeblend.training.contrastive.stepping import PairObjective, backward
from memeblend.training.contrastive.trainer import _arguments
from memeblend.training.encoder import image_transform, start_with_preprocessor
from memeblend.training.progress import Silent
from pair_memes import small


@pytest.fixture(scope="module")
def made(manifest):
    recipe = small()
    pairs = gather([manifest], recipe.splits, image_transform(recipe.encoder), None, Silent())
    torch.manual_seed(0)
    model, preprocessor = start_with_preprocessor(recipe.encoder, pairs.texts)
    ids = preprocessor.token_ids(pairs.texts)
    data = PairDataset(pairs, torch.arange(len(pairs)).numpy(), ids, preprocessor, recipe)
    return model, data.collate([(row, 0) for row in range(16, 35)])


def gradients(model, batch, objective, chunk_size):
    model = copy.deepcopy(model).train()
    loss = backward(model, batch, objective, chunk_size)
    return loss, {name: value.grad for name, value in model.named_parameters()}


@pytest.mark.parametrize("chunk_size", [1, 4, 7, 18])
@pytest.mark.parametrize("loss", ["clip", "sigmoid"])
def test_cached_gradients_are_those_of_the_whole_batch(made, loss, chunk_size):
    model, batch = made
    objective = PairObjective(loss, "mask")
    expected_loss, expected = gradients(model, batch, objective, 0)
    found_loss, found = gradients(model, batch, objective, chunk_size)
    torch.testing.assert_close(found_loss, expected_loss)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_whole_batch_equals_each_pair_encoded_on_its_own(made):
    """Distinct images encoded once give the gradients of encoding the image of every pair."""
    model, batch = made
    index = batch["image_index"]
    plain = batch | {"pixel_values": batch["pixel_values"][index], "image_index": torch.arange(len(index))}
    objective = PairObjective("clip", "multiple")
    expected_loss, expected = gradients(model, plain, objective, 0)
    found_loss, found = gradients(model, batch, objective, 0)
    torch.testing.assert_close(found_loss, expected_loss)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_dropout_leaves_out_the_same_when_a_part_is_encoded_again(made):
    """With dropout, the gradients are those of the loss that was measured: a step along them lowers that very loss."""
    model, batch = made
    model = copy.deepcopy(model)
    for module in model.modules():
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.3
    objective = PairObjective("clip", "mask")
    model.train()

    def measured():
        torch.manual_seed(5)
        return backward(model, batch, objective, 4)

    model.double()
    batch = batch | {"pixel_values": batch["pixel_values"].double()}
    first = measured()
    name, weight = next((n, w) for n, w in model.named_parameters() if n.endswith("layers.0.mlp.fc1.weight"))
    slope = float(weight.grad.pow(2).sum())
    step = 1e-3 / slope**0.5
    with torch.no_grad():
        weight -= step * weight.grad
    assert float(first - measured()) == pytest.approx(step * slope, rel=0.05), name


def test_adam_is_as_the_settings_say(tmp_path):
    made = _arguments(small("adam_beta2=0.9", "adam_epsilon=1e-7"), tmp_path, True)
    assert (made.adam_beta2, made.adam_epsilon) == (0.9, 1e-7)
    clips = _arguments(small(), tmp_path, True)
    assert (clips.adam_beta2, clips.adam_epsilon) == (0.98, 1e-6)
