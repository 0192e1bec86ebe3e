"""How long somebody who waits for several results goes on waiting."""

from __future__ import annotations

from .. import clock
from ..results.backend import DEFAULT_TIMEOUT


class Deadline:
    """``timeout`` is milliseconds from now; 10,000 when not given."""

    def __init__(self, timeout: int | None) -> None:
        self._until = clock.monotonic() + (DEFAULT_TIMEOUT if timeout is None else max(0, timeout)) / 1000

    @property
    def left(self) -> int:
        """Milliseconds; 0 when it is over."""
        return max(0, round((self._until - clock.monotonic()) * 1000))
