"""A broker that can neither hold messages back nor show them, in small: what waits is in a waiting room.

What is ready or running is in memory, as the stub's is; what is delayed, retried, parked or dead is first on its way,
as in a queue that nobody can look into, and then in rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from django.db import connections

from django_tasks_q import changes
from django_tasks_q.broker import MAX_BATCH, refuse_one_id
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.brokers.stub.entry import Entry, Place
from django_tasks_q.deliveries import Delivery, Held, Outgoing, QueueCounts
from django_tasks_q.errors import DuplicateMessage
from django_tasks_q.states import State
from django_tasks_q.waiting_room import Kept, Waiting, WaitingKind, WaitingRoom


class RoomBroker(StubBroker):
    """Parameters: the room, and whether whoever looks or claims carries first, instead of a keeper."""

    def __init__(self, room: WaitingRoom, *, carries: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.room = room
        self.on_the_way: list[Kept] = []
        self._carries = carries
        self._lines: dict[str, int] = {}
        """The places in line of what waits; a broker of the real kind forgets them."""
        self._away: dict[str, Entry] = {}
        """What waits, for the keys that it holds."""

    @property
    def waits_in_rows(self) -> bool:
        return True

    def close(self) -> None:
        super().close()
        connections.close_all()

    # Carrying

    def take_in(self, limit: int) -> int:
        with self._changed:
            items = self.on_the_way[:limit]
            self.room.keep(items)
            del self.on_the_way[: len(items)]
            return len(items)

    def release_due(self, limit: int) -> int:
        with self._changed:
            claimed = self.room.claim_due(limit)
            for item in claimed:
                self._note(changes.promoted(item.message_id, self.now(), *_counters(item)))
            self._publish(claimed)
            return len(claimed)

    def _carry(self) -> None:
        if self._carries:
            while self.take_in(MAX_BATCH):
                pass
            while self.release_due(MAX_BATCH):
                pass

    def _publish(self, items: Sequence[Kept]) -> None:
        for item in items:
            line = self._lines.pop(item.message_id, None) or next(self._sequence)
            entry = Entry(
                line, item.message_id, item.queue_name, item.payload, item.priority,
                number=item.number, retries=item.retries, lost=item.lost, life=item.life, enqueued_at=self.now(),
                record=item.record,
            )  # fmt: skip
            self._entries[entry.message_id] = self._by_sequence[entry.sequence] = entry
            self._bring_key_back(entry)
            self._put(entry, "ready")
        self.room.remove(items)
        if items:
            self._wake()

    def _put(self, entry: Entry, place: Place, due_at: int = 0) -> None:
        if place not in ("delayed", "dead"):
            return super()._put(entry, place, due_at)
        kind: WaitingKind = "dead" if place == "dead" else "retry" if entry.retries else "delay"
        self._lines[entry.message_id] = entry.sequence
        self._away[entry.message_id] = entry
        self.on_the_way.append(_kept(entry, kind, due_at or None, self.now()))
        entry.place, entry.owner = place, ""
        del self._entries[entry.message_id]
        del self._by_sequence[entry.sequence]

    # Keys

    def _bring_key_back(self, entry: Entry) -> None:
        before = self._away.pop(entry.message_id, None)
        if before is not None and before.unique is not None:
            entry.unique, entry.unique_until = before.unique, before.unique_until
            if self._holders.get(before.unique.key) is before:
                self._holders[before.unique.key] = entry

    def _discard(self, entries: Sequence[Entry], state: State = State.DISCARDED) -> list[str]:
        away = [entry.message_id for entry in entries if entry.message_id in self._away]
        self.take_in(MAX_BATCH)
        here = super()._discard([entry for entry in entries if entry.message_id not in away], state)
        return here + (self._told(self.room.discard(away), state) if away else [])

    def _refresh(self, entry: Entry, item: Outgoing) -> None:
        if entry.message_id not in self._away:
            return super()._refresh(entry, item)
        now = self.now()
        self._hold(entry, item.unique, now)
        self.take_in(MAX_BATCH)
        self.room.postpone(entry.message_id, changes.due_at(item, now) or now)

    def _promote(self) -> None:
        self._carry()

    def _next_due(self) -> int | None:
        self.take_in(MAX_BATCH)
        left = self.room.next_due_in()
        return None if left is None else self.now() + left if left else 0

    def _enqueue(self, outgoing: Sequence[Outgoing]) -> Mapping[str, str] | None:
        with self._changed:
            self._carry()
            known = {item.message_id for item in self.room.look_up([one.message.message_id for one in outgoing])}
            if any(one.message.message_id in known and one.sent_since is None for one in outgoing):
                raise DuplicateMessage(f"Still waiting: {known}")
            return super()._enqueue([one for one in outgoing if one.message.message_id not in known])

    # Looking and operating

    def counts(self) -> list[QueueCounts]:
        with self._changed:
            self._carry()
            waiting = self.room.counts()
            return [_added(counts, waiting.get(counts.queue_name, Waiting())) for counts in super().counts()]

    def peek(self, queue_name: str, state: Any = "ready", limit: int = 100) -> list[Delivery]:
        self._carry()
        if state not in ("delayed", "dead"):
            return super().peek(queue_name, state, limit)
        return [_delivery(item) for item in self.room.peek(queue_name, state, limit)]

    def look_up(self, message_ids: Sequence[str]) -> dict[str, Held]:
        refuse_one_id(message_ids)
        self._carry()
        waiting = {item.message_id: _held(item) for item in self.room.look_up(message_ids)}
        return waiting | super().look_up(message_ids)

    def requeue(self, message_ids: Sequence[str]) -> list[str]:
        refuse_one_id(message_ids)
        with self._changed:
            self._carry()
            revived = self.room.revive(message_ids)
            for item in revived:
                self._note(changes.requeued(item.message_id, self.now(), item.life, item.number, item.record))
            self._publish(revived)
            for item in revived:
                self._take_key_again(self._entries[item.message_id])
            return [item.message_id for item in revived]

    def _withdraw(self, message_ids: Sequence[str], state: State) -> list[str]:
        with self._changed:
            here = super()._withdraw(message_ids, state)
            self._carry()
            return here + self._told(self.room.discard(message_ids), state)

    def _told(self, gone: Sequence[Kept], state: State = State.DISCARDED) -> list[str]:
        for item in gone:
            self._note(changes.discarded(item.message_id, self.now(), *_counters(item), state=state))
            self._ended[item.message_id] = (item.life + 1, self.now())
            if item.message_id in self._away:
                self._give_up_key(self._away.pop(item.message_id))
        return [item.message_id for item in gone]

    def _replace(self, message_id: str, outgoing: Outgoing) -> bool:
        with self._changed:
            self._carry()
            now, message = self.now(), outgoing.message
            due = changes.due_at(outgoing, now)
            if not any(item.kind == "dead" for item in self.room.look_up([message_id])):
                return False
            if message.message_id in self._entries:
                raise DuplicateMessage(f"{message.message_id} is still waiting or running.")
            item = Kept(
                message.message_id, message.queue_name, outgoing.payload, "delay", due, outgoing.priority,
                enqueued_at=now, since=now, record=outgoing.record,
            )  # fmt: skip
            letter = self.room.replace(message_id, item)
            assert letter is not None
            self._told([letter])
            self._note(changes.created(outgoing, now))
            if due is None:
                self._publish([item])
            return True

    def expire_dead_letters(self, ttl: int, limit: int = MAX_BATCH) -> int:
        self._carry()
        return len(self._told(self.room.expire(ttl, limit)))

    def flush(self, queue_name: str) -> None:
        super().flush(queue_name)
        self._carry()
        while gone := self.room.empty(queue_name, MAX_BATCH):
            self._told(gone)


def _kept(entry: Entry, kind: WaitingKind, due_at: int | None, now: int) -> Kept:
    return Kept(
        entry.message_id, entry.queue_name, entry.payload, kind, due_at, entry.priority, entry.life, entry.number,
        entry.retries, entry.lost, entry.enqueued_at, now, entry.reason, entry.record,
    )  # fmt: skip


def _counters(item: Kept) -> tuple[int, int, int, int, bool]:
    return item.life, item.retries, item.number, item.lost, item.record


def _delivery(item: Kept) -> Delivery:
    return Delivery(
        None, item.message_id, item.queue_name, item.payload, item.number, item.retries, item.lost, item.life,
        item.enqueued_at, item.record,
    )  # fmt: skip


def _held(item: Kept) -> Held:
    return Held(_delivery(item), "dead" if item.kind == "dead" else "delayed", item.due_at or 0)


def _added(counts: QueueCounts, waiting: Waiting) -> QueueCounts:
    return msgspec.structs.replace(counts, delayed=waiting.delayed, dead=waiting.dead)
