"""Claims that begin where the last one ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ... import clock
from ...sql import Database, Row

SLOW = 0.01
"""Seconds: several times what a claim takes that finds at the front what it looks for."""

IN_A_ROW = 3
"""So many slow ones are no accident."""

SHARE = 20
"""So many times as long as a look from the front took, claims begin behind: a twentieth of the time goes on looking."""

LONGEST = 2.0
"""Seconds: what a claim takes that had to wait for something else must not keep urgent messages waiting."""

Position = tuple[int, int]
"""Priority and number of a message in the line of its queue."""

FRONT: Position = (-32_768, 0)


class Claims(Protocol):
    """Claims as :meth:`Queries.take` makes them, but what they take of a queue comes from behind a place in its line;
    from the front where none is given."""

    def take_behind(
        self,
        database: Database,
        worker_id: str,
        shares: Sequence[tuple[str, int]],
        room: int,
        places: Mapping[str, Position],
        *,
        alone: bool,
    ) -> list[Row]: ...


class Headway:
    """The claims of one consumer, which remember how far they have come.

    While a transaction is open that began before messages were finished (a backup, a report), PostgreSQL keeps their
    entries at the front of the line, and each claim steps over all of them. So once claims are slow, most of them begin
    behind the last message that was claimed, and one now and then at the front. What is put back there, or is more
    urgent, waits until then: for ``SHARE`` times a slow claim or ``LONGEST``, and not at all when the rest of the line
    is short.
    """

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._places: dict[str, Position] = {}
        self._slow = 0
        self._until = 0.0

    def take(
        self, database: Database, worker_id: str, shares: Sequence[tuple[str, int]], room: int, *, alone: bool
    ) -> list[Row]:
        """As :meth:`Queries.take`. Of two claims only the second finds anything, so one that fails leaves none."""
        if clock.monotonic() < self._until:
            rows = self._claims.take_behind(database, worker_id, shares, room, self._places, alone=alone)
            self._note(rows)
            if len(rows) < room:
                self._until = 0.0
            if rows:
                return rows
        return self._take_from_the_front(database, worker_id, shares, room, alone)

    def _take_from_the_front(
        self, database: Database, worker_id: str, shares: Sequence[tuple[str, int]], room: int, alone: bool
    ) -> list[Row]:
        began = clock.monotonic()
        rows = self._claims.take_behind(database, worker_id, shares, room, {}, alone=alone)
        took = clock.monotonic() - began
        self._slow = self._slow + 1 if took >= SLOW and len(rows) >= room else 0
        if self._slow >= IN_A_ROW:
            self._places = {}
            self._note(rows)
            self._until = began + took + min(LONGEST, took * SHARE)
        return rows

    def _note(self, rows: Sequence[Row]) -> None:
        for row in rows:
            place, queue_name = (row[10], row[0]), row[2]
            self._places[queue_name] = max(place, self._places.get(queue_name, FRONT))
