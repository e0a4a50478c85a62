"""`knn`: votes by hand, a brute-force oracle, and edits that count at once."""

from dataclasses import replace

import numpy as np
import pytest

from memeblend.candidates.features import States
from memeblend.candidates.knn import Knn, Precedent
from memeblend.errors import DataError
from memeblend.labels import MISSING
from memeblend.recipe.candidates import KnnCandidate

STARTS = {"text": "text-0", "image": "image-0", "fused": "fusion-0"}


def fitted(setting, features=("fused",), context=None, **fields):
    spec = KnnCandidate(kind="knn", features=features, **fields)
    candidate = Knn("knn-0", spec, 0, [STARTS[feature] for feature in features])
    candidate.fit(context or setting.context())
    return candidate


@pytest.fixture
def drawn(joint, monkeypatch):
    """A candidate that remembers four memes whose states are drawn by hand, and what reads a meme's state."""
    states = {
        "m0": (1.0, 0.0),
        "m2": (0.6, 0.8),
        "m4": (0.0, 5.0),
        "m6": (-2.0, 0.0),
        "asked": (3.0, 0.0),
        "new": (1.0, 0.1),
    }

    class Reader:
        def read(self, memes, *watched):
            return States({"joint": (np.array([states[meme_id] for meme_id in memes.meme_ids], dtype=np.float32),)})

    memes = replace(joint.memes.take(np.arange(4)), meme_ids=["m0", "m2", "m4", "m6"])
    labels = np.array([[0, 2], [1, MISSING], [1, 0], [0, 1]])
    monkeypatch.setattr("memeblend.candidates.features.StateReader.start", lambda *given: Reader())
    candidate = fitted(joint, context=joint.context(fit=memes, fit_labels=labels), num_neighbors=2, temperature=0.5)
    return candidate, lambda *ids: replace(joint.memes.take(np.arange(len(ids))), meme_ids=list(ids))


def test_votes_by_hand(drawn):
    candidate, memes = drawn
    found = candidate.predict(memes("asked"))
    # Nearest by cosine: m0 (1), m2 (.6), m4 (0), m6 (-1); mood of m0 and m2, level of m0 and m4.
    near, far = np.exp(1 / 0.5), np.exp(0.6 / 0.5)
    np.testing.assert_allclose(found["mood"], [[near / (near + far), far / (near + far)]], rtol=1e-6)
    far = np.exp(0 / 0.5)
    np.testing.assert_allclose(found["level"], [[far / (near + far), 0, near / (near + far)]], rtol=1e-6)


def test_precedents_are_named_nearest_first(drawn):
    candidate, memes = drawn
    (found,) = candidate.precedents(memes("asked"), 3)
    assert found == [
        Precedent("m0", pytest.approx(1.0), {"mood": "bad", "level": "2"}),
        Precedent("m2", pytest.approx(0.6), {"mood": "good", "level": None}),
        Precedent("m4", pytest.approx(0.0), {"mood": "good", "level": "0"}),
    ]
    (voters,) = candidate.precedents(memes("asked"), 9, label_task="level")
    assert [one.meme_id for one in voters] == ["m0", "m4", "m6"]
    with pytest.raises(ValueError, match="k is 0"):
        candidate.precedents(memes("asked"), 0)


def test_edits_count_at_once(drawn):
    candidate, memes = drawn
    candidate.relabel("m0", "mood", "good")
    np.testing.assert_allclose(candidate.predict(memes("asked"))["mood"], [[0, 1]])
    candidate.relabel("m0", "mood", None)
    (voters,) = candidate.precedents(memes("asked"), 2, label_task="mood")
    assert [one.meme_id for one in voters] == ["m2", "m4"]
    candidate.remove("m2")
    candidate.add(memes("new"), {"level": ["1"]})
    (found,) = candidate.precedents(memes("asked"), 2)
    assert [one.meme_id for one in found] == ["m0", "new"]
    assert found[1].labels == {"mood": None, "level": "1"}
    np.testing.assert_allclose(candidate.predict(memes("asked"))["level"].sum(), 1)


