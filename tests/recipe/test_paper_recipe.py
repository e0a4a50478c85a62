"""memotion3 against the paper and the released code, number by number (seed recipe sections 1, 3 to 7)."""

import pytest

from memeblend.labels import MEMOTION_LABEL_TASKS
from memeblend.recipe import load_recipe
from memeblend.recipe.candidates import stem
from memeblend.recipe.searched import all_searched, how

TASK_C = [task.name for task in MEMOTION_LABEL_TASKS if task.name != "sentiment"]
RATES, DECAYS = (2e-5, 1e-5, 2e-6), (0.0, 1e-3, 1e-2)


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("memotion3")


@pytest.fixture(scope="module")
def candidates(recipe):
    return {stem(spec): spec for spec in recipe.candidates}


def losses(recipe, spec):
    return [recipe.loss_of(task.name, spec).kind for task in MEMOTION_LABEL_TASKS]


def test_table_3_losses(recipe, candidates):
    uni_modal = ["cross_entropy", "focal", "focal", "focal", "focal"]
    assert losses(recipe, candidates["text"]) == losses(recipe, candidates["image"]) == uni_modal
    for name in ("fusion", "fusion_unblended", "oscar"):
        assert losses(recipe, candidates[name]) == ["cross_entropy"] * 5
    assert not recipe.joint  # one model for Task A and one for each aspect of Task C
    assert not any(recipe.loss_of(name).detach for name in TASK_C)
    assert all(recipe.loss_of(name).gamma in (5, 2, 1, 0.5, 0) for name in TASK_C)


def test_models_of_section_3(recipe, candidates):
    assert recipe.encoder.max_length == 77
    assert candidates["text"].lstm_hidden_size == 512
    fusion, unblended = candidates["fusion"], candidates["fusion_unblended"]
    for spec in (fusion, unblended):
        assert (spec.num_blocks, spec.num_heads, spec.residual, spec.norm, spec.dropout) == (6, 8, False, False, 0.0)
        assert spec.text_state == "eos"
    assert (fusion.blending, unblended.blending) == ("fixed", "none")
    oscar = candidates["oscar"]
    assert (oscar.max_length, oscar.max_text_length, oscar.max_regions) == (70, 67, 50)
    assert all(spec.head_dropout == 0.1 for spec in candidates.values())


def test_the_chain(recipe, candidates):
    contrastive, binary = recipe.pretraining["contrastive"], recipe.pretraining["binary"]
    assert contrastive.start == "openai/clip-vit-base-patch32"
    assert recipe.encoder.source == "contrastive"
    assert (contrastive.settings.adam_beta2, contrastive.settings.adam_epsilon) == (0.999, 1e-8)  # released code
    assert [spec.kind for spec in binary.candidates] == ["text", "image", "oscar"]
    assert [binary.candidates[position].start for position in (0, 1)] == ["encoder", "encoder"]
    assert candidates["text"].start == candidates["image"].start == candidates["oscar"].source == "binary"
    assert candidates["fusion"].start == candidates["fusion_unblended"].start == "best"
    assert candidates["oscar"].chain
    assert not candidates["text"].chain
    assert not candidates["image"].chain
    assert (contrastive.data, binary.data) == (("pretrainCLIP.parquet",), ("pretrainuni.parquet",))


def test_contrastive_training(recipe):
    stage = recipe.pretraining["contrastive"]
    found = stage.settings
    assert stage.num_epochs == 10
    assert (found.loss, found.same_pairs, found.hard_share, found.rendering.share) == ("clip", "plain", 0.0, 0.0)
    assert found.learning_rate in RATES
    assert found.weight_decay in (0, 0.01, 0.1)
    assert found.batch_size in (16, 32)
    assert (found.schedule, found.warmup_ratio, found.max_grad_norm) == ("constant", 0, 0)


def test_binary_training(recipe):
    text, image, oscar = recipe.pretraining["binary"].candidates
    for spec in (text, image):
        found = spec.training
        assert (found.num_epochs, found.schedule_epochs, found.schedule) == (10, 16, "linear")
        assert found.warmup_ratio * 16 == pytest.approx(3)
        assert found.learning_rate in RATES
        assert found.weight_decay in DECAYS
        assert (found.max_grad_norm, found.patience) == (0, 0)
    assert text.training.batch_size == 48
    assert image.training.batch_size in (8, 16, 32)
    assert image.head_dropout in (0.1, 0.5, 0.8)
    assert recipe.pretraining["binary"].losses["default"].kind == "cross_entropy"
    assert oscar.training == next(spec.training for spec in recipe.candidates if spec.kind == "oscar")


