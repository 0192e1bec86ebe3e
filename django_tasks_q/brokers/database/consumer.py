"""One worker's side of the database broker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from ... import changes, clock
from ...broker import MAX_BATCH, MAX_QUEUES_PER_EXCHANGE, Consumer
from ...deliveries import Delivery, Exchange, Settlement, Started, WorkerInfo
from ...errors import BrokerConnectionError
from ...events import Event
from ...fairness import quotas, without
from ...logging import get_logger
from ...outcomes import HANDED_BACK, ErrorInfo
from ...results.result import not_stored
from ...waker import Waker
from .queries import delivery as as_delivery

if TYPE_CHECKING:
    from .broker import DatabaseBroker

logger = get_logger(__name__)

LOOK_INTERVAL = 1.0
"""Seconds between two looks at what is due and at the worker's own lease, when nothing asks for one sooner."""

BUSY_LOOK_INTERVAL = 0.1
_DOUBT_PAUSE = 0.1


class DatabaseConsumer(Consumer):
    """Settles and claims in one transaction, on a connection that only the I/O thread uses."""

    def __init__(self, broker: DatabaseBroker, worker: WorkerInfo) -> None:
        self._broker = broker
        self._database = broker.database
        self._queries = broker.queries
        self._claimer = broker.queries.claimer()
        self._worker = worker
        self._turn = 0
        self._held: set[tuple[int, int]] = set()
        self._stranded: list[Delivery] = []
        self._is_in_doubt = False
        self._is_fenced = False
        self._has_heard = False
        self._has_spare_room = False
        self._look_at = 0.0
        self._due_at = float("inf")
        self._database.own()
        self._database.count(self._queries.register, (worker.worker_id, broker.lease))
        self._wakeup = self._queries.wakeup(self._database, Waker(), self._has_news)
        broker.consumers.add(self)

    def exchange(self, settlements: Sequence[Settlement], room: int, started: Sequence[Started] = ()) -> Exchange:
        was_in_doubt = self._is_in_doubt
        try:
            if was_in_doubt:
                self._recover()
            exchange = self._exchange(settlements, room, started)
        except BrokerConnectionError:
            self._disconnect()
            raise
        self._is_in_doubt = False
        self._stranded = []
        self._has_spare_room = len(exchange.deliveries) < room
        for settlement in settlements:
            self._held.discard((settlement.delivery.handle, settlement.delivery.number))
        for delivery in exchange.deliveries:
            self._held.add((delivery.handle, delivery.number))
        if was_in_doubt and not exchange.fenced:
            # Nobody else can settle for a worker that has its lease: what is refused now was done in the lost answer.
            return Exchange(exchange.deliveries)
        return exchange

    def _exchange(self, settlements: Sequence[Settlement], room: int, started: Sequence[Started]) -> Exchange:
        if clock.monotonic() >= min(self._look_at, self._due_at):
            self._look()
        if settlements or started:
            refused, deliveries = self._settle_and_claim(settlements, room, started)
        else:
            refused, deliveries = frozenset(), self._claim(room)
        if not deliveries and self._has_heard:
            # Not work for now, so what was heard is a delayed message, or one that is for somebody else.
            self._has_heard = False
            if self._look():
                deliveries = self._claim(room)
        return Exchange([*self._stranded, *deliveries], refused, fenced=self._is_fenced)

    def _settle_and_claim(
        self, settlements: Sequence[Settlement], room: int, started: Sequence[Started]
    ) -> tuple[frozenset[int], list[Delivery]]:
        try:
            return self._settle_in_one(settlements, room, started)
        except BrokerConnectionError:
            raise
        except Exception as error:
            if all(settlement.result is None for settlement in settlements):
                raise
            why = not_stored(ErrorInfo.of(error).message)
            # Perhaps it is the results that the database does not take; how the messages ended stands without them.
            logger.exception("%d messages cannot be settled with their results.", len(settlements))
        bare = [s if s.result is None else replace(s, result=None, result_error=why) for s in settlements]
        return self._settle_in_one(bare, room, started)

    def _settle_in_one(
        self, settlements: Sequence[Settlement], room: int, started: Sequence[Started]
    ) -> tuple[frozenset[int], list[Delivery]]:
        with self._database.transaction():
            refused, events = self._broker.settler.settle(self._worker.worker_id, settlements)
            events += self._note_started(started)
            deliveries = self._take(room)
            if refused:
                events += self._late([s for s in settlements if s.delivery.handle in refused])
            self._broker.writer.write(events)
        if refused:
            self._look_at = 0.0
        return refused, deliveries

    def _late(self, refused: Sequence[Settlement]) -> list[Event]:
        """What is told of refused settlements: nothing while this worker lives, because then they are repetitions."""
        if self._database.rows(self._queries.is_registered, (self._worker.worker_id,)):
            return []
        return self._broker.settler.late(self._worker.worker_id, refused)

    # Claiming

    def _claim(self, room: int) -> list[Delivery]:
        """Claim without settling."""
        if room <= 0 or self._is_fenced or (self._queries.looks_first and not self._has_work()):
            return []
        return self._take(room, alone=True)

    def _has_work(self) -> bool:
        if self._worker.suspects:
            return bool(self._database.rows(self._queries.has_suspects))
        names = list(self._weights())
        return bool(names) and bool(self._database.rows(self._queries.has_work(len(names)), names)[0][0])

    def _weights(self) -> Any:
        return without(self._worker.queues or dict.fromkeys(self._broker.queues, 1), self.left_out)

    def _has_news(self) -> bool:
        """Whether an exchange would find something, for who has room; said once, until he has looked."""
        if not self._has_spare_room:
            return False
        has_news = self._has_work() or bool(self._database.rows(self._queries.has_due)[0][0])
        self._has_spare_room = not has_news
        return has_news

    def _take(self, room: int, *, alone: bool = False) -> list[Delivery]:
        if room <= 0 or self._is_fenced:
            return []
        worker_id = self._worker.worker_id
        if self._worker.suspects:
            rows = self._queries.take_suspects(self._database, worker_id, room, alone=alone)
        else:
            self._turn += 1
            shares = quotas(self._weights(), room, self._turn, MAX_QUEUES_PER_EXCHANGE)
            if not shares:
                return []
            rows = self._claimer.take(self._database, worker_id, shares, room, alone=alone)
        rows.sort(key=lambda row: (row[10], row[0]))
        return [as_delivery(row) for row in rows]

    # Looking: what is due, and whether this worker still lives

    def _look(self) -> bool:
        """Whether something became ready by it."""
        now = clock.monotonic()
        self._look_at = now + (LOOK_INTERVAL if not self._held else BUSY_LOOK_INTERVAL)
        self._is_fenced = not self._database.rows(self._queries.is_registered, (self._worker.worker_id,))
        due_in = self._due_in()
        is_due = due_in is not None and due_in <= 0
        if is_due:
            self._promote()
            due_in = self._due_in()
        self._due_at = float("inf") if due_in is None else now + max(0.0, due_in / 1000)
        return is_due

    def _due_in(self) -> int | None:
        """Milliseconds until the next delayed message is due; None when there is none."""
        row = self._database.rows(self._queries.next_due)[0]
        return None if row[0] is None else int(row[0])

    def _promote(self) -> None:
        with self._database.transaction():
            rows = self._queries.promote.run(self._database, (MAX_BATCH,))
            now = clock.wall_ms()
            self._broker.writer.write([changes.promoted(row[0], now, *row[1:]) for row in rows])

    # Started, doubt, end

    def _note_started(self, started: Sequence[Started]) -> list[Event]:
        events = []
        for report in started:
            delivery = report.delivery
            params = (report.started_at, delivery.handle, delivery.number, self._worker.worker_id)
            if self._database.count(self._queries.start, params):
                events.append(changes.started(report, self._worker.worker_id))
        return events

    def _recover(self) -> None:
        """After a lost answer: claims that were made but never seen here are delivered now."""
        self._database.own()
        owned = self._database.rows(self._queries.owned, (self._worker.worker_id,))
        self._stranded = [as_delivery(row) for row in owned if (row[0], row[4]) not in self._held]
        self._wakeup.close()  # it is open when an exchange failed after it had recovered
        self._wakeup = self._queries.wakeup(self._database, self._wakeup.waker, self._has_news)
        self._look_at = 0.0

    def _disconnect(self) -> None:
        """The connection is gone, and with it the answer to what was asked last."""
        self._is_in_doubt = True
        self._wakeup.close()
        self._database.close()

    def wait(self, timeout: float) -> None:
        if self._is_in_doubt:
            self._wakeup.waker.wait(min(timeout, _DOUBT_PAUSE))
            return
        until_due = self._due_at - clock.monotonic()
        try:
            if self._wakeup.wait(max(0.0, min(timeout, until_due))):
                self._has_heard = True
        except BrokerConnectionError:
            self._disconnect()
            raise
        if clock.monotonic() >= self._due_at:
            # Said once: who has no room now would be woken again and again. The next exchange looks, whenever it is.
            self._due_at, self._look_at = float("inf"), 0.0

    def wake(self) -> None:
        self._wakeup.waker.wake()

    def close(self, *, give_back: bool = True) -> None:
        try:
            if give_back:
                self._broker.bury(self._worker.worker_id, (), lambda delivery, casualty: HANDED_BACK)
        finally:
            self._broker.consumers.discard(self)
            self._wakeup.close()
            self._wakeup.waker.close()
            self._database.close()
