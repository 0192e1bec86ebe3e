"""Wait for each other."""

from __future__ import annotations

import random
import time
from uuid import uuid4

from .. import clock
from ..context import get_running
from .backend import RateLimiterBackend
from .gathering import Arrival, unexpected
from .rate_limiter import check_key

_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.25
"""Seconds between two looks of who waits."""


class Barrier:
    """So many parties wait until all of them are there.

    Inside an actor the party is the message: delivered again, after its worker was killed, it is the same party.
    Elsewhere every :meth:`wait` is another one.

    Parameters:
        key: 1 to 255 printable characters; use each for one gathering.
        ttl: milliseconds after the last arrival, or after :meth:`create`, for which the barrier is remembered.
    """

    def __init__(self, backend: RateLimiterBackend, key: str, *, ttl: int = 900_000) -> None:
        check_key(backend, key)
        if type(ttl) is not int or ttl < 1:
            raise ValueError(f"ttl is milliseconds, at least 1: {ttl!r}")
        self.backend = backend
        self.key = key
        self.ttl = ttl

    def create(self, parties: int) -> bool:
        """Say how many there are; False when the barrier is there already, which then stays as it is."""
        if type(parties) is not int or parties < 1:
            raise ValueError(f"parties is an integer of at least 1: {parties!r}")
        return self.backend.expect(self.key, parties, self.ttl)

    def wait(self, *, block: bool = True, timeout: int | None = None) -> bool:
        """Arrive; whether all are there.

        Without ``block`` it answers at once. Otherwise it waits, at most ``timeout`` milliseconds. LookupError when
        nobody has created the barrier, or it is forgotten already.
        """
        running = get_running()
        member = running.message.message_id if running is not None else uuid4().hex
        until = None if timeout is None else clock.monotonic() + timeout / 1000
        arrival = self._seen(self.backend.arrive(self.key, member, True, 0, self.ttl))
        pause = _FIRST_PAUSE
        while block and not arrival.done:
            left = _LONGEST_PAUSE if until is None else until - clock.monotonic()
            if left <= 0:
                break
            time.sleep(min(left, pause * random.uniform(0.5, 1)))
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            arrival = self._seen(self.backend.gathered(self.key))
        return arrival.done

    def _seen(self, arrival: Arrival | None) -> Arrival:
        if arrival is None:
            raise unexpected(self.key)
        return arrival
