"""A waiting room in memory: what the rows of the database do, for tests of a broker alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import RLock
from typing import Literal

import msgspec

from django_tasks_q import clock
from django_tasks_q.errors import DuplicateMessage
from django_tasks_q.waiting_room import Kept, Waiting, WaitingRoom


class MemoryRoom(WaitingRoom):
    """Messages by id; the youngest wait of each counts."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._items: dict[str, Kept] = {}
        self._claims: dict[str, float] = {}
        self._known: set[tuple[str, int, int]] = set()

    def keep(self, items: Sequence[Kept]) -> None:
        with self._lock:
            for item in items:
                wait = (item.message_id, item.life, item.number)
                if wait not in self._known:
                    self._known.add(wait)
                    self._items[item.message_id] = item

    def claim_due(self, limit: int) -> list[Kept]:
        with self._lock:
            due = [item for item in self._free() if item.due_at is not None and item.due_at <= clock.wall_ms()]
            due.sort(key=lambda item: item.due_at or 0)
            return [self._claim(item) for item in due[:limit]]

    def claim_parked(self, mark: str, queue_name: str, limit: int) -> list[Kept]:
        with self._lock:
            parked = [
                item
                for item in self._free()
                if (item.kind, item.queue_name, item.reason) == ("parked", queue_name, mark)
            ]
            parked.sort(key=lambda item: item.priority)
            return [self._claim(item) for item in parked[:limit]]

    def _free(self) -> list[Kept]:
        now = clock.monotonic()
        return [item for item in self._items.values() if self._claims.get(item.message_id, 0) <= now]

    def _claim(self, item: Kept) -> Kept:
        self._claims[item.message_id] = clock.monotonic() + self.claim
        return item

    def remove(self, items: Sequence[Kept]) -> None:
        with self._lock:
            for item in items:
                self._items.pop(item.message_id, None)
                self._claims.pop(item.message_id, None)

    def give_up(self, items: Sequence[Kept]) -> None:
        with self._lock:
            for item in items:
                self._claims.pop(item.message_id, None)

    def next_due_in(self) -> int | None:
        with self._lock:
            due = [item.due_at for item in self._items.values() if item.due_at is not None]
            return max(0, min(due) - clock.wall_ms()) if due else None

    def revive(self, message_ids: Sequence[str]) -> list[Kept]:
        with self._lock:
            revived = []
            for item in self._letters(message_ids):
                again = msgspec.structs.replace(
                    item, kind="delay", due_at=clock.wall_ms(), life=item.life + 1, retries=0, lost=0, reason=""
                )
                self._items[item.message_id] = again
                revived.append(self._claim(again))
            return revived

    def _letters(self, message_ids: Iterable[str]) -> list[Kept]:
        wanted = set(message_ids)
        return [item for item in self._free() if item.message_id in wanted and item.kind == "dead"]

    def replace(self, message_id: str, item: Kept) -> Kept | None:
        with self._lock:
            letters = self._letters([message_id])
            if not letters:
                return None
            if item.message_id in self._items:
                raise DuplicateMessage(f"{item.message_id} waits already.")
            self.remove(letters)
            self._items[item.message_id] = item
            if item.due_at is None:
                self._claim(item)
            return letters[0]

    def postpone(self, message_id: str, due_at: int) -> bool:
        with self._lock:
            waits = [item for item in self._free() if item.message_id == message_id and item.due_at is not None]
            for item in waits:
                self._items[message_id] = msgspec.structs.replace(item, kind="delay", reason="", due_at=due_at)
            return bool(waits)

    def discard(self, message_ids: Sequence[str]) -> list[Kept]:
        with self._lock:
            wanted = set(message_ids)
            return self._drop([item for item in self._free() if item.message_id in wanted])

    def _drop(self, items: list[Kept]) -> list[Kept]:
        self.remove(items)
        return items

    def empty(self, queue_name: str, limit: int) -> list[Kept]:
        with self._lock:
            return self._drop([item for item in self._free() if item.queue_name == queue_name][:limit])

    def expire(self, ttl: int, limit: int) -> list[Kept]:
        with self._lock:
            before = clock.wall_ms() - ttl
            old = [item for item in self._free() if item.kind == "dead" and item.since < before]
            return self._drop(old[:limit])

    def look_up(self, message_ids: Sequence[str]) -> list[Kept]:
        with self._lock:
            return [self._items[message_id] for message_id in message_ids if message_id in self._items]

    def peek(self, queue_name: str, state: Literal["delayed", "dead"], limit: int) -> list[Kept]:
        with self._lock:
            here = [item for item in self._items.values() if item.queue_name == queue_name]
            found = [item for item in here if (item.kind == "dead") == (state == "dead")]
            found.sort(key=lambda item: item.since if state == "dead" else item.due_at or 0)
            return found[:limit]

    def counts(self) -> dict[str, Waiting]:
        with self._lock:
            found: dict[str, Waiting] = {}
            for item in self._items.values():
                delayed, dead = found.get(item.queue_name, Waiting())
                is_dead = item.kind == "dead"
                found[item.queue_name] = Waiting(delayed + (not is_dead), dead + is_dead)
            return found
