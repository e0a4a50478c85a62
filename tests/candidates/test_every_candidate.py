"""Every kind of candidate, on encoders of every kind: fit, predict, save, load."""

from dataclasses import replace

import numpy as np
import pytest

from memeblend.candidates.base import FitContext
from memeblend.candidates.making import load_candidate, make_candidate, needs, plan
from memeblend.data.manifest import Manifest
from memeblend.errors import ModelError, TrainingError
from memeblend.recipe import load_recipe
from memeblend.training.encoder import make_preprocessor
from memeblend.training.preprocessing import prepare
from memeblend.training.progress import Silent
from other_encoders import small_bert, small_dual_encoder, small_siglip
from small_candidates import fit_context
from small_runs import every_kind_recipe, small_data, small_recipe

NAMES = (
    "tfidf-0", "text-0", "image-0", "fusion-0", "fusion_unblended-0", "align-0", "oscar-0", "linear-0", "boosting-0",
    "knn-0", "fusion_unblended_frozen-0", "text_frozen-0", "image_frozen-0", "text_lora-0", "zeroshot-0",
)  # fmt: skip


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return Manifest.read(small_data(tmp_path_factory.mktemp("data")))


def source(kind, folder):
    """Settings that let the encoders come from elsewhere."""
    match kind:
        case "siglip":
            return [f'encoder.source="{small_siglip(folder)}"']
        case "dual":
            return [f'encoder.source="{small_dual_encoder(folder)}"']
        case "pair":
            return ["encoder.source=pair", f'encoder.pair.text="{small_bert(folder)}"', "encoder.pair.image=tiny"]
        case _:
            return [f"joint={str(kind == 'joint').lower()}"]


@pytest.fixture(scope="module")
def fit(manifest, tmp_path_factory):
    """Fits a candidate by name and form, those that it starts from first; each once."""
    cache = tmp_path_factory.mktemp("cache")
    done, forms = {}, {}

    def fit_one(name, form="joint"):
        key = name, form
        if key in done:
            return done[key]
        if form not in forms:
            forms[form] = every_kind_recipe(*source(form, tmp_path_factory.mktemp(form)))
        recipe = forms[form]
        memes = prepare(manifest, make_preprocessor(recipe.encoder, manifest.texts), cache_dir=cache)
        candidate = make_candidate(next(one for one in plan(recipe) if one.name == name))
        folder = tmp_path_factory.mktemp(name)
        candidate.fit(fit_context(recipe, manifest, memes, folder, lambda start: fit_one(start, form)[0]))
        done[key] = candidate, memes
        return done[key]

    return fit_one


def test_the_names_cover_the_recipe():
    assert sorted(one.name for one in plan(every_kind_recipe())) == sorted(NAMES)


@pytest.mark.parametrize("form", ["joint", "separate", "siglip", "dual", "pair"])
@pytest.mark.parametrize("name", NAMES)
def test_fit_predict_save_load(fit, tmp_path, manifest, name, form):
    candidate, memes = fit(name, form)
    found = candidate.predict(memes)
    assert set(found) == {"mood", "level"}
    for task in manifest.label_tasks:
        assert found[task.name].shape == (len(manifest), task.num_classes)
        np.testing.assert_allclose(found[task.name].sum(axis=1), 1, atol=1e-9)
    candidate.save(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in {".pkl", ".bin", ".pt", ".pth", ".joblib"}]
    loaded = load_candidate(name, tmp_path)
    assert (loaded.needs_text, loaded.needs_image) == (candidate.needs_text, candidate.needs_image)
    for task, again in loaded.predict(memes).items():
        np.testing.assert_array_equal(again, found[task])


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *((name, "joint") for name in NAMES),
        *((name, "siglip") for name in NAMES if name != "boosting-0"),  # few trees need not split on every state
    ],
)
def test_a_candidate_reads_what_it_says_it_reads(fit, name, form):
    candidate, memes = fit(name, form)
    planned = next(one for one in plan(every_kind_recipe()) if one.name == name)
    assert needs(planned) == (candidate.needs_text, candidate.needs_image)
    before = candidate.predict(memes)["level"]
    other_order = np.roll(np.arange(len(memes)), 1)
    moved = memes.take(other_order)
    other_texts = replace(memes, texts=moved.texts)
    other_images = replace(memes, images=moved.images)
    assert (candidate.predict(other_texts)["level"] != before).any() == candidate.needs_text
    assert (candidate.predict(other_images)["level"] != before).any() == candidate.needs_image


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_is_cut_short_is_refused(fit, tmp_path, name):
    candidate, _ = fit(name)
    candidate.save(tmp_path)
    weights = next(tmp_path.rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match=name):
        load_candidate(name, tmp_path)
    with pytest.raises(ModelError, match="cut short"):
        load_candidate(name, tmp_path / "none")


def test_tfidf_equals_a_scikit_learn_pipeline(fit, manifest):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    candidate, memes = fit("tfidf-0")
    spec = candidate.spec
    shared = {"sublinear_tf": True, "strip_accents": "unicode"}
    pipeline = make_pipeline(
        make_union(
            TfidfVectorizer(analyzer="word", ngram_range=spec.word_ngrams, token_pattern=r"(?u)\b\w+\b", **shared),
            TfidfVectorizer(analyzer="char_wb", ngram_range=spec.char_ngrams, **shared),
        ),
        LogisticRegression(C=spec.inverse_regularization[0], class_weight="balanced", max_iter=1000),
    )
    train = manifest.splits == "train"
    texts = np.array(manifest.texts, dtype=object)
    for task in manifest.label_tasks:
        pipeline.fit(texts[train], manifest.labels(task.name)[train])
        expected = pipeline.predict_proba(texts)
        np.testing.assert_allclose(candidate.predict(memes)[task.name], expected, atol=1e-6)


def test_tfidf_without_words_says_so(fit, tmp_path):
    candidate, memes = fit("tfidf-0")
    blank = replace(memes.take(np.arange(2)), texts=["", " "], images=None)
    labels = np.array([[0], [1]])
    context = FitContext(
        small_recipe(), (), blank, labels, blank, labels, 0, tmp_path, lambda name: candidate, Silent()
    )
    fresh = make_candidate(next(one for one in plan(small_recipe()) if one.name == "tfidf-0"))
    with pytest.raises(TrainingError, match="hold no words"):
        fresh.fit(context)


def test_plan_numbers_copies_and_names_starts():
    recipe = load_recipe("memotion3")
    starts = {one.name: one.starts_from for one in plan(recipe)}
    assert list(starts) == [
        "text-0", "image-0", "oscar-0", "text-1", "image-1", "fusion-0", "fusion_unblended-0", "fusion-1", "oscar-1",
    ]  # fmt: skip
    assert starts["oscar-1"] == ("image-1",)
    assert starts["fusion-1"] == starts["fusion_unblended-0"] == ("text-0", "text-1", "image-0", "image-1")
    assert starts["text-0"] == ()
