"""Bootstrap intervals: against a plain loop, on grouped memes, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from memeblend.evaluation import bootstrap_interval, paired_bootstrap


def noisy(num_memes: int, right: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, num_memes)
    predicted = np.where(rng.random(num_memes) < right, labels, rng.integers(0, 3, num_memes))
    return labels, predicted


def test_equals_a_plain_loop_over_the_same_draws() -> None:
    labels, predicted = noisy(40, 0.5, 0)
    groups = np.repeat(np.arange(20), 2)
    drawn = np.random.default_rng(7).integers(0, 20, size=(50, 20))
    expected = []
    for groups_drawn in drawn:
        rows = np.concatenate([np.flatnonzero(groups == group) for group in groups_drawn])
        expected.append(f1_score(labels[rows], predicted[rows], average="weighted", zero_division=0))
    found = bootstrap_interval(labels, predicted, groups, 3, seed=7, num_resamples=50)
    assert found == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])), abs=1e-12)


def test_is_seeded_and_leaves_missing_labels_out() -> None:
    labels, predicted = noisy(100, 0.5, 1)
    groups = np.arange(100)
    assert bootstrap_interval(labels, predicted, groups, 3) == bootstrap_interval(labels, predicted, groups, 3)
    assert bootstrap_interval(labels, predicted, groups, 3, seed=1) != bootstrap_interval(labels, predicted, groups, 3)
    more = [np.concatenate([values, [extra]]) for values, extra in ((labels, -1), (predicted, 0), (groups, 500))]
    assert bootstrap_interval(*more, 3) == bootstrap_interval(labels, predicted, groups, 3)
    with pytest.raises(ValueError, match="no meme has a label"):
        bootstrap_interval(np.array([-1]), np.array([0]), np.array([0]), 3)


def test_duplicate_groups_widen_the_interval() -> None:
    labels, predicted = noisy(60, 0.5, 2)
    labels, predicted = np.repeat(labels, 10), np.repeat(predicted, 10)
    alone = bootstrap_interval(labels, predicted, np.arange(600), 3)
    together = bootstrap_interval(labels, predicted, np.repeat(np.arange(60), 10), 3)
    # Ten copies of each meme carry the information of one: about sqrt(10) wider.
    ratio = (together[1] - together[0]) / (alone[1] - alone[0])
    assert 2.5 < ratio < 4.0


def test_covers_the_true_accuracy_about_nineteen_times_in_twenty() -> None:
    inside = 0
    for seed in range(200):
        labels, predicted = noisy(150, 0.4, seed)
        low, high = bootstrap_interval(
            labels, predicted, np.arange(150), 3, metric="accuracy", seed=seed, num_resamples=300
        )
        inside += low <= 0.4 + 0.6 / 3 <= high
    assert 180 <= inside <= 199


def test_paired_difference() -> None:
    labels, good = noisy(300, 0.8, 3)
    _, bad = noisy(300, 0.0, 4)
    groups = np.arange(300)
    found = paired_bootstrap(labels, good, bad, groups, 3)
    expected = f1_score(labels, good, average="weighted") - f1_score(labels, bad, average="weighted")
    assert found.difference == pytest.approx(expected)
    assert found.interval[0] < expected < found.interval[1]
    assert (found.sign, found.share_not_above_zero) == (1, 0)
    turned = paired_bootstrap(labels, bad, good, groups, 3)
    assert (turned.sign, turned.share_not_above_zero) == (-1, 1)
    assert turned.interval == pytest.approx((-found.interval[1], -found.interval[0]))
    same = paired_bootstrap(labels, good, good, groups, 3)
    assert (same.difference, same.interval, same.share_not_above_zero, same.sign) == (0, (0, 0), 1, 0)


def test_pairing_makes_small_consistent_gains_visible() -> None:
    labels, second = noisy(400, 0.5, 5)
    first = second.copy()
    wrong = np.flatnonzero(second != labels)[:12]
    first[wrong] = labels[wrong]
    groups = np.arange(400)
    assert paired_bootstrap(labels, first, second, groups, 3).sign == 1
    low, _ = bootstrap_interval(labels, first, groups, 3)
    _, high = bootstrap_interval(labels, second, groups, 3)
    assert low < high


def test_blocks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, predicted = noisy(50, 0.5, 8)
    whole = bootstrap_interval(labels, predicted, np.arange(50), 3, num_resamples=40)
    monkeypatch.setattr("memeblend.evaluation.intervals._BLOCK_CELLS", 300)
    assert bootstrap_interval(labels, predicted, np.arange(50), 3, num_resamples=40) == whole
