"""Scores, flips and evasions by hand; the budget's verdicts."""

import numpy as np
import pytest
from madeup import BRIGHT, RUDE, TOPIC
from pydantic import ValidationError
from sklearn.metrics import f1_score

from memeblend.errors import MemeblendError
from memeblend.evaluation.intervals import Difference
from memeblend.evaluation.tables import PredictionTable
from memeblend.policy import Budget
from memeblend.policy.policy import CategoryPolicy
from memeblend.policy.shares import wilson
from memeblend.redteam.fairness import NameProbe
from memeblend.redteam.grid import Settings
from memeblend.redteam.judging import check_budget, judge
from memeblend.redteam.measuring import Outcome, Rate, Scored, outcomes, rate


def table(task, predicted, labels=None, groups=None):
    number = len(predicted)
    return PredictionTable(
        candidate="made",
        label_task=task,
        meme_ids=np.arange(number).astype(str),
        splits=np.full(number, "test"),
        groups=np.arange(number) if groups is None else groups,
        labels=np.full(number, -1) if labels is None else labels,
        probabilities=np.eye(task.num_classes)[predicted],
        manifest_fingerprint="",
    )


def test_flips_and_evasions_by_hand():
    clean, changed = table(BRIGHT, [0, 1, 1, 2]), table(BRIGHT, [0, 0, 2, 2])
    found = outcomes(clean, [changed, clean])
    assert (found[0].flips.num, found[0].flips.out_of) == (2, 4)
    assert (found[0].evasions.num, found[0].evasions.out_of) == (1, 3)
    assert found[0].flips.interval == pytest.approx(wilson(0.5, 4))
    assert (found[1].flips.value, found[1].evasions.value) == (0, 0)
    assert found[0].scores == {}  # nobody knows the labels
    assert outcomes(clean, []) == []


def test_a_label_task_that_is_no_category_has_no_evasions():
    assert outcomes(table(TOPIC, [0, 1]), [table(TOPIC, [1, 1])])[0].evasions is None


def test_nothing_caught_is_nothing_known():
    found = outcomes(table(RUDE, [0, 0]), [table(RUDE, [1, 0])])[0].evasions
    assert found == Rate(0, 0, (0.0, 1.0))
    assert found.value is None


def test_scores_equal_scikit_learns_and_change_is_paired():
    rng = np.random.default_rng(0)
    labels, before, after = (rng.integers(0, 3, 60) for _ in range(3))
    found = outcomes(table(BRIGHT, before, labels), [table(BRIGHT, after, labels), table(BRIGHT, before, labels)])
    for name, average in (("weighted_f1", "weighted"), ("macro_f1", "macro")):
        first, second = (f1_score(labels, said, average=average) for said in (after, before))
        assert found[0].scores[name].value == pytest.approx(first)
        assert found[0].scores[name].change.difference == pytest.approx(first - second)
        low, high = found[0].scores[name].interval
        assert low <= first <= high
        assert found[1].scores[name].change.interval == (0, 0)


