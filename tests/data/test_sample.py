import dataclasses
import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageChops
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from memeblend.data.duplicates import duplicate_groups
from memeblend.data.images import load_image
from memeblend.data.manifest import Manifest
from memeblend.data.sample import LABEL_NOISE, SOURCE, sample_manifest, sample_memes, write_sample
from memeblend.data.sample_drawing import SIZE, draw
from memeblend.data.sample_facts import ABSURD_THINGS, BELONGING_THINGS, MemeFacts, deal_facts, labels_of
from memeblend.errors import DataError
from memeblend.labels import MEMOTION_LABEL_TASKS

FACTS = MemeFacts(
    words_good=True,
    words_strong=False,
    face_good=True,
    face_strong=False,
    topic="exam",
    thing="book",
    insult=0,
    encouraging=False,
    hinglish=False,
)


@pytest.fixture(scope="module")
def memes():
    return list(sample_memes())


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return sample_manifest(tmp_path_factory.mktemp("sample") / "memes", num_memes=200)


def with_facts(**changes):
    return dataclasses.replace(FACTS, **changes)


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("changes", "label_task", "label"),
    [
        ({}, "sentiment", "positive"),
        ({"words_good": False, "face_good": False}, "sentiment", "negative"),
        ({"words_good": False}, "sentiment", "neutral"),
        ({"face_good": False}, "sentiment", "neutral"),
        ({}, "sarcastic", "not_sarcastic"),
        ({"words_good": False, "face_good": False, "words_strong": True}, "sarcastic", "not_sarcastic"),
        ({"words_good": False}, "sarcastic", "general"),
        ({"face_good": False}, "sarcastic", "general"),
        ({"face_good": False, "words_strong": True}, "sarcastic", "twisted_meaning"),
        ({"face_good": False, "face_strong": True}, "sarcastic", "twisted_meaning"),
        ({"words_good": False, "words_strong": True, "face_strong": True}, "sarcastic", "very_twisted"),
        ({}, "humorous", "not_funny"),
        ({"thing": "pizza"}, "humorous", "funny"),
        ({"thing": "pizza", "topic": "lunch"}, "humorous", "not_funny"),
        ({"thing": "octopus"}, "humorous", "very_funny"),
        ({"thing": "octopus", "words_strong": True}, "humorous", "hilarious"),
        ({"thing": "book", "words_strong": True}, "humorous", "not_funny"),
        ({}, "offensive", "not_offensive"),
        ({"insult": 1}, "offensive", "slight"),
        ({"insult": 2}, "offensive", "very_offensive"),
        ({"insult": 3}, "offensive", "hateful_offensive"),
        ({}, "motivational", "not_motivational"),
        ({"encouraging": True}, "motivational", "motivational"),
        ({"encouraging": True, "face_good": False}, "motivational", "not_motivational"),
        ({"encouraging": True, "words_good": False}, "motivational", "motivational"),
    ],
)
def test_each_label_follows_from_the_facts(changes, label_task, label):
    assert labels_of(with_facts(**changes))[label_task] == label


def test_labels_are_classes_of_the_memotion_label_tasks():
    seen = {task.name: set() for task in MEMOTION_LABEL_TASKS}
    for facts in deal_facts(400, random.Random(0)):
        labels = labels_of(facts)
        assert list(labels) == list(seen)
        for name, label in labels.items():
            seen[name].add(label)
    assert seen == {task.name: set(task.classes) for task in MEMOTION_LABEL_TASKS}


