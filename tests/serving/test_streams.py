"""How cores are shared between batches."""

import pytest

from memeblend.serving.streams import Streams


@pytest.mark.parametrize(
    ("asked", "cores", "expected"),
    [
        ((0, 0), 1, (1, 1)),
        ((0, 0), 2, (2, 1)),
        ((0, 0), 16, (2, 8)),
        ((0, 1), 2, (2, 1)),
        ((0, 2), 2, (1, 2)),
        ((0, 4), 2, (1, 4)),
        ((1, 0), 2, (1, 2)),
        ((4, 0), 2, (4, 1)),
        ((3, 5), 2, (3, 5)),
    ],
)
def test_what_was_not_asked_for_is_filled_in(asked, cores, expected):
    found = Streams.of(*asked, num_cores=cores)
    assert (found.num_streams, found.num_threads) == expected


def test_omp_num_threads_bounds_the_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert Streams.of() == Streams(1, 1)
