"""Who holds which key, in memory: what the rows of the database do, for tests of a broker alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import RLock

from django_tasks_q import clock
from django_tasks_q.deliveries import Outgoing
from django_tasks_q.unique import held_by
from django_tasks_q.unique_holders import UniqueHolders


class MemoryHolders(UniqueHolders):
    """Ids and when their time is over, by key."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._held: dict[str, tuple[str, float | None]] = {}

    def take(self, outgoing: Sequence[Outgoing], *, caused: bool = False) -> Mapping[str, str]:
        left_out: dict[str, str] = {}
        with self._lock:
            before = dict(self._held)
            for item in outgoing:
                assert item.unique is not None
                message_id = item.message.message_id
                holder = self.holder(item.unique.key)
                if holder is not None and holder != message_id:
                    left_out[message_id] = holder
                    if item.unique.on_conflict == "raise" and not caused:
                        self._held = before
                        raise held_by(item, holder)
                elif holder is None:
                    self._held[item.unique.key] = (message_id, _end(item.unique.ttl))
        return left_out

    def sent(self, message_ids: Sequence[str]) -> None:
        """Nobody dies here."""

    def extend(self, key: str, message_id: str, ttl: int | None) -> None:
        with self._lock:
            if self.holder(key) == message_id:
                self._held[key] = (message_id, _end(ttl))

    def release(self, held: Sequence[tuple[str, str]]) -> None:
        with self._lock:
            for key, message_id in held:
                if self._held.get(key, ("", None))[0] == message_id:
                    del self._held[key]

    def forget(self, message_ids: Sequence[str]) -> None:
        with self._lock:
            self._held = {key: held for key, held in self._held.items() if held[0] not in message_ids}

    def holder(self, key: str) -> str | None:
        with self._lock:
            message_id, end = self._held.get(key, (None, None))
            return None if end is not None and end <= clock.monotonic() else message_id

    def close(self) -> None:
        """There are no connections."""


def _end(ttl: int | None) -> float | None:
    return None if ttl is None else clock.monotonic() + ttl / 1000
