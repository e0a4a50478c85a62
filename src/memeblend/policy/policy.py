"""`Policy`: fitted on a model's validation, kept as TOML, and what it says of memes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from memeblend.errors import PolicyError, Problem
from memeblend.evaluation.tables import PredictionTable
from memeblend.files import digest, toml_text, write_text
from memeblend.labels import LabelTask
from memeblend.policy.budget import Budget
from memeblend.policy.calibration import Calibration, fit_calibration
from memeblend.policy.categories import DIGITS, category_names, given_out, positives, scores
from memeblend.policy.conformal import least_number, least_probability, members
from memeblend.policy.costs import Costs
from memeblend.policy.parts import Part, Share
from memeblend.policy.reading import MAX_BYTES, name_problems, parse, read_toml, refusal

VERDICTS = ("pass", "review", "auto")
"""From the mildest to the gravest: passed, looked at by a person, acted on at once."""
FORMAT: Literal[1] = 1
_SHOWN = "policy"


class CategoryPolicy(Part):
    """What is done about one category.

    A meme is acted on (auto) when its calibrated score reaches the upper limit, reviewed when it reaches the lower
    one, and passed below. The limits are the `band`, or both the `threshold` (nothing is reviewed), or else follow
    from the costs.

    Attributes:
        cost: what errors and reviews cost.
        threshold: calibrated score from which memes are acted on, set by hand.
        band: lower and upper limit, set by hand.
        calibration: how its score becomes a probability; without one the score is taken as it is.
    """

    cost: Costs | None = None
    threshold: Share | None = None
    band: tuple[Share, Share] | None = None
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _has_limits(self) -> CategoryPolicy:
        if self.threshold is not None and self.band is not None:
            raise ValueError("has both a threshold and a band, expected one of them")
        if self.cost is None and self.threshold is None and self.band is None:
            raise ValueError("has no limits; expected a cost, a threshold or a band")
        if self.band is not None and self.band[0] > self.band[1]:
            raise ValueError(f"the band {list(self.band)} is out of order, expected [lower, upper]")
        return self

    @property
    def limits(self) -> tuple[float, float]:
        """The calibrated scores from which memes are reviewed, and acted on."""
        if self.band is not None:
            return self.band
        if self.threshold is not None:
            return self.threshold, self.threshold
        assert self.cost is not None, "one of the three is given"
        return self.cost.band()

    def calibrated(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated scores [num_memes] of scores [num_memes]."""
        return raw if self.calibration is None else self.calibration.calibrated(raw)

    def verdicts(self, raw: NDArray[np.float64]) -> NDArray[np.int64]:
        """Positions in `VERDICTS` [num_memes] of scores [num_memes]."""
        low, high = self.limits
        calibrated = self.calibrated(raw)
        found: NDArray[np.int64] = np.where(calibrated >= high, 2, (calibrated >= low).astype(np.int64))
        return found


