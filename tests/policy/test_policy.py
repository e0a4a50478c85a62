"""`Policy`: fitting, verdicts, files."""

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_tables import LEVEL, MOOD, RUDE, table_of, validation

from memeblend.errors import OutputError, PolicyError
from memeblend.labels import LabelTask
from memeblend.policy import Budget, Costs, Policy
from memeblend.policy.calibration import Calibration
from memeblend.policy.policy import CategoryPolicy
from memeblend.predictions import Predictions

TASKS = (RUDE, LEVEL, MOOD)
SAME = Calibration(slope=1, intercept=0, covariance=(0, 0, 0.25), num_memes=9, num_positive=3)


def hand(**categories):
    return Policy(categories={name: CategoryPolicy(**given) for name, given in categories.items()})


def test_fit_decides_on_what_has_costs_and_makes_sets_of_all():
    found = Policy.fit(validation(), {"rude": Costs(miss=5, review=0.3)}, 0.8)
    assert list(found.categories) == ["rude"]
    assert found.categories["rude"].limits == pytest.approx((0.06, 0.7))
    assert list(found.sets) == ["rude", "harm", "mood"]
    assert list(Policy.fit(validation()).categories) == ["rude", "harm"]
    assert Policy.fit(validation(), coverage=0).sets == {}


def test_verdicts_by_hand_and_the_gravest_counts():
    policy = hand(
        rude={"band": (0.2, 0.8), "calibration": SAME}, harm={"threshold": 0.5}
    )  # harm: some and much are both above none
    tables = {
        "rude": table_of(RUDE, [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.9, 0.1]], [0] * 4),
        "harm": table_of(LEVEL, [[0.6, 0.3, 0.1], [0.9, 0.1, 0], [0.9, 0.1, 0], [0.5, 0.3, 0.2]], [0] * 4),
    }
    found = policy.decide(tables)
    assert [one["verdict"] for one in found] == ["pass", "review", "auto", "auto"]
    assert found[1]["categories"]["rude"]["verdict"] == "review"
    assert found[1]["categories"]["rude"]["calibrated"] == pytest.approx(0.2)
    assert found[1]["categories"]["rude"]["interval"] == pytest.approx(policy.interval("rude", 0.2), abs=1e-6)
    assert found[3]["categories"]["harm"] == {"verdict": "auto", "score": 0.5, "calibrated": 0.5, "interval": None}
    assert policy.interval("harm", 0.5) is None
    with pytest.raises(PolicyError, match="no category 'mood'; it has rude, harm"):
        policy.interval("mood", 0.5)
    with pytest.raises(PolicyError, match="decides on harm"):
        policy.decide({"rude": tables["rude"]})


def test_sets_by_hand():
    policy = Policy(coverage=0.9, sets={"mood": 0.3})
    (one, two) = policy.decide({"mood": table_of(MOOD, [[0.6, 0.3, 0.1], [0.29, 0.7, 0.01]], [0, 1])})
    assert (one["sets"], two["sets"]) == ({"mood": ["bad", "fair"]}, {"mood": ["fair"]})
    assert one["verdict"] == "pass"


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_records_and_tables_are_decided_alike(seed):
    tables = validation(40, seed)
    policy = Policy.fit(validation(200), {"rude": Costs(miss=3), "harm": Costs()})
    records = Predictions(tables, {}).to_records()
    decided = policy.decide(tables)
    assert policy.decide_records(records) == decided
    assert json.loads(json.dumps(decided, allow_nan=False)) == decided
    for one in decided:
        for category in one["categories"].values():
            low, high = category["interval"]
            assert 0 <= low <= category["calibrated"] <= high <= 1
        assert all(one["sets"].values())


def test_nothing_is_decided_of_no_memes():
    assert Policy.fit(validation()).decide_records([]) == []


