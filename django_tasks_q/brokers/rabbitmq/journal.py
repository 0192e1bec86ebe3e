"""The reading end of the journal: one queue, read from its head, acknowledged when its events are records."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec

from ... import clock
from ...errors import DecodeError, QueueMismatch
from ...events import Event
from ...journal import Backlog, Gap, Journal, Stretch, decode
from .connection import ChannelClosed, Connection
from .reader import Reader
from .sightings import Sighting, Sightings
from .topology import MISSING, ready
from .untold import AT, DROPPED, DROPPED_SINCE, EVENTS, SEQUENCE, WRITER

if TYPE_CHECKING:
    from .store import RabbitmqStore

PREFETCH = 1_000
"""Messages that RabbitMQ sends to a reader before any is trimmed."""

_IDLE = 10.0
"""Seconds without a read after which what a reader holds is given back to others."""

_NODE_IS_AWAY = "home node"
"""What RabbitMQ says of a queue that comes back with its node."""

_MEMORY = 10.0
"""Seconds for which a reader that lost its connection may have been the only one: after that others may have read on,
and what they trimmed would look like a hole."""

_PATIENCE, _PAUSE = 2.0, 0.05
"""Seconds for a missing message to come after all, and between two looks for it: somebody may have taken it to look at
it, and puts it back."""

_BELIEF = 5.0
"""Seconds after a hole that was none of those in which others are believed at once: a journal that overflows has one
after the other, and would overflow the more the longer its reader waits."""

_DRAUGHT = 16
"""Messages to take from the queue's head when a missing one may be there and the reader has no room for it."""

_TYPICAL_SIZE = 600

_sessions = count(1)


class Entry:
    """One message of the journal. ``events`` is None for what cannot be read.

    ``dropped``: events that its writer had to give up before it, since ``dropped_since``.
    """

    __slots__ = ("at", "dropped", "dropped_since", "events", "is_told", "number", "sequence", "size", "tag", "writer")

    def __init__(self, tag: int, headers: dict[str, Any], body: bytes) -> None:
        self.tag = tag
        self.writer = str(headers.get(WRITER, ""))
        self.sequence = _whole(headers.get(SEQUENCE))
        self.at = _whole(headers.get(AT)) or clock.wall_ms()
        self.number = max(1, _whole(headers.get(EVENTS)))
        self.dropped = _whole(headers.get(DROPPED))
        self.dropped_since = _whole(headers.get(DROPPED_SINCE)) or self.at
        self.size = len(body)
        self.events = _decode(body)
        self.is_told = False

    @property
    def lacking(self) -> int:
        """Events of which it says itself that they are lost, or whose bytes do."""
        return self.dropped + (self.number if self.events is None else 0)


