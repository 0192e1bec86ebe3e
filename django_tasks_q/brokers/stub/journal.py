"""The stub's journal: the newest events, in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from threading import Lock

from ... import clock
from ...events import Event
from ...journal import Backlog, Gap, Journal, Stretch, gap_after

JOURNAL_LENGTH = 100_000


class StubJournal(Journal):
    """The newest events, in memory, in one partition. Its budget is a number of events.

    Parameters:
        length: how many events are kept; then the oldest are dropped.
    """

    partition = "stub"

    def __init__(self, length: int = JOURNAL_LENGTH) -> None:
        self._length = length
        self._lock = Lock()
        self._events: deque[Event] = deque()
        self._end = 0
        self._gap: Gap | None = None
        self.now: Callable[[], int] = clock.wall_ms

    @property
    def events(self) -> list[Event]:
        """All that is there, oldest first."""
        with self._lock:
            return list(self._events)

    def append(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)
            self._end += 1
            if len(self._events) > self._length:
                dropped = self._events.popleft()
                gap = self._gap or Gap(0, dropped.at, dropped.at)
                self._gap = Gap(gap.dropped + 1, gap.since, max(gap.until, dropped.at))

    def partitions(self) -> list[str]:
        return [self.partition]

    def read(self, partition: str, limit: int) -> Stretch:
        with self._lock:
            events = list(islice(self._events, limit))
            return Stretch(events, self._end - len(self._events) + len(events), self._gap)

    def trim(self, partition: str, stretch: Stretch) -> None:
        with self._lock:
            while self._events and self._end - len(self._events) < stretch.end:
                self._events.popleft()

    def trim_gap(self, partition: str, gap: Gap) -> None:
        with self._lock:
            self._gap = gap_after(self._gap, gap)

    def backlog(self, partition: str) -> Backlog:
        with self._lock:
            number = len(self._events)
            lag = max(0, self.now() - self._events[0].at) if number else 0
            return Backlog(number, number / self._length, lag, self._gap)
