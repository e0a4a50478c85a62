"""On the sample, whose labels' needs are known: sarcasm is in text and image together, offence in the text alone."""

import numpy as np
import pytest

from memeblend import MemeClassifier
from memeblend.data.sample import sample_manifest
from memeblend.explain.explaining import explain
from memeblend.recipe import load_recipe
from memeblend.training.preprocessing import prepare

NUM_EXPLAINED = 24
NUM_BACKGROUNDS = 64
"""Few backgrounds inflate a mean of absolute terms: with 8, the labels themselves have text and image terms of .2 for
sarcasm by chance alone; with 64 they have .08, and an interaction of .6."""


@pytest.mark.slow
def test_interaction_dominates_sarcasm_and_vanishes_for_offence(tmp_path):
    # Sentiment teaches each branch the mood that sarcasm compares, so few memes and epochs do.
    manifest = sample_manifest(tmp_path / "sample", 900).with_label_tasks(("sentiment", "sarcastic", "offensive"))
    recipe = load_recipe("tiny", ["copies=1", "ensemble.method=all", "training.num_epochs=7"])
    kinds = [one for one in recipe.candidates if one.kind in ("text", "image", "align")]
    model = MemeClassifier(recipe.model_copy(update={"candidates": tuple(kinds)}), out=tmp_path / "run").fit(manifest)
    rng = np.random.default_rng(0)
    train, test = (rng.permutation(np.flatnonzero(manifest.splits == name)) for name in ("train", "test"))
    background = prepare(manifest.take(train[:NUM_BACKGROUNDS]), model.preprocessor_, cache_dir=None)
    terms = {"sarcastic": [], "offensive": []}
    ironies = {"sarcastic": [], "offensive": []}
    for row in test[:NUM_EXPLAINED].tolist():
        image, text = manifest.image_path(row), manifest.texts[row]
        found = explain(model, image, text, background=background, cheap=True, side=1)
        for task in (found[name] for name in terms):
            splits = {vote.member: split for vote, split in zip(task.votes, task.member_splits, strict=True)}
            split = splits["align-0"]  # the members that read one modality have no interaction by nature
            terms[task.label_task.name].append([abs(split.text), abs(split.image), abs(split.interaction)])
            ironies[task.label_task.name].append(dict(task.branch_ironies)["align-0"].index)
    text, image, interaction = np.mean(terms["sarcastic"], axis=0)
    assert interaction > 2 * max(text, image)
    text, image, interaction = np.mean(terms["offensive"], axis=0)
    assert interaction < 0.15 * text
    assert image < 0.15 * text
    assert np.mean(ironies["sarcastic"]) > 3 * np.mean(ironies["offensive"])
