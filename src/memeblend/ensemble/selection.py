"""The choice of an ensemble's members among the candidates (paper section 3.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from memeblend.ensemble.exhaustive import (
    first_by_name,
    subset_gains,
    subset_members,
    subset_sizes,
    subset_totals,
)
from memeblend.ensemble.greedy import greedy
from memeblend.ensemble.offered import Offered
from memeblend.ensemble.scoring import Scorer, one_standard_error_below
from memeblend.ensemble.voting import UNITS, Voting
from memeblend.errors import PredictionError, Problem
from memeblend.evaluation.metrics import LOWER_IS_BETTER, Objective
from memeblend.evaluation.tables import PredictionTable

MAX_CANDIDATES = 24
"""Candidates up to which every subset is tried: 2**24 - 1 subsets of 1,500 memes take half a minute."""
Method = Literal["exhaustive", "greedy", "top_k", "best_single", "all"]
Rule = Literal["maximum", "one_standard_error"]


@dataclass(frozen=True)
class SearchSettings:
    """How members are looked for.

    Attributes:
        objective: what the choice makes best.
        voting: how members vote.
        method: "exhaustive" (every non-empty subset), "greedy" (with replacement, bagged), "top_k" (the candidates
            best alone), "best_single" or "all".
        rule: "maximum", or "one_standard_error": the smallest ensemble within one standard error of the best
            (Breiman et al. 1984, section 3.4.3). Heeded by "exhaustive" and by each bag of "greedy"; the other
            methods look for no best ensemble.
        top_k: members of "top_k".
        num_bags: bags of "greedy".
        seed: seed of these bags.
        max_total_ms: most milliseconds a meme that the members may take together; 0 sets no limit.
        milliseconds: what each candidate takes; needed where there is a limit.
    """

    objective: Objective = "weighted_f1"
    voting: Voting = "majority"
    method: Method = "exhaustive"
    rule: Rule = "maximum"
    top_k: int = 3
    num_bags: int = 20
    seed: int = 0
    max_total_ms: float = 0.0
    milliseconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EnsembleChoice:
    """The members chosen for one label task, and what the choice saw.

    Attributes:
        label_task: name of the label task.
        members: names of the chosen candidates, sorted.
        objective: the score that was made best.
        score: its value on the memes the choice saw; optimistic, since it is the best of `num_subsets`.
        selected_on: names of the splits the choice saw.
        num_memes: number of labelled memes it saw.
        num_subsets: number of ensembles it compared.
        voting: how the members vote.
        weights: weight of each member, in thousandths; () where all are equal.
        method: how the members were looked for.
        rule: which of the ensembles compared was taken.
    """

    label_task: str
    members: tuple[str, ...]
    objective: Objective
    score: float
    selected_on: tuple[str, ...]
    num_memes: int
    num_subsets: int
    voting: Voting = "majority"
    weights: tuple[float, ...] = ()
    method: Method = "exhaustive"
    rule: Rule = "maximum"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; `from_dict` is the inverse."""
        return {
            "label_task": self.label_task,
            "members": list(self.members),
            "objective": self.objective,
            "score": self.score,
            "selected_on": list(self.selected_on),
            "num_memes": self.num_memes,
            "num_subsets": self.num_subsets,
            "voting": self.voting,
            "weights": list(self.weights),
            "method": self.method,
            "rule": self.rule,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> EnsembleChoice:
        """The inverse of `to_dict`."""
        return cls(**data | {name: tuple(data[name]) for name in ("members", "selected_on", "weights")})


def search(tables: Sequence[PredictionTable], settings: SearchSettings | None = None) -> EnsembleChoice:
    """Choose the members of the ensemble for one label task.

    Between ensembles of equal score the smallest wins, then the first by its sorted member names; candidates that all
    say the same give one member, the first. Labels of a single class are no obstacle to objectives that are defined
    there.

    Args:
        tables: the candidates' tables for one label task, restricted to the splits the choice may see. Memes
            without a label are left out.
        settings: how members are looked for; the paper's way where None.

    Raises:
        PredictionError: more than 24 candidates for the exhaustive method, no labelled meme, tables that do not fit
            together, an objective that is not defined here, or no ensemble within the limit of milliseconds.
    """
    (choice,) = search_each(tables, [settings or SearchSettings()])
    return choice


def search_each(tables: Sequence[PredictionTable], several: Sequence[SearchSettings]) -> list[EnsembleChoice]:
    """As `search`, for several settings; what they share, such as the score of every subset, is computed once.

    Raises:
        PredictionError: as of `search`, for any of the settings.
    """
    offered = Offered.of(tables)
    scorers: dict[tuple[str, str], Scorer] = {}
    choices = []
    for settings in several:
        key = settings.objective, settings.voting
        if key not in scorers:
            scorers[key] = Scorer(offered, settings.objective, settings.voting)
        choices += _choose([scorers[key]], settings)
    return choices


def search_shared(
    tables_by_label_task: Mapping[str, Sequence[PredictionTable]], settings: SearchSettings | None = None
) -> dict[str, EnsembleChoice]:
    """Choose one member list for several label tasks: that of the best mean objective.

    Weights of voting "weighted" are each label task's own.

    Args:
        tables_by_label_task: the same candidates' tables for each label task, by its name.
        settings: how members are looked for; the paper's way where None.

    Raises:
        PredictionError: as of `search`; no label task, or label tasks with different candidates.
    """
    if not tables_by_label_task:
        raise PredictionError("There is no label task to choose an ensemble for.")
    offers = {name: Offered.of(tables) for name, tables in tables_by_label_task.items()}
    first_name, first = next(iter(offers.items()))
    problems = [
        Problem(f"label task '{name}'", f"has {', '.join(one.names)}; '{first_name}' has {', '.join(first.names)}")
        for name, one in offers.items()
        if one.names != first.names
    ]
    if problems:
        raise PredictionError(
            "One member list for all label tasks needs the same candidates in each:",
            problems=problems,
            fix="Leave out the candidates that some label tasks lack, or choose for each label task.",
        )
    wanted = settings or SearchSettings()
    chosen = _choose([Scorer(one, wanted.objective, wanted.voting) for one in offers.values()], wanted)
    return dict(zip(offers, chosen, strict=True))


def _choose(scorers: Sequence[Scorer], settings: SearchSettings) -> list[EnsembleChoice]:
    """The choice for each of some label tasks with the same candidates."""
    names = scorers[0].offered.names
    num_candidates = len(names)
    if settings.method == "exhaustive" and num_candidates > MAX_CANDIDATES:
        raise PredictionError(
            f"{num_candidates} candidates are offered to the ensemble; the exhaustive method tries every subset, so "
            f"at most {MAX_CANDIDATES} can be.",
            fix="Choose with method 'greedy', or leave out the weakest candidates.",
        )
    times, num_tried = _times(scorers, settings, _Budget.of(names, settings))
    return [_choice(scorer, times, num_tried, settings) for scorer in scorers]


def _choice(scorer: Scorer, times: NDArray[np.int64], num_tried: int, settings: SearchSettings) -> EnsembleChoice:
    members = np.flatnonzero(times)
    units = (times * scorer.units)[members]
    offered = scorer.offered
    gain = scorer.gain(times)
    scale = UNITS if settings.voting == "weighted" else 1
    weighted = settings.voting == "weighted" or len(set(units.tolist())) > 1
    return EnsembleChoice(
        label_task=offered.label_task.name,
        members=tuple(offered.names[member] for member in members),
        objective=settings.objective,
        score=-gain if settings.objective in LOWER_IS_BETTER else gain,
        selected_on=offered.split_names,
        num_memes=offered.num_memes,
        num_subsets=num_tried,
        voting=settings.voting,
        weights=tuple((units / scale).tolist()) if weighted else (),
        method=settings.method,
        rule=settings.rule,
    )


@dataclass(frozen=True, eq=False)
class _Budget:
    """What members may cost.

    Attributes:
        names: the candidates' names.
        costs: milliseconds a meme of each [num_candidates]; 0 where there is no limit.
        limit: most that the members may take together; infinite where there is no limit.
    """

    names: tuple[str, ...]
    costs: NDArray[np.float64]
    limit: float

    @classmethod
    def of(cls, names: tuple[str, ...], settings: SearchSettings) -> _Budget:
        """The limit in some settings.

        Raises:
            PredictionError: a candidate whose milliseconds are not known, or not even one candidate is within.
        """
        if not settings.max_total_ms:
            return cls(names, np.zeros(len(names)), np.inf)
        known = settings.milliseconds
        problems = [Problem(f"candidate '{name}'", "has no milliseconds") for name in names if name not in known]
        if problems:
            raise PredictionError(
                f"Members may take {settings.max_total_ms:g} ms a meme together, but what these take is not known:",
                problems=problems,
                fix="Measure them, leave them out, or set no limit.",
            )
        costs = np.array([known[name] for name in names], dtype=np.float64)
        cheapest = int(np.argmin(costs))
        if costs[cheapest] > settings.max_total_ms:
            raise PredictionError(
                f"No candidate takes at most {settings.max_total_ms:g} ms a meme; the cheapest, "
                f"'{names[cheapest]}', takes {costs[cheapest]:g} ms.",
                fix="Allow more milliseconds, or train a smaller candidate.",
            )
        return cls(names, costs, settings.max_total_ms)


def _times(scorers: Sequence[Scorer], settings: SearchSettings, budget: _Budget) -> tuple[NDArray[np.int64], int]:
    """How often each candidate is a member [num_candidates], and the number of ensembles compared."""
    own = np.mean([scorer.own for scorer in scorers], axis=0)
    smallest = settings.rule == "one_standard_error"
    match settings.method:
        case "exhaustive":
            return _exhaustive(scorers, budget, smallest=smallest)
        case "greedy":
            affordable = budget.costs <= budget.limit
            found = greedy(
                scorers,
                affordable,
                budget.costs,
                budget.limit,
                num_bags=settings.num_bags,
                seed=settings.seed,
                smallest=smallest,
            )
            return found.times, found.num_tried
        case "top_k":
            return _best_alone(own, settings.top_k, budget), len(own)
        case "best_single":
            return _best_alone(own, 1, budget), len(own)
        case "all":
            total = budget.costs.sum()
            if total > budget.limit:
                raise PredictionError(
                    f"All {len(own)} candidates together take {total:g} ms a meme, more than the "
                    f"{budget.limit:g} ms allowed.",
                    fix="Allow more milliseconds, or choose with another method.",
                )
            return np.ones(len(own), dtype=np.int64), 1


def _best_alone(own: NDArray[np.float64], num: int, budget: _Budget) -> NDArray[np.int64]:
    """The candidates best alone, as many as asked for and as fit into the budget; equals by name."""
    times = np.zeros(len(own), dtype=np.int64)
    for candidate in np.argsort(-own, kind="stable"):
        if times.sum() < num and budget.costs[times > 0].sum() + budget.costs[candidate] <= budget.limit:
            times[candidate] = 1
    return times


def _exhaustive(scorers: Sequence[Scorer], budget: _Budget, *, smallest: bool) -> tuple[NDArray[np.int64], int]:
    num_candidates = len(budget.names)
    gains = np.mean([subset_gains(scorer) for scorer in scorers], axis=0)
    gains = np.round(gains, 12)
    allowed = subset_totals(budget.costs) <= budget.limit
    gains = np.where(allowed, gains, -np.inf)
    least = gains.max()
    if smallest:
        best = int(np.argmax(gains))
        least = one_standard_error_below(float(least), scorers, subset_members(best, num_candidates))
    within = np.flatnonzero(gains >= least)
    sizes = subset_sizes(num_candidates)[within]
    within = within[sizes == sizes.min()]
    within = within[gains[within] == gains[within].max()]
    return subset_members(first_by_name(within, num_candidates), num_candidates), int(allowed.sum())
