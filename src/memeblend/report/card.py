"""The model card that lies in a model folder as README.md, in the hub's own form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jinja2

_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$-])")


def card_scores(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a model card says of quality, from the content of `report.json`.

    Returns:
        "split", "chosen_on_report" (whether the members were chosen on the very memes that report), and
        "label_tasks": for each the number of memes, weighted_f1, interval, macro_f1, best constant and verdict.
    """
    return {
        "split": "+".join(report["roles"]["report"]),
        "chosen_on_report": any(
            entry["members"]["selected_on_role"] == "report" for entry in report["label_tasks"].values()
        ),
        "label_tasks": {
            name: {
                "num_memes": entry["ensemble"]["num_memes"],
                "weighted_f1": entry["ensemble"]["weighted_f1"],
                "interval": entry["ensemble"]["interval"],
                "macro_f1": entry["ensemble"]["macro_f1"],
                "best_constant": entry["ensemble"]["baselines"]["best_constant"],
                "verdict": entry["ensemble"]["verdict"],
            }
            for name, entry in report["label_tasks"].items()
        },
    }


def model_card(state: Mapping[str, Any], *, exported: bool = False) -> str:
    """Markdown text of a model card.

    Args:
        state: content of the model's `memeblend.json`: "label_tasks", "ensembles", "roles", "data", "scores".
        exported: whether it is that of an exported model, which is used in another way.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("memeblend.report"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["plain"] = lambda text: _SPECIAL.sub(r"\\\1", re.sub(r"\s+", " ", str(text)))
    return environment.get_template("model_card.md").render(state=state, metadata=_metadata(state), exported=exported)


def _metadata(state: Mapping[str, Any]) -> str:
    """YAML that the hub reads: tags, and each label task's scores as a model index."""
    from huggingface_hub import EvalResult, ModelCardData

    scores, source = state["scores"], state["data"]["source"]
    results = [
        EvalResult(
            task_type="image-text-classification",
            dataset_type=re.sub(r"[^a-z0-9_-]+", "-", source.lower()),
            dataset_name=source,
            dataset_split=scores["split"],
            metric_type="f1",
            metric_name=f"{averaging} F1, {name}",
            metric_value=round(entry[f"{averaging}_f1"], 4),
            metric_args={"average": averaging},
        )
        for name, entry in scores["label_tasks"].items()
        for averaging in ("weighted", "macro")
    ]
    data = ModelCardData(
        library_name="memeblend",
        tags=["memes", "multi-modal", "image-text-classification"],
        model_name="memeblend model",
        eval_results=results,
    )
    return data.to_yaml().strip()
