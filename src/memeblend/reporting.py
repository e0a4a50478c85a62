"""From a run to its report: gathers what the report room needs, and gives it thumbnails."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import pandas as pd
from PIL import Image

from memeblend.data.images import load_image
from memeblend.data.sample import SOURCE as SAMPLE_SOURCE
from memeblend.errors import ImageError, ModelError
from memeblend.report import ReportInput, build_report, write_report, wrong_meme_ids
from memeblend.run import Run
from memeblend.run.choosing import decision_settings

_THUMBNAIL_SIDE = 320


def write_run_report(run: Run) -> dict[str, Any]:
    """Write report.json, report.md and report.html into the run's folder.

    Returns:
        The content of report.json.

    Raises:
        OutputError: a file could not be written.
    """
    report = run_report(run)
    rows = {meme_id: row for row, meme_id in enumerate(run.manifest.meme_ids.tolist())}
    thumbnails = {meme_id: _thumbnail(run, rows[meme_id]) for meme_id in wrong_meme_ids(report)}
    write_report(report, {meme_id: image for meme_id, image in thumbnails.items() if image}, run.folder)
    return report


def run_report(run: Run) -> dict[str, Any]:
    """The content of a run's report.json."""
    manifest = run.manifest
    texts = dict(zip(manifest.meme_ids.tolist(), manifest.texts, strict=True))
    sources = sorted(set(manifest.table["source"]))
    return build_report(
        ReportInput(
            title=f"{', '.join(sources)}: {run.recipe.name}",
            data_name=", ".join(sources),
            recipe_name=run.recipe.name,
            seed=run.recipe.seed,
            manifest_fingerprint=manifest.fingerprint,
            roles=run.roles.to_dict(),
            label_tasks=manifest.label_tasks,
            tables=[table for of_candidate in run.tables.values() for table in of_candidate.values()],
            choices=run.chosen.ensembles,
            pools=run.chosen.pools,
            expected=run.chosen.expected,
            costs=run.costs,
            rules=run.chosen.rules,
            decisions={task.name: decision_settings(run.recipe, task.name) for task in manifest.label_tasks},
            class_counts=_class_counts(run),
            curves=run.curves(),
            texts=texts,
            notes=[*run.notes, *run.chosen.notes],
            synthetic=sources == [SAMPLE_SOURCE],
            seconds=run.seconds,
            trials=_trials(run),
        )
    )


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """The report role's scores in the shape of `MemeClassifier.evaluate`, with ensembles and candidates.

    Returns:
        "split" (the report role's), "num_memes", "label_tasks" and "means" of the ensembles on that split;
        "candidates": {label task: {candidate: weighted F1 on that split}}; "ensembles": {label task: {"members",
        "selected_on", "objective", "score" (its value where the choice looked), "expected" (its value to expect of this
        way to choose, None where it can't be told),
        "weighted_f1" and "candidates" as the choice saw them on the splits of "selected_on"}}.
    """
    trained = {name: entry for name, entry in report["label_tasks"].items() if entry["derived_from"] is None}
    seen = {"select": "select_weighted_f1", "report": "weighted_f1"}  # the scores that a choice saw, by its role
    return {
        "split": "+".join(report["roles"]["report"]),
        "num_memes": max(entry["scored_on"]["num_memes"] for entry in report["label_tasks"].values()),
        "label_tasks": {name: entry["ensemble"] for name, entry in report["label_tasks"].items()},
        "means": report["means"]["ensemble"],
        "candidates": {
            name: {candidate: scores["weighted_f1"] for candidate, scores in entry["candidates"].items()}
            for name, entry in trained.items()
        },
        "ensembles": {
            name: {
                "members": entry["members"]["members"],
                "selected_on": entry["members"]["selected_on"],
                "objective": entry["members"]["objective"],
                "score": entry["members"]["score"],
                "expected": entry["expected"]["chosen"]["expected"],
                "weighted_f1": entry["ensemble"][seen[entry["members"]["selected_on_role"]]],
                "candidates": {
                    candidate: scores[seen[entry["members"]["selected_on_role"]]]
                    for candidate, scores in entry["candidates"].items()
                },
            }
            for name, entry in trained.items()
        },
    }


def _trials(run: Run) -> list[dict[str, Any]]:
    """Rows of the table that a search in the run's folder left, if any."""
    path = run.folder / "tune" / "trials.parquet"
    if not path.is_file():
        return []
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"'{path}' could not be read: {error}.", fix="Remove it to do without.") from error
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _class_counts(run: Run) -> dict[str, dict[str, dict[str, int]]]:
    """Memes of each class, for each split and label task."""
    table = run.manifest.table
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for split in run.manifest.split_names:
        part = table[table["split"] == split]
        counts[split] = {}
        for task in run.manifest.label_tasks:
            found = Counter(part[task.name])
            counts[split][task.name] = {name: found[name] for name in task.classes}
    return counts


def _thumbnail(run: Run, row: int) -> bytes | None:
    """A small PNG of a meme's image; None where it has none, or where it is gone by now."""
    path = run.manifest.image_path(row)
    if path is None:
        return None
    try:
        image = load_image(path)
    except ImageError:
        return None
    image.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.quantize(128).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
