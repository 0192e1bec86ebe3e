"""Leases on a store that can do one thing: replace what it has for a key, if that is still what was read."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection
from typing import NamedTuple

from ..backend import Held, RateLimiterBackend
from ..mutex import Mutex, Owner

Step = Callable[[Mutex, int], "Mutex | None"]
"""From what is there, and the store's time in epoch milliseconds, to what shall be; None changes nothing."""


class Change(NamedTuple):
    """What a step found and made, and when. ``after`` is None when it wanted no change."""

    before: Mutex
    after: Mutex | None
    now: int


class CompareAndSwapBackend(RateLimiterBackend):
    """Every operation as a step that is carried out atomically. Leases that are over are dropped by the next change."""

    @abstractmethod
    def _change(self, key: str, step: Step) -> Change:
        """Carry out a step. It may be called several times; the last call is the one that counts."""

    @abstractmethod
    def _read(self, key: str) -> tuple[Mutex, int]:
        """What is there, and the store's time."""

    @abstractmethod
    def _read_held(self) -> tuple[list[tuple[str, Mutex]], int]:
        """The keys with leases that are not over, in order, and the store's time."""

    def acquire(self, key: str, owner: Owner, limit: int, ttl: int) -> int | None:
        after = self._change(key, lambda mutex, now: mutex.take(now, owner, limit, ttl)).after
        return None if after is None else after.version

    def release(self, key: str, token: int) -> bool:
        return self.force_release(key, token) == 1

    def force_release(self, key: str, token: int | None = None) -> int:
        def step(mutex: Mutex, now: int) -> Mutex | None:
            return mutex.without(now, [holder.token for holder in mutex.holders] if token is None else [token])

        before, _, now = self._change(key, step)
        return sum(1 for holder in before.live(now) if token is None or holder.token == token)

    def renew(self, leases: Collection[tuple[str, int]]) -> int:
        tokens: defaultdict[str, list[int]] = defaultdict(list)
        for key, token in leases:
            tokens[key].append(token)
        return sum(self._renew(key, several) for key, several in tokens.items())

    def _renew(self, key: str, tokens: list[int]) -> int:
        before, _, now = self._change(key, lambda mutex, now: mutex.renewed(now, tokens))
        return sum(1 for holder in before.live(now) if holder.token in tokens)

    def remaining(self, key: str, token: int) -> int | None:
        mutex, now = self._read(key)
        return next((holder.expires_at - now for holder in mutex.live(now) if holder.token == token), None)

    def held(self, key: str) -> int:
        mutex, now = self._read(key)
        return len(mutex.live(now))

    def inspect(self) -> list[Held]:
        mutexes, now = self._read_held()
        return [
            Held(key, mutex.limit, holder, holder.expires_at - now)
            for key, mutex in mutexes
            for holder in mutex.live(now)
        ]
