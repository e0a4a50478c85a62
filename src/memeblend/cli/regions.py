"""`memeblend regions`: makes the region file that an OSCAR candidate reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from memeblend.cli.output import Bars, messages, print_json, quiet_libraries, results
from memeblend.data.manifest import Manifest
from memeblend.errors import RecipeError
from memeblend.regions.engine import RegionEngine
from memeblend.regions.writing import RegionSummary, write_regions

ENGINES = ("grid", "detector")
_SHOWN = 5


def run_regions(
    manifest_path: Path,
    engine: str,
    model: str,
    out: Path,
    batch_size: int,
    max_regions: int,
    threshold: float,
    json_output: bool,
) -> None:
    """`memeblend regions`.

    Args:
        manifest_path: a table of memes or a data-set folder.
        engine: "grid" or "detector".
        model: folder or hub id of a CLIP or other encoders ("grid") or an object detector ("detector").
        out: the region file, .npz.
        batch_size: images at once.
        max_regions: most regions of an image.
        threshold: least score of a region; "grid" has none.
        json_output: print one JSON object.
    """
    manifest = Manifest.read(
        manifest_path, label_tasks=None, notify=lambda line: messages.print(line, markup=False, soft_wrap=True)
    )
    messages.print(f"Loading {model} ...", soft_wrap=True, markup=False)
    with quiet_libraries(), Bars() as bars:
        made_by = _engine(engine, model, max_regions, threshold)
        bars.start(f"regions of {len(set(manifest.image_digests()))} images", len(set(manifest.image_digests())))
        summary = write_regions(
            manifest, made_by, out, batch_size=batch_size, progress=lambda done, total: bars.advance(done)
        )
    if json_output:
        print_json(_as_json(summary))
    else:
        _show(summary)


def _engine(name: str, model: str, max_regions: int, threshold: float) -> RegionEngine:
    match name:
        case "grid":
            from memeblend.regions.grid_engine import GridEngine

            return GridEngine.load(model, max_regions=max_regions)
        case "detector":
            from memeblend.regions.detector import DetectorEngine

            return DetectorEngine.load(model, max_regions=max_regions, threshold=threshold)
        case _:
            raise RecipeError(f"There is no region engine '{name}'.", fix=f"Choose one of {', '.join(ENGINES)}.")


def _as_json(summary: RegionSummary) -> dict[str, Any]:
    return {
        "regions": str(summary.path),
        "engine": summary.engine,
        "num_memes": summary.num_memes,
        "num_images": summary.num_images,
        "num_regions": summary.num_regions,
        "feature_size": summary.feature_size,
        "top_tags": dict(summary.top_tags),
        "unreadable": [{"meme_id": problem.meme_id, "reason": problem.what} for problem in summary.unreadable],
    }


def _show(summary: RegionSummary) -> None:
    table = Table("memes", "images", "regions", "per image", "feature width", "top tags")
    tags = ", ".join(f"{tag} {count}" for tag, count in summary.top_tags) or "none"
    table.add_row(
        str(summary.num_memes),
        str(summary.num_images),
        str(summary.num_regions),
        f"{summary.num_regions / summary.num_images:.1f}",
        str(summary.feature_size),
        tags,
    )
    results.print(table)
    if summary.unreadable:
        results.print(f"{len(summary.unreadable)} meme(s) were skipped, since their images can't be read:")
        for problem in summary.unreadable[:_SHOWN]:
            results.print(f"  {problem.meme_id}: {problem.what}", markup=False, soft_wrap=True)
        if len(summary.unreadable) > _SHOWN:
            results.print(f"  ... and {len(summary.unreadable) - _SHOWN} more; --json lists all")
    results.print(f"regions: {summary.path}", markup=False, soft_wrap=True)
