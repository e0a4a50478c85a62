"""Which stages a search is of, and whether what it asks for makes sense, before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from memeblend.candidates.making import plan
from memeblend.errors import Problem, RecipeError
from memeblend.evaluation.metrics import METRICS
from memeblend.recipe import Recipe
from memeblend.recipe.candidates import CandidateSpec, NeuralCandidate, stem
from memeblend.recipe.chain import training_order
from memeblend.recipe.search import PAIR_METRICS, Choice, LogUniform, RandInt, Space, StageHow, Uniform
from memeblend.recipe.searched import Searched, all_searched, fields_of, how
from memeblend.tuning.setup import Setup, with_values

_CANDIDATES = "candidates"
_LOSS_ITSELF = ("settings.loss", "settings.same_pairs")
"""Fields of a contrastive stage that say what its loss is."""


def in_order(recipe: Recipe) -> list[Searched]:
    """All that can be searched, each after what it starts from."""
    every = all_searched(recipe.candidates, recipe.pretraining)
    stages = training_order(recipe.pretraining, recipe.encoder.source)
    first = [one for name in stages for one in every if one.stage == name]
    planned = dict.fromkeys(one.name.rpartition("-")[0] for one in plan(recipe))
    return first + [one for name in planned for one in every if one.name == name]


def chosen(recipe: Recipe, stage: str) -> list[Searched]:
    """The stages to search, in order.

    Args:
        recipe: the recipe.
        stage: the name of one, or of several: "candidates", "pretraining" or "pretraining.NAME"; "" for all.

    Raises:
        RecipeError: there is none of that name, or it has no fields to search.
    """
    every = in_order(recipe)
    wanted = [one for one in every if not stage or _is_called(one, stage)]
    if not wanted:
        names = ", ".join(one.name for one in every)
        raise RecipeError(f"The recipe has no stage '{stage}'.", fix=f"Its stages are {names}.")
    named = [one for one in wanted if any(key.startswith(one.own) for key in recipe.search.space)]
    found = [one for one in wanted if one.name == stage] or named
    if not found or not fields_of(found[0], recipe.search):
        where = f"stage '{stage}'" if stage else "any stage"
        raise RecipeError(
            f"The recipe's search.space has no field of {where}.",
            fix="Add one, for example --search 'candidates.fusion.training.learning_rate={loguniform=[1e-5, 1e-2]}'",
        )
    idle = [key for key in recipe.search.space if not any(key in fields_of(one, recipe.search) for one in found)]
    if idle and not stage:
        raise RecipeError(
            f"search.space names {idle[0]}, but no candidate that it concerns has fields of its own to search with it.",
            fix=f"Say by which candidate it is judged, with --stage; there are {', '.join(one.name for one in every)}.",
        )
    return found


def _is_called(one: Searched, stage: str) -> bool:
    return f"{one.name}.".startswith(f"{stage}.") or (stage == _CANDIDATES and not one.stage)


def with_metric(recipe: Recipe, every: Sequence[Searched], metric: str) -> Recipe:
    """The recipe in which these stages are searched by a metric.

    Args:
        recipe: the recipe.
        every: the stages.
        metric: its name; "" leaves the recipe as it is.

    Raises:
        RecipeError: no stage reports it.
    """
    if not metric:
        return recipe
    stages = dict(recipe.search.stages)
    try:
        for one in every:
            own = stages[one.name].model_dump() if one.name in stages else {}
            stages[one.name] = StageHow.model_validate({**own, "metric": metric})
    except ValidationError as error:
        known = ", ".join([*METRICS, *PAIR_METRICS])
        raise RecipeError(f"No stage reports the metric {metric!r}.", fix=f"There are {known}.") from error
    return recipe.model_copy(update={"search": recipe.search.model_copy(update={"stages": stages})})


def check_search(recipe: Recipe, every: Sequence[Searched]) -> None:
    """Refuse metrics that stages do not report, and values that a field does not take, each tried alone.

    Args:
        recipe: the recipe.
        every: the stages to search.

    Raises:
        RecipeError: with all of a stage that is wrong.
    """
    for one in every:
        _check_metric(recipe, one)
        problems: list[Problem] = []
        for key, space in fields_of(one, recipe.search).items():
            problems += _untriable(recipe, one, key, space)
        if problems:
            raise RecipeError("The recipe's search space can't be searched:", problems=problems)


def _check_metric(recipe: Recipe, one: Searched) -> None:
    metric = how(recipe.search, one).metric
    reported = PAIR_METRICS if one.is_contrastive else METRICS
    if metric not in reported:
        raise RecipeError(
            f"search.metric is {metric}, which stage {one.name} does not report; it reports {', '.join(reported)}.",
            fix=f'Set it for this stage: [search.stages."{one.name}"] metric = "{reported[0]}"',
        )
    if one.is_contrastive:
        changing = [own for own in _LOSS_ITSELF if one.own + own in recipe.search.space]
        if changing and metric == "loss":
            raise RecipeError(
                f"search.space names {one.own}{changing[0]}, which says what the loss is, so that losses of its trials "
                "can't be compared.",
                fix=f'Compare recalls: [search.stages."{one.name}"] metric = "image_recall@10"',
            )
        return
    spec = _spec(recipe, one)
    if isinstance(spec, NeuralCandidate) and spec.training.metric != metric:
        raise RecipeError(
            f"search.metric is {metric}, which stage {one.name} does not report: its training.metric is "
            f"{spec.training.metric}.",
            fix="Set both alike.",
        )


def _spec(recipe: Recipe, one: Searched) -> CandidateSpec:
    specs: Sequence[CandidateSpec] = Setup(Path(), Path(), recipe, one).own_recipe(recipe).candidates
    return specs[one.position]


def _untriable(recipe: Recipe, one: Searched, key: str, space: Space) -> list[Problem]:
    """What is wrong with the values of a field."""
    setup = Setup(Path(), Path(), recipe, one)
    problems = []
    for value in _ends(space):
        try:
            changed = with_values(setup, {key: value})
        except RecipeError as error:
            problems.append(Problem(f"search.space {key}", f"{json.dumps(value)} can't be tried: {error.message}"))
            continue
        if one.candidate and stem(_spec(changed, one)) != one.candidate:
            what = f"{json.dumps(value)} makes it another kind of candidate"
            problems.append(Problem(f"search.space {key}", what))
    return problems


def _ends(space: Space) -> Sequence[Any]:
    match space:
        case Choice():
            return space.choice
        case Uniform():
            return space.uniform
        case LogUniform():
            return space.loguniform
        case RandInt():
            return (space.randint[0], space.randint[1] - 1)
