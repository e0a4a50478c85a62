"""Array voting against a scikit-learn loop over the same 255 subsets of eight candidates.

Both search for the subset whose majority vote has the best weighted F1. The rival is what one would write with
scikit-learn alone: for every subset the hard vote of `sklearn.ensemble.VotingClassifier` over the candidates'
given predictions, then `sklearn.metrics.f1_score`. scikit-learn gives every tie to the lowest class, memeblend to
the class with the highest summed probability, so the two may choose differently; that both vote alike where
there is no tie is checked in the same run.

    python benchmarks/ensemble_voting.py [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.ensemble import VotingClassifier
from sklearn.metrics import f1_score
from sklearn.preprocessing import LabelEncoder

from memeblend.ensemble import majority_vote, search
from memeblend.evaluation import PredictionTable
from memeblend.labels import HUMOROUS

NUM_CANDIDATES, NUM_MEMES = 8, 1500
"""The paper's eight candidates, and as many memes as Memotion 3's validation split has."""
REPEATS = 5


class _Known:
    """A fitted classifier whose predictions of the memes are known; it is asked for row numbers [num_memes, 1]."""

    def __init__(self, predicted: NDArray[np.int64]) -> None:
        self.predicted = predicted

    def predict(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.predicted[rows[:, 0]]


def make_tables() -> list[PredictionTable]:
    """Eight noisy candidates for one label task of four classes."""
    rng = np.random.default_rng(0)
    labels = rng.choice(4, NUM_MEMES, p=[0.07, 0.65, 0.25, 0.03])
    tables = []
    for index in range(NUM_CANDIDATES):
        scores = rng.normal(size=(NUM_MEMES, 4))
        scores[np.arange(NUM_MEMES), labels] += 0.5 + 0.1 * index
        probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        ids = np.array([f"bench/select/{row}" for row in range(NUM_MEMES)])
        splits = np.full(NUM_MEMES, "select")
        groups = np.arange(NUM_MEMES)
        tables.append(
            PredictionTable(f"candidate-{index}", HUMOROUS, ids, splits, groups, labels, probabilities, "bench")
        )
    return tables


def voter_of(predictions: list[NDArray[np.int64]]) -> VotingClassifier:
    """A fitted hard-voting classifier over known predictions."""
    voter = VotingClassifier([(str(index), None) for index in range(len(predictions))], voting="hard")
    voter.estimators_ = [_Known(predicted) for predicted in predictions]
    voter.le_ = LabelEncoder().fit(np.arange(4))
    return voter


def sklearn_search(tables: list[PredictionTable]) -> tuple[float, int]:
    """Best weighted F1 over all subsets, and the number of subsets tried."""
    labels = tables[0].labels
    rows = np.arange(len(labels))[:, None]
    predictions = [table.predicted for table in tables]
    found = []
    for subset in range(1, 2 ** len(tables)):
        chosen = [predicted for bit, predicted in enumerate(predictions) if subset >> bit & 1]
        found.append(f1_score(labels, voter_of(chosen).predict(rows), average="weighted"))
    return max(found), len(found)


def share_alike_without_ties(tables: list[PredictionTable]) -> float:
    """Share of the untied memes on which both vote alike, with all candidates voting; 1 unless one is wrong."""
    classes = np.stack([table.predicted for table in tables])
    ours = majority_vote(classes, np.stack([table.probabilities for table in tables]))
    theirs = voter_of(list(classes)).predict(np.arange(NUM_MEMES)[:, None])
    votes = (classes[:, :, None] == np.arange(4)).sum(axis=0)
    untied = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) == 1
    return float((ours == theirs)[untied].mean())


def fastest(work: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Seconds of the fastest of some repeats, and what the work returned."""
    seconds, result = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args()
    tables = make_tables()
    array_seconds, choice = fastest(lambda: search(tables), REPEATS)
    loop_seconds, (loop_score, num_subsets) = fastest(lambda: sklearn_search(tables), 2)
    assert choice.num_subsets == num_subsets
    result = {
        "benchmark": "ensemble_voting",
        "num_candidates": NUM_CANDIDATES,
        "num_memes": NUM_MEMES,
        "num_classes": 4,
        "num_subsets": num_subsets,
        "array_seconds": round(array_seconds, 4),
        "sklearn_loop_seconds": round(loop_seconds, 4),
        "ratio": round(loop_seconds / array_seconds, 1),
        "best_weighted_f1": {"array": round(choice.score, 4), "sklearn_loop": round(loop_score, 4)},
        "same_votes_without_ties": share_alike_without_ties(tables),
        "rival": f"VotingClassifier(voting='hard') + f1_score, scikit-learn {sklearn.__version__}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    print(
        f"{num_subsets} subsets of {NUM_CANDIDATES} candidates, {NUM_MEMES} memes: arrays {array_seconds:.3f} s, "
        f"{result['rival']} {loop_seconds:.2f} s, ratio {result['ratio']}"
    )
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
