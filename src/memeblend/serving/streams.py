"""How a server's cores are shared between batches that are read at the same time."""

from __future__ import annotations

from dataclasses import dataclass

from memeblend.onnx_engine.sessions import default_threads, num_cores

_STREAMS = 2


@dataclass(frozen=True)
class Streams:
    """Batches read at a time, and the threads of each.

    A thread that has to wait for a core keeps all others of its batch waiting at the end of every layer, and the
    connections always want a core for a moment. Batches don't wait for each other, so two with half the threads use
    the cores better than one with all.
    """

    num_streams: int
    num_threads: int

    @classmethod
    def of(cls, num_streams: int = 0, num_threads: int = 0, num_cores: int | None = None) -> Streams:
        """Fill in what was not asked for.

        Args:
            num_streams: batches read at a time; 0 takes two, or one where the threads asked for leave no more.
            num_threads: threads of each; 0 shares the cores out evenly.
            num_cores: cores to share; None takes OMP_NUM_THREADS, but no more than there are.
        """
        cores = _cores() if num_cores is None else num_cores
        streams = num_streams or max(1, min(_STREAMS, cores // (num_threads or 1)))
        return cls(streams, num_threads or max(1, cores // streams))


def _cores() -> int:
    return max(1, min(default_threads(), num_cores()))
