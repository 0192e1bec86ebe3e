"""The base of all rate limiters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from ..errors import RateLimitExceeded
from .backend import RateLimiterBackend

MAX_KEY_LENGTH = 255

Grant = TypeVar("Grant")


class RateLimiter(ABC, Generic[Grant]):
    """Grants something, or refuses it, and takes it back.

    Parameters:
        key: 1 to 255 printable characters; limiters of one key and backend share a limit, wherever they are made.
    """

    def __init__(self, backend: RateLimiterBackend, key: str) -> None:
        check_key(backend, key)
        self.backend = backend
        self.key = key

    @contextmanager
    def acquire(self, *, raise_on_failure: bool = True) -> Iterator[Grant]:
        """What was granted, for the length of the block; it is true when something was.

        When nothing was: RateLimitExceeded, or something false with ``raise_on_failure=False``.
        """
        grant = self._acquire()
        try:
            if not grant and raise_on_failure:
                raise RateLimitExceeded(f"The rate limit of {self.key!r} was reached.")
            yield grant
        finally:
            if grant:
                self._release(grant)

    @abstractmethod
    def _acquire(self) -> Grant:
        """Something true when there is room, else something false."""

    @abstractmethod
    def _release(self, grant: Grant) -> None:
        """Take back what was granted."""


def check_key(backend: RateLimiterBackend, key: str) -> None:
    """TypeError for what is no backend, ValueError for what is no key."""
    if not isinstance(backend, RateLimiterBackend):
        raise TypeError(f"A rate limiter needs a RateLimiterBackend, not a {type(backend).__name__}.")
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY_LENGTH or not key.isprintable():
        raise ValueError(f"The key of a rate limiter has 1 to {MAX_KEY_LENGTH} printable characters: {key!r:.80}")


def check_limit(limit: int, name: str = "limit") -> None:
    """ValueError unless it is a number of at least 1."""
    if type(limit) is not int or limit < 1:
        raise ValueError(f"{name} is an integer of at least 1: {limit!r}")
