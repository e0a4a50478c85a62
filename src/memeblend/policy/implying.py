"""What a policy means for a model's validation: queues, errors, costs, and whether the sets cover what they state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.evaluation.tables import PredictionTable
from memeblend.policy.categories import given_out, positives, scores
from memeblend.policy.conformal import cross_fitted
from memeblend.policy.costs import Costs
from memeblend.policy.policy import VERDICTS, CategoryPolicy, Policy
from memeblend.policy.reading import name_problems, refusal
from memeblend.policy.shares import share_of

_PASS, _REVIEW, _AUTO = range(3)


def implied(policy: Policy, validation: Mapping[str, PredictionTable]) -> dict[str, Any]:
    """What a policy implies on validation memes; takes milliseconds.

    Calibrations were fitted on the same memes, two numbers each, so what is said here flatters very little; the
    coverage of sets is cross-fitted.

    Args:
        policy: the policy.
        validation: what the model says of labelled memes.

    Returns:
        Plain JSON types. A share is {"num", "num_memes", "share", "interval"}, see `shares.share_of`.
        "num_memes"; "memes": {VERDICT: share of the memes with that gravest verdict};
        "categories": {NAME: {"limits", "num_labelled", "num_positive", "verdicts": {VERDICT: share},
        "auto" and "auto_or_review": {"precision", "recall": shares}, "cost"}}, where "cost" is None without costs, else
        {"per_meme", "alternatives": {VERDICT: what it would be with that verdict for all}};
        "sets": {LABEL TASK: {"coverage" (as stated), "observed" (share), "mean_size"}}.

    Raises:
        PolicyError: the policy names a category or label task that the validation does not have.
    """
    tasks = [table.label_task for table in validation.values()]
    problems = list(name_problems(policy.categories, policy.sets, tasks, "policy"))
    if problems:
        raise refusal("policy", problems)
    first = next(iter(validation.values()))
    gravest = np.zeros(len(first), dtype=np.int64)
    categories = {}
    for name, category in policy.categories.items():
        table = validation[name].aligned_to(first)
        raw = scores(given_out(table))
        verdicts = category.verdicts(raw)
        gravest = np.maximum(gravest, verdicts)
        categories[name] = _of_category(category, table, verdicts)
    return {
        "num_memes": len(first),
        "memes": _verdict_shares(gravest, first.groups),
        "categories": categories,
        "sets": {name: _of_sets(validation[name].labelled(), policy.coverage) for name in policy.sets},
    }


def _verdict_shares(verdicts: NDArray[np.int64], groups: NDArray[np.int64]) -> dict[str, Any]:
    return {name: share_of(verdicts == index, groups) for index, name in enumerate(VERDICTS)}


def _of_category(category: CategoryPolicy, table: PredictionTable, verdicts: NDArray[np.int64]) -> dict[str, Any]:
    known, positive = positives(table.labels)
    groups = table.groups

    def errors(caught: NDArray[np.bool_]) -> dict[str, Any]:
        among = caught & known
        return {
            "precision": share_of(positive[among], groups[among]),
            "recall": share_of(caught[positive], groups[positive]),
        }

    return {
        "limits": list(category.limits),
        "num_labelled": int(known.sum()),
        "num_positive": int(positive.sum()),
        "verdicts": _verdict_shares(verdicts, groups),
        "auto": errors(verdicts == _AUTO),
        "auto_or_review": errors(verdicts >= _REVIEW),
        "cost": None if category.cost is None else _cost(category.cost, verdicts[known], positive[known]),
    }


def _cost(costs: Costs, verdicts: NDArray[np.int64], positive: NDArray[np.bool_]) -> dict[str, Any] | None:
    """Mean cost of labelled memes; None without any."""
    if not len(positive):
        return None
    share = float(positive.mean())
    missed, wrong = ((verdicts == _PASS) & positive).mean(), ((verdicts == _AUTO) & ~positive).mean()
    reviewed = (verdicts == _REVIEW).mean()
    always = {"pass": costs.miss * share, "review": costs.review, "auto": costs.false_alarm * (1 - share)}
    per_meme = costs.miss * missed + costs.false_alarm * wrong + costs.review * reviewed
    return {"per_meme": float(per_meme), "alternatives": always}


def _of_sets(table: PredictionTable, coverage: float) -> dict[str, Any]:
    """Coverage and size of the sets of labelled memes."""
    labels, groups = table.labels, table.groups
    if not len(labels):
        return {"coverage": coverage, "observed": share_of(np.zeros(0, dtype=np.bool_), groups), "mean_size": None}
    within = cross_fitted(given_out(table), labels, groups, coverage)
    return {
        "coverage": coverage,
        "observed": share_of(within[np.arange(len(labels)), labels], groups),
        "mean_size": float(within.sum(axis=1).mean()),
    }
