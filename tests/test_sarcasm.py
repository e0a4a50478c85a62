"""What the paper is about, on the sample: sarcasm needs both modalities, and the multi-modal model uses both."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from memeblend.candidates.making import load_candidate
from memeblend.data.sample import sample_manifest
from memeblend.recipe import load_recipe
from memeblend.run import carry_out
from memeblend.training.preprocessing import prepare
from memeblend.training.progress import Silent


@pytest.mark.slow
def test_sarcasm_needs_both_modalities_and_gets_them(tmp_path):
    manifest = sample_manifest(tmp_path / "sample")
    run = carry_out(
        manifest, load_recipe("tiny", ["copies=1"]), tmp_path / "run", cache_dir=tmp_path / "cache", progress=Silent()
    )
    scores = {}
    for name, tables in run.tables.items():
        table = tables["sarcastic"].of_splits(("test",))
        scores[name] = f1_score(table.labels, table.predicted, average="weighted")
    uni_modal = max(scores[name] for name in ("tfidf-0", "text-0", "image-0"))
    best = max(("fusion-0", "fusion_unblended-0", "align-0"), key=scores.__getitem__)
    assert scores[best] >= uni_modal + 0.15

    test = np.flatnonzero(manifest.splits == "test")
    memes = prepare(manifest.take(test), run.preprocessor, cache_dir=None)
    labels = manifest.labels("sarcastic")[test]
    candidate = load_candidate(best, run.folder / "stages" / best / "candidate")
    order = np.random.default_rng(0).permutation(len(test))
    shuffled = {
        "text": replace(memes, texts=[memes.texts[row] for row in order]),
        "image": replace(memes, images=memes.images[order]),
    }
    for modality, changed in shuffled.items():
        predicted = candidate.predict(changed)["sarcastic"].argmax(axis=1)
        assert f1_score(labels, predicted, average="weighted") < uni_modal + 0.05, modality
