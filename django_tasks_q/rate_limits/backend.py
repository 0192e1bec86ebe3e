"""What rate limiters need of a store: its meaning, no storage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from threading import Lock
from typing import NamedTuple
from weakref import WeakSet

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

    def __init__(self) -> None:
        with _lock:
            _backends.add(self)

    @property
    @abstractmethod
    def address(self) -> str:
        """The same for two backends on one store."""

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
    def renew(self, leases: Collection[tuple[str, int]]) -> int:
        """Begin the leases of these keys and tokens again; how many were not over. One that is over stays over."""

    @abstractmethod
    def force_release(self, key: str, token: int | None = None) -> int:
        """End a lease for its holder, or all of a key; how many. The holder sees ``lease_lost``."""

    @abstractmethod
    def inspect(self) -> list[Held]:
        """All leases that are not over, by key."""

    @abstractmethod
    def forget_idle(self, idle: int, limit: int = 1_000) -> int:
        """Forget keys that nobody has used for ``idle`` milliseconds, at most ``limit`` of them; how many."""

    def own_thread(self) -> None:
        """Only the engine uses what connections this thread has: nothing here is part of somebody's transaction."""


def known_backends() -> list[RateLimiterBackend]:
    """One backend for each store that this process uses for rate limits."""
    with _lock:
        return list({backend.address: backend for backend in _backends}.values())


_factory: Callable[[], RateLimiterBackend] | None = None


def get_rate_limiter_backend() -> RateLimiterBackend:
    """The backend that the settings describe: ``RATE_LIMITS_URL``, else the one that fits the broker.

    RuntimeError without Django.
    """
    if _factory is None:
        raise RuntimeError(
            "There are no settings to take a backend from: make one (StubBackend()), or put 'django_tasks_q' in "
            "INSTALLED_APPS and set Django up."
        )
    return _factory()


def set_rate_limiter_backend_factory(factory: Callable[[], RateLimiterBackend]) -> None:
    """Say who reads the settings; the Django floor does."""
    global _factory
    _factory = factory
