"""The clocks, by what they are for.

Local durations are monotonic; the wall clock is for display and for what two machines compare only
where the store has no clock of its own. What two processes compare is the store's time (a broker's
business), so that a host whose clock jumps neither loses a lease nor runs a delayed message early.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

monotonic = time.monotonic
"""Seconds, for durations within one machine. It is one clock for all processes of a machine (Linux, macOS)."""


def wall_ms() -> int:
    """Milliseconds since 1970-01-01 UTC by this machine's clock."""
    return time.time_ns() // 1_000_000


class JumpWatch:
    """Notices that the wall clock and this machine's own went apart: the machine slept, or somebody set the time."""

    _MOST = 2.0
    """Seconds that they may go apart between two looks; who follows a time server does so slowly."""

    def __init__(self) -> None:
        self._apart = self._measure()

    def has_jumped(self) -> bool:
        """Whether it happened since the last look."""
        before, self._apart = self._apart, self._measure()
        return abs(self._apart - before) > self._MOST

    @staticmethod
    def _measure() -> float:
        return wall_ms() / 1000 - monotonic()


def as_datetime(ms: int) -> datetime:
    """Epoch milliseconds as an aware datetime in UTC."""
    return datetime.fromtimestamp(ms / 1000, tz=UTC)
