"""What rate limiters need of a store: its meaning, no storage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from threading import Lock
from typing import ClassVar, NamedTuple
from weakref import WeakSet

from ..backends import FromSettings
from .admissions import Span
from .gathering import Arrival
from .mutex import Holder, Owner

_backends: WeakSet[RateLimiterBackend] = WeakSet()
_lock = Lock()


class Held(NamedTuple):
    """One lease that is not over. ``remaining`` is milliseconds."""

    key: str
    limit: int
    holder: Holder
    remaining: int


class RateLimiterBackend(ABC):
    """Keeps leases: whose they are and when they end, by the store's own clock.

    Making one opens no connection. Every call raises a BrokerError when the store cannot be reached.
    """

    is_known: ClassVar[bool] = True
    """Whether whoever looks after all leases finds it; False for another way to the store of one that is found."""

    def __init__(self) -> None:
        if self.is_known:
            with _lock:
                _backends.add(self)

    @property
    @abstractmethod
    def address(self) -> str:
        """The same for two backends on one store; people see it, so no password is in it."""

    @abstractmethod
    def acquire(self, key: str, owner: Owner, limit: int, ttl: int) -> int | None:
        """A lease of ``ttl`` milliseconds: its fencing token, None when ``limit`` others are held.

        Tokens of a key rise with each acquisition and never begin anew.
        """

    @abstractmethod
    def release(self, key: str, token: int) -> bool:
        """End the lease of this token and no other; False when it was over."""

    @abstractmethod
    def remaining(self, key: str, token: int) -> int | None:
        """Milliseconds that are left of a lease; None when it is over."""

    @abstractmethod
    def held(self, key: str) -> int:
        """How many leases of a key are not over."""

    @abstractmethod
    def renew(self, leases: Collection[tuple[str, int]]) -> int:
        """Begin the leases of these keys and tokens again; how many were not over. One that is over stays over."""

    @abstractmethod
    def force_release(self, key: str, token: int | None = None) -> int:
        """End a lease for its holder, or all of a key; how many. The holder sees ``lease_lost``."""

    @abstractmethod
    def inspect(self) -> list[Held]:
        """All leases that are not over, by key."""

    @abstractmethod
    def admit(self, key: str, limit: int, span: Span, *, queues: bool = False) -> int:
        """Admit one more if fewer than ``limit`` were within the span: 0, else for how many milliseconds to wait.

        ``queues``: who has to wait will come again then; each gets a time of his own, at the pace of the limit.
        """

    @abstractmethod
    def expect(self, key: str, parties: int, ttl: int) -> bool:
        """Say how many will arrive; False when somebody has said so, or somebody has arrived."""

    @abstractmethod
    def gathered(self, key: str) -> Arrival | None:
        """What stands, for somebody who has not arrived; None when nothing is known of the key."""

    @abstractmethod
    def arrived(self, key: str) -> list[str]:
        """Who has arrived, in no order."""

    @abstractmethod
    def arrive(self, key: str, member: str, ok: bool, parties: int, ttl: int) -> Arrival:
        """Note that a member, one of ``parties`` (0: as many as expected), has arrived, ok or not; what stands then.

        A set of members with a status each, not a counter: who arrives again is counted once. Who was not ok may arrive
        as ok later; who was ok stays ok. All of it is forgotten ``ttl`` milliseconds after the last arrival. Keys of
        gatherings and of leases do not know each other. LookupError when nobody has said how many are expected.
        """

    @abstractmethod
    def forget_idle(self, idle: int, limit: int = 1_000) -> int:
        """Forget keys that nobody has used for ``idle`` milliseconds, at most ``limit`` of them; how many.

        What says itself how long it is kept, as gatherings do, is forgotten as soon as that is over, beside them; when
        there may be more of it the answer is ``limit``, too.
        """

    def apart(self) -> RateLimiterBackend:
        """The same store as the engine asks it in threads that run people's code, whose connections come and go."""
        return self

    def close(self) -> None:
        """Let go of connections that are this backend's own. It stays usable: the next call makes a new one."""

    def own_thread(self) -> None:
        """Only the engine uses what connections this thread has: nothing here is part of somebody's transaction."""


def known_backends() -> list[RateLimiterBackend]:
    """One backend for each store that this process uses for rate limits."""
    with _lock:
        return list({backend.address: backend for backend in _backends}.values())


get_rate_limiter_backend: FromSettings[RateLimiterBackend] = FromSettings()
"""The backend of ``RATE_LIMITS_URL``, else the one that fits the broker. RuntimeError without Django."""