class Policy(Part):
    """What is done about memes, category by category.

    Attributes:
        format: of the file.
        fitted_on: digest of the validation that it was fitted on; "" for one written by hand.
        coverage: share of memes whose set of classes holds the true one; 0 without sets.
        categories: the categories that are decided on.
        sets: label task -> probability that a class needs to be in the set.
        redteam: what a red team may achieve at most.

    Example:
        >>> policy = Policy.fit(model.validation_, {"offensive": Costs(miss=5)})  # doctest: +SKIP
        >>> policy.write("policy.toml")  # doctest: +SKIP
        >>> policy.decide(model.predict_tables("memes.csv").tables)[0]["verdict"]  # doctest: +SKIP
        'review'
    """

    format: Literal[1] = FORMAT
    fitted_on: str = ""
    coverage: Share = 0.0
    categories: dict[str, CategoryPolicy] = Field(default_factory=dict)
    sets: dict[str, Share] = Field(default_factory=dict)
    redteam: Budget | None = None

    @model_validator(mode="after")
    def _sets_have_coverage(self) -> Policy:
        if self.sets and not 0 < self.coverage < 1:
            raise ValueError(f"coverage is {self.coverage}, but sets need one between 0 and 1")
        return self

    @classmethod
    def fit(
        cls,
        validation: Mapping[str, PredictionTable],
        costs: Mapping[str, Costs] | None = None,
        coverage: float = 0.9,
    ) -> Policy:
        """Calibrate scores, derive limits from costs and bounds of sets from a coverage.

        Args:
            validation: what the model says of labelled memes that it was not trained on (`MemeClassifier.validation_`).
            costs: of the categories to decide on; none decides on all, with the costs that `Costs` has by default.
            coverage: share of memes whose set of classes is to hold the true one; 0 makes no sets.

        Raises:
            PolicyError: no such category, or too few labelled memes; everything wrong is listed.
        """
        tasks = [table.label_task for table in validation.values()]
        wanted = dict(costs) if costs else {name: Costs() for name in category_names(tasks)}
        problems = list(name_problems(wanted, (), tasks, _SHOWN))
        if not 0 <= coverage < 1:
            raise PolicyError(f"The coverage is {coverage}, expected at least 0 and below 1.")
        categories = {
            name: CategoryPolicy(cost=cost, calibration=_calibration(validation[name].labelled(), problems))
            for name, cost in wanted.items()
            if name in validation
        }
        sets = {name: _bound(table.labelled(), coverage, problems) for name, table in validation.items()}
        if problems:
            raise PolicyError(
                "No policy can be fitted:",
                problems=problems,
                fix="Decide on other categories, take a lower coverage (0 makes no sets), or label more memes of the "
                "split that chooses.",
            )
        return cls(
            fitted_on=validation_digest(validation),
            coverage=coverage,
            categories=categories,
            sets=sets if coverage else {},
        )

    @classmethod
    def from_dict(cls, data: Any, label_tasks: Sequence[LabelTask], where: str = _SHOWN) -> Policy:
        """A policy from plain data, as `to_dict` gives and a file holds it.

        Args:
            data: the data.
            label_tasks: the trained label tasks of the model that it is for.
            where: what to call it in messages.

        Raises:
            PolicyError: another format, unknown keys, categories or label tasks, wrong values; all are listed.
        """
        if isinstance(data, Mapping) and data.get("format", FORMAT) != FORMAT:
            found = str(data["format"])[:20]
            raise PolicyError(f"The policy '{where}' has format {found}; this memeblend reads format {FORMAT}.")
        policy = parse(cls, data, _KEYS, where)
        problems = list(name_problems(policy.categories, policy.sets, label_tasks, where))
        if problems:
            raise refusal(where, problems)
        return policy

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; `from_dict` is the inverse."""
        return self.model_dump(mode="json", exclude_none=True)

    @classmethod
    def read(cls, path: str | Path, label_tasks: Sequence[LabelTask]) -> Policy:
        """Read a policy file.

        Args:
            path: a TOML file.
            label_tasks: the trained label tasks of the model that it is for.

        Raises:
            PolicyError: it can't be read or used; all problems are listed.
        """
        return cls.from_dict(read_toml(Path(path)), label_tasks, str(path))

    def text(self) -> str:
        """The file's content, with the limits in words on top.

        Raises:
            PolicyError: it is larger than what is read.
        """
        lines = ["# A policy of memeblend. Calibrated scores: below the lower limit a meme is passed, from the"]
        lines.append("# upper limit it is acted on, between them a person looks.")
        for name, category in self.categories.items():
            low, high = category.limits
            lines.append(f"# {json.dumps(name)}: {low:.4g} to {high:.4g}".replace("\x7f", ""))
        text = "\n".join(lines) + "\n\n" + toml_text(self.to_dict())
        size = len(text.encode())
        if size > MAX_BYTES:
            raise PolicyError(
                f"The policy's file would have {size:,} bytes, but {MAX_BYTES:,} are the most that is read."
            )
        return text

    def write(self, path: str | Path) -> None:
        """Write a policy file, atomically.

        Raises:
            PolicyError: it would be larger than what is read.
            OutputError: it could not be written.
        """
        write_text(path, self.text())

    def fits(self, validation: Mapping[str, PredictionTable]) -> bool:
        """Whether it was fitted on this model's validation, or by hand on none."""
        return self.fitted_on in ("", validation_digest(validation))

    def interval(self, category: str, score: float) -> tuple[float, float] | None:
        """95 % interval of a score's calibrated probability; None where the category is not calibrated.

        Raises:
            PolicyError: the policy has no such category.
        """
        if category not in self.categories:
            raise PolicyError(
                f"The policy has no category '{category}'; it has {', '.join(self.categories) or 'none'}."
            )
        calibration = self.categories[category].calibration
        if calibration is None:
            return None
        low, high = calibration.interval(np.array([score]))[0].tolist()
        return low, high

    def decide(self, tables: Mapping[str, PredictionTable]) -> list[dict[str, Any]]:
        """What is done about memes.

        Args:
            tables: what the model says of them, for each label task that the policy names.

        Returns:
            For each meme plain JSON types: "verdict" (the gravest of its categories; "pass", "review" or "auto"),
            "categories": {NAME: {"verdict", "score", "calibrated", "interval"}} and "sets": {LABEL TASK: [CLASS]}.

        Raises:
            PolicyError: a label task is missing.
        """
        said = {name: (table.label_task.classes, given_out(table)) for name, table in tables.items()}
        return self._decided(said)

    def decide_records(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """As `decide`, for records of `Predictions.to_records`."""
        if not records:
            return []
        said = {}
        for name in records[0]["label_tasks"]:
            of_memes = [record["label_tasks"][name]["probabilities"] for record in records]
            said[name] = tuple(of_memes[0]), np.array([list(one.values()) for one in of_memes], dtype=np.float64)
        return self._decided(said)

    def _decided(self, said: Mapping[str, tuple[tuple[str, ...], NDArray[np.float64]]]) -> list[dict[str, Any]]:
        missing = sorted({*self.categories, *self.sets} - set(said))
        if missing:
            raise PolicyError(f"The policy decides on {', '.join(missing)}, of which nothing is said here.")
        number = len(next(iter(said.values()))[1]) if said else 0
        gravest = np.zeros(number, dtype=np.int64)
        found: list[dict[str, Any]] = [{"verdict": "", "categories": {}, "sets": {}} for _ in range(number)]
        for name, category in self.categories.items():
            raw = scores(said[name][1])
            verdicts = category.verdicts(raw)
            gravest = np.maximum(gravest, verdicts)
            calibrated = category.calibrated(raw).round(DIGITS).tolist()
            known = category.calibration
            intervals = [None] * number if known is None else known.interval(raw).round(DIGITS).tolist()
            for row, one in enumerate(found):
                one["categories"][name] = {
                    "verdict": VERDICTS[verdicts[row]],
                    "score": float(raw[row]),
                    "calibrated": calibrated[row],
                    "interval": intervals[row],
                }
        for name, least in self.sets.items():
            classes, probabilities = said[name]
            for one, within in zip(found, members(probabilities, least).tolist(), strict=True):
                one["sets"][name] = [label for label, is_in in zip(classes, within, strict=True) if is_in]
        for one, verdict in zip(found, gravest.tolist(), strict=True):
            one["verdict"] = VERDICTS[verdict]
        return found


_KEYS = sorted({key for part in (Policy, CategoryPolicy, Costs, Calibration, Budget) for key in part.model_fields})


def validation_digest(validation: Mapping[str, PredictionTable]) -> str:
    """A digest of what a model says of its validation, by which a policy knows the model again."""
    return digest(
        {
            name: [table.meme_ids.tolist(), given_out(table).tolist(), table.labels.tolist()]
            for name, table in validation.items()
        }
    )


def _calibration(table: PredictionTable, problems: list[Problem]) -> Calibration | None:
    """The calibration of a category on labelled memes; what stands against it is added to `problems`."""
    _, positive = positives(table.labels)
    if 0 < positive.sum() < len(positive):
        return fit_calibration(scores(given_out(table)), positive, table.groups)
    what = f"{positive.sum()} of {len(positive)} labelled memes are of it, expected some that are and some that are not"
    problems.append(Problem(table.label_task.name, what))
    return None


def _bound(table: PredictionTable, coverage: float, problems: list[Problem]) -> float:
    """The bound of a label task's sets from labelled memes; what stands against it is added to `problems`."""
    if not coverage:
        return 0.0
    of_true = given_out(table)[np.arange(len(table)), table.labels]
    bound = least_probability(of_true, table.groups, coverage)
    if bound is not None:
        return bound
    number, needed = len(np.unique(table.groups)), least_number(coverage)
    what = f"{number} labelled memes, duplicates apart, but sets of coverage {coverage:g} need {needed}"
    problems.append(Problem(table.label_task.name, what))
    return 0.0
