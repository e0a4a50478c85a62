"""What a search found, from its table of trials: each field's importance, and the pictures of it.

Importance is how much a random forest that predicts a trial's value from its fields loses when a field is shuffled
(Breiman 2001, permutation importance), as a share of the sum. With few trials it is a hint, no more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memeblend.report.pictures import light, shortened, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST = 8
"""Trials with a value below which importance is not told."""
_COLUMNS = ("stage", "trial", "state", "value", "metric", "num_epochs", "seconds", "error", "candidate")


def searches(trials: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
    """What each stage's search found.

    Args:
        trials: rows of trials.parquet.
        seed: of the forest.

    Returns:
        By stage: "metric" (what its scores are), "is_pretraining", "fields" (the searched ones, its own without its
        name), "trials" (each with "number", "state",
        "value", "num_epochs", "candidate", "error" and "values" in the order of the fields) and "importance" (a share
        for each field, None where the trials are too few or alike).
    """
    found: dict[str, Any] = {}
    for stage in dict.fromkeys(str(row["stage"]) for row in trials):
        rows = [row for row in trials if row["stage"] == stage]
        keys = [key for key in rows[0] if key not in _COLUMNS and any(_is_there(row.get(key)) for row in rows)]
        plain = [
            {
                "number": int(row["trial"]),
                "state": str(row["state"]),
                "value": float(row["value"]) if _is_there(row["value"]) else None,
                "num_epochs": int(row["num_epochs"]),
                "candidate": str(row["candidate"]),
                "error": str(row["error"]),
                "values": [_plain(row[key]) for key in keys],
            }
            for row in rows
        ]
        found[stage] = {
            "metric": next((str(row["metric"]) for row in rows if row.get("metric")), "score"),
            "is_pretraining": stage.startswith("pretraining."),
            "fields": [key.removeprefix(_own(stage)) for key in keys],
            "trials": plain,
            "importance": _importance(plain, len(keys), seed),
        }
    return found


def _own(stage: str) -> str:
    """What the names of a stage's own fields begin with."""
    first, *rest = stage.split(".")
    if first != "pretraining":
        return f"candidates.{stage}."
    return ".".join([first, rest[0], *(f"candidates.{name}" for name in rest[1:]), ""])


def _is_there(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _plain(value: Any) -> float | str:
    return value if isinstance(value, str) else float(value)


def told(trials: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The trials that have a value of their own."""
    return [trial for trial in trials if trial["value"] is not None and trial["state"] != "repeated"]


def _importance(trials: Sequence[Mapping[str, Any]], num_fields: int, seed: int) -> list[float] | None:
    """Each field's share."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    own = told(trials)
    if len(own) < FEWEST:
        return None
    inputs = np.stack([_axis([trial["values"][i] for trial in own])[0] for i in range(num_fields)], axis=1)
    values = np.array([trial["value"] for trial in own])
    forest = RandomForestRegressor(n_estimators=100, random_state=seed).fit(inputs, values)
    lost = permutation_importance(forest, inputs, values, n_repeats=10, random_state=seed).importances_mean
    lost = np.maximum(lost, 0.0)
    return [float(share) for share in lost / lost.sum()] if lost.sum() > 0 else None


def _axis(values: Sequence[float | str]) -> tuple[NDArray[np.float64], list[tuple[float, str]]]:
    """A field's values on an axis from 0 to 1, and its marks: numbers in proportion, or in that of their logarithms
    where they span more than a factor of 30; all else at even distances."""
    if any(isinstance(value, str) for value in values):
        names = sorted({str(value) for value in values})
        places = {name: position / max(1, len(names) - 1) for position, name in enumerate(names)}
        return np.array([places[str(value)] for value in values]), [(place, name) for name, place in places.items()]
    numbers = np.array(values, dtype=np.float64)
    low, high = float(numbers.min()), float(numbers.max())
    if low == high:
        return np.full(len(numbers), 0.5), [(0.5, f"{low:.3g}")]
    scaled = numbers
    if low > 0 and high / low > 30:
        scaled = np.log(numbers)
    places_of: NDArray[np.float64] = (scaled - scaled.min()) / (scaled.max() - scaled.min())
    return places_of, [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")]


def parallel_coordinates(found: Mapping[str, Any]) -> str:
    """One line a trial through its values to its score; those that became candidates stand out."""
    own = told(found["trials"])
    scores = np.array([trial["value"] for trial in own])
    columns = [_axis([trial["values"][i] for trial in own]) for i in range(len(found["fields"]))]
    columns.append(_axis(scores.tolist()))
    titles = [*found["fields"], found["metric"]]

    def draw(axes: Axes) -> None:
        for row in sorted(range(len(own)), key=lambda row: bool(own[row]["candidate"])):  # the chosen ones on top
            trial = own[row]
            colour = "accent" if trial["candidate"] else "soft"
            axes.plot(
                range(len(columns)),
                [places[row] for places, _ in columns],
                color=light(colour),
                linewidth=2.0 if trial["candidate"] else 0.9,
                linestyle=":" if trial["state"] == "stopped" else "-",
            )
        for position, (_, marks) in enumerate(columns):
            axes.axvline(position, color=light("line"), linewidth=1.0)
            for place, name in marks:
                axes.text(position, place, f" {shortened(name)}", fontsize=7, va="center")
        axes.set_xticks(range(len(columns)), [shortened(title.rpartition(".")[2]) for title in titles], rotation=20)
        axes.set(xlim=(-0.1, len(columns) - 0.6), ylim=(-0.06, 1.06), yticks=[])
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)

    return svg(draw, height=2.8)


def importance(found: Mapping[str, Any]) -> str:
    """Each field's share of what the trials' scores hang on."""
    shares = found["importance"]
    order = sorted(range(len(shares)), key=lambda i: -shares[i])

    def draw(axes: Axes) -> None:
        axes.barh(range(len(order)), [shares[i] for i in order], color=light("accent"), height=0.6)
        axes.set_yticks(range(len(order)), [shortened(found["fields"][i].rpartition(".")[2]) for i in order])
        axes.invert_yaxis()
        axes.set_xlabel("share of the importance")

    return svg(draw, height=0.3 * len(order) + 0.6)
