"""The events of the Redis broker: a stream for each queue, an entry for each script that had something to tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ...errors import DecodeError
from ...events import Event
from ...journal import Backlog, Gap, Journal, Stretch, decode
from ...waker import Waker
from .ear import RedisEar

if TYPE_CHECKING:
    from .store import RedisStore

_FIRST_ENTRIES = 4
"""Entries of the stream that are read first. One may hold hundreds of events: these tell how many more to ask for."""

_MOST_ENTRIES = 1_000
"""Entries that one script forgets."""


class RedisJournal(Journal):
    """Its partitions are the queues that have events, or a gap.

    A gap's times are those at which its events were written.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    def ear(self, waker: Waker) -> RedisEar:
        return RedisEar(self._store, waker)

    def partitions(self) -> list[str]:
        names = self._store.known_queues()
        rows = self._store.ask_about("backlog", names)
        return [name for name, (events, _, _, dropped, *_) in zip(names, rows, strict=True) if events or dropped]

    def read(self, partition: str, limit: int) -> Stretch:
        while (stretch := self._read(partition, limit)) is None:
            pass
        return stretch

    def _read(self, partition: str, limit: int) -> Stretch | None:
        """None when the oldest entry has turned into a gap."""
        gap = self.backlog(partition).gap
        events: list[Event] = []
        ids: list[bytes] = []
        for entry, fields in self._entries(partition, limit):
            found, bad = _decoded(fields[1::2])
            if events and (bad or len(events) + len(found) > limit):
                break
            if bad:
                positions = (b"%d" % position for position in bad)
                self._store.call_on("spoil", partition, self._store.link.publish, entry, *positions)
                return None
            events += found
            ids.append(entry)
            if len(events) >= limit or len(ids) >= _MOST_ENTRIES:
                break
        return Stretch(events, (ids[0], ids[-1]) if ids else None, gap)

    def _entries(self, partition: str, limit: int) -> Iterator[tuple[bytes, list[bytes]]]:
        """From the oldest on; about as many are asked for as hold ``limit`` events."""
        stream = self._store.keys.named(partition, "journal")
        start, count, left = b"-", _FIRST_ENTRIES, limit
        while True:
            entries = self._store.link.command(stream, b"XRANGE", stream, start, b"+", b"COUNT", b"%d" % count)
            yield from ((entry, fields) for entry, fields in entries)
            if len(entries) < count:
                return
            events = sum(len(fields) // 2 for _, fields in entries)
            left = max(1, left - events)
            count = min(_MOST_ENTRIES, left * len(entries) // events + 1)
            start = b"(" + entries[-1][0]

    def trim(self, partition: str, stretch: Stretch) -> None:
        if stretch.end is not None:
            self._store.call_on("trim", partition, *stretch.end)

    def trim_gap(self, partition: str, gap: Gap) -> None:
        self._store.call_on("trim_gap", partition, b"%d" % gap.dropped, b"%d" % gap.until)

    def backlog(self, partition: str) -> Backlog:
        events, used, age, dropped, since, until = self._store.call_on("backlog", partition)[0]
        gap = Gap(dropped, since, until, (partition,)) if dropped else None
        return Backlog(events, used / self._store.journal_max_bytes, age, gap)


def _decoded(fields: Sequence[bytes]) -> tuple[list[Event], list[int]]:
    """The events that can be read, and the positions of those that cannot, from 1."""
    events, bad = [], []
    for position, data in enumerate(fields, start=1):
        try:
            events.append(decode(data))
        except DecodeError:
            bad.append(position)
    return events, bad
