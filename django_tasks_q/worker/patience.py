"""When nobody may be taken for dead."""

from __future__ import annotations

from .. import clock
from ..broker import Broker


class Patience:
    """A whole lease for the living to say so, after a time in which nobody could renew his.

    That is while the broker was gone, and while the machine slept, whose clock may be the store's.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._until = 0.0
        self._jumps = clock.JumpWatch()

    def begin(self) -> None:
        """The broker could not be reached."""
        self._until = clock.monotonic() + self._broker.lease / 1000

    def is_over(self) -> bool:
        """Whether leases that have run out mean what they say."""
        if self._jumps.has_jumped():
            self.begin()
        return clock.monotonic() >= self._until
