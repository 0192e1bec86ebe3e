"""Settlements as rows: the one place where a delivery of the database broker comes to its end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from ... import changes, clock
from ...deliveries import Outgoing, Settlement
from ...events import Event
from ...mirror import RecordWriter
from ...models import Place
from ...outcomes import Dead, Done, Outcome, Parked, Requeue, Retry, Revoked, Skipped
from ...results.backends.rows import ResultRows
from ...sql import Database
from ...unique import take_keys
from .queries import Born, Queries
from .unique_rows import UniqueRows

MOST_APART = 5_000
"""Milliseconds that the clocks of two hosts, or of a host and the database, may be apart."""


class Stored(NamedTuple):
    """How many messages were new, and by id who keeps out what was left out because its key is held."""

    number: int
    left_out: Mapping[str, str]


class Settler:
    """Carries settlements out, in the caller's transaction, together with what they cause and with their records."""

    def __init__(
        self, database: Database, queries: Queries, writer: RecordWriter, carries_results: Callable[[], bool]
    ) -> None:
        self._database = database
        self._queries = queries
        self._writer = writer
        self._carries_results = carries_results
        self._results = ResultRows(database)
        self.unique = UniqueRows(database, queries, writer)

    def settle(
        self, worker_id: str, settlements: Sequence[Settlement], names: Mapping[int, str] | None = None
    ) -> tuple[frozenset[int], list[Event]]:
        """Settle what ``worker_id`` still owns.

        ``names`` overrides what an attempt is called, by handle. Returns the handles that were refused, and the events
        of the others, which the caller writes.
        """
        finished = [s for s in settlements if isinstance(s.outcome, Done | Skipped | Revoked)]
        put_back = [s for s in settlements if not isinstance(s.outcome, Done | Skipped | Revoked)]
        done: set[int] = set()
        if finished:
            claims = [(s.delivery.handle, s.delivery.number) for s in finished]
            done |= self._queries.finish(self._database, worker_id, claims)
        if put_back:
            done |= self._queries.move(self._database, worker_id, [moved(s) for s in put_back])
        accepted = [s for s in settlements if s.delivery.handle in done]
        now = clock.wall_ms()
        events = [changes.settled(s, worker_id, now, (names or {}).get(s.delivery.handle)) for s in accepted]
        caused = [item for s in accepted for item in s.then]
        if take_keys(caused):
            self.store_unique(caused, caused=True)
        elif caused:
            self.store(caused)
        results = [s.result for s in accepted if s.result is not None]
        if results and self._carries_results():
            self._results.store(results)
        return frozenset(s.delivery.handle for s in settlements if s.delivery.handle not in done), events

    def late(self, worker_id: str, refused: Sequence[Settlement]) -> list[Event]:
        """The attempts of a buried worker that ended too late, which the caller writes.

        A settlement whose answer was lost may have been carried out before the burial: then the record says so, or the
        attempt is there already and is not written twice.
        """
        ids = [settlement.delivery.message_id for settlement in refused]
        known = {row[0]: row[1:] for row in self._database.rows(self._queries.settled(len(ids)), ids)}
        now = clock.wall_ms()
        events = []
        for settlement in refused:
            event = changes.late(settlement, worker_id, now)
            done = changes.settled(settlement, worker_id, now)
            life, *ending = known.get(done.message_id, (None,))
            if event is not None and life == done.life and ending != [done.state, done.delivery, worker_id]:
                events.append(event)
        return events

    def store(self, outgoing: Sequence[Outgoing]) -> int:
        """Insert messages that take no keys, with their records, and wake who waits; how many were new. A known id is
        left as it is."""
        born = self._born(outgoing)
        stored = self._queries.store(self._database, born, self._writer.recording)
        self._write_stamps(born)
        return stored

    def _write_stamps(self, born: Sequence[Born], left_out: Collection[str] = ()) -> None:
        self._writer.write_stamps(
            event for item, event in born if item.record and item.message.message_id not in left_out
        )

    def store_unique(self, outgoing: Sequence[Outgoing], *, caused: bool = False) -> Stored:
        """The same where some take keys.

        ``caused``: by a settlement. DuplicateMessage where a key is held, and who sends it wants that.
        """
        number = 0
        left_out: dict[str, str] = {}
        born = self._born(outgoing)
        for is_unique, stretch in groupby(born, lambda one: one[0].unique is not None):
            if is_unique:
                new, held = self.unique.store(list(stretch), caused=caused)
                left_out.update(held)
            else:
                new = self._queries.store(self._database, list(stretch), self._writer.recording)
            number += new
        self._write_stamps(born, left_out)
        return Stored(number, left_out)

    def _born(self, outgoing: Sequence[Outgoing]) -> list[Born]:
        now = self._now(outgoing)
        return [(item, changes.created(item, now)) for item in self._without_known_repeats(outgoing)]

    def _without_known_repeats(self, outgoing: Sequence[Outgoing]) -> Sequence[Outgoing]:
        """What may have been sent before and has a record of that time was: it must not begin a second life."""
        repeats = [item.message.message_id for item in outgoing if item.sent_since is not None]
        if not repeats:
            return outgoing
        known = {row[0]: row[1:] for row in self._database.rows(self._queries.recorded(len(repeats)), repeats)}
        return [item for item in outgoing if not _was_sent(item, known.get(item.message.message_id))]

    def _now(self, outgoing: Iterable[Outgoing]) -> int:
        """The time that delays count from: the database's. At once needs no time, so it needs no question either."""
        if self._queries.is_here or all(item.delay is None and item.eta is None for item in outgoing):
            return clock.wall_ms()
        return int(self._database.rows(self._queries.select_now)[0][0])


def _was_sent(item: Outgoing, known: tuple[int | None, int | None] | None) -> bool:
    """Whether what is known, when it was created and when it ended, is this message and not an earlier one of its id.

    Times of ends are by the clock of whichever host ran it, so they alone would not tell.
    """
    if item.sent_since is None or known is None:
        return False
    created_at, ended_at = known
    is_younger = ended_at is None or ended_at >= item.sent_since - MOST_APART
    return is_younger and created_at in (None, item.message.message_timestamp)


def moved(settlement: Settlement) -> tuple[Any, ...]:
    """Where a message goes, for :meth:`Queries.move`: place, delay, counters, reason, payload, and the claim."""
    delivery, outcome = settlement.delivery, settlement.outcome
    return (
        int(_place(settlement)),
        outcome.delay if isinstance(outcome, Retry | Parked) else 0,
        changes.retries_after(settlement),
        changes.lost_after(delivery, outcome),
        _reason(outcome),
        isinstance(outcome, Dead),
        settlement.payload,
        delivery.handle,
        delivery.number,
    )


def _reason(outcome: Outcome) -> str:
    """Why a message stands where it does: what it died of, or the mark of what it is parked on."""
    if isinstance(outcome, Dead):
        return outcome.reason
    return outcome.mark if isinstance(outcome, Parked) else ""


def _place(settlement: Settlement) -> Place:
    outcome = settlement.outcome
    if isinstance(outcome, Dead):
        return Place.DEAD
    if isinstance(outcome, Requeue):
        return Place.SUSPECT if outcome.suspect else Place.READY
    return Place.DELAYED
