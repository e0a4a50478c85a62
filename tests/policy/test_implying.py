"""What a policy implies, counted by hand and by simulation."""

import json
import time

import numpy as np
import pytest
from policy_tables import LEVEL, MOOD, RUDE, table_of, validation

from memeblend.errors import PolicyError
from memeblend.policy import Costs, Policy, implied
from memeblend.policy.policy import CategoryPolicy
from memeblend.policy.shares import wilson

SCORES = [0.1, 0.3, 0.4, 0.6, 0.9, 0.95]
LABELS = [0, 0, 1, 1, 1, -1]


def small(**category):
    table = table_of(RUDE, [[1 - score, score] for score in SCORES], LABELS)
    return Policy(categories={"rude": CategoryPolicy(**category)}), {"rude": table}


def test_queues_errors_and_costs_by_hand():
    policy, tables = small(band=(0.35, 0.55), cost=Costs(false_alarm=2, miss=4, review=0.5))
    found = implied(policy, tables)
    assert {name: share["num"] for name, share in found["memes"].items()} == {"pass": 2, "review": 1, "auto": 3}
    category = found["categories"]["rude"]
    assert (category["num_labelled"], category["num_positive"]) == (5, 3)
    assert category["verdicts"] == found["memes"]
    assert category["limits"] == [0.35, 0.55]
    precision, recall = category["auto"]["precision"], category["auto"]["recall"]
    assert (precision["num"], precision["num_memes"]) == (2, 2)  # the meme without label is not among them
    assert precision["interval"] == list(wilson(1.0, 2))
    assert (recall["num"], recall["num_memes"], recall["share"]) == (2, 3, pytest.approx(2 / 3))
    assert category["auto_or_review"]["recall"]["share"] == 1
    assert category["auto_or_review"]["precision"]["share"] == 1
    # one of five labelled memes is reviewed, none is missed or a false alarm
    assert category["cost"]["per_meme"] == pytest.approx(0.1)
    assert category["cost"]["alternatives"] == pytest.approx({"pass": 2.4, "review": 0.5, "auto": 0.8})


def test_nothing_caught_has_no_precision():
    policy, tables = small(threshold=1.0)
    category = implied(policy, tables)["categories"]["rude"]
    assert category["auto"]["precision"] == {"num": 0, "num_memes": 0, "share": None, "interval": None}
    assert category["auto"]["recall"]["share"] == 0
    assert category["cost"] is None


def test_unlabelled_memes_have_queues_alone():
    policy, tables = small(threshold=0.5, cost=Costs())
    bare = table_of(RUDE, tables["rude"].probabilities, [-1] * 6)
    found = implied(policy, {"rude": bare})
    assert found["memes"]["auto"]["num"] == 3
    assert found["categories"]["rude"]["auto"]["recall"]["share"] is None
    assert found["categories"]["rude"]["cost"] is None


def test_limits_by_cost_are_the_cheapest_on_many_memes():
    tables = validation(20_000)
    costs = Costs(false_alarm=1, miss=4, review=0.3)
    policy = Policy.fit(tables, {"rude": costs}, coverage=0)
    found = implied(policy, tables)["categories"]["rude"]["cost"]
    assert found["per_meme"] < min(found["alternatives"].values())
    for low in np.linspace(0, 1, 11):
        for high in np.linspace(low, 1, 6):
            other = CategoryPolicy(
                band=(float(low), float(high)), cost=costs, calibration=policy.categories["rude"].calibration
            )
            elsewhere = implied(Policy(categories={"rude": other}), tables)["categories"]["rude"]["cost"]
            assert found["per_meme"] <= elsewhere["per_meme"] + 0.005


def test_sets_cover_what_they_state():
    tables = validation(600)
    for coverage in (0.7, 0.9):
        found = implied(Policy.fit(tables, coverage=coverage), tables)["sets"]
        assert set(found) == {"rude", "harm", "mood"}
        for one in found.values():
            low, high = one["observed"]["interval"]
            assert one["coverage"] == coverage
            assert low - 0.02 <= coverage <= high + 0.02
            assert 1 <= one["mean_size"] <= 3


def test_wider_coverage_wider_sets():
    tables = validation(400)
    sizes = [implied(Policy.fit(tables, coverage=c), tables)["sets"]["mood"]["mean_size"] for c in (0.6, 0.8, 0.95)]
    assert sizes == sorted(sizes)


def test_it_is_json_and_fast_and_needs_the_same_label_tasks():
    tables = validation(1000)
    policy = Policy.fit(tables)
    found = implied(policy, tables)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    began = time.perf_counter()
    implied(policy, tables)
    assert time.perf_counter() - began < 0.5  # some 10 ms; machines of tests are busy
    with pytest.raises(PolicyError, match=r"unknown category 'harm'(.|\n)*unknown label task 'harm'"):
        implied(policy, {name: tables[name] for name in ("rude", "mood")})


def test_tables_in_another_order_of_memes():
    tables = validation(100)
    turned = {"rude": tables["rude"], "harm": tables["harm"].take(np.arange(100)[::-1]), "mood": tables["mood"]}
    policy = Policy.fit(tables)
    assert implied(policy, turned)["memes"] == implied(policy, tables)["memes"]
    assert (LEVEL.intensity, MOOD.kind) == (True, "nominal")
