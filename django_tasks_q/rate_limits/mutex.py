"""What a backend keeps for one key, and every change of it, as values: no storage here, no clock."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import msgspec


class Owner(NamedTuple):
    """Who acquires. ``message_id`` is empty outside of actors."""

    worker: str
    message_id: str


class Holder(msgspec.Struct, frozen=True):
    """One lease. Times are epoch milliseconds of the store, ``ttl`` milliseconds."""

    message_id: str
    worker: str
    since: int
    token: int
    expires_at: int
    ttl: int


class Mutex(msgspec.Struct, frozen=True):
    """A key and who holds it.

    ``version`` rises with every change, at least to the microseconds of the store's clock: so it never begins anew,
    not even when the key was forgotten meanwhile, and the version that an acquisition makes is its fencing token.
    It also says when the key was last used.
    """

    version: int = 0
    limit: int = 1
    holders: tuple[Holder, ...] = ()

    def live(self, now: int) -> tuple[Holder, ...]:
        """The leases that are not over."""
        return tuple(holder for holder in self.holders if holder.expires_at > now)

    @property
    def expires_at(self) -> int | None:
        """When the last lease ends; None when there is none."""
        return max((holder.expires_at for holder in self.holders), default=None)

    def take(self, now: int, owner: Owner, limit: int, ttl: int) -> Mutex | None:
        """With one more holder, the last one, whose token is the version; None when ``limit`` are there."""
        live = self.live(now)
        if len(live) >= limit:
            return None
        token = self._next_version(now)
        holder = Holder(owner.message_id, owner.worker, now, token, now + ttl, ttl)
        return Mutex(token, limit, (*live, holder))

    def without(self, now: int, tokens: Collection[int]) -> Mutex | None:
        """Without these holders; None when none of them is there."""
        if not any(holder.token in tokens for holder in self.holders):
            return None
        kept = tuple(holder for holder in self.live(now) if holder.token not in tokens)
        return Mutex(self._next_version(now), self.limit, kept)

    def renewed(self, now: int, tokens: Collection[int]) -> Mutex | None:
        """With a whole lease for each of these that is not over; None when all of them are."""
        live = self.live(now)
        if not any(holder.token in tokens for holder in live):
            return None
        holders = tuple(
            msgspec.structs.replace(holder, expires_at=now + holder.ttl) if holder.token in tokens else holder
            for holder in live
        )
        return Mutex(self._next_version(now), self.limit, holders)

    def _next_version(self, now: int) -> int:
        return max(self.version + 1, now * 1000)
