"""The choice of a run's ensembles: by the recipe, on prediction tables alone, with the score to expect of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.data.splits import SplitRoles
from memeblend.decisions import DecisionRule, DecisionSettings, fit_rule
from memeblend.ensemble.combining import combine
from memeblend.ensemble.cost import CandidateCost
from memeblend.ensemble.honest import Procedure, expected_scores_by_method
from memeblend.ensemble.selection import EnsembleChoice, SearchSettings, search, search_each, search_shared
from memeblend.errors import PredictionError, RecipeError
from memeblend.evaluation.tables import PredictionTable
from memeblend.recipe import Recipe

CHOSEN, BEST_SINGLE, MAXIMUM = "chosen", "best single", "plain maximum"
Tables = Mapping[str, Mapping[str, PredictionTable]]
"""For each candidate its table of each label task."""


@dataclass(frozen=True)
class Chosen:
    """What was chosen for each label task, and what to expect of it.

    Attributes:
        ensembles: the chosen ensemble.
        served: the same where all members belong to the run; else the best ensemble without candidates from outside,
            since those can't predict other memes.
        pools: for each pool of the recipe its best ensembles.
        expected: plain JSON: for each procedure ("chosen", "best single" and, where another rule chose, "plain
            maximum") what nested cross-validation says of it, and under "gain" the paired difference of the chosen
            one to the best single candidate.
        rules: how the probabilities of `ensembles` become decisions.
        served_rules: the same of `served`.
        notes: pools that were left out, and why.
    """

    ensembles: Mapping[str, EnsembleChoice]
    served: Mapping[str, EnsembleChoice]
    pools: Mapping[str, Mapping[str, EnsembleChoice]]
    expected: Mapping[str, Mapping[str, Any]]
    rules: Mapping[str, DecisionRule]
    served_rules: Mapping[str, DecisionRule]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; `from_dict` is the inverse."""
        return {
            "ensembles": _dumped(self.ensembles),
            "served": _dumped(self.served),
            "pools": {name: _dumped(choices) for name, choices in self.pools.items()},
            "expected": dict(self.expected),
            "rules": {name: rule.to_dict() for name, rule in self.rules.items()},
            "served_rules": {name: rule.to_dict() for name, rule in self.served_rules.items()},
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Chosen:
        """The inverse of `to_dict`."""
        return cls(
            _loaded(data["ensembles"]),
            _loaded(data["served"]),
            {name: _loaded(choices) for name, choices in data["pools"].items()},
            data["expected"],
            {name: DecisionRule.from_dict(rule) for name, rule in data["rules"].items()},
            {name: DecisionRule.from_dict(rule) for name, rule in data["served_rules"].items()},
            tuple(data["notes"]),
        )


NOTHING = Chosen({}, {}, {}, {}, {}, {})
"""Of a run whose candidates are trained and whose ensembles are not yet chosen."""


def choose(
    recipe: Recipe,
    roles: SplitRoles,
    tables: Tables,
    costs: Mapping[str, CandidateCost],
    priors: Mapping[str, NDArray[np.float64]],
    outside: Sequence[str] = (),
    told: Callable[[int], None] = lambda num_done: None,
) -> Chosen:
    """Choose an ensemble for each label task, as the recipe says.

    Args:
        recipe: its `ensemble` and `decisions`.
        roles: which splits choose.
        tables: the candidates' tables.
        costs: what each candidate costs; those from outside have none.
        priors: share of each class in the fit split, for each label task.
        outside: candidates that can't predict other memes.
        told: told of the label tasks done.

    Raises:
        RecipeError: none of the pool to choose from is there.
        PredictionError: no ensemble can be chosen, with the reason.
    """
    splits = roles.select if recipe.ensemble.chosen_on == "select" else roles.report
    by_task = _by_label_task(tables, splits)
    settings, shared = _settings(recipe, costs), recipe.ensemble.shared
    pools = _pools(recipe, tables)
    # What came from outside has no known cost, so it can't be within a budget.
    usable = [name for name in tables if name in costs or not recipe.ensemble.budget_ms]
    offered = _offer(by_task, [name for name in pools.get(recipe.ensemble.pool, usable) if name in usable])
    ensembles = _search(offered, settings, shared=shared)
    served = ensembles
    if any(set(choice.members) & set(outside) for choice in ensembles.values()):
        own = [name for name in pools.get(recipe.ensemble.pool, usable) if name in usable and name not in outside]
        served = _search(_offer(by_task, own), settings, shared=shared)
    expected = {}
    for num_done, task in enumerate(by_task, start=1):
        expected[task] = _expected(recipe, offered, task, settings)
        told(num_done)

    def fitted(choices: Mapping[str, EnsembleChoice]) -> dict[str, DecisionRule]:
        return {
            task: fit_rule(combine(by_task[task], choice), decision_settings(recipe, task), priors[task])
            for task, choice in choices.items()
        }

    notes: list[str] = []
    of_pools = {}
    for name, names in pools.items():
        try:
            of_pools[name] = _search(_offer(by_task, [one for one in names if one in usable]), settings, shared=False)
        except PredictionError as error:
            notes.append(f"Pool '{name}' is left out: {error.message}")
    rules = fitted(ensembles)
    served_rules = rules if served is ensembles else fitted(served)
    return Chosen(ensembles, served, of_pools, expected, rules, served_rules, tuple(notes))


def _by_label_task(tables: Tables, splits: Sequence[str]) -> dict[str, list[PredictionTable]]:
    """The tables of each label task on some splits; a candidate from outside may have only some label tasks."""
    found: dict[str, list[PredictionTable]] = {}
    for of_candidate in tables.values():
        for task, table in of_candidate.items():
            found.setdefault(task, []).append(table.of_splits(splits))
    return found


def _offer(by_task: Mapping[str, Sequence[PredictionTable]], names: Sequence[str]) -> dict[str, list[PredictionTable]]:
    """The tables of some candidates, for each label task.

    Raises:
        PredictionError: a label task has none of them.
    """
    offered = {task: [table for table in found if table.candidate in names] for task, found in by_task.items()}
    without = [task for task, found in offered.items() if not found]
    if without:
        raise PredictionError(
            f"None of the candidates {', '.join(names) or '(none)'} can be offered for label task(s) "
            f"{', '.join(without)}.",
            fix="Offer others: a budget needs measured costs, and a model needs candidates of the run's own.",
        )
    return offered


def check_pools(recipe: Recipe, names: Iterable[str]) -> None:
    """Refuse pools of candidates that there can't be, before anything is trained.

    Args:
        recipe: its `ensemble.pools`.
        names: candidates that the recipe plans and those taken in from outside.

    Raises:
        RecipeError: a pool names another.
    """
    known = list(names)
    unknown = sorted({name for pool in recipe.ensemble.pools.values() for name in pool} - set(known))
    if unknown:
        raise RecipeError(
            f"ensemble.pools names {', '.join(unknown)}, which this run has not.",
            fix=f"Its candidates are {', '.join(known)}.",
        )


def _pools(recipe: Recipe, tables: Tables) -> dict[str, tuple[str, ...]]:
    """The pools without candidates that the memes did not allow; a pool may be left with none and is then no more."""
    found = {
        pool: there
        for pool, names in recipe.ensemble.pools.items()
        if (there := tuple(n for n in names if n in tables))
    }
    if recipe.ensemble.pool and recipe.ensemble.pool not in found:
        raise RecipeError(f"None of the candidates of ensemble.pool '{recipe.ensemble.pool}' could be trained here.")
    return found


def _settings(recipe: Recipe, costs: Mapping[str, CandidateCost]) -> SearchSettings:
    wanted = recipe.ensemble
    return SearchSettings(
        objective=wanted.objective,
        voting=wanted.voting,
        method=wanted.method,
        rule=wanted.rule,
        top_k=wanted.top_k,
        seed=recipe.seed,
        max_total_ms=wanted.budget_ms,
        milliseconds={name: cost.milliseconds for name, cost in costs.items()},
    )


def _search(
    tables: Mapping[str, Sequence[PredictionTable]], settings: SearchSettings, *, shared: bool
) -> dict[str, EnsembleChoice]:
    if shared:
        return search_shared(tables, settings)
    return {task: search(found, settings) for task, found in tables.items()}


def _expected(
    recipe: Recipe, offered: Mapping[str, Sequence[PredictionTable]], task: str, settings: SearchSettings
) -> dict[str, Any]:
    """What nested cross-validation says of the recipe's way to choose, and of simpler ones."""

    def shared_choice(tables: Sequence[PredictionTable]) -> EnsembleChoice:
        seen = tables[0].meme_ids
        others = {
            name: [table.take(np.isin(table.meme_ids, seen)) for table in found]
            for name, found in offered.items()
            if name != task
        }
        return search_shared({task: tables} | others, settings)[task]

    ways = {BEST_SINGLE: replace(settings, method="best_single")}
    if settings.method == "exhaustive" and settings.rule != "maximum":
        ways[MAXIMUM] = replace(settings, rule="maximum")
    if not recipe.ensemble.shared:
        ways[CHOSEN] = settings
    last: tuple[Sequence[PredictionTable], dict[str, EnsembleChoice]] = ((), {})

    def by(way: str) -> Callable[[Sequence[PredictionTable]], EnsembleChoice]:
        def chosen(tables: Sequence[PredictionTable]) -> EnsembleChoice:
            nonlocal last
            if last[0] is not tables:  # all ways choose from the same tables, one after the other
                last = tables, dict(zip(ways, search_each(tables, list(ways.values())), strict=True))
            return last[1][way]

        return chosen

    procedures = {CHOSEN: Procedure(shared_choice if recipe.ensemble.shared else by(CHOSEN), combine)}
    procedures |= {way: Procedure(by(way), combine) for way in ways if way != CHOSEN}
    found = expected_scores_by_method(
        offered[task],
        procedures,
        objective=settings.objective,
        num_folds=recipe.ensemble.num_folds,
        num_repeats=recipe.ensemble.num_repeats,
        seed=recipe.seed,
    )
    gain = found.difference(CHOSEN, BEST_SINGLE)
    scores: dict[str, Any] = {name: score.to_dict() for name, score in found.by_procedure.items()}
    return scores | {"gain": None if gain is None else gain.to_dict()}


def decision_settings(recipe: Recipe, task: str) -> DecisionSettings:
    """What a recipe asks of the decisions on one label task."""
    wanted = recipe.decisions
    return DecisionSettings(
        calibration=wanted.calibration,
        thresholds=wanted.thresholds,
        costs=wanted.costs.get(task),
        serving_prior=wanted.serving_prior.get(task),
        present=wanted.present,
    )


def _dumped(choices: Mapping[str, EnsembleChoice]) -> dict[str, Any]:
    return {name: choice.to_dict() for name, choice in choices.items()}


def _loaded(data: Mapping[str, Any]) -> dict[str, EnsembleChoice]:
    return {name: EnsembleChoice.from_dict(choice) for name, choice in data.items()}
