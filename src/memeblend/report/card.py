"""The model card that lies in a model folder as README.md, in the hub's own form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2


def model_card(state: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """Markdown text of a model card.

    Args:
        state: content of the model's `memeblend.json`: "label_tasks", "ensembles", "roles", "data".
        report: content of `report.json`, or empty where the model was not fitted in this process; the card then
            names no scores.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("memeblend.report"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    return environment.get_template("model_card.md").render(state=state, report=report)
