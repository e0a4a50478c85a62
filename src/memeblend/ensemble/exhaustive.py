"""The gain of every non-empty subset of the candidates, exactly.

Row i of a result is subset number i + 1, whose bits name its members: bit 0 is the first candidate by name.

Where the objective follows from confusion counts, subsets are counted without adding up their votes. The candidates
are split into two halves; for every meme and every two classes a < b, a subset prefers a if

    ballots of its low half for a over b  >=  -(ballots of its high half for a over b),

and the two sides take only 2**(N / 2) values each. Sorting them together once turns each into a small whole number,
and the question for 2**N subsets into one comparison of two bytes each, packed to bits at once. A class wins a meme
if it is preferred to all others; ties are settled within the ballots (see `scoring`), so nothing is approximate.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.ensemble.scoring import Scorer
from memeblend.evaluation.metrics import counts_of_many

_UNRANKED = 13
"""Candidates up to which comparing the ballots themselves is faster than ranking them first."""
_BUFFER = 2_000_000
"""Comparisons made at once; their bytes stay in the processor's cache."""
_LOW_ROWS = 16
"""Low halves that one thread takes at a time."""
_KEPT = 30 * 2**20
"""Bytes of an array that is made and freed unused before the work. The C library of Linux gives freed memory of more
than twice the largest array freed so far back to the system, and getting it anew takes as long as a small search."""
_SORTED = 2**16
"""Low sums sorted at a time."""
_MAX_TABLE = 2**29
"""Values of the tables of both halves (1 GiB in two bytes each); beyond, subsets are added up one by one."""
_MAX_CLASSES = 16
"""Classes up to which ballots stay small enough to be ranked; beyond, subsets are added up one by one."""
_WORD = 64
_MOST = 0.8
"""Share of a pair's words to compare from which all are, since filling gaps takes time too."""
_SUMMED_LOW = 4
"""Candidates whose subsets are added up together where the objective needs probabilities."""
_WORTH_THREADS = 50_000_000
"""Comparisons below which starting threads costs more than it saves."""


def subset_gains(scorer: Scorer) -> NDArray[np.float64]:
    """Gains of all non-empty subsets [2**num_candidates - 1]; a scorer keeps them for the next time."""
    if scorer.all_gains is not None:
        return scorer.all_gains
    num_low = (scorer.offered.num_candidates + 1) // 2
    num_classes = scorer.offered.label_task.num_classes
    table = num_classes * (num_classes - 1) // 2 * scorer.offered.num_memes * 2 ** (num_low + 1)
    one_by_one = scorer.needs_probabilities or table > _MAX_TABLE or num_classes > _MAX_CLASSES
    gains = _summed(scorer) if one_by_one else _counted(scorer, num_low)
    scorer.all_gains = gains[1:]
    return scorer.all_gains


def subset_sizes(num_candidates: int) -> NDArray[np.int64]:
    """Number of members of each non-empty subset [2**num_candidates - 1]."""
    return np.bitwise_count(np.arange(1, 2**num_candidates)).astype(np.int64)


