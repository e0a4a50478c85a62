"""Writing a report: report.json for programs, report.md for a terminal, report.html for people.

The page holds everything it needs (pictures as data URIs, its style sheet, no script) and forbids the rest by a
content security policy; texts of memes and names of classes come from strangers and are escaped.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from memeblend.evaluation.intervals import FEW_GROUPS
from memeblend.files import write_json, write_text
from memeblend.report import pictures, searching
from memeblend.report.building import CONSTANT_ROW

_PNG = b"\x89PNG\r\n\x1a\n"
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$-])")


def wrong_meme_ids(report: Mapping[str, Any]) -> list[str]:
    """Ids of the memes that the report shows, for which `write_report` takes thumbnails."""
    return [meme["meme_id"] for meme in report["wrong_memes"]]


def write_report(report: Mapping[str, Any], thumbnails: Mapping[str, bytes], folder: str | Path) -> None:
    """Write report.json, report.md and report.html into a folder.

    Args:
        report: what `build_report` returned.
        thumbnails: PNG files by meme_id, for any of `wrong_meme_ids(report)`.
        folder: where to write.

    Raises:
        ValueError: a thumbnail is not a PNG file.
        OutputError: a file could not be written.
    """
    broken = sorted(meme_id for meme_id, image in thumbnails.items() if not image.startswith(_PNG))
    if broken:
        raise ValueError(f"these thumbnails are no PNG files: {', '.join(broken)}")
    folder = Path(folder)
    texts = {name: _rendered(name, report, thumbnails) for name in ("report.md", "report.html")}
    write_json(folder / "report.json", report)
    for name, text in texts.items():
        write_text(folder / name, text)


def _rendered(name: str, report: Mapping[str, Any], thumbnails: Mapping[str, bytes]) -> str:
    import jinja2

    is_html = name.endswith(".html")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("memeblend.report"),
        autoescape=is_html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "score": _score,
        "signed": _signed,
        "percent": _percent,
        "metric": pictures.metric_words,
        "md": _markdown,
        "with_best": _with_best,
    }
    values: dict[str, Any] = {"report": report, "trained": _trained(report), "few_groups": FEW_GROUPS}
    if is_html:
        values["pictures"] = _pictures(report)
        values["thumbnails"] = {meme_id: _data_uri(image, "image/png") for meme_id, image in thumbnails.items()}
    return environment.get_template(f"{name}.j2").render(values)


def _trained(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The trained label tasks, each with what was found for its derived one (or None), for the templates."""
    label_tasks = report["label_tasks"]
    derived = {entry["derived_from"]: name for name, entry in label_tasks.items() if entry["derived_from"]}
    return [
        {"name": name, "found": entry, "derived": label_tasks[derived[name]] if name in derived else None}
        for name, entry in label_tasks.items()
        if not entry["derived_from"]
    ]


def _pictures(report: Mapping[str, Any]) -> dict[str, Any]:
    """Data URIs of all pictures: "overview", "curves" (or None), those of "blending" by candidate, of "searches" by
    stage, and those of each trained one of "label_tasks"."""

    def uri(draw: Callable[..., str], *args: Any) -> str:
        return _data_uri(draw(*args).encode(), "image/svg+xml")

    def of_label_task(name: str, entry: Mapping[str, Any]) -> dict[str, str | None]:
        balance, ordered = report["class_balance"][name], entry["kind"] != "nominal"
        return {
            "candidates": uri(pictures.candidates, entry),
            "confusion": uri(pictures.confusion, entry),
            "costs": uri(pictures.costs, entry) if entry["costs"] else None,
            "class_balance": uri(pictures.class_balance, balance, entry["classes"], ordered),
        }

    def of_search(found: Mapping[str, Any]) -> dict[str, str | None]:
        return {
            "parallel": uri(searching.parallel_coordinates, found) if searching.told(found["trials"]) else None,
            "importance": uri(searching.importance, found) if found["importance"] else None,
        }

    label_tasks = report["label_tasks"]
    return {
        "overview": uri(pictures.overview, label_tasks),
        "curves": uri(pictures.curves, report["curves"]) if report["curves"] else None,
        "blending": {name: uri(pictures.blending, traces) for name, traces in report["blending"].items()},
        "searches": {name: of_search(found) for name, found in report["searches"].items()},
        "label_tasks": {one["name"]: of_label_task(one["name"], one["found"]) for one in _trained(report)},
    }


def _with_best(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table of models with the best score of each column, constants left out."""
    rows = [row["scores"] for row in table["rows"] if row["model"] != CONSTANT_ROW]
    columns = zip(*rows, strict=True)
    best = [max((score for score in column if score is not None), default=None) for column in columns]
    return {**table, "best": best}


def _data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _markdown(text: object) -> str:
    """Text as it is, whatever it holds, on one line of Markdown."""
    return _MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(str(text).split()))
