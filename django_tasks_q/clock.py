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


def as_datetime(ms: int) -> datetime:
    """Epoch milliseconds as an aware datetime in UTC."""
    return datetime.fromtimestamp(ms / 1000, tz=UTC)
