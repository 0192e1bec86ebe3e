"""Events that RabbitMQ has not taken yet: they go out again until it has, or until there are too many."""

from __future__ import annotations

from collections import deque
from typing import Any

from pika import BasicProperties

from .confirming_channel import ConfirmingChannel
from .parcel import Item

WRITER, SEQUENCE, AT, EVENTS = "x-dtq-writer", "x-dtq-sequence", "x-dtq-at", "x-dtq-events"
DROPPED, DROPPED_SINCE = "x-dtq-dropped", "x-dtq-dropped-since"

OVERHEAD = 250
"""Bytes that a message of the journal takes beside its events."""

BUDGET = 16 * 1024 * 1024
"""Bytes of events that a process keeps for RabbitMQ; beyond it the oldest are dropped, which is a gap."""

_MOST_ON_THE_WAY = 350
"""Notes that are published and not confirmed. RabbitMQ stops reading from a channel that has some 400 messages on their
way to a queue that does not take them, and with the notes what people send would wait."""

_FULL = 65_536
"""Bytes from which on a message of the journal takes no more events."""


class Note(Item):
    """One message of the journal: ``number`` events, packed at ``at`` (epoch ms). Nobody waits for it.

    ``sequence``: its place among those of its writer, 0 until it is sent. ``dropped``: events that were given up before
    it, since ``dropped_since``. ``channel``: where it was published last.
    """

    __slots__ = ("at", "channel", "dropped", "dropped_since", "number", "sequence")

    is_awaited = False

    def __init__(self, routing_key: str, encoded: list[bytes], at: int) -> None:
        super().__init__(routing_key, None, _packed(encoded))
        self.number = len(encoded)
        self.at = self.dropped_since = at
        self.sequence = 0
        self.dropped = 0
        self.channel: ConfirmingChannel | None = None

    @property
    def size(self) -> int:
        return len(self.body) + OVERHEAD

    def is_on_its_way(self, channel: ConfirmingChannel) -> bool:
        """Whether it was published there, and nothing says that it is lost."""
        return self.channel is channel and self.error is None

    def replace(self, encoded: list[bytes]) -> None:
        """Tell of these events instead; of none, it still shows that nothing is missing at its place."""
        self.body, self.number = _packed(encoded), len(encoded)

    def take_in(self, other: Note) -> bool:
        """Tell of the events of a later note too; False when they must go on their own."""
        if self.sequence or other.sequence or self.size + other.size > _FULL:
            return False
        self.body = self.body[:-1] + b"," + other.body[1:]
        self.number += other.number
        return True


def _packed(encoded: list[bytes]) -> bytes:
    return b"[" + b",".join(encoded) + b"]"


class Untold:
    """The notes of one writer that are not confirmed, in their order.

    Publishing one twice is harmless: records take an event once, and a reader knows the number of the note.
    """

    def __init__(self, writer: str) -> None:
        self._writer = writer
        self._sequence = 0
        self._notes: deque[Note] = deque()
        self._on_the_way: list[Note] = []
        self._size = 0
        self._dropped = 0
        self._dropped_since = 0

    def __bool__(self) -> bool:
        return bool(self._notes)

    def keep(self, note: Note) -> None:
        """Keep a note until it is confirmed; the oldest give way when there are too many bytes."""
        self._forget_confirmed()
        if self._notes and self._notes[-1].take_in(note):
            self._size += len(note.body) - 1
        else:
            self._notes.append(note)
            self._size += note.size
        while self._size > BUDGET and len(self._notes) > 1:
            self._drop(self._notes.popleft())
            self._forget_confirmed()  # those behind it may be; they are no gap

    def _drop(self, note: Note) -> None:
        self._size -= note.size
        since = note.dropped_since if note.dropped else note.at
        self._dropped_since = min(self._dropped_since, since) if self._dropped else since
        self._dropped += note.number + note.dropped
        note.replace([])  # its channel keeps it until it is confirmed

    def _forget_confirmed(self) -> None:
        while self._notes and self._notes[0].is_confirmed:
            self._size -= self._notes.popleft().size

    def send(self, channel: ConfirmingChannel, note: Note | None) -> None:
        """Publish what is kept and not on its way on this channel, and then ``note``, which is not kept yet.

        As much as may be on its way; the rest, ``note`` included, is for another time.
        """
        self._forget_confirmed()
        self._on_the_way = [one for one in self._on_the_way if one.channel is channel and not one.is_resolved]
        waiting = [one for one in self._notes if not one.is_confirmed and not one.is_on_its_way(channel)]
        if note is not None:
            waiting.append(note)
        for one in waiting[: _MOST_ON_THE_WAY - len(self._on_the_way)]:
            self._send(one, channel)
            self._on_the_way.append(one)

    def _send(self, note: Note, channel: ConfirmingChannel) -> None:
        if not note.sequence:
            self._sequence += 1
            note.sequence = self._sequence
        if self._dropped:
            note.dropped_since = min(note.dropped_since, self._dropped_since) if note.dropped else self._dropped_since
            note.dropped += self._dropped
            self._dropped = 0
        note.channel, note.error, note.returns = channel, None, 0
        note.properties = BasicProperties(delivery_mode=2, headers=self._headers(note))
        channel.publish(note)

    def _headers(self, note: Note) -> dict[str, Any]:
        headers = {WRITER: self._writer, SEQUENCE: note.sequence, AT: note.at, EVENTS: note.number}
        if note.dropped:
            headers |= {DROPPED: note.dropped, DROPPED_SINCE: note.dropped_since}
        return headers