class RabbitmqJournal(Journal):
    """Events of all queues, in one partition. What was read is hidden from other readers until it is trimmed.

    Writers number their messages, so whoever reads sees when one is missing, as long as it reads on.
    """

    def __init__(self, broker: RabbitmqStore, reader: Reader) -> None:
        self._broker = broker
        self._reader = reader
        self._connection: Connection | None = None
        self._channel: Any = None
        self._session = 0
        self._entries: deque[Entry] = deque()
        self._seen = Sightings()
        self._told: list[Entry] = []
        self._is_missing = False
        self._believing_until = 0.0
        self._deleted: Gap | None = None
        self._is_cancelled = False
        self._read_at = 0.0

    def partitions(self) -> list[str]:
        return [self._broker.topology.journal]

    # Reading

    def read(self, partition: str, limit: int) -> Stretch:
        with self._reading() as connection:
            connection.breathe()
            if connection.is_open and len(self._entries) < limit:
                self._look(connection)
            return self._settled_stretch(connection, limit)

    def trim(self, partition: str, stretch: Stretch) -> None:
        session, tag = stretch.end or (0, 0)
        with self._reader.connected() as connection:
            if session != self._session or not self._is_reading(connection) or not self._entries:
                return  # it was given back; whoever reads next reads it again
            last = 0
            while self._entries and self._entries[0].tag <= tag:
                entry = self._entries.popleft()
                self._seen.add(entry.writer, entry.sequence, entry.at)
                last = entry.tag
            if last:
                self._channel.basic_ack(last, multiple=True)
                connection.flush()

    def trim_gap(self, partition: str, gap: Gap) -> None:
        for entry in self._told:
            entry.is_told = True
            self._seen.forget(entry.writer)
        self._told = []
        self._deleted = None

    def backlog(self, partition: str) -> Backlog:
        with self._reader.connected() as connection:
            if self._is_reading(connection):
                connection.breathe()
            waiting = (ready(connection, partition) or 0) + len(self._entries)
            oldest = self._oldest(partition) if waiting else None
        if oldest is None:
            return Backlog()
        sizes = [entry.size for entry in self._entries] or [_TYPICAL_SIZE]
        fill = waiting * sum(sizes) / len(sizes) / self._broker.journal_max_bytes
        return Backlog(waiting, min(1.0, fill), max(0, clock.wall_ms() - oldest.at))

    def _oldest(self, partition: str) -> Entry | None:
        if self._entries:
            return self._entries[0]
        with self._reader.taking(partition, 1, for_good=False) as taken:
            return Entry(0, taken[0].properties.headers or {}, taken[0].body) if taken else None

    # Stretches

    def _settled_stretch(self, connection: Connection, limit: int) -> Stretch:
        """A stretch whose hole is one: what is missing had time to come."""
        deadline = clock.monotonic() + _PATIENCE
        while True:
            stretch = self._stretch(limit)
            if not self._is_missing:
                return stretch
            now = clock.monotonic()
            if now >= deadline or now < self._believing_until:
                self._believing_until = now + _BELIEF
                return stretch
            connection.drive(lambda: False, now + _PAUSE)
            if not self._is_reading(connection):
                self._forget()
                return Stretch()
            self._look(connection, _DRAUGHT if len(self._entries) >= PREFETCH else 0)

    def _stretch(self, limit: int) -> Stretch:
        """The entries up to the next hole among them, with the hole before them."""
        self._is_missing = False
        if self._deleted is not None:
            return Stretch(gap=self._deleted)
        seen = self._seen.copy()
        events: list[Event] = []
        gap: Gap | None = None
        end = 0
        self._told = []
        for entry in self._entries:
            hole = self._hole(entry, seen.last(entry.writer))
            if hole is not None:
                if events:
                    break
                gap = hole if gap is None else _joined(gap, hole)
                self._is_missing |= hole.dropped > entry.lacking
                self._told.append(entry)
            elif events and len(events) + len(entry.events or ()) > limit:
                break
            events += entry.events or ()
            seen.add(entry.writer, entry.sequence, entry.at)
            end = entry.tag
        return Stretch(events, (self._session, end) if end else None, gap)

    def _hole(self, entry: Entry, before: Sighting | None) -> Gap | None:
        """What is missing before an entry, or in it, and was not told yet."""
        if entry.is_told:
            return None
        missing = 0 if before is None else self._missing(entry, before)
        dropped = missing + entry.lacking
        if not dropped:
            return None
        since = entry.at if before is None or not missing else min(before.at, entry.at)
        return Gap(dropped, min(since, entry.dropped_since), entry.at)

    def _missing(self, entry: Entry, before: Sighting) -> int:
        """How many messages of its writer are not there between the one before and this; some may come behind it."""
        missing = entry.sequence - before.sequence - 1
        if missing <= 0:
            return 0
        between = range(before.sequence + 1, entry.sequence)
        return missing - len(
            {one.sequence for one in self._entries if one.writer == entry.writer and one.sequence in between}
        )

    # The session

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._reader.connected() as connection:
            if clock.monotonic() - self._read_at > _MEMORY:
                self._seen.clear()
            if not self._is_reading(connection):
                self._begin(connection)
            self._read_at = clock.monotonic()
            yield connection

    def _is_reading(self, connection: Connection) -> bool:
        return connection is self._connection and self._channel is not None and self._channel.is_open

    def _begin(self, connection: Connection) -> None:
        self._forget()
        try:
            self._broker.declare_journal(connection)
        except QueueMismatch:
            pass  # it has the budget that it was made with; who writes to it says so
        channel = connection.open_channel()
        channel.add_on_cancel_callback(self._cancel)
        self._connection, self._channel = connection, channel
        self._consume(connection, PREFETCH)
        self._session = next(_sessions)

    def _consume(self, connection: Connection, most: int) -> str:
        """Have RabbitMQ send up to so many messages ahead of their trim, beside those of other consumers of this."""
        connection.ask(self._channel.basic_qos, prefetch_count=most)
        answer = connection.ask(self._channel.basic_consume, self._broker.topology.journal, self._arrive)
        return str(answer.method.consumer_tag)

    def _arrive(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._entries.append(Entry(method.delivery_tag, properties.headers or {}, body))

    def _cancel(self, frame: Any) -> None:
        """The queue is gone, or its node; if it is there again by now, somebody deleted it and a writer made it."""
        self._is_cancelled = True

    def _look(self, connection: Connection, more: int = 0) -> None:
        """Take in what is on its way: what RabbitMQ had sent when it was asked has arrived with its second answer.

        And up to ``more`` than it sends ahead.
        """
        name = self._broker.topology.journal
        try:
            consumer = self._consume(connection, more) if more else None
            for _ in range(2):
                connection.ask(self._channel.queue_declare, name, passive=True)
            if consumer is not None:
                connection.ask(self._channel.basic_cancel, consumer)
            if self._is_cancelled:
                self._note_deletion()
                connection.close_channel(self._channel)
                self._forget()
        except ChannelClosed as error:
            if error.code == MISSING and _NODE_IS_AWAY not in error.text:
                self._note_deletion()
            self._forget()  # the next read makes it anew

    def _note_deletion(self) -> None:
        """Nobody can say what was in a journal that somebody deleted."""
        now = clock.wall_ms()
        lost = sum(entry.number for entry in self._entries)
        self._deleted = Gap(max(1, lost), min((entry.at for entry in self._entries), default=now), now)
        self._is_cancelled = False

    def release_if_idle(self) -> None:
        """Give back what is held here and not read on, so that another mirror may have it."""
        if self._channel is not None and clock.monotonic() - self._read_at > _IDLE:
            self.close()

    def close(self) -> None:
        """Stop reading; what was not trimmed is there for others."""
        if self._channel is not None:
            with self._reader.connected() as connection:
                if self._is_reading(connection):
                    connection.close_channel(self._channel)
                self._forget()
        self._seen.clear()  # others read on

    def _forget(self) -> None:
        self._connection = self._channel = None
        self._session = 0
        self._is_cancelled = False
        self._entries.clear()
        self._told = []


def _joined(first: Gap, second: Gap) -> Gap:
    return Gap(first.dropped + second.dropped, min(first.since, second.since), max(first.until, second.until))


def _decode(body: bytes) -> Sequence[Event] | None:
    try:
        return [decode(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeDecodeError, DecodeError):
        return _decode_slowly(body)


def _decode_slowly(body: bytes) -> Sequence[Event] | None:
    """Texts with lone surrogates, which msgspec refuses."""
    try:
        found = json.loads(body)
        return [decode(json.dumps(one).encode("ascii")) for one in found] if isinstance(found, list) else None
    except (ValueError, RecursionError, DecodeError):
        return None


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, int) and value > 0 else 0
