"""Limited fits on real memes: every stage runs and every result is there. It measures no quality.

    python benchmarks/smoke.py [--json]

Looks for data sets in $MEMEBLEND_DATA, or ../shared/data beside the project.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETS = {"memotion1": 500, "cm_memes": 300, "harmeme": 400}
SETTINGS = [
    "copies=1",
    "training.num_epochs=2",
    "candidates.fusion.training.num_epochs=2",
    "candidates.align.training.num_epochs=2",
    "candidates.oscar.training.num_epochs=2",
    "ensemble.rule=maximum",  # so that no ensemble may score below its best candidate where it was chosen
]


def memeblend(*arguments: str) -> str:
    """Standard output of the command."""
    command = [sys.executable, "-c", "from memeblend.cli import main; main()", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def smoke(data: Path, limit: int, folder: Path) -> dict[str, object]:
    """Fit, evaluate and predict on a part of a data set; returns what it took and gave."""
    began = time.monotonic()
    run = folder / data.name
    options = [option for setting in SETTINGS for option in ("--set", setting)]
    fitted = json.loads(memeblend("fit", str(data), "--out", str(run), "--limit", str(limit), "--json", *options))
    missing = [name for name in ("report.html", "report.md", "report.json", "model") if not (run / name).exists()]
    if missing:
        raise SystemExit(f"{data.name}: fit left no {', '.join(missing)}")
    for name, chosen in fitted["ensembles"].items():
        best = max(chosen["candidates"].values())
        if chosen["weighted_f1"] < best - 1e-9:
            raise SystemExit(f"{data.name} {name}: the ensemble ({chosen['weighted_f1']}) is below its best ({best})")
    evaluated = json.loads(memeblend("evaluate", str(run), str(data), "--split", "validation", "--json"))
    predicted = folder / f"{data.name}.jsonl"
    memeblend("predict", str(run), str(data), "--out", str(predicted))
    num_rows = len(predicted.read_text(encoding="utf-8").splitlines())
    return {
        "data": data.name,
        "seconds": round(time.monotonic() - began, 1),
        "num_evaluated": evaluated["num_memes"],
        "num_predicted": num_rows,
        "weighted_f1": {name: round(found["weighted_f1"], 3) for name, found in fitted["label_tasks"].items()},
    }


def main() -> None:
    """Run it on each data set that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    as_json = parser.parse_args().json
    root = Path(os.environ.get("MEMEBLEND_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")).resolve()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, limit in SETS.items():
            if (root / name).is_dir():
                found.append(smoke(root / name, limit, Path(folder)))
                print(f"{name}: {found[-1]}", flush=True)
    if not found:
        raise SystemExit(f"There is none of {', '.join(SETS)} in {root}.")
    if as_json:
        print(json.dumps({"sets": found}))


if __name__ == "__main__":
    main()
