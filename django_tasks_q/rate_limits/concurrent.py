"""So many at once: a mutex, or a semaphore."""

from __future__ import annotations

import os
from datetime import timedelta
from socket import gethostname

from .. import clock
from ..context import get_running
from ..errors import BrokerError
from ..logging import get_logger
from ..outcomes import milliseconds
from .backend import RateLimiterBackend
from .lease import Lease
from .mutex import Owner
from .rate_limiter import RateLimiter, check_limit

logger = get_logger(__name__)


class ConcurrentRateLimiter(RateLimiter[Lease]):
    """At most ``limit`` holders of a key at any time, each with a lease of its own.

    Inside an actor the lease is renewed by the keeper for as long as the actor runs, and ends with it at the latest;
    when the worker dies it is freed at its burial. Elsewhere nobody renews it: it ends after ``ttl``.

    Parameters:
        limit: 1 makes it a mutex. It cannot be acquired again by who holds it.
        ttl: the lease in milliseconds, or a timedelta. The keeper looks once a second for new leases: one shorter than
            that may end before it is seen.
    """

    def __init__(
        self, backend: RateLimiterBackend, key: str, *, limit: int = 1, ttl: int | timedelta = 900_000
    ) -> None:
        super().__init__(backend, key)
        check_limit(limit)
        if type(ttl) not in (int, timedelta) or milliseconds(ttl) < 1:
            raise ValueError(f"ttl is milliseconds, at least 1, or a timedelta: {ttl!r}")
        self.limit = limit
        self.ttl = milliseconds(ttl)

    def _acquire(self) -> Lease:
        asked = clock.monotonic()
        token = self.backend.acquire(self.key, owner_here(), self.limit, self.ttl)
        return Lease(self.backend, self.key, token or 0, asked + self.ttl / 1000)

    def _release(self, grant: Lease) -> None:
        try:
            grant.release()
        except BrokerError as error:
            # What the block did is done: raising would have it done again.
            logger.warning("%r was not released, its lease will end by itself: %s", self.key, error)
            return
        if grant.lease_lost:
            logger.warning("The lease on %r was over before it was released.", self.key)


def owner_here() -> Owner:
    """Who runs here: the worker and message of an actor, else a name for people, which no worker has."""
    running = get_running()
    if running is None or not running.worker_id:
        return Owner(f"{gethostname()[:48]} pid {os.getpid()}", running.message.message_id if running else "")
    return Owner(running.worker_id, running.message.message_id)
