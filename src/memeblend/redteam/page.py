"""A red team's report as Markdown and as a page: self-contained, without a script, with texts of strangers escaped."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

from memeblend.evaluation.intervals import FEW_GROUPS

if TYPE_CHECKING:
    from memeblend.redteam.report import RedTeamReport

_MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$-])")
_FULL_HEAT = 0.5
"""The share of flips from which a cell of the heat table is as strong as can be."""


def rendered(report: RedTeamReport, template: str) -> str:
    """The report by one of this room's templates."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("memeblend.redteam"), jinja2.PackageLoader("memeblend.report")]
        ),
        autoescape=template.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": _percent,
        "score": _score,
        "signed": _signed,
        "share": _share,
        "change": _change,
        "md": _markdown,
    }
    found = report.to_dict()
    return environment.get_template(template).render(
        report=found,
        heat=_heat(found),
        pictures=[[_data_uri(one) for one in example.pictures] for example in report.examples],
        problems=_problems(found),
        few_groups=FEW_GROUPS,
    )


def _heat(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each perturbation: its name, summary, why it can't apply, and of each trained label task its cells."""
    rows = []
    for name, cells in groupby(found["cells"], key=lambda cell: cell["perturbation"]):
        listed = list(cells)
        by_task = [
            [_heat_cell(cell, cell["label_tasks"][task]) for cell in listed] if listed[0]["applies"] else []
            for task in found["label_tasks"]
        ]
        rows.append(
            {"name": name, "summary": listed[0]["summary"], "why_not": listed[0]["why_not"], "label_tasks": by_task}
        )
    return rows


def _heat_cell(cell: Mapping[str, Any], outcome: Mapping[str, Any]) -> dict[str, Any]:
    flips, scored = outcome["flips"], outcome["scores"].get("weighted_f1")
    words = f"{cell['name']} ({cell['strength']}): {_share(flips)} flipped, {cell['num_changed']} memes changed"
    if scored:
        words += f", weighted F1 {_change(scored)}"
    return {
        "value": flips["value"],
        "strength": round(min(1.0, flips["value"] / _FULL_HEAT), 3),
        "words": words,
        "drop": scored["change"]["difference"] if scored else None,
        "told": bool(scored) and scored["change"]["interval"][1] < 0,
    }


def _problems(found: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The budget's checks that did not pass, by their verdict."""
    checks = found["budget"]["checks"] if found["budget"] else []
    return {verdict: [one for one in checks if one["verdict"] == verdict] for verdict in ("fail", "unsure")}


def _data_uri(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("-0.000", "0.000")


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("+0.000", "0.000").replace("-0.000", "0.000")


def _share(rate: Mapping[str, Any] | None) -> str:
    """A share with its interval."""
    if rate is None or rate["value"] is None:
        return "–"
    low, high = rate["interval"]
    return f"{rate['value']:.1%} [{low:.1%}, {high:.1%}]"


def _change(scored: Mapping[str, Any] | None) -> str:
    """A paired change with its interval."""
    if scored is None:
        return "–"
    low, high = scored["change"]["interval"]
    return f"{_signed(scored['change']['difference'])} [{_signed(low)}, {_signed(high)}]"


def _markdown(text: object) -> str:
    """Text as it is, whatever it holds, on one line of Markdown."""
    return _MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(str(text).split()))