@given(num_memes=st.integers(1, 500), seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_neither_mood_alone_says_whether_the_two_agree(num_memes, seed):
    dealt = deal_facts(num_memes, random.Random(seed))
    assert len(dealt) == num_memes
    sides = {
        "words": [(facts.words_good, facts.words_strong) for facts in dealt],
        "face": [(facts.face_good, facts.face_strong) for facts in dealt],
    }
    for moods in sides.values():
        for mood in itertools.product((False, True), repeat=2):
            agreeing = [
                facts.words_good == facts.face_good for facts, found in zip(dealt, moods, strict=True) if found == mood
            ]
            # Two cells of the deal on either side of the balance, each less than one meme off its share.
            assert abs(sum(agreeing) - (len(agreeing) - sum(agreeing))) < 4


def test_shares_of_the_deal_are_exact():
    dealt = deal_facts(1200, random.Random(5))
    absurd = sum(facts.thing in ABSURD_THINGS for facts in dealt)
    belonging = sum(facts.thing == BELONGING_THINGS[facts.topic] for facts in dealt)
    assert [absurd, belonging] == [0.36 * 1200, 0.32 * 1200]
    assert [sum(facts.insult == grade for facts in dealt) for grade in range(4)] == [504, 336, 216, 144]
    assert sum(facts.encouraging for facts in dealt) == 720
    assert sum(facts.words_good for facts in dealt) == sum(facts.face_good for facts in dealt) == 600


def test_splits_have_their_sizes_and_all_classes_in_like_shares(memes):
    splits = [meme.split for meme in memes]
    assert {split: splits.count(split) for split in dict.fromkeys(splits)} == {
        "train": 840,
        "validation": 144,
        "test": 216,
    }
    for task in MEMOTION_LABEL_TASKS:
        overall = np.array([sum(meme.labels[task.name] == name for meme in memes) for name in task.classes]) / 1200
        assert overall.min() > 0.08
        assert overall.max() < 0.72
        for split in set(splits):
            labels = [meme.labels[task.name] for meme in memes if meme.split == split]
            shares = np.array([labels.count(name) for name in task.classes]) / len(labels)
            assert np.abs(shares - overall).max() < 0.08


def test_the_smallest_sample_fills_every_split():
    assert {meme.split for meme in sample_memes(20)} == {"train", "validation", "test"}


def test_about_five_percent_of_the_labels_are_noise():
    memes = list(sample_memes(6000, seed=1))
    for task in MEMOTION_LABEL_TASKS:
        wrong = [meme for meme in memes if meme.labels[task.name] != labels_of(meme.facts)[task.name]]
        assert len(wrong) / 6000 == pytest.approx(LABEL_NOISE, abs=0.012)  # four standard deviations
        assert {meme.labels[task.name] for meme in wrong} == set(task.classes)


def test_no_two_memes_say_the_same(memes):
    assert len({" ".join(meme.lines) for meme in memes}) == len(memes)


def test_a_linear_text_model_reads_the_mood_but_not_the_sarcasm(memes):
    texts = np.array([" ".join(meme.lines) for meme in memes])
    train = np.array([meme.split == "train" for meme in memes])

    def accuracy(labels):
        labels = np.array(labels)
        model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=8, max_iter=500))
        return model.fit(texts[train], labels[train]).score(texts[~train], labels[~train])

    assert accuracy([meme.facts.words_good for meme in memes]) > 0.97
    assert 0.4 < accuracy([meme.labels["sarcastic"] != "not_sarcastic" for meme in memes]) < 0.6


def test_sarcasm_is_in_the_product_of_the_moods_and_not_in_their_sum(memes):
    facts = np.array([dataclasses.astuple(meme.facts)[:4] for meme in memes], dtype=float) * 2 - 1
    sarcastic = np.array([meme.labels["sarcastic"] != "not_sarcastic" for meme in memes])
    train = np.array([meme.split == "train" for meme in memes])

    def accuracy(features):
        model = LogisticRegression(max_iter=500).fit(features[train], sarcastic[train])
        return model.score(features[~train], sarcastic[~train])

    assert accuracy(facts) < 0.6
    assert accuracy(np.column_stack([facts, facts[:, 0] * facts[:, 2]])) > 0.9


def test_the_length_of_the_words_does_not_tell_their_mood():
    memes = list(sample_memes(3000, seed=2))
    good = [meme.facts.words_good for meme in memes]
    for line in (0, 1):
        assert 0.45 < roc_auc_score(good, [len(meme.lines[line]) for meme in memes]) < 0.55


@pytest.mark.parametrize("strong", [False, True])
def test_the_mood_of_the_face_shows_in_the_face_alone(strong):
    lines = ("when the exam is nice", "i like it, mom, as usual")
    smile, frown = (draw(with_facts(face_good=good, face_strong=strong), lines, random.Random(3)) for good in (1, 0))
    left, upper, right, lower = ImageChops.difference(smile, frown).getbbox()
    assert right - left > SIZE // 4  # large
    assert left > 20
    assert right < 172
    assert upper > 60
    assert lower < 200