def subset_totals(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the members' values over each non-empty subset [2**num_candidates - 1], from [num_candidates]."""
    totals = np.zeros(1)
    for value in values:
        totals = np.concatenate([totals, totals + value])
    return totals[1:]


def first_by_name(rows: NDArray[np.int64], num_candidates: int) -> int:
    """Of the subsets in some rows, all of one size, the first by its sorted member names.

    Of two sets of one size it is the one that holds the first candidate in which they differ, so it is the largest
    where bits are read from the first candidate down.
    """
    turned = sum(((rows + 1) >> bit & 1) << (num_candidates - 1 - bit) for bit in range(num_candidates))
    return int(rows[np.argmax(turned)])


def subset_members(row: int, num_candidates: int) -> NDArray[np.int64]:
    """How often each candidate is a member of the subset in a row: 0 or 1 [num_candidates]."""
    return (row + 1) >> np.arange(num_candidates) & 1


def _in_parallel(work: Callable[[Any], None], parts: Iterable[Any], *, threads: bool) -> None:
    """Do some work part by part, on all cores where that is worth it. NumPy lets go of the interpreter's lock."""
    if not threads:
        for part in parts:
            work(part)
        return
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(num_cores) as pool:
        list(pool.map(work, parts))


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two classes of which subsets may prefer either.

    Attributes:
        classes: both class indices, the lower one first.
        words: words of memes that are compared [num_compared].
        place: where these lie among the words of all pairs.
        fixed: whether the first class is preferred, where all subsets say the same [num_words].
    """

    classes: tuple[int, int]
    words: NDArray[np.int64]
    place: slice
    fixed: NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class _Halves:
    """Both sides of the comparison; columns are memes, in words of 64, pair by pair.

    Attributes:
        low: [2**num_low, num_columns]; the low half's ballots for the first class over the second.
        high: [2**num_high, num_columns], what `low` has to reach for the first class to be preferred.
        pairs: the pairs of classes.
        segments: [num_words, num_classes], whether a word holds memes of a true class.
        decided: confusion counts [num_classes, num_classes] of the memes that all subsets decide alike.
        support: memes of each true class [num_classes], of all memes.
    """

    low: NDArray[Any]
    high: NDArray[Any]
    pairs: tuple[_Pair, ...]
    segments: NDArray[np.float32]
    decided: NDArray[np.float32]
    support: NDArray[np.float32]


def _counted(scorer: Scorer, num_low: int) -> NDArray[np.float64]:
    """Gains of all subsets [2**num_candidates], the empty one among them (its value means nothing)."""
    offered = scorer.offered
    num_classes = offered.label_task.num_classes
    num_high = offered.num_candidates - num_low
    threads = 2**offered.num_candidates * offered.num_memes * num_classes**2 > _WORTH_THREADS
    np.empty(_KEPT, dtype=np.uint8)
    halves = _halves(scorer, num_low, threads=threads)
    gains = np.empty((2**num_high, 2**num_low))
    step = max(1, _BUFFER // (_LOW_ROWS * halves.low.shape[1]))

    def work(start: int) -> None:
        low = halves.low[start : start + _LOW_ROWS]
        counts = np.empty((num_classes, num_classes, 2**num_high, len(low)), dtype=np.float32)
        compared = np.empty((step, *low.shape), dtype=np.bool_)
        for first in range(0, 2**num_high, step):
            high = halves.high[first : first + step, None]
            prefers = np.greater_equal(low, high, out=compared[: len(high)])
            counts[:, :, first : first + step] = _counts(prefers, halves).reshape(
                num_classes, num_classes, -1, len(low)
            )
        by_subset = counts.transpose(2, 3, 1, 0)
        gains[:, start : start + _LOW_ROWS] = scorer.gains_of_counts(by_subset)

    _in_parallel(work, range(0, 2**num_low, _LOW_ROWS), threads=threads)
    return gains.ravel()


def _counts(prefers: NDArray[np.bool_], halves: _Halves) -> NDArray[np.float32]:
    """Confusion counts of some subsets.

    Args:
        prefers: whether the first class of each pair is preferred [..., num_columns].
        halves: what was compared.

    Returns:
        [num_classes, num_classes, num_subsets], predicted class by true class.
    """
    num_words, num_classes = halves.segments.shape
    bits = np.packbits(prefers.ravel()).view(np.uint64).reshape(-1, prefers.shape[-1] // _WORD)
    won_by = {}
    for pair in halves.pairs:
        won = won_by[pair.classes] = np.empty((len(bits), num_words), dtype=np.uint64)
        if len(pair.words) == num_words:
            won[...] = bits[:, pair.place]
        else:
            won[...] = pair.fixed
            won[:, pair.words] = bits[:, pair.place]
    counts = np.empty((num_classes, num_classes, len(bits)), dtype=np.float32)
    for one in range(num_classes - 1):
        wins = reduce(np.bitwise_and, (won_by[one, other] for other in range(one + 1, num_classes)))
        for other in range(one):
            wins = wins & ~won_by[other, one]
        counts[one] = halves.segments.T @ np.bitwise_count(wins).astype(np.float32).T
        counts[one] += halves.decided[:, one, None]
    # The last class wins whatever no other class does.
    counts[-1] = halves.support[:, None] - counts[:-1].sum(axis=0)
    return counts


def _halves(scorer: Scorer, num_low: int, *, threads: bool) -> _Halves:
    """Make the tables of both halves.

    Memes are sorted by true class, each class padded to whole words, and within it by the classes that may win them,
    so that whole words need no comparison of a pair. In the padding every candidate is for the last class, whose wins
    are not counted there.
    """
    ballots, labels = scorer.each.ballots, scorer.offered.labels
    num_candidates, num_classes, _ = ballots.shape
    possible = _possible(ballots)
    contested = possible.sum(axis=0) > 1
    winner = possible.argmax(axis=0)[None, ~contested]
    decided = counts_of_many(labels[~contested], winner, num_classes)[0].astype(np.float32)
    memes = np.flatnonzero(contested)
    memes = memes[np.lexsort((2 ** np.arange(num_classes) @ possible[:, memes], labels[memes]))]
    support = np.bincount(labels[memes], minlength=num_classes)
    num_words = np.maximum(-(-support // _WORD), 1)
    segments = np.zeros((num_words.sum(), num_classes), dtype=np.float32)
    segments[np.arange(len(segments)), np.repeat(np.arange(num_classes), num_words)] = 1
    within = np.arange(len(memes)) - np.repeat(np.cumsum(support) - support, support)
    columns = within + np.repeat((np.cumsum(num_words) - num_words) * _WORD, support)

    pairs: list[_Pair] = []
    parts = []
    for one, other in combinations(range(num_classes), 2):
        open_to_both = possible[one] & possible[other]
        words = np.unique(columns[open_to_both[memes]] // _WORD)
        if len(words) > _MOST * len(segments) or not len(memes):
            words = np.arange(len(segments))
        ahead = np.full((num_candidates, len(segments) * _WORD), -1, dtype=np.int64)
        ahead[:, columns] = (ballots[:, one] - ballots[:, other])[:, memes]
        preferred = np.zeros(len(segments) * _WORD, dtype=np.bool_)
        preferred[columns] = possible[one, memes]
        start = pairs[-1].place.stop if pairs else 0
        fixed = np.packbits(preferred).view(np.uint64)
        pairs.append(_Pair((one, other), words, slice(start, start + len(words)), fixed))
        parts.append(ahead.reshape(num_candidates, -1, _WORD)[:, words].reshape(num_candidates, -1))
    low, high = _tables(np.concatenate(parts, axis=1), num_low, threads=threads)
    return _Halves(low, high, tuple(pairs), segments, decided, decided.sum(axis=1) + support.astype(np.float32))


def _tables(ahead: NDArray[np.int64], num_low: int, *, threads: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both halves' sums, ranked if that pays: [2**num_low, num_columns] and [2**num_high, num_columns].

    Args:
        ahead: what each candidate gives to the first class over the second [num_candidates, num_columns].
        num_low: candidates of the low half.
        threads: whether to use all cores.
    """
    num_candidates, num_columns = ahead.shape
    if num_candidates <= _UNRANKED:
        high_sums = _sums(ahead[num_low:])
        return _sums(ahead[:num_low]), np.negative(high_sums, out=high_sums)
    num_high = num_candidates - num_low
    low, high = (np.empty((2**size, num_columns), dtype=np.uint16) for size in (num_low, num_high))
    step = max(1, _SORTED // 2**num_low)

    def work(start: int) -> None:
        part = slice(start, start + step)
        ranks = _ranks(_sums(ahead[:num_low, part]), -_sums(ahead[num_low:, part]))
        low[:, part], high[:, part] = ranks

    _in_parallel(work, range(0, num_columns, step), threads=threads)
    return low, high


def _possible(ballots: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which classes may win which memes [num_classes, num_memes].

    A class can't win a meme if no candidate prefers it to a certain other class.

    Args:
        ballots: [num_candidates, num_classes, num_memes].
    """
    possible = np.ones(ballots.shape[1:], dtype=np.bool_)
    for one, other in combinations(range(len(possible)), 2):
        prefers = ballots[:, one] >= ballots[:, other]
        possible[other] &= ~prefers.all(axis=0)
        possible[one] &= prefers.any(axis=0)
    return possible


def _sums(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums of all subsets [2**num, num_columns] of the rows of an array [num, num_columns]."""
    sums = np.empty((2 ** len(values), values.shape[1]), dtype=np.int64)
    sums[0] = 0
    for bit, row in enumerate(values):
        np.add(sums[: 2**bit], row, out=sums[2**bit : 2 ** (bit + 1)])
    return sums


def _ranks(low: NDArray[np.int64], high: NDArray[np.int64]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Ranks of both arrays' values [..., num_columns] among all values of their column.

    Where a low value equals a high one, it is given the higher rank. Values carry their place in their last bits, so
    that sorting them is enough (it is twice as fast as sorting places by values): they are below 2**50 (see
    `scoring`), and there are at most 2**13 of them.
    """
    num_high, num_columns = high.shape
    num_values = num_high + len(low)
    shift = (num_values - 1).bit_length()
    values = np.empty((num_columns, num_values), dtype=np.int64)
    values[:, :num_high], values[:, num_high:] = high.T, low.T
    values <<= shift
    values |= np.arange(num_values)
    values.sort(axis=-1)
    values &= 2**shift - 1
    values += np.arange(num_columns)[:, None] * num_values
    ranks = np.empty((num_columns, num_values), dtype=np.uint16)
    ranks.reshape(-1)[values.reshape(-1)] = np.tile(np.arange(num_values, dtype=np.uint16), num_columns)
    return ranks[:, num_high:].T, ranks[:, :num_high].T


def _summed(scorer: Scorer) -> NDArray[np.float64]:
    """Gains of all subsets [2**num_candidates], the empty one among them, by adding up what their members give.

    Members are added in the order of names, so that floats come out as `voting.blend` has them.
    """
    num_candidates = scorer.offered.num_candidates
    num_low = min(num_candidates, _SUMMED_LOW)
    low = scorer.each.nothing()
    for member in range(num_low):
        low = low.joined(low.plus(scorer.each.take(slice(member, member + 1))))
    gains = np.zeros((2 ** (num_candidates - num_low), 2**num_low))

    def work(high: int) -> None:
        sums = low
        for member in range(num_low, num_candidates):
            if high >> (member - num_low) & 1:
                sums = sums.plus(scorer.each.take(slice(member, member + 1)))
        start = 0 if high else 1
        gains[high, start:] = scorer.gains(sums.take(slice(start, None)))

    _in_parallel(work, range(len(gains)), threads=gains.size * low.ballots[0].size > _WORTH_THREADS)
    return gains.ravel()
