"""The database broker's consumer for tests: everything happens in the caller's transaction, on his connection."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from .. import changes, clock
from ..broker import MAX_BATCH, MAX_QUEUES_PER_EXCHANGE, Consumer
from ..brokers.database import DatabaseBroker
from ..brokers.database.queries import delivery as as_delivery
from ..deliveries import Delivery, Exchange, Settlement, Started, WorkerInfo
from ..errors import QueueNotFound
from ..events import Event
from ..fairness import quotas
from ..models import Place, QueuedMessage
from ..outcomes import HANDED_BACK


class CallersConsumer(Consumer):
    """Claims and settles with the engine's own statements, each step in a savepoint of the caller's transaction.

    The engine's consumer begins transactions of its own, which cannot be in another one.
    """

    def __init__(self, broker: DatabaseBroker, worker: WorkerInfo) -> None:
        for queue_name in worker.queues:
            if queue_name not in broker.queues:
                raise QueueNotFound(f"No queue is called {queue_name!r}.")
        self._broker = broker
        self._database = broker.database
        self._queries = broker.queries
        self._worker = worker
        self._turn = 0
        with self._transaction():
            self._database.count(self._queries.register, (worker.worker_id, broker.lease))

    def _transaction(self) -> AbstractContextManager[None]:
        if self._database.is_in_transaction:
            return self._database.atomic(savepoint=True)
        return self._database.transaction()

    def exchange(self, settlements: Sequence[Settlement], room: int, started: Sequence[Started] = ()) -> Exchange:
        with self._transaction():
            refused, events = self._broker.settler.settle(self._worker.worker_id, settlements)
            events += self._promote()
            deliveries = self._take(room)
            self._broker.writer.write(events)
        return Exchange(deliveries, refused)

    def _promote(self) -> list[Event]:
        rows = self._queries.promote.run(self._database, (MAX_BATCH,))
        now = clock.wall_ms()
        return [changes.promoted(row[0], now, *row[1:]) for row in rows]

    def _take(self, room: int) -> list[Delivery]:
        self._turn += 1
        weights = self._worker.queues or dict.fromkeys(self._broker.queues, 1)
        shares = quotas(weights, room, self._turn, MAX_QUEUES_PER_EXCHANGE)
        if not shares:
            return []
        rows = self._queries.take(self._database, self._worker.worker_id, shares, room, alone=False)
        return [as_delivery(row) for row in rows]

    def wait(self, timeout: float) -> None:
        """Nobody else works in this transaction, so there is nothing to wait for."""

    def wake(self) -> None:
        """Nobody waits."""

    def close(self, *, give_back: bool = True) -> None:
        worker_id = self._worker.worker_id
        with self._transaction():
            self._database.count(self._queries.unregister, (worker_id,))
            owned = self._database.rows(self._queries.owned, (worker_id,))
            settlements = [Settlement(as_delivery(row), HANDED_BACK) for row in owned] if give_back else []
            self._broker.writer.write(self._broker.settler.settle(worker_id, settlements)[1])


def bring_forward(broker: DatabaseBroker, queue_names: list[str]) -> bool:
    """Make the delayed message of these queues that is due first due now; False when none is delayed."""
    waiting = QueuedMessage.objects.using(broker.using).filter(place=Place.DELAYED, queue_name__in=queue_names)
    first = waiting.order_by("due_at", "id").values_list("id", flat=True).first()
    return bool(first and waiting.filter(id=first).update(due_at=0))
