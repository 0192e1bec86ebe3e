"""The database broker: sending, burying, looking."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ... import changes, clock
from ...broker import MAX_BATCH, Broker, refuse_one_id
from ...capabilities import SAME, Capabilities, Capability
from ...deliveries import Casualty, Delivery, Held, Judge, Outgoing, QueueCounts, Settlement, WorkerInfo
from ...errors import BrokerError, DuplicateMessage, QueueNotFound
from ...events import Event
from ...mirror import RecordWriter
from ...models import Place
from ...outcomes import HANDED_BACK, mark_of
from ...results.backends.database import DatabaseBackend
from ...sql import Database
from ...stamps import OPTION
from ...states import State
from ...unique import take_keys
from ...waiting.apart import commit_apart
from .consumer import DatabaseConsumer
from .queries import Queries
from .queries import delivery as as_delivery
from .settling import Settler
from .vendors import queries_for

if TYPE_CHECKING:
    from ...middleware import Middleware

_STATES: dict[int, Literal["ready", "delayed", "in_flight", "dead"]] = {
    Place.READY: "ready",
    Place.SUSPECT: "ready",
    Place.DELAYED: "delayed",
    Place.IN_FLIGHT: "in_flight",
    Place.DEAD: "dead",
}
_PLACES = {"ready": Place.READY, "delayed": Place.DELAYED, "in_flight": Place.IN_FLIGHT, "dead": Place.DEAD}


class DatabaseBroker(Broker):
    """Keeps messages in a table of one of the project's databases, and their records with them.

    A send inside ``atomic()`` of that database is part of the transaction: it is there when the transaction commits,
    and never was when it is rolled back.

    Parameters:
        using: the alias in ``DATABASES``.
        middleware: the stack; None for the default one.
    """

    capabilities = Capabilities(
        transactional_send=SAME,
        journal=Capability("none", "the records are written with the change, so there is nothing to catch up with"),
    )

    def __init__(self, *, using: str = "default", middleware: Iterable[Middleware] | None = None) -> None:
        super().__init__(middleware)
        self.using = using
        self.database = Database(using)
        self.consumers: set[DatabaseConsumer] = set()
        """Those of this process that are not closed."""

    @property
    def address(self) -> str:
        return f"database://{self.using}"

    @cached_property
    def queries(self) -> Queries:
        return queries_for(self.database.vendor)

    @cached_property
    def writer(self) -> RecordWriter:
        return RecordWriter(self.database, self.recording)

    @cached_property
    def settler(self) -> Settler:
        return Settler(self.database, self.queries, self.writer, self.carries_results)

    def carries_results(self) -> bool:
        """Where they are kept in this database: a message is done when its result is there, and not before."""
        try:
            backend = self.get_results_backend()
        except RuntimeError:
            return False
        return isinstance(backend, DatabaseBackend) and backend.using == self.using

    # Sending

    def _enqueue(self, outgoing: Sequence[Outgoing]) -> Mapping[str, str] | None:
        """Rows, records and the wake-up, in a transaction of their own or as part of the caller's."""
        if take_keys(outgoing):
            return self._enqueue_unique(outgoing)
        database = self.database
        if len(outgoing) == 1 and self.queries.sends_alone and OPTION not in outgoing[0].message.options:
            # One statement is a transaction of its own, and a refusal leaves the caller's as it was.
            with database.doom():
                stored = self.settler.store(outgoing)
        elif database.is_in_transaction:
            with database.atomic(savepoint=len(outgoing) > 1):
                stored = self.settler.store(outgoing)
                if len(outgoing) > 1:
                    _refuse_duplicates(outgoing, stored)
        else:
            with database.transaction():
                stored = self.settler.store(outgoing)
                _refuse_duplicates(outgoing, stored)
        _refuse_duplicates(outgoing, stored)
        return None

    # Keys of which there is one message

    def _enqueue_unique(self, outgoing: Sequence[Outgoing]) -> Mapping[str, str]:
        database = self.database
        if database.is_in_transaction:
            with database.atomic(savepoint=True):
                return self._store_unique(outgoing)
        if self.queries.sends_alone and len(outgoing) == 1 and not _moves_holders(outgoing[0]):
            return self._store_unique(outgoing)  # each statement is a step that may stand alone
        # MySQL has those who wait for one key meet in a deadlock when its holder lets it go.
        return database.in_own_transaction(lambda: self._store_unique(outgoing))

    def _store_unique(self, outgoing: Sequence[Outgoing]) -> Mapping[str, str]:
        stored = self.settler.store_unique(outgoing)
        _refuse_duplicates(outgoing, stored.number + len(stored.left_out))
        return stored.left_out

    def _holder_of(self, queue_name: str, key: str) -> str | None:
        rows = self.database.rows(self.queries.holder, (key,))
        return rows[0][0] if rows else None

    def let_go(self, delivery: Delivery, key: str) -> None:
        claim = (delivery.handle, delivery.number)
        commit_apart(self.database, lambda: self.database.count(self.queries.let_go, claim))

    def sends_within(self, using: str) -> bool:
        return using == self.using

    def notify(self) -> None:
        """Wake workers that wait; on SQLite they see the change itself, and on MySQL they keep asking."""
        self.queries.notify(self.database)

    # Consuming

    def consume(self, worker: WorkerInfo) -> DatabaseConsumer:
        for queue_name in worker.queues:
            if queue_name not in self.queues:
                raise QueueNotFound(f"No queue is called {queue_name!r}.")
        return DatabaseConsumer(self, worker)

    def renew(self, worker_ids: Sequence[str]) -> Collection[str]:
        if not worker_ids:
            return ()
        self.database.own()
        renewed = self.database.count(self.queries.renew(len(worker_ids)), (self.lease, *worker_ids))
        if renewed == len(worker_ids):
            return worker_ids
        return [row[0] for row in self.database.rows(self.queries.registered(len(worker_ids)), worker_ids)]

    def bury(self, worker_id: str, casualties: Sequence[Casualty], judge: Judge, reason: str = "") -> int:
        with self.database.transaction():
            self.database.count(self.queries.unregister, (worker_id,))
            return self._give_back(worker_id, casualties, judge)

    def _bury_expired(self, worker_id: str, casualties: Sequence[Casualty], judge: Judge) -> bool:
        """The same if its lease is over still: its keeper may have renewed it since somebody looked, and then it works
        on what it holds."""
        with self.database.transaction():
            is_over = bool(self.database.count(self.queries.unregister_expired, (worker_id,)))
            if is_over:
                self._give_back(worker_id, casualties, judge)
        return is_over

    def _give_back(self, worker_id: str, casualties: Sequence[Casualty], judge: Judge) -> int:
        known = {(casualty.message_id, casualty.number): casualty for casualty in casualties}
        owned = self.database.rows(self.queries.owned, (worker_id,))
        for start in range(0, len(owned), MAX_BATCH):
            self._bury_batch(worker_id, owned[start : start + MAX_BATCH], known, judge)
        if owned:
            self.notify()
        return len(owned)

    def _bury_batch(
        self,
        worker_id: str,
        rows: Sequence[tuple[Any, ...]],
        known: dict[tuple[str, int], Casualty],
        judge: Judge,
    ) -> None:
        settlements, names = [], {}
        for row in rows:
            delivery = as_delivery(row)
            casualty = known.get((delivery.message_id, delivery.number))
            if casualty is None:
                settlements.append(Settlement(delivery, HANDED_BACK))
            else:
                outcome = judge(delivery, casualty)
                settlements.append(changes.buried(delivery, casualty, outcome, clock.wall_ms()))
                names[delivery.handle] = casualty.kind
        _, events = self.settler.settle(worker_id, settlements, names)
        self.writer.write(events)

    def rescue(self, judge: Judge) -> list[str]:
        expired = [row[0] for row in self.database.rows(self.queries.expired)]
        orphans = [row[0] for row in self.database.rows(self.queries.orphans) if row[0] not in expired]
        return [worker_id for worker_id in (*expired, *orphans) if self._rescue(worker_id, judge, worker_id in expired)]

    def _rescue(self, worker_id: str, judge: Judge, is_expired: bool) -> bool:
        """Bury a worker that nobody keeps alive, unless somebody does after all."""
        rows = [row for row in self.database.rows(self.queries.owned, (worker_id,)) if row[10]]
        detail, alone = "its worker's lease ran out", len(rows) == 1
        started = [Casualty(row[1], row[4], "lost", row[10], detail, alone) for row in rows]
        try:
            if is_expired:
                return self._bury_expired(worker_id, started, judge)
            self.bury(worker_id, started, judge)
        except BrokerError:
            raise
        except Exception:
            # One that cannot be buried must not keep the others waiting; it is tried again the next time.
            self.logger.exception("Worker %s cannot be buried.", worker_id)
        return True

    def has_suspects(self) -> bool:
        return bool(self.database.rows(self.queries.has_suspects))

    # Looking and operating

    def counts(self) -> list[QueueCounts]:
        found: dict[str, dict[int, tuple[int, int]]] = {name: {} for name in sorted(self.queues)}
        for queue_name, place, number, oldest, now in self.database.rows(self.queries.counts):
            found.setdefault(queue_name, {})[place] = (number, max(0, now - oldest))
        nothing = (0, 0)
        return [
            QueueCounts(
                name,
                places.get(Place.READY, nothing)[0] + places.get(Place.SUSPECT, nothing)[0],
                places.get(Place.IN_FLIGHT, nothing)[0],
                places.get(Place.DELAYED, nothing)[0],
                places.get(Place.DEAD, nothing)[0],
                max(places.get(Place.READY, nothing)[1], places.get(Place.SUSPECT, nothing)[1]),
            )
            for name, places in found.items()
        ]

    def peek(
        self, queue_name: str, state: Literal["ready", "delayed", "in_flight", "dead"] = "ready", limit: int = 100
    ) -> list[Delivery]:
        rows = self.database.rows(self.queries.peek(int(_PLACES[state])), (queue_name, limit))
        return [as_delivery(row) for row in rows]

    def requeue(self, message_ids: Sequence[str]) -> list[str]:
        refuse_one_id(message_ids)
        requeued: list[str] = []
        for start in range(0, len(message_ids), MAX_BATCH):
            batch = list(message_ids[start : start + MAX_BATCH])
            with self.database.atomic(savepoint=False):
                rows = self.queries.requeue(len(batch)).run(self.database, batch)
                now = clock.wall_ms()
                self.writer.write([changes.requeued(row[0], now, row[1], row[2], bool(row[3])) for row in rows])
                for row in rows:
                    if row[4] is not None:
                        self.settler.unique.take_again(row[0], row[4])
                if rows:
                    self.notify()
            requeued += [row[0] for row in rows]
        return requeued

    def flush(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            raise QueueNotFound(f"No queue is called {queue_name!r}.")
        with self.database.atomic(savepoint=False):
            rows = self.queries.flush.run(self.database, (queue_name,))
            for start in range(0, len(rows), MAX_BATCH):
                self._note_discarded(rows[start : start + MAX_BATCH])

    def _note_discarded(self, rows: Sequence[tuple[Any, ...]], state: State = State.DISCARDED) -> None:
        now = clock.wall_ms()
        self.writer.write([_discarded(row, now, state) for row in rows])

    def look_up(self, message_ids: Sequence[str]) -> dict[str, Held]:
        refuse_one_id(message_ids)
        found: dict[str, Held] = {}
        for start in range(0, len(message_ids), MAX_BATCH):
            batch = list(message_ids[start : start + MAX_BATCH])
            for row in self.database.rows(self.queries.look_up(len(batch)), batch):
                found[row[1]] = Held(as_delivery(row), _STATES[row[10]], row[11], row[12])
        return found

    def _withdraw(self, message_ids: Sequence[str], state: State) -> list[str]:
        refuse_one_id(message_ids)
        discarded: list[str] = []
        for start in range(0, len(message_ids), MAX_BATCH):
            batch = list(message_ids[start : start + MAX_BATCH])
            with self.database.atomic(savepoint=False):
                rows = self.queries.discard(len(batch)).run(self.database, batch)
                self._note_discarded(rows, state)
            discarded += [row[0] for row in rows]
        return discarded

    def _replace(self, message_id: str, outgoing: Outgoing) -> bool:
        with self.database.atomic(savepoint=True):
            rows = self.queries.drop_dead.run(self.database, (message_id,))
            if not rows:
                return False
            self._note_discarded(rows)
            self._enqueue([outgoing])
        return True

    def expire_dead_letters(self, ttl: int, limit: int = MAX_BATCH) -> int:
        with self.database.atomic(savepoint=False):
            rows = self.queries.expire.run(self.database, (ttl, limit))
            self._note_discarded(rows)
        return len(rows)

    unparks = True

    def unpark(self, key: str, number: int, queue_names: Sequence[str]) -> int:
        self.database.own()
        unparked = 0
        for queue_name in queue_names:
            if unparked < number:
                unparked += self._unpark(key, number - unparked, queue_name)
        return unparked

    def _unpark(self, key: str, number: int, queue_name: str) -> int:
        with self.database.atomic(savepoint=False):
            rows = self.queries.unpark.run(self.database, (mark_of(key), queue_name, min(number, MAX_BATCH)))
            if rows:
                now = clock.wall_ms()
                self.writer.write([changes.promoted(row[0], now, *row[1:]) for row in rows])
                self.notify()
        if rows:
            self._wake_here()
        return len(rows)

    def _wake_here(self) -> None:
        """The workers of this process. The one that calls the next message itself hears nothing of its own writes."""
        for consumer in tuple(self.consumers):
            consumer.wake()

    def check_ready(self) -> None:
        with self.database.errors():
            self.database.rows(self.queries.has_suspects)

    def forget_settings(self) -> None:
        for derived in ("writer", "settler"):
            vars(self).pop(derived, None)

    def close(self) -> None:
        self.database.close()


def _discarded(row: Sequence[Any], now: int, state: State) -> Event:
    """What is told of a row as ``MOVED`` says."""
    message_id, life, retries, deliveries, lost, record = row
    return changes.discarded(message_id, now, life, retries, deliveries, lost, record, state)


def _moves_holders(item: Outgoing) -> bool:
    """Whether something happens to the message whose key a new one wants."""
    return item.unique is not None and item.unique.on_conflict in ("replace", "refresh")


def _refuse_duplicates(outgoing: Sequence[Outgoing], stored: int) -> None:
    if stored == len(outgoing) or any(item.sent_since is not None for item in outgoing):
        return
    ids = ", ".join(item.message.message_id for item in outgoing[:3])
    raise DuplicateMessage(f"Still waiting, running or dead: {'one of ' if len(outgoing) > 1 else ''}{ids}")
