"""Roles of splits, and cuts that keep groups whole and classes in proportion."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memeblend.data.manifest import Manifest
from memeblend.data.splits import SplitRoles, assign_roles, choose_groups
from memeblend.errors import DataError
from memeblend.labels import MISSING, LabelTask

MOOD = LabelTask("mood", "nominal", ("good", "bad", "mixed"))
RUDE = LabelTask("rude", "binary", ("polite", "rude"))


def manifest_of(splits, moods=None, rudes=None):
    """Memes of text alone, one per entry of `splits`; classes come in turn unless given."""
    turns = range(len(splits))
    table = pd.DataFrame(
        {
            "meme_id": [f"made/{split}/{number}" for number, split in enumerate(splits)],
            "image": None,
            "ocr_text": [f"words of meme {number}" for number in turns],
            "split": splits,
            "source": "made",
            "mood": moods if moods is not None else [MOOD.classes[number % 3] for number in turns],
            "rude": rudes if rudes is not None else [RUDE.classes[number % 2] for number in turns],
        }
    )
    return Manifest(table, (MOOD, RUDE), ".")


def split_memes(**counts):
    return [name for name, count in counts.items() for _ in range(count)]


def alone(manifest):
    return np.arange(len(manifest))


def roles_of(splits, **options):
    manifest = manifest_of(splits)
    return assign_roles(manifest, alone(manifest), **options)[1].to_dict()


def count_splits(manifest):
    return manifest.table["split"].value_counts().to_dict()


def test_three_splits_have_their_usual_roles_and_nothing_is_cut():
    manifest = manifest_of(split_memes(train=10, validation=4, test=4))
    given_roles, roles = assign_roles(manifest, alone(manifest))
    assert roles == SplitRoles(("train",), ("validation",), ("test",))
    assert given_roles.table.equals(manifest.table)


@pytest.mark.parametrize("second", ["validation", "test"])
def test_two_splits_report_on_the_second_and_choose_on_a_part_of_train(second):
    manifest = manifest_of(split_memes(train=60, **{second: 12}))
    cut, roles = assign_roles(manifest, alone(manifest))
    assert roles == SplitRoles(("train",), ("select",), (second,))
    assert count_splits(cut) == {"train": 48, "select": 12, second: 12}
    moved = cut.splits != manifest.splits
    assert set(manifest.splits[moved]) == {"train"}
    assert cut.meme_ids.tolist() == manifest.meme_ids.tolist()


@pytest.mark.parametrize("name", ["all", "train", "test", "memes"])
def test_a_single_split_is_cut_in_three(name):
    manifest = manifest_of([name] * 100)
    cut, roles = assign_roles(manifest, alone(manifest))
    assert roles == SplitRoles(("train",), ("select",), ("report",))
    assert count_splits(cut) == {"train": 64, "select": 16, "report": 20}


def test_a_table_that_was_cut_gets_the_same_roles_again():
    for splits in (["all"] * 60, split_memes(train=40, validation=9)):
        manifest = manifest_of(splits)
        cut, roles = assign_roles(manifest, alone(manifest))
        again, same = assign_roles(cut, alone(cut))
        assert same == roles
        assert again.table.equals(cut.table)


def test_variants_of_the_usual_names_count_as_what_they_are():
    splits = split_memes(train=9, dev_seen=3, dev_unseen=3, test_seen=3)
    assert roles_of(splits) == {"fit": ["train"], "select": ["dev_seen", "dev_unseen"], "report": ["test_seen"]}


def test_a_split_without_labels_gets_no_role_by_itself():
    splits = split_memes(train=30, validation=6, test=6)
    moods = ["good", "bad", None] * 12 + [None] * 6
    manifest = manifest_of(splits, moods, [None] * 42)
    cut, roles = assign_roles(manifest, alone(manifest))
    assert roles == SplitRoles(("train",), ("select",), ("validation",))
    assert count_splits(cut)["test"] == 6


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"fit": ["a"], "select": ["b"], "report": ["c"]}, (["a"], ["b"], ["c"])),
        ({"select": ["b"], "report": ["c"]}, (["a"], ["b"], ["c"])),
        ({"report": ["c"]}, (["a", "b"], ["select"], ["c"])),
        ({"fit": ["a", "b"]}, (["a", "b"], ["select"], ["report"])),
        ({"select": ["c"]}, (["a", "b"], ["c"], ["report"])),
    ],
)
def test_named_roles_stay_and_the_rest_follows(options, expected):
    splits = split_memes(a=20, b=20, c=20)
    assert tuple(roles_of(splits, **options).values()) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"report": ["validation"]}, (["train"], ["select"], ["validation"])),
        ({"fit": ["train", "validation"]}, (["train", "validation"], ["select"], ["test"])),
        ({"fit": ["train"]}, (["train"], ["validation"], ["test"])),
        ({"select": ["test"]}, (["train"], ["test"], ["report"])),
    ],
)
def test_usual_names_fill_the_roles_that_are_not_named(options, expected):
    splits = split_memes(train=30, validation=9, test=9)
    assert tuple(roles_of(splits, **options).values()) == expected


def test_a_cut_split_does_not_take_a_name_that_is_there():
    splits = split_memes(train=30, select=5, test=5)
    found = roles_of(splits, fit=["train"], report=["test", "select"])
    assert found == {"fit": ["train"], "select": ["select_2"], "report": ["test", "select"]}


def test_unknown_splits_are_named_with_those_that_are_there():
    with pytest.raises(DataError) as caught:
        roles_of(split_memes(train=9, validation=3), fit=["training"], report=["holdout"])
    message = str(caught.value)
    assert all(word in message for word in ("training", "holdout", "train, validation"))


@pytest.mark.parametrize(
    "roles", [("select", "report"), ("fit", "report"), ("fit", "select"), ("fit", "select", "report")]
)
def test_a_split_with_two_roles_is_refused(roles):
    with pytest.raises(DataError, match="one role only") as caught:
        roles_of(split_memes(train=9, validation=3), **{role: ["train"] for role in roles})
    assert " and ".join(roles) in str(caught.value)


def test_unusual_names_need_named_roles():
    for splits in (split_memes(a=9, b=9), split_memes(validation=9, test=9), split_memes(train=9, extra=9)):
        with pytest.raises(DataError, match="not clear") as caught:
            roles_of(splits)
        assert all(name in str(caught.value) for name in set(splits))


def test_no_split_left_to_train_on():
    with pytest.raises(DataError, match="none is left to train"):
        roles_of(["all"] * 9, report=["all"])


@pytest.mark.parametrize("num_memes", [1, 2])
def test_too_few_memes_to_cut(num_memes):
    with pytest.raises(DataError, match=f"{num_memes} meme"):
        roles_of(["all"] * num_memes)


def test_one_group_can_not_be_cut():
    manifest = manifest_of(split_memes(train=20, validation=5))
    with pytest.raises(DataError, match=r"20 meme\(s\) in 1 group\(s\) of duplicates"):
        assign_roles(manifest, np.zeros(25, dtype=np.int64))
    with pytest.raises(DataError, match="no memes"):
        assign_roles(manifest.take([]), np.arange(0))


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_three_memes_are_enough_for_three_roles(fraction):
    manifest = manifest_of(["all"] * 3)
    cut, _ = assign_roles(manifest, alone(manifest), select_fraction=fraction, report_fraction=fraction)
    assert count_splits(cut) == {"train": 1, "select": 1, "report": 1}


def test_one_class_only_is_cut_all_the_same():
    manifest = manifest_of(["all"] * 50, ["good"] * 50, ["rude"] * 50)
    cut, _ = assign_roles(manifest, alone(manifest))
    assert count_splits(cut) == {"train": 32, "select": 8, "report": 10}


def test_one_seed_one_cut():
    manifest = manifest_of(["all"] * 90)
    cuts = [assign_roles(manifest, alone(manifest), seed=seed)[0].splits.tolist() for seed in (3, 3, 4)]
    assert cuts[0] == cuts[1]
    assert cuts[0] != cuts[2]
    relabelled = np.random.default_rng(0).permutation(1000)[:90]
    assert assign_roles(manifest, relabelled, seed=3)[0].splits.tolist() == cuts[0]


def test_cuts_keep_rare_classes_of_every_label_task_in_proportion():
    random = np.random.default_rng(1)
    moods = random.choice(MOOD.classes, 1000, p=[0.7, 0.28, 0.02]).tolist()
    rudes = [None if x < 0.5 else "rude" if x > 0.9 else "polite" for x in random.random(1000)]
    manifest = manifest_of(split_memes(train=1000), moods, rudes)
    groups = random.integers(0, 800, 1000)
    cut, _ = assign_roles(manifest, groups, seed=5)
    for task in (MOOD, RUDE):
        labels = cut.labels(task.name)
        for index in range(task.num_classes):
            held = (labels[cut.splits == "report"] == index).sum()
            assert abs(held - 0.2 * (labels == index).sum()) <= 1.5, (task.name, index)
        missing = (labels[cut.splits == "report"] == MISSING).sum()
        assert abs(missing - 0.2 * (labels == MISSING).sum()) <= 3


@settings(max_examples=50, deadline=None)
@given(
    groups=st.lists(st.integers(0, 12), min_size=3, max_size=60).filter(lambda groups: len(set(groups)) > 2),
    fractions=st.tuples(st.floats(0.05, 0.9), st.floats(0.05, 0.9)),
    seed=st.integers(0, 5),
)
def test_groups_never_cross_and_no_role_is_empty(groups, fractions, seed):
    manifest = manifest_of(["all"] * len(groups))
    cut, roles = assign_roles(
        manifest, np.array(groups), select_fraction=fractions[0], report_fraction=fractions[1], seed=seed
    )
    splits_of_group = pd.Series(cut.splits).groupby(groups).nunique()
    assert (splits_of_group == 1).all()
    assert set(cut.splits) == {name for names in dataclasses.astuple(roles) for name in names}


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 40), st.integers(1, 5), st.floats(0.05, 0.95), st.integers(0, 100))
def test_no_single_move_would_better_a_choice(num_groups, num_columns, fraction, seed):
    contents = np.random.default_rng(seed).integers(0, 4, (num_groups, num_columns)).astype(float)
    contents[:, 0] += 1
    chosen = choose_groups(contents, fraction, np.random.default_rng(seed))
    assert 1 <= chosen.sum() <= num_groups - 1
    used = contents[:, contents.sum(axis=0) > 0]
    wanted = fraction * used.sum(axis=0)

    def misfit(mask):
        return float(((used[mask].sum(axis=0) - wanted) ** 2 / wanted).sum())

    for group in range(num_groups):
        other = chosen.copy()
        other[group] = ~other[group]
        if 1 <= other.sum() <= num_groups - 1:
            assert misfit(other) >= misfit(chosen) - 1e-6


def test_wrong_arguments():
    manifest = manifest_of(["all"] * 9)
    with pytest.raises(ValueError, match="select_fraction is 0"):
        assign_roles(manifest, alone(manifest), select_fraction=0)
    with pytest.raises(ValueError, match="3 group numbers for 9 memes"):
        assign_roles(manifest, np.arange(3))
