"""Every so often."""

from __future__ import annotations

from datetime import timedelta

SHORTEST = timedelta(seconds=1)
LONGEST = timedelta(days=365)


class Interval:
    """Slots at whole multiples of the interval since 1970 in UTC, so that all hosts agree on them without asking.

    ValueError for one below a second, above a year, or not of whole milliseconds.
    """

    def __init__(self, interval: timedelta) -> None:
        if not SHORTEST <= interval <= LONGEST:
            raise ValueError(f"an interval is at least a second and at most {LONGEST.days} days, not {interval}")
        if interval % timedelta(milliseconds=1):
            raise ValueError(f"an interval is of whole milliseconds, not {interval}")
        self._step = interval // timedelta(milliseconds=1)
        self._text = f"every {interval}"

    def after(self, ms: int) -> int:
        """The first slot after that moment; both in epoch milliseconds."""
        return (ms // self._step + 1) * self._step

    def __str__(self) -> str:
        return self._text
