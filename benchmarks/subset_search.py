"""The search of every subset against a scikit-learn loop, for the majority vote with the best weighted F1.

Candidates are noisy voters about 1,500 memes of four classes, as many as Memotion 3's validation split has. The rival
is what one would write with scikit-learn alone: for every subset the hard vote of `VotingClassifier` over the
candidates' given predictions, then `f1_score`. It is timed on a random sample of the subsets of twenty candidates, in
the same run, and taken times their number. scikit-learn gives every tie to the lowest class, memeblend to the class
with the highest summed probability; that both vote alike where there is no tie is checked on the sample, and so is
that the search gave each of its subsets the score of that subset's `blend`.

    python benchmarks/subset_search.py [--json]

`ratio` is scikit-learn's time for all subsets of twenty candidates over memeblend's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.ensemble import VotingClassifier
from sklearn.metrics import f1_score
from sklearn.preprocessing import LabelEncoder

from common import conclude, wants_json
from memeblend.ensemble import blend, search
from memeblend.ensemble.exhaustive import subset_gains, subset_members
from memeblend.ensemble.offered import Offered
from memeblend.ensemble.scoring import Scorer
from memeblend.evaluation import PredictionTable
from memeblend.labels import HUMOROUS

NUM_MEMES = 1500
SIZES = {8: 50, 16: 5, 20: 2}
"""Numbers of candidates, and how often each is searched; the fastest counts."""
NUM_SAMPLED = 100


class _Known:
    """A fitted classifier whose predictions of the memes are known; it is asked for row numbers [num_memes, 1]."""

    def __init__(self, predicted: NDArray[np.int64]) -> None:
        self.predicted = predicted

    def predict(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.predicted[rows[:, 0]]


def make_tables(num_candidates: int) -> list[PredictionTable]:
    """Noisy candidates for one label task of four classes."""
    rng = np.random.default_rng(0)
    labels = rng.choice(4, NUM_MEMES, p=[0.07, 0.65, 0.25, 0.03])
    ids = np.array([f"bench/select/{row}" for row in range(NUM_MEMES)])
    splits, groups = np.full(NUM_MEMES, "select"), np.arange(NUM_MEMES)
    tables = []
    for index in range(num_candidates):
        scores = rng.normal(size=(NUM_MEMES, 4))
        scores[np.arange(NUM_MEMES), labels] += 0.5 + 0.05 * index
        probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        name = f"candidate-{index:02d}"
        tables.append(PredictionTable(name, HUMOROUS, ids, splits, groups, labels, probabilities, "bench"))
    return tables


def sklearn_vote(predictions: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The hard vote of known predictions."""
    voter = VotingClassifier([(str(index), None) for index in range(len(predictions))], voting="hard")
    voter.estimators_ = [_Known(predicted) for predicted in predictions]
    voter.le_ = LabelEncoder().fit(np.arange(4))
    return voter.predict(np.arange(NUM_MEMES)[:, None])


def fastest(work: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest of some repeats."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def sklearn_seconds(tables: list[PredictionTable], sample: NDArray[np.int64]) -> float:
    """Seconds a subset of the loop with scikit-learn."""
    predictions = [table.predicted for table in tables]
    labels = tables[0].labels
    start = time.perf_counter()
    for row in sample:
        said = sklearn_vote([predictions[index] for index in np.flatnonzero(subset_members(int(row), len(tables)))])
        f1_score(labels, said, average="weighted")
    return (time.perf_counter() - start) / len(sample)


def check(tables: list[PredictionTable], sample: NDArray[np.int64]) -> None:
    """That the search is right on the sample; raises AssertionError if not."""
    gains = subset_gains(Scorer(Offered.of(tables), "weighted_f1", "majority"))
    for row in sample:
        members = [tables[index] for index in np.flatnonzero(subset_members(int(row), len(tables)))]
        ours = blend(members).predicted
        expected = f1_score(tables[0].labels, ours, average="weighted")
        assert abs(gains[row] - expected) < 1e-9, (row, gains[row], expected)
        classes = [table.predicted for table in members]
        votes = (np.stack(classes)[:, :, None] == np.arange(4)).sum(axis=0)
        untied = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) == 1
        assert (ours == sklearn_vote(classes))[untied].all(), row


def main() -> None:
    as_json = wants_json(__doc__)
    tables = make_tables(max(SIZES))
    seconds = {num: fastest(lambda offered=tables[:num]: search(offered), repeats) for num, repeats in SIZES.items()}
    sample = np.random.default_rng(1).integers(0, 2 ** len(tables) - 1, NUM_SAMPLED)
    check(tables, sample)
    a_subset = sklearn_seconds(tables, sample)
    loop = a_subset * (2 ** len(tables) - 1)
    conclude(
        {
            "benchmark": "subset_search",
            "num_memes": NUM_MEMES,
            "num_classes": 4,
            **{f"seconds_{num}": round(taken, 4) for num, taken in seconds.items()},
            "sklearn_seconds_a_subset": round(a_subset, 6),
            "sklearn_seconds_20": round(loop, 1),
            "ratio": round(loop / seconds[20], 1),
            "rival": f"VotingClassifier(voting='hard') + f1_score, scikit-learn {sklearn.__version__}",
        },
        as_json,
    )


if __name__ == "__main__":
    main()
