"""Waiting for a database that tells nobody anything."""

from __future__ import annotations

from collections.abc import Callable

from ... import clock
from ...sql import Database
from ...waker import Waker
from .wakeup import Wakeup

SHORTEST = 0.002
LONGEST = 0.05
"""Seconds between two looks: few where something has just happened, more the longer nothing does.

A look is a read of two indexes and takes no lock; so an idle worker costs some 20 of them a second.
"""


class PollingWakeup(Wakeup):
    """Asks, and asks less often while the answer is no."""

    def __init__(self, database: Database, waker: Waker, has_news: Callable[[], bool]) -> None:
        super().__init__(database, waker)
        self._has_news = has_news

    def wait(self, timeout: float) -> bool:
        end = clock.monotonic() + timeout
        pause = SHORTEST
        while True:
            left = end - clock.monotonic()
            if left <= 0 or self.waker.wait(min(pause, left)):
                return False
            if self._has_news():
                return True
            pause = min(LONGEST, 2 * pause)
