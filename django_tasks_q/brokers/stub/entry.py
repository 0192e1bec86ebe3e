"""One message as the stub holds it."""

from __future__ import annotations

from typing import Literal

import msgspec

from ...deliveries import (
    Delivery,
    Held,
)
from ...unique import Unique

Place = Literal["ready", "suspect", "delayed", "in_flight", "dead"]


class Entry(msgspec.Struct):
    """One message as the broker holds it. ``sequence`` is its place in line and never changes."""

    sequence: int
    message_id: str
    queue_name: str
    payload: bytes
    priority: int
    place: Place = "ready"
    due_at: int = 0
    owner: str = ""
    number: int = 0
    retries: int = 0
    lost: int = 0
    life: int = 0
    enqueued_at: int = 0
    started_at: int | None = None
    died: int = 0
    died_at: int = 0
    reason: str = ""
    parked: str = ""
    record: bool = True
    unique: Unique | None = None
    unique_until: int | None = None

    def delivery(self) -> Delivery:
        return Delivery(
            self.sequence,
            self.message_id,
            self.queue_name,
            self.payload,
            self.number,
            self.retries,
            self.lost,
            self.life,
            self.enqueued_at,
            self.record,
        )

    def held(self) -> Held:
        return Held(self.delivery(), _state(self.place), self.due_at, self.owner)


def _state(place: Place) -> Literal["ready", "delayed", "in_flight", "dead"]:
    """A suspect is as ready as others, only for another worker."""
    return "ready" if place == "suspect" else place


def counters(entry: Entry) -> tuple[int, int, int, int, bool]:
    """What an event about a message that nobody runs tells of it."""
    return entry.life, entry.retries, entry.number, entry.lost, entry.record


def rank(entry: Entry) -> int:
    """What orders messages of one place, before their place in line does."""
    return {"ready": entry.priority, "dead": entry.died}.get(entry.place, 0)
