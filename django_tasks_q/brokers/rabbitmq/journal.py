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
from .journal_writer import AT, EVENTS, SEQUENCE, WRITER
from .reader import Reader
from .topology import ready

if TYPE_CHECKING:
    from .broker import RabbitmqBroker

PREFETCH = 1_000
"""Messages that RabbitMQ sends to a reader before any is trimmed."""

_IDLE = 10.0
"""Seconds without a read after which what a reader holds is given back to others."""

_TYPICAL_SIZE = 600

_sessions = count(1)


class Entry:
    """One message of the journal. ``events`` is None for what cannot be read."""

    __slots__ = ("at", "events", "is_told", "number", "sequence", "size", "tag", "writer")

    def __init__(self, tag: int, headers: dict[str, Any], body: bytes) -> None:
        self.tag = tag
        self.writer = str(headers.get(WRITER, ""))
        self.sequence = _whole(headers.get(SEQUENCE))
        self.at = _whole(headers.get(AT)) or clock.wall_ms()
        self.number = max(1, _whole(headers.get(EVENTS)))
        self.size = len(body)
        self.events = _decode(body)
        self.is_told = False


class RabbitmqJournal(Journal):
    """Events of all queues, in one partition. What was read is hidden from other readers until it is trimmed.

    Writers number their messages, so whoever reads sees when one is missing, as long as it reads on.
    """

    def __init__(self, broker: RabbitmqBroker, reader: Reader) -> None:
        self._broker = broker
        self._reader = reader
        self._connection: Connection | None = None
        self._channel: Any = None
        self._session = 0
        self._entries: deque[Entry] = deque()
        self._seen: dict[str, Entry] = {}
        self._told: list[tuple[str, Entry]] = []
        self._read_at = 0.0

    def partitions(self) -> list[str]:
        return [self._broker.topology.journal]

    # Reading

    def read(self, partition: str, limit: int) -> Stretch:
        with self._reading() as connection:
            connection.breathe()
            if connection.is_open and len(self._entries) < limit:
                self._look(connection)
            return self._stretch(limit)

    def trim(self, partition: str, stretch: Stretch) -> None:
        session, tag = stretch.end or (0, 0)
        with self._reader.connected() as connection:
            if session != self._session or not self._is_reading(connection) or not self._entries:
                return  # it was given back; whoever reads next reads it again
            last = 0
            while self._entries and self._entries[0].tag <= tag:
                entry = self._entries.popleft()
                self._seen[entry.writer] = entry
                last = entry.tag
            if last:
                self._channel.basic_ack(last, multiple=True)
                connection.flush()

    def trim_gap(self, partition: str, gap: Gap) -> None:
        for writer, entry in self._told:
            entry.is_told = True
            self._seen.pop(writer, None)
        self._told = []

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

    def _stretch(self, limit: int) -> Stretch:
        """The entries up to the next hole among them, with the hole before them."""
        seen = dict(self._seen)
        events: list[Event] = []
        gap: Gap | None = None
        end = 0
        self._told = []
        for entry in self._entries:
            hole = self._hole(entry, seen.get(entry.writer))
            if hole is not None:
                if events:
                    break
                gap = hole if gap is None else _joined(gap, hole)
                self._told.append((entry.writer, entry))
            elif events and len(events) + len(entry.events or ()) > limit:
                break
            events += entry.events or ()
            seen[entry.writer] = entry
            end = entry.tag
        return Stretch(events, (self._session, end) if end else None, gap)

    def _hole(self, entry: Entry, before: Entry | None) -> Gap | None:
        """What is missing before an entry, or in it, and was not told yet."""
        if entry.is_told:
            return None
        unreadable = entry.number if entry.events is None else 0
        missing = 0 if before is None else max(0, entry.sequence - before.sequence - 1)
        if not unreadable + missing:
            return None
        since = entry.at if before is None or not missing else min(before.at, entry.at)
        return Gap(unreadable + missing, since, entry.at)

    # The session

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._reader.connected() as connection:
            self._read_at = clock.monotonic()
            if not self._is_reading(connection):
                self._begin(connection)
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
        connection.ask(channel.basic_qos, prefetch_count=PREFETCH)
        connection.ask(channel.basic_consume, self._broker.topology.journal, self._arrive)
        self._connection, self._channel = connection, channel
        self._session = next(_sessions)

    def _arrive(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._entries.append(Entry(method.delivery_tag, properties.headers or {}, body))

    def _look(self, connection: Connection) -> None:
        """Take in what is on its way: what RabbitMQ had sent when it was asked has arrived with its second answer."""
        name = self._broker.topology.journal
        try:
            for _ in range(2):
                connection.ask(self._channel.queue_declare, name, passive=True)
        except ChannelClosed:
            self._forget()  # somebody deleted it; the next read makes it anew

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

    def _forget(self) -> None:
        self._connection = self._channel = None
        self._session = 0
        self._entries.clear()
        self._seen.clear()
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
