"""How fast a service is asked, and how long is waited after it failed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
_LONGEST_ASKED_S = 600.0


@dataclass
class Pace:
    """Spaces requests evenly, and waits longer with each failure: 1, 2, 4, ... at most 60 seconds.

    Attributes:
        per_second: most requests a second; 0 sets no limit.
        retries: how often a request that failed is sent again.
        sleep, clock: seconds pass by these.
    """

    per_second: float = 0.0
    retries: int = 4
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _next: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.per_second < 0 or self.retries < 0:
            raise ValueError(f"per_second is {self.per_second} and retries {self.retries}, expected 0 or more")

    def take_turn(self) -> None:
        """Wait until the next request may be sent."""
        if not self.per_second:
            return
        now = self.clock()
        if self._next is not None and now < self._next:
            self.sleep(self._next - now)
            now = self._next
        self._next = now + 1 / self.per_second

    def wait_s(self, num_failed: int, asked_s: float | None = None) -> float:
        """Seconds to wait after so many failures in a row, at least as many as the service asked for (up to 600)."""
        usual = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(num_failed - 1, 16))
        return max(usual, min(asked_s or 0.0, _LONGEST_ASKED_S))
