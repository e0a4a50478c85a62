"""A server under load: 50 clients for 60 seconds, each asking again as soon as it is answered.

Rival of the same run: `predict` of the same engine on the same memes in one process with all cores, timed before and
after the load, the faster time counting. Clients (Locust), server and model share the machine. Prints `requests`,
`errors`, `throughput_ratio` = memes a second of the server / of predict, and `p99_over_median` of the answers' times.

    python benchmarks/serve_load.py [--json] [--model RUN] [--engine onnx|torch] [--seconds 60] [--clients 50]

The embedded model is exported first, which is the way to serve where throughput counts; `--engine torch` serves it as
it is. Needs the extras `serve` and `export`, and the package locust.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import conclude, quiet
from memeblend import Manifest, MemeClassifier
from memeblend.data.sample import sample_manifest
from memeblend.onnx_engine.classifier import OnnxClassifier
from memeblend.onnx_engine.folder import is_export

NUM_MEMES = 256
PREDICT_SECONDS = 10.0
MEMEBLEND = [sys.executable, "-c", "from memeblend.cli import main; main()"]
PREDICT = [sys.executable, __file__, "--predict-rate"]
# Threads that spin while they wait would take the cores from the clients; the command `memeblend` sets this too.
ENVIRONMENT = os.environ | {"OMP_WAIT_POLICY": "passive", "MEMEBLEND_API_KEY": ""}


def fit(data: Path, run: Path) -> Path:
    """The embedded model, trained just enough: how fast it answers does not depend on what it has learned."""
    settings = ["--set", "copies=1", "--set", "training.num_epochs=1", "--limit", "200"]
    command = [*MEMEBLEND, "fit", str(data), "--out", str(run), *settings]
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
    return run


def export(run: Path, folder: Path) -> Path:
    """The same model as graphs for onnxruntime."""
    command = [*MEMEBLEND, "export", str(run), "--format", "onnx", "--out", str(folder)]
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
    return folder


def predict_rate(model: Path, data: Path) -> float:
    """Memes a second of `predict` on the whole table, over ten seconds after a first time that warms up."""
    quiet()
    classifier: Any = (OnnxClassifier if is_export(model) else MemeClassifier).load(model)
    manifest = Manifest.read(data, label_tasks=None)
    classifier.predict_tables(manifest).to_records()
    num_done, began = 0, time.perf_counter()
    while time.perf_counter() - began < PREDICT_SECONDS:
        classifier.predict_tables(manifest).to_records()
        num_done += len(manifest)
    return num_done / (time.perf_counter() - began)


def timed_predict(model: Path, data: Path) -> float:
    """`predict_rate` in a process of its own."""
    done = subprocess.run(
        [*PREDICT, str(model), str(data)], check=True, capture_output=True, text=True, env=ENVIRONMENT
    )
    return float(done.stdout)


def write_bodies(manifest: Manifest, path: Path) -> Path:
    """One JSON body for each meme, a line each."""
    with path.open("w", encoding="utf-8") as stream:
        for row, text in enumerate(manifest.texts):
            image = manifest.image_path(row)
            assert image is not None, "the sample has images"
            meme = {"text": text, "image": base64.b64encode(image.read_bytes()).decode()}
            stream.write(json.dumps({"memes": [meme]}) + "\n")
    return path


@contextmanager
def serving(model: Path, streams: int, threads: int) -> Iterator[str]:
    """A server of the model in a process of its own; gives its address and ends it in order."""
    command = [*MEMEBLEND, "serve", str(model), "--port", "0", "--streams", str(streams), "--threads", str(threads)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as server:
        assert server.stderr is not None, "stderr is a pipe"
        try:
            for line in server.stderr:
                if line.startswith("Serving at "):
                    address = line.split()[2]
                    urllib.request.urlopen(f"{address}/readyz", timeout=120).close()  # answered once it is warm
                    yield address
                    break
            else:
                raise SystemExit("the server did not start")
        finally:
            server.send_signal(signal.SIGTERM)


def load(address: str, bodies: Path, num_clients: int, seconds: int) -> dict[str, Any]:
    """What Locust counted: requests, failures, and how often an answer took how many milliseconds."""
    command = [sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("load_client.py")), "--headless"]
    command += ["--host", address, "-u", str(num_clients), "-r", str(num_clients), "-t", f"{seconds}s", "--json"]
    environment = os.environ | {"LOAD_BODIES": str(bodies)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = json.loads(done.stdout)
    if not found:
        raise SystemExit(f"the clients were not answered at all:\n{done.stderr}")
    counted: dict[str, Any] = found[0]
    return counted


def percentile(times: dict[float, int], share: float) -> float:
    """The time within which a share of all answers came."""
    left = share * sum(times.values())
    for milliseconds, number in sorted(times.items()):
        left -= number
        if left <= 0:
            return milliseconds
    raise AssertionError("shares are at most 1")


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Time predict, the server under load, and predict again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = sample_manifest(folder / "sample", NUM_MEMES)
        model = given.model or fit(folder / "sample", folder / "run")
        if given.engine == "onnx" and not is_export(model):
            model = export(model, folder / "export")
        bodies = write_bodies(manifest, folder / "bodies.jsonl")
        rates = [timed_predict(model, folder / "sample")]
        with serving(model, given.streams, given.threads) as address:
            counted = load(address, bodies, given.clients, given.seconds)
        rates.append(timed_predict(model, folder / "sample"))
    times = {float(milliseconds): number for milliseconds, number in counted["response_times"].items()}
    rate = counted["num_requests"] / (counted["last_request_timestamp"] - counted["start_time"])
    median, p99 = percentile(times, 0.5), percentile(times, 0.99)
    return {
        "rival": "predict on the same memes in one process",
        "engine": given.engine,
        "clients": given.clients,
        "seconds": given.seconds,
        "requests": counted["num_requests"],
        "errors": counted["num_failures"],
        "memes_per_second": round(rate, 1),
        "predict_memes_per_second": [round(one, 1) for one in rates],
        "throughput_ratio": round(rate / max(rates), 3),
        "median_ms": round(median),
        "p99_ms": round(p99),
        "p99_over_median": round(p99 / median, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--model", type=Path, help="a model folder or a run; by default one is trained")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--engine", choices=("torch", "onnx"), default="onnx", help="what runs the model")
    parser.add_argument("--streams", type=int, default=0, help="as of `memeblend serve`")
    parser.add_argument("--threads", type=int, default=0, help="as of `memeblend serve`")
    parser.add_argument("--predict-rate", type=Path, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.predict_rate:
        print(predict_rate(*given.predict_rate))
        return
    conclude(measure(given), given.json)


if __name__ == "__main__":
    main()