def test_without_labels_left_the_answer_is_the_prior(drawn):
    candidate, memes = drawn
    for meme_id in ("m0", "m4", "m6"):
        candidate.relabel(meme_id, "level", None)
    found = candidate.predict(memes("asked", "m0"))
    np.testing.assert_allclose(found["level"], [[1 / 3, 1 / 3, 1 / 3]] * 2)
    for meme_id in ("m0", "m2", "m4", "m6"):
        candidate.remove(meme_id)
    np.testing.assert_allclose(candidate.predict(memes("asked"))["mood"], [[0.5, 0.5]])
    assert candidate.precedents(memes("asked"), 3) == [[]]


def test_what_is_unknown_is_refused_with_what_comes_near(drawn):
    candidate, memes = drawn
    with pytest.raises(DataError, match=r"remembers no meme 'm9'\.\nDid you mean 'm6' or .*There are: m0, m2, m4, m6"):
        candidate.relabel("m9", "mood", "good")
    with pytest.raises(DataError, match=r"no label task 'moood'\.\nDid you mean 'mood'\?"):
        candidate.relabel("m0", "moood", "good")
    with pytest.raises(DataError, match=r"no class 'god'\.\nDid you mean 'good'\?"):
        candidate.relabel("m0", "mood", "god")
    with pytest.raises(DataError, match="no meme 'zzz'"):
        candidate.remove("zzz")
    with pytest.raises(DataError, match="no label task 'tone'"):
        candidate.precedents(memes("asked"), 1, label_task="tone")


def test_adding_lists_all_problems_and_then_adds_nothing(drawn):
    candidate, memes = drawn
    with pytest.raises(DataError) as caught:
        candidate.add(memes("new", "m0", "new"), {"tone": [], "mood": ["god", None], "level": ["1", None, "7"]})
    assert [(one.where, one.meme_id) for one in caught.value.problems] == [
        ("meme_ids", "m0"),
        ("meme_ids", "new"),
        ("label task tone", ""),
        ("label task mood", ""),
        ("label task mood", ""),
        ("label task level", ""),
    ]
    assert candidate.meme_ids == ["m0", "m2", "m4", "m6"]
    assert len(candidate.labels) == 4


def test_brute_force(setting):
    candidate = fitted(setting, ("text", "fused"), num_neighbors=7, temperature=0.2)
    train = setting.rows("train")
    remembered, asked = candidate.reader.read(setting.memes.take(train)), candidate.reader.read(setting.memes)
    found = candidate.predict(setting.memes)
    for column, task in enumerate(setting.label_tasks):
        space = asked.space(task.name)
        for row in range(0, len(setting.memes), 7):
            cosines = np.zeros(len(train))
            for known, mine in zip(remembered.parts[space], asked.parts[space], strict=True):
                lengths = np.linalg.norm(known, axis=1) * np.linalg.norm(mine[row])
                cosines += known @ mine[row] / lengths / 2
            nearest = np.argsort(-cosines)[:7]
            votes = np.zeros(task.num_classes)
            for one in nearest:
                votes[setting.labels[train[one], column]] += np.exp(cosines[one] / 0.2)
            np.testing.assert_allclose(found[task.name][row], votes / votes.sum(), atol=1e-4)


def test_a_remembered_meme_finds_itself_first(setting):
    candidate = fitted(setting)
    some = setting.memes.take(setting.rows("train")[:5])
    for meme_id, found in zip(some.meme_ids, candidate.precedents(some, 1), strict=True):
        assert found[0].meme_id == meme_id
        assert found[0].similarity == pytest.approx(1, abs=1e-4)


def test_edits_are_kept(setting, tmp_path):
    candidate = fitted(setting)
    first = candidate.meme_ids[0]
    candidate.save(tmp_path)
    loaded = Knn.load("knn-0", tmp_path)
    weights = next((tmp_path / "states").rglob("*.safetensors"))
    written = weights.stat().st_mtime_ns
    loaded.relabel(first, "mood", None)
    loaded.remove(candidate.meme_ids[1])
    test = setting.rows("test")
    tasks = {task.name: [task.classes[0]] * len(test) for task in setting.label_tasks}
    loaded.add(setting.memes.take(test), tasks)
    loaded.save_memory(tmp_path)
    assert weights.stat().st_mtime_ns == written
    again = Knn.load("knn-0", tmp_path)
    assert again.meme_ids == [first, *candidate.meme_ids[2:], *setting.memes.take(test).meme_ids]
    np.testing.assert_array_equal(again.labels, loaded.labels)
    for name, found in loaded.predict(setting.memes).items():
        np.testing.assert_array_equal(again.predict(setting.memes)[name], found)
