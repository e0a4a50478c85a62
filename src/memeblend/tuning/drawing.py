"""Drawing trials from a search space: at random, or by Optuna's tree-structured Parzen estimator."""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from memeblend.files import digest
from memeblend.recipe.search import Choice, LogUniform, RandInt, Space, Uniform
from memeblend.tuning.trials import Trial

Values = dict[str, Any]


class Drawer(Protocol):
    """Draws trials batch by batch; the same calls give the same draws."""

    def draw(self, count: int) -> list[Values]:
        """The values of the next trials."""

    def learn(self, trials: Sequence[Trial]) -> None:
        """Takes the ended trials of the batch that was drawn last, in order."""


def has_optuna() -> bool:
    """Whether "tpe" can draw."""
    return importlib.util.find_spec("optuna") is not None


def make_drawer(sampler: str, space: Mapping[str, Space], seed: int, num_random: int) -> Drawer:
    """A drawer.

    Args:
        sampler: "random" or "tpe".
        space: values of each field.
        seed: the draws follow from it.
        num_random: trials that "tpe" draws at random before it has learned.
    """
    return TpeDrawer(space, seed, num_random) if sampler == "tpe" else RandomDrawer(space, seed)


class RandomDrawer:
    """Each trial at random, by its number alone."""

    def __init__(self, space: Mapping[str, Space], seed: int) -> None:
        self.space = space
        self.seed = seed
        self._num_drawn = 0

    def draw(self, count: int) -> list[Values]:
        """The values of the next trials."""
        numbers = range(self._num_drawn, self._num_drawn + count)
        self._num_drawn += count
        return [
            {key: _value(space, self._random(number, key)) for key, space in self.space.items()} for number in numbers
        ]

    def _random(self, number: int, key: str) -> np.random.Generator:
        """A field's draw does not depend on which others are searched."""
        return np.random.default_rng(int(digest(self.seed, number, key), 16))

    def learn(self, trials: Sequence[Trial]) -> None:
        """Nothing."""


def _value(space: Space, random: np.random.Generator) -> Any:
    match space:
        case Choice():
            return space.choice[int(random.integers(len(space.choice)))]
        case Uniform():
            return float(random.uniform(*space.uniform))
        case LogUniform():
            low, high = space.loguniform
            return min(max(math.exp(random.uniform(math.log(low), math.log(high))), low), high)
        case RandInt():
            return int(random.integers(*space.randint))


class TpeDrawer:
    """Optuna's TPESampler (Bergstra et al. 2011), asked and told in a fixed order.

    Trials of a batch that are not ended yet count as bad ones ("constant liar"), so that the batch spreads out.
    """

    def __init__(self, space: Mapping[str, Space], seed: int, num_random: int) -> None:
        import optuna

        self.space = space
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that constant_liar is experimental
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=num_random, constant_liar=True)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._distributions = {key: _distribution(space) for key, space in space.items()}
        self._asked: list[Any] = []

    def draw(self, count: int) -> list[Values]:
        """The values of the next trials."""
        self._asked = [self._study.ask(self._distributions) for _ in range(count)]
        return [self._values(asked.params) for asked in self._asked]

    def _values(self, params: Mapping[str, Any]) -> Values:
        # A category is told by its position, since Optuna knows no tables and lists.
        return {
            key: space.choice[params[key]] if isinstance(space, Choice) else params[key]
            for key, space in self.space.items()
        }

    def learn(self, trials: Sequence[Trial]) -> None:
        """Takes the ended trials of the batch that was drawn last, in order."""
        import optuna

        for asked, trial in zip(self._asked, trials, strict=True):
            if trial.merit is None:
                self._study.tell(asked, state=optuna.trial.TrialState.FAIL)
            else:
                self._study.tell(asked, trial.merit)


def _distribution(space: Space) -> Any:
    from optuna import distributions

    match space:
        case Choice():
            return distributions.CategoricalDistribution(range(len(space.choice)))
        case Uniform():
            return distributions.FloatDistribution(*space.uniform)
        case LogUniform():
            return distributions.FloatDistribution(*space.loguniform, log=True)
        case RandInt():
            return distributions.IntDistribution(space.randint[0], space.randint[1] - 1)