def test_duplicates_widen_a_shares_interval():
    counts = np.arange(40) % 2 == 0
    everybody = np.ones(40, dtype=bool)
    alone = rate(counts, everybody, np.arange(40))
    in_fours = rate(counts, everybody, np.arange(40) // 4)
    assert np.ptp(in_fours.interval) > np.ptp(alone.interval)


def test_verdicts_of_a_policy_are_watched():
    policy = CategoryPolicy(band=(0.3, 0.8))
    clean, changed = table(RUDE, [1, 1, 0, 0]), table(RUDE, [0, 1, 1, 0])
    found = outcomes(clean, [changed], policy)[0]
    assert (found.verdicts.num, found.verdicts.out_of) == (2, 4)
    assert (found.releases.num, found.releases.out_of) == (1, 2)
    assert found.to_dict()["releases"]["value"] == 0.5


CELLS = {cell.name: cell for cell in Settings().cells}


def outcome(flips=(0.1, 0.3), evasions=(0.0, 0.1), drop=(0.01, 0.02)):
    """An outcome whose rates have these intervals."""

    def share(interval):
        return Rate(20, 100, interval)

    change = Difference(-sum(drop) / 2, (-drop[1], -drop[0]), 1.0)
    return Outcome({"weighted_f1": Scored(0.7, (0.6, 0.8), change)}, share(flips), share(evasions))


def verdicts(budget, *names, found=None, **options):
    cells = [(CELLS[name], {"rude": found or outcome()}) for name in names]
    judgement = judge(Budget(**budget, **options), cells, None, ["rude"])
    return judgement, [check.verdict for check in judgement.checks]


@pytest.mark.parametrize(("limit", "verdict"), [(0.05, "fail"), (0.3, "pass"), (0.2, "unsure")])
def test_a_limit_is_judged_by_the_interval(limit, verdict):
    judgement, found = verdicts({"max_flip_rate": limit}, "jpeg@1")
    assert found == [verdict]
    assert judgement.verdict == verdict


def test_drops_and_evasions_have_their_own_limits():
    judgement, found = verdicts({"max_score_drop": 0.005, "max_evasion_rate": 0.2}, "jpeg@1")
    assert {check.what: check.verdict for check in judgement.checks} == {"score drop": "fail", "evasion rate": "pass"}
    assert judgement.checks[1].value == pytest.approx(0.015)
    assert len(found) == 2


def test_where_nothing_flips_a_drop_is_no_surer_than_the_flips():
    still = Outcome(
        {"weighted_f1": Scored(0.7, (0.6, 0.8), Difference(0.0, (0.0, 0.0), 1.0))}, Rate(0, 9, (0, 0.3)), None
    )
    assert verdicts({"max_score_drop": 0.1}, "jpeg@1", found=still)[1] == ["unsure"]
    assert verdicts({"max_score_drop": 0.4}, "jpeg@1", found=still)[1] == ["pass"]


def test_cells_overrule_the_general_limit_and_severities_overrule_cells():
    budget = {"max_flip_rate": 0.05, "cells": {"jpeg": 0.2, "jpeg@2": 0.9}}
    assert verdicts(budget, "blur@1", "jpeg@1", "jpeg@2")[1] == ["fail", "unsure", "pass"]


def test_strict_fails_what_can_not_be_told():
    assert verdicts({"max_flip_rate": 0.2}, "jpeg@1")[0].verdict == "unsure"
    assert verdicts({"max_flip_rate": 0.2}, "jpeg@1", strict=True)[0].verdict == "fail"


def test_what_was_not_tried_is_not_passed():
    judgement, found = verdicts({"cells": {"leetspeak@2": 0.5}, "max_name_gap": 0.1}, "jpeg@1")
    assert found == ["unsure", "unsure"]
    assert judgement.checks[1].value is None
    cells = [(CELLS["jpeg@1"], {})]  # it does not apply
    assert judge(Budget(cells={"jpeg": 0.1}), cells, None, ["rude"]).verdict == "unsure"


@pytest.mark.parametrize("limit", ["max_flip_rate", "max_score_drop", "max_evasion_rate", "max_name_gap"])
def test_a_limit_that_nothing_was_held_against_is_not_passed(limit):
    no_category = Outcome({}, Rate(0, 900, (0.0, 0.004)), None)
    cells = [(CELLS["jpeg@1"], {})]  # nothing applies, nothing was tried
    for tried in ([], cells, [(CELLS["jpeg@1"], {"rude": no_category})] if limit == "max_evasion_rate" else []):
        judgement = judge(Budget(**{limit: 0.5}), tried, None, ["rude"])
        assert [(check.value, check.verdict) for check in judgement.checks] == [(None, "unsure")]
        assert judge(Budget(**{limit: 0.5}, strict=True), tried, None, ["rude"]).verdict == "fail"


def test_a_name_gap_of_a_label_task_without_a_score_is_not_passed():
    probe = NameProbe(0, {}, {})
    judgement = judge(Budget(max_name_gap=0.5, label_tasks=("topic",)), [], probe, ["rude", "topic"])
    assert judgement.verdict == "unsure"


def test_unlabelled_memes_do_not_pass_a_score_limit():
    found = Outcome({}, Rate(0, 9, (0, 0.01)), None)
    assert verdicts({"max_score_drop": 0.5}, "jpeg@1", found=found)[1] == ["unsure"]


def test_a_budget_that_names_what_there_is_not_is_refused_with_near_names():
    budget = Budget(cells={"letspeak": 0.1, "jpeg@9": 0.1, "names": 0.1}, label_tasks=("rood",))
    with pytest.raises(MemeblendError) as refused:
        check_budget(budget, ["rude", "bright", "bright_present"])
    said = str(refused.value)
    for words in ("did you mean leetspeak?", "severity '9'", "cells.names", "did you mean rude?"):
        assert words in said
    check_budget(Budget(cells={"jpeg@3": 0}, label_tasks=("bright_present",)), ["bright_present"])


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"strict": True},
        {"max_flip_rate": 1.2},
        {"max_flip_rate": float("nan")},
        {"max_flip_rate": "0.1"},
        {"max_flip_rate": True},
        {"cells": {"jpeg": -1}},
        {"max_name_gap": 0.1, "strict": "yes"},
        {"max_flips": 0.1},
    ],
)
def test_budgets_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        Budget(**wrong)
