"""What gradient blending estimated while candidates were trained, from the Trainer's logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

QUANTITIES: Mapping[str, str] = {
    "blend_weight": "blend weight",
    "generalization": "G, fall of the held-out loss",
    "overfitting": "O, growth of the gap",
    "ogr": "OGR, |O / G|",
    "modulation": "mean coefficient",
}
"""What a log may tell of branches, in words."""

Traces = dict[str, dict[str, list[tuple[float, float]]]]
"""Quantity -> branch ("text", or "text/sarcastic" for one label task) -> pairs of epoch and value."""


def blending_traces(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Traces]:
    """By candidate, for those whose log has any.

    Args:
        curves: candidate -> the Hugging Face Trainer's log.
    """
    found: dict[str, Traces] = {}
    for name, log in curves.items():
        traces: Traces = {}
        for entry in log:
            for key, value in entry.items():
                quantity, _, branch = key.partition("/")
                if quantity in QUANTITIES and branch:
                    traces.setdefault(quantity, {}).setdefault(branch, []).append((float(entry["epoch"]), float(value)))
        if traces:
            found[name] = {quantity: traces[quantity] for quantity in QUANTITIES if quantity in traces}
    return found