def test_training_of_the_label_tasks(recipe, candidates):
    for name in ("text", "image", "fusion", "fusion_unblended"):
        found = candidates[name].training
        assert found.weight_decay in DECAYS
        assert found.batch_size == 32
        assert (found.schedule, found.warmup_ratio, found.max_grad_norm, found.patience) == ("constant", 0, 0, 0)
        assert found.learning_rate in (RATES if name in ("text", "image") else (2e-6,))
    epochs = {name: {task: spec.training.of(task).num_epochs for task in ("sentiment", "humorous")}
              for name, spec in candidates.items()}  # fmt: skip
    assert epochs["text"] == epochs["fusion"] == {"sentiment": 15, "humorous": 15}
    assert epochs["image"] == {"sentiment": 15, "humorous": 10}
    oscar = candidates["oscar"].training
    assert (oscar.learning_rate, oscar.weight_decay, oscar.batch_size) == (2e-5, 0.05, 8)
    assert (oscar.schedule, oscar.max_grad_norm, oscar.patience) == ("linear", 1, 9)


def test_search_spaces(recipe):
    space, search = recipe.search.space, recipe.search
    assert (search.num_trials, search.sampler, search.scheduler, search.grace, search.reduction) == (
        9, "random", "asha", 10, 3,
    )  # fmt: skip
    for kind in ("text", "image"):
        assert space[f"candidates.{kind}.training.learning_rate"].choice == RATES
        assert space[f"candidates.{kind}.training.weight_decay"].choice == DECAYS
        assert space[f"candidates.{kind}.losses.default.gamma"].choice == (5, 2, 1, 0.5, 0)
    assert space["candidates.image.training.batch_size"].choice == (8, 16, 32)
    blends = {tuple(blend.values()) for blend in space["candidates.fusion.blend_weights"].choice}
    expected = {
        (max(0.0, round(1 - fused - image, 1)), image, fused) for fused in (0.3, 0.4, 0.5) for image in (0.6, 0.5, 0.3)
    }
    assert blends == expected


def test_search_of_pre_training(recipe):
    space = recipe.search.space
    pairs, binary = "pretraining.contrastive.settings", "pretraining.binary.candidates"
    assert space[f"{pairs}.learning_rate"].choice == RATES
    assert space[f"{pairs}.weight_decay"].choice == (0, 0.01, 0.1)
    assert space[f"{pairs}.batch_size"].choice == (16, 32)
    for kind in ("text", "image"):
        assert space[f"{binary}.{kind}.training.learning_rate"].choice == RATES
        assert space[f"{binary}.{kind}.training.weight_decay"].choice == DECAYS
    assert space[f"{binary}.image.training.batch_size"].choice == (8, 16, 32)
    assert space[f"{binary}.image.head_dropout"].choice == (0.1, 0.5, 0.8)
    found = {one.name: how(recipe.search, one) for one in all_searched(recipe.candidates, recipe.pretraining)}
    names = ("pretraining.contrastive", "pretraining.binary.text", "pretraining.binary.image")
    assert [found[name].num_trials for name in names] == [5, 9, 15]
    assert {(found[name].scheduler, found[name].grace, found[name].reduction) for name in names} == {("asha", 1, 2)}
    assert [found[name].metric for name in names] == ["loss", "weighted_f1", "weighted_f1"]


def test_ensembles_of_section_5(recipe):
    found = recipe.ensemble
    zeros, ones = ({f"{kind}-{number}" for kind in ("text", "image", "fusion", "oscar")} for number in (0, 1))
    assert set(found.pools["Ensemble-1"]) == zeros
    assert set(found.pools["Ensemble-2"]) == zeros | ones
    assert (found.method, found.voting, found.rule, found.pool) == ("exhaustive", "majority", "maximum", "Ensemble-2")
    assert found.objective == "weighted_f1"


def test_quirks_of_the_released_code():
    released = load_recipe("memotion3-as-released")
    fusion, text = (next(spec for spec in released.candidates if spec.kind == kind) for kind in ("fusion", "text"))
    assert (fusion.text_state, fusion.dropout) == ("bos", 0.1)
    assert not text.lstm_packed
    assert not next(spec for spec in released.pretraining["binary"].candidates if spec.kind == "text").lstm_packed
    assert released.loss_of("humorous").detach
    assert released.loss_of("motivational").kind == "cross_entropy"
    assert (released.encoder.keep_end, released.encoder.image_fit) == (False, "crop")


def test_without_pre_training_nothing_names_a_stage():
    direct = load_recipe("memotion3-direct")
    assert not direct.pretraining
    assert not [key for key in (*direct.search.space, *direct.search.stages) if key.startswith("pretraining")]
    assert direct.first_encoder() == direct.encoder
    assert load_recipe("memotion3").first_encoder() == direct.encoder
