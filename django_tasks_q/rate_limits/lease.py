"""A lease, as its holder sees it."""

from __future__ import annotations

import os
from typing import Self

from .. import clock
from ..errors import BrokerError
from .backend import RateLimiterBackend


class Lease(int):
    """Holds a key for its time to live, and longer where somebody renews it. 1 when it was acquired, 0 when not.

    A number, so that code that expects a bool may compare, count and encode it.

    Whoever holds a lease cannot know for how long he will be kept from running, so nothing that he believes makes two
    holders impossible. ``token`` does, where what he writes to compares it: it rises with every acquisition of the key,
    so a store that has seen a higher one refuses.
    """

    def __new__(cls, backend: RateLimiterBackend, key: str, token: int, valid_until: float) -> Self:
        return super().__new__(cls, token != 0)

    def __init__(self, backend: RateLimiterBackend, key: str, token: int, valid_until: float) -> None:
        self.key = key
        self.token = token
        self._backend = backend
        self._valid_until = valid_until
        self._pid = os.getpid()
        self._lost = not token
        self._released = False

    def __eq__(self, other: object) -> bool:
        return self is other if isinstance(other, Lease) else super().__eq__(other)

    def __hash__(self) -> int:
        return super().__hash__()

    def __repr__(self) -> str:
        return f"<Lease {self.key!r} token={self.token}>"

    @property
    def lease_lost(self) -> bool:
        """Whether the lease ended before it was released: its time ran out, or somebody ended it.

        Asks the backend, one round trip. When that cannot be reached, the time tells for which the lease is known to
        hold, by a clock that runs on while the process is stopped.
        """
        if self._lost or self._released:
            return self._lost
        asked = clock.monotonic()
        try:
            remaining = self._backend.remaining(self.key, self.token)
        except BrokerError:
            return clock.monotonic() >= self._valid_until
        if remaining is None:
            self._lost = True
        else:
            self._valid_until = asked + remaining / 1000
        return self._lost or clock.monotonic() >= self._valid_until

    def release(self) -> None:
        """End the lease if it is not over; once. Raises a BrokerError when the backend cannot be reached.

        In a process that was forked meanwhile nothing happens: the lease is its parent's, who goes on.
        """
        if not self._released and os.getpid() == self._pid:
            self._lost = not self._backend.release(self.key, self.token)
        self._released = True