def test_predictions_carry_what_the_policy_says(tmp_path):
    tables = validation(30)
    policy = Policy.fit(tables, {"rude": Costs(), "harm": Costs()})
    found = Predictions(tables, {}, policy.decide(tables))
    records, frame = found.to_records(), found.to_frame()
    assert [record["policy"]["verdict"] for record in records] == frame["verdict"].tolist()
    assert frame["rude_calibrated"].tolist() == [one["categories"]["rude"]["calibrated"] for one in found.policy]
    assert (frame["rude_low"] <= frame["rude_high"]).all()
    assert json.loads(frame["mood_set"][0]) == found.policy[0]["sets"]["mood"]
    for suffix in (".csv", ".jsonl", ".parquet"):
        found.write(tmp_path / f"p{suffix}")
    assert "policy" not in Predictions(tables, {}).to_records()[0]
    assert "verdict" not in Predictions(tables, {}).to_frame()


def test_a_file_gives_the_same_policy(tmp_path):
    whole = Policy.fit(validation(), {"rude": Costs(miss=5), "harm": Costs()}).model_copy(
        update={"redteam": Budget(max_flip_rate=0.1)}
    )
    for policy in (whole, hand(rude={"threshold": 0.7}, harm={"band": (0.1, 0.9)}), Policy()):
        policy.write(tmp_path / "policy.toml")
        assert Policy.read(tmp_path / "policy.toml", TASKS) == policy
        assert Policy.from_dict(json.loads(json.dumps(policy.to_dict())), TASKS) == policy
    text = (tmp_path / "policy.toml").read_text()
    assert text.startswith("# A policy of memeblend.")
    whole.write(tmp_path / "policy.toml")
    assert '# "rude": 0.04 to 0.8' in (tmp_path / "policy.toml").read_text()


