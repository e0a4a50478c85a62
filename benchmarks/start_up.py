"""Start-up: `memeblend --help`, one prediction from a cold start, and a second fit on the same data.

Rivals of the same run: a process that imports torch, transformers and scikit-learn at once (what `--help` would
cost without lazy imports, and the floor of a prediction), and the first fit, which still has to decode. Prints
`help_seconds` and `help_ratio` = rival / help; `predict_seconds` and `predict_ratio` = predict / rival;
`first_fit_seconds` and `second_fit_seconds` until training starts, and `fit_ratio` = first / second.

    python benchmarks/start_up.py [--json]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import conclude, wants_json
from memeblend.data.sample import write_sample

NUM_MEMES, RUNS = 600, 5
MEMEBLEND = [sys.executable, "-c", "from memeblend.cli import main; main()"]
IMPORTS = [sys.executable, "-c", "import torch, transformers.models.clip.modeling_clip, sklearn.linear_model"]


def seconds(command: list[str]) -> float:
    """Seconds a command takes, the median of five after one that warms the disk's cache."""
    found = []
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        found.append(time.perf_counter() - began)
    return statistics.median(found[1:])


def until_training(data: Path, run: Path, cache: Path) -> float:
    """Seconds from the start of `fit` until its first candidate begins; the fit is then ended."""
    began = time.perf_counter()
    command = [*MEMEBLEND, "fit", str(data), "--out", str(run)]
    environment = os.environ | {"MEMEBLEND_CACHE": str(cache)}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    ) as fit:
        assert fit.stderr is not None, "stderr is a pipe"
        for line in fit.stderr:
            if line.startswith("tfidf-0"):
                taken = time.perf_counter() - began
                fit.kill()
                return taken
    raise SystemExit("fit ended before it trained anything")


def main() -> None:
    """Time all three."""
    as_json = wants_json(__doc__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_sample(folder / "sample", NUM_MEMES)
        first, second = (until_training(data, folder / run, folder / "cache") for run in ("a", "b"))
        settings = ["--set", "copies=1", "--set", "training.num_epochs=1", "--limit", "200"]
        subprocess.run(
            [*MEMEBLEND, "fit", str(data), "--out", str(folder / "c"), *settings], check=True, capture_output=True
        )
        image = next((data / "images").iterdir())
        helped, imported = seconds([*MEMEBLEND, "--help"]), seconds(IMPORTS)
        predicted = seconds([*MEMEBLEND, "predict", str(folder / "c"), str(image), "--text", "what a lovely day"])
    found = {
        "rival": "importing torch, transformers' CLIP and scikit-learn",
        "import_seconds": round(imported, 2),
        "help_seconds": round(helped, 2),
        "help_ratio": round(imported / helped, 1),
        "predict_seconds": round(predicted, 2),
        "predict_ratio": round(predicted / imported, 2),
        "num_memes": NUM_MEMES,
        "first_fit_seconds": round(first, 2),
        "second_fit_seconds": round(second, 2),
        "fit_ratio": round(first / second, 2),
    }
    conclude(found, as_json)


if __name__ == "__main__":
    main()