@pytest.mark.parametrize("thing", [*BELONGING_THINGS.values(), *ABSURD_THINGS])
def test_each_thing_looks_like_no_other(thing):
    lines = ("when the exam is nice", "i like it, mom, as usual")
    others = [name for name in (*BELONGING_THINGS.values(), *ABSURD_THINGS) if name != thing]
    picture = np.asarray(draw(with_facts(thing=thing), lines, random.Random(3)), dtype=int)
    for other in others:
        difference = np.abs(picture - np.asarray(draw(with_facts(thing=other), lines, random.Random(3)), dtype=int))
        assert (difference.max(axis=2) > 60).mean() > 0.02


def test_words_stand_at_the_edges_and_inside_the_picture(memes):
    for lines in (max((meme.lines for meme in memes), key=lambda lines, row=row: len(lines[row])) for row in (0, 1)):
        plain, written = (draw(FACTS, words, random.Random(3)) for words in (("", ""), lines))
        changed = np.asarray(ImageChops.difference(plain, written)).max(axis=2) > 0
        assert changed[:44].any()
        assert changed[212:].any()
        assert not changed[44:212].any()
        assert not changed[:, [0, 1, -2, -1]].any()


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    first, again, other = (
        files_of(write_sample(tmp_path / name, 30, seed)) for name, seed in (("a", 7), ("b", 7), ("c", 8))
    )
    assert first == again
    assert len(first) == 31
    assert first["memes.csv"] != other["memes.csv"]
    assert first["images/00001.jpg"] != other["images/00001.jpg"]


def test_nothing_is_written_beside_the_folder(tmp_path):
    assert write_sample(tmp_path / "sample", 20) == tmp_path / "sample"
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]
    assert sorted(path.name for path in (tmp_path / "sample").iterdir()) == ["images", "memes.csv"]


def test_an_existing_folder_is_replaced_only_by_a_whole_one(tmp_path):
    folder = tmp_path / "sample"
    write_sample(folder, 40)
    before = files_of(folder)

    def stop(num_drawn):
        if num_drawn == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(folder, 20, seed=3, progress=stop)
    assert files_of(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]

    write_sample(folder, 20, seed=3)
    assert len(files_of(folder)) == 21


def test_progress_counts_every_meme(tmp_path):
    counts = []
    write_sample(tmp_path / "sample", 20, progress=counts.append)
    assert counts == list(range(1, 21))


def test_the_folder_is_a_manifest_with_the_memotion_label_tasks(manifest):
    assert isinstance(manifest, Manifest)
    assert manifest.label_tasks == MEMOTION_LABEL_TASKS
    assert len(manifest) == 200
    assert manifest.has_images
    assert manifest.has_texts
    memes = list(sample_memes(200))
    assert manifest.texts == [" ".join(meme.lines) for meme in memes]
    assert list(manifest.table["split"]) == [meme.split for meme in memes]
    for task in MEMOTION_LABEL_TASKS:
        assert manifest.labels(task.name).tolist() == [task.index(meme.labels[task.name]) for meme in memes]


def test_every_image_can_be_read(manifest):
    for row in range(0, len(manifest), 10):
        image = load_image(manifest.image_path(row))
        assert image.size == (SIZE, SIZE)
        assert image.mode == "RGB"


def test_memes_are_no_near_duplicates_of_one_another(manifest):
    assert np.bincount(duplicate_groups(manifest)).max() <= 6


@pytest.mark.parametrize("num_memes", [19, 0, -1])
def test_too_few_memes_are_refused(tmp_path, num_memes):
    with pytest.raises(DataError, match="at least 20"):
        write_sample(tmp_path / "sample", num_memes)
    assert list(tmp_path.iterdir()) == []


def test_the_sample_names_itself_as_the_source_of_every_meme(tmp_path):
    manifest = sample_manifest(tmp_path / "anywhere", 20)
    assert set(manifest.table["source"]) == {SOURCE}
    assert all(meme_id.startswith(f"{SOURCE}/") for meme_id in manifest.meme_ids)