@settings(max_examples=80, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_any_name_and_band_survive_a_file(tmp_path_factory, name, one, two):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    policy = hand(**{name: {"band": (min(one, two), max(one, two)), "calibration": SAME}})
    policy.write(path)
    assert Policy.read(path, [LabelTask(name, "binary", ("no", "yes"))]) == policy


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    path = tmp_path / "policy.toml"
    hand(rude={"threshold": 0.7}).write(path)
    before = path.read_text()
    cells = {f"{number:0100d}": 0.1 for number in range(10_000)}
    with pytest.raises(PolicyError, match=r"1,\d{3},\d{3} bytes, but 1,048,576 are the most"):
        hand(rude={"threshold": 0.7}).model_copy(update={"redteam": Budget(cells=cells)}).write(path)
    assert path.read_text() == before


def test_a_policy_knows_its_model():
    policy = Policy.fit(validation(seed=0))
    assert policy.fits(validation(seed=0))
    assert not policy.fits(validation(seed=1))
    assert hand(rude={"threshold": 0.5}).fits(validation(seed=1))


def test_what_can_not_be_fitted_is_listed_at_once():
    few = {
        "rude": table_of(RUDE, [[0.5, 0.5]] * 4, [0, 0, 0, -1]),
        "mood": table_of(MOOD, [[0.2, 0.3, 0.5]] * 4, [0, 1, 2, 0], [0, 0, 0, 1]),
    }
    with pytest.raises(PolicyError) as error:
        Policy.fit(few, {"rude": Costs(), "mood": Costs(), "rud": Costs()}, 0.9)
    text = str(error.value)
    for part in (
        "'mood' is no category",
        "unknown category 'rud': did you mean 'rude'?",
        "rude: 0 of 3 labelled memes are of it",
        "mood: 2 labelled memes, duplicates apart, but sets of coverage 0.9 need 9",
        "rude: 3 labelled memes",
    ):
        assert part in text
    for coverage in (-0.1, 1.0, float("nan"), 2):
        with pytest.raises(PolicyError, match="coverage"):
            Policy.fit(validation(), coverage=coverage)


CATEGORY = "[categories.rude]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("format = 2", ["has format 2; this memeblend reads format 1"]),
        ("format = 'x'", ["has format x"]),
        ("formt = 1", ["unknown key 'formt': did you mean 'format'?"]),
        ("coverage = 2", ["coverage: input should be less than or equal to 1, found '2'"]),
        ("[sets]\nmood = 0.5", ["sets need one between 0 and 1"]),
        ("coverage = 0.9\n[sets]\nmod = 0.5", ["unknown label task 'mod': did you mean 'mood'?"]),
        ("[categories.rudeness]\nthreshold = 0.5", ["unknown category 'rudeness': did you mean 'rude'?"]),
        ("[categories.zzz]\nthreshold = 0.5", ["unknown category 'zzz': the model has rude, harm"]),
        ("[categories.mood]\nthreshold = 0.5", ["'mood' is no category: it is neither binary nor"]),
        (CATEGORY, ["has no limits; expected a cost, a threshold or a band"]),
        (CATEGORY + "treshold = 1", ["unknown key 'categories.rude.treshold': did you mean 'threshold'?"]),
        (CATEGORY + "threshold = nan", ["categories.rude.threshold: input should be a finite number"]),
        (CATEGORY + "threshold = true", ["categories.rude.threshold: input should be a valid number"]),
        (CATEGORY + "threshold = '0.5'", ["categories.rude.threshold: input should be a valid number"]),
        (CATEGORY + "threshold = 1.5", ["less than or equal to 1"]),
        (CATEGORY + "threshold = 0.5\nband = [0.1, 0.2]", ["both a threshold and a band"]),
        (CATEGORY + "band = [0.9, 0.2]", ["band [0.9, 0.2] is out of order"]),
        (CATEGORY + "band = [0.9]", ["categories.rude.band.1: field required"]),
        (CATEGORY + "cost = {miss = 0}", ["categories.rude.cost.miss: input should be greater than 0"]),
        (CATEGORY + "cost = {miss = inf}", ["finite number"]),
        (CATEGORY + "cost = 5", ["categories.rude.cost"]),
        (CATEGORY + "threshold = 0.5\ncalibration = {slope = -1}", ["slope", "intercept: field required"]),
        ("categories = []", ["categories: input should be a valid dictionary"]),
        ("format = 1\ncategories = 3\ncoverage = 'x'\nsets = 1", ["3 problem(s)", "coverage", "sets"]),
        ("[redteam]\nmax_flip_rte = 1", ["did you mean 'max_flip_rate'?"]),
        ("= 1", ["is not valid TOML"]),
        ("a = " + "[" * 20_000, ["is not valid TOML"]),
        ("a = '" + "x" * 2**20 + "'", ["is larger than 1,048,576 bytes"]),
    ],
)
def test_a_file_that_can_not_be_used(tmp_path, text, said):
    (tmp_path / "policy.toml").write_text(text)
    with pytest.raises(PolicyError) as error:
        Policy.read(tmp_path / "policy.toml", TASKS)
    for part in said:
        assert part in str(error.value)
    assert len(str(error.value)) < 2000


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "p.toml").write_bytes(b"\xff\xfe\x00")
    for path, said in ((tmp_path / "p.toml", "not valid TOML"), (tmp_path, "Could not read"), ("none", "No such file")):
        with pytest.raises(PolicyError, match=said):
            Policy.read(path, TASKS)
    for data in (None, [], 5, "x"):
        with pytest.raises(PolicyError):
            Policy.from_dict(data, TASKS)
    with pytest.raises(OutputError):
        Policy().write(tmp_path / "p.toml" / "policy.toml")


def test_deciding_takes_milliseconds():
    policy = Policy.fit(validation())
    tables = validation(1000)
    policy.decide(tables)
    began = time.perf_counter()
    policy.decide(tables)
    assert time.perf_counter() - began < 0.5  # some 10 ms; machines of tests are busy


def test_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Policy().coverage = 0.5
    assert np.isfinite(Policy().coverage)
