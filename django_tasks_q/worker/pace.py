"""How far ahead to fetch, and when a batch is worth a round trip."""

from __future__ import annotations

from .. import clock

HORIZON = 0.05
"""Seconds of work to have at hand beyond what the threads are running."""

PATIENCE = 0.1
"""Seconds after which a delivery that has not started is given back, so that an idle worker can have it."""

LINGER = 0.05
"""Seconds that a settlement may wait for company while there is work at hand anyway."""

BREATH = 0.001
"""Seconds for which the threads have the interpreter to themselves when there was less than they could run: what is
short has ended by then, and is settled by the exchange that asks for more."""

BATCH = 200
"""Settlements in one exchange. More gains little and holds locks for longer."""

MOST_AHEAD = 400


class Pace:
    """Learns from finished work how fast this process is.

    The rate is an exponentially weighted mean over about a second; it grows with the work that really gets done, so a
    burst of slow tasks shrinks what is fetched ahead before the next fetch.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._rate = 0.0
        self._since = clock.monotonic()
        self._done = 0

    def finished(self, count: int) -> None:
        self._done += count
        now = clock.monotonic()
        span = now - self._since
        if span < 0.02:
            return
        weight = min(1.0, span * 4)
        self._rate += (self._done / span - self._rate) * weight
        self._since, self._done = now, 0

    def slow_down(self) -> None:
        """Something waited too long locally: fetch no further ahead until the rate has shown otherwise."""
        self._rate = 0.0

    @property
    def ahead(self) -> int:
        """How many deliveries to hold beyond what the threads run."""
        return min(MOST_AHEAD, int(self._rate * HORIZON))

    @property
    def capacity(self) -> int:
        """How many unfinished deliveries to hold in all."""
        return self._threads + self.ahead
