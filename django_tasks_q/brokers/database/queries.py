"""The database broker's statements: what all vendors say alike, and what each must say in its own words.

The queue is one table of messages that are not finished, and one of live workers. Contract of the statements a worker
runs: a claim needs the worker's lease to exist and locks it, so that a burial waits for it or makes it find nothing; a
settlement names (id, deliveries, owner) and does nothing when they do not fit any more.

``place``: 0 ready, 1 delayed, 2 in flight, 3 dead, 4 suspect; literals, so that the partial indexes are used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

from ...deliveries import Delivery, Outgoing
from ...dialect import Change, Dialect
from ...events import Event
from ...models import MessageRecord, Place, QueuedMessage, QueueWorker
from ...recording import Recording
from ...sql import Database, Row
from ...waker import Waker
from .wakeup import Wakeup

# Without quotes, which are not the same everywhere.
QUEUE = QueuedMessage._meta.db_table
RECORDS = MessageRecord._meta.db_table
WORKERS = QueueWorker._meta.db_table

DELIVERY = "id, message_id, queue_name, payload, deliveries, retries, lost, life, enqueued_at, record"
"""See :func:`delivery`."""

MOVED = "message_id, life, retries, deliveries, lost, record"
"""What the event of a message tells that nobody runs."""

DEFAULTS = {"owner": "''", "deliveries": "0", "retries": "0", "lost": "0", "started_at": "0"} | {
    "dead_reason": "''",
    "died_at": "0",
}
INSERTED = ("message_id", "queue_name", "place", "priority", "due_at", "payload", "record")

UNIQUE = ("unique_key", "unique_until")
KEY_LENGTH = 32
"""Of a key that is held; one that was given up is longer."""

Born = tuple[Outgoing, Event]
"""A new message and its creation."""


class Claimer(Protocol):
    """Claims for one consumer."""

    def take(
        self, database: Database, worker_id: str, shares: Sequence[tuple[str, int]], room: int, *, alone: bool
    ) -> list[Row]:
        """See :meth:`Queries.take`."""
        ...


class Queries(ABC):
    """What all vendors say alike. ``{now}`` is the database's time in epoch milliseconds."""

    words: ClassVar[Dialect]

    sends_alone: ClassVar[bool] = False
    """Whether one message is stored by one statement, which is a transaction of its own."""

    looks_first: ClassVar[bool] = True
    """Whether a claim that finds nothing costs more than a look, which takes no lock."""

    is_here: ClassVar[bool] = False
    """Whether the database has this machine's clock."""

    by_id: ClassVar[str] = QUEUE
    """The queue in an UPDATE of the one row whose place in line is named."""

    delete_by_id: ClassVar[str] = f"DELETE FROM {QUEUE}"
    """The same for a DELETE."""

    kept_key: ClassVar[str] = "unique_key || '/' || id"
    """A key that was given up, and is remembered."""

    def __init__(self) -> None:
        m = self.mark = self.words.mark
        self.now = self.words.now_ms
        self.select_now = f"SELECT {self.now}"
        # Asked for once: compared with a clock that runs, PostgreSQL would walk all that is delayed.
        now_once = f"({self.select_now})"
        self.register = (
            f"{self.words.insert_new} {WORKERS} (worker_id, expires_at) VALUES ({m}, {self.now} + {m})"
            f"{self.words.if_new}"
        )
        self.is_registered = f"SELECT 1 FROM {WORKERS} WHERE worker_id = {m}"
        self.unregister = f"DELETE FROM {WORKERS} WHERE worker_id = {m}"
        self.unregister_expired = f"{self.unregister} AND expires_at < {self.now}"
        self.expired = f"SELECT worker_id FROM {WORKERS} WHERE expires_at < {self.now}"
        self.orphans = (
            f"SELECT DISTINCT owner FROM {QUEUE} WHERE place = 2 AND owner NOT IN (SELECT worker_id FROM {WORKERS})"
        )
        self.owned = f"SELECT {DELIVERY}, started_at FROM {QUEUE} WHERE place = 2 AND owner = {m}"
        self.next_due = f"SELECT MIN(due_at) - {self.now} FROM {QUEUE} WHERE place = 1"
        self.has_due = f"SELECT EXISTS(SELECT 1 FROM {QUEUE} WHERE place = 1 AND due_at <= {now_once})"
        self.promote = self._change(
            f"UPDATE {QUEUE} SET place = 0, enqueued_at = {self.now}",
            f"place = 1 AND due_at <= {now_once} ORDER BY due_at LIMIT {m}",
            "place = 1",
        )
        self.unpark = self._change(
            f"UPDATE {QUEUE} SET place = 0, enqueued_at = {self.now}",
            f"place = 1 AND dead_reason = {m} AND dead_reason <> '' AND queue_name = {m} "
            f"ORDER BY priority, id LIMIT {m}",
            "place = 1",
        )
        """What is parked. Parameters: the mark, the queue, how many at most."""
        self.start = (
            f"UPDATE {self.by_id} SET started_at = {m} "
            f"WHERE id = {m} AND deliveries = {m} AND owner = {m} AND place = 2"
        )
        self.has_suspects = f"SELECT 1 FROM {QUEUE} WHERE place = 4 LIMIT 1"
        self.counts = (
            f"SELECT queue_name, place, COUNT(*), MIN(enqueued_at), {self.now} FROM {QUEUE} GROUP BY queue_name, place"
        )
        self.flush = self._change(f"DELETE FROM {QUEUE}", f"queue_name = {m} AND place IN (0, 1, 3, 4)")
        self.expire = self._change(
            f"DELETE FROM {QUEUE}",
            # All that are not dead have 0, and an index on the time alone may have them too.
            f"place = 3 AND died_at > 0 AND died_at < {now_once} - {m} ORDER BY died_at LIMIT {m}",
            "place = 3",
        )
        """Dead letters that are too old. Parameters: their time to live in milliseconds, how many at most."""
        self.let_go = (
            f"UPDATE {self.by_id} SET unique_key = {self.kept_key} "
            f"WHERE id = {m} AND deliveries = {m} AND place = 2 AND LENGTH(unique_key) = {KEY_LENGTH}"
        )
        """The key of what begins to run. Parameters: the claim."""
        self.give_up_over = (
            f"UPDATE {self.by_id} SET unique_key = {self.kept_key} "
            f"WHERE id = {m} AND LENGTH(unique_key) = {KEY_LENGTH} AND unique_until <= {self.now}"
        )
        """The key of a message that has held it long enough. Parameters: its place in line."""
        self.holder = f"SELECT message_id FROM {QUEUE} WHERE unique_key = {m} AND {self.still_holds}"
        self.drop_waiting = f"{self.delete_by_id} WHERE id = {m} AND deliveries = {m} AND place IN (0, 1, 4)"
        """What is replaced. Parameters: its place in line, and how often it was claimed."""
        self.refresh = (
            f"UPDATE {self.by_id} SET place = {m}, due_at = {m}, dead_reason = '', unique_until = {self.now} + {m}, "
            f"enqueued_at = CASE WHEN {m} THEN {self.now} ELSE enqueued_at END "
            f"WHERE id = {m} AND deliveries = {m} AND place = {m}"
        )
        """What waits begins anew. Parameters: place, due time, ttl, whether it becomes ready; then its place in line,
        how often it was claimed, and the place that it had."""
        self.take_key = f"UPDATE {QUEUE} SET unique_key = {m} WHERE message_id = {m}"
        self.drop_dead = self._change(f"DELETE FROM {QUEUE}", f"place = 3 AND message_id = {m}")

    def _change(self, change: str, where: str, others: str = "", told: str = MOVED, told_before: str = MOVED) -> Change:
        """A statement that tells what it changed.

        ``others``: a condition of the change itself, when ``where`` chooses some of many; who has them locked keeps
        them. ``told_before``: the same as ``told`` in terms of the rows as they were.
        """
        if not others:
            return Change(f"{change} WHERE {where} RETURNING {told}")
        return Change(
            # Materialized here and below: as a plain condition PostgreSQL may ask for the batch once for each row, get
            # another one each time, since the last was locked, and go beyond the limit.
            f"WITH batch AS MATERIALIZED (SELECT id FROM {QUEUE} WHERE {where}{self.words.skip_locked}) "
            f"{change} WHERE {others} AND id {self.words.among.format('SELECT id FROM batch')} RETURNING {told}"
        )

    @property
    def still_holds(self) -> str:
        """A condition of those that have a key."""
        return f"(unique_until IS NULL OR unique_until > {self.now})"

    @property
    def gives_key_up(self) -> str:
        """What a message's key becomes that is moved; the mark is whether it is dead."""
        return f"CASE WHEN {self.mark} AND LENGTH(unique_key) = {KEY_LENGTH} THEN {self.kept_key} ELSE unique_key END"

    def holders(self) -> str:
        """Who has keys, over or not; see :class:`unique_rows.Holder`. Parameter: the keys."""
        return (
            f"SELECT unique_key, id, message_id, place, life, retries, deliveries, lost, record, "
            f"NOT {self.still_holds} FROM {QUEUE} WHERE unique_key IS NOT NULL AND unique_key {self.words.in_ids}"
        )

    def known(self) -> str:
        """Which messages are here. Parameter: ids."""
        return f"SELECT message_id FROM {QUEUE} WHERE message_id {self.words.in_ids}"

    def renew(self, workers: int) -> str:
        """Parameters: the lease in milliseconds, then the ids."""
        marks = ", ".join([self.mark] * workers)
        return f"UPDATE {WORKERS} SET expires_at = {self.now} + {self.mark} WHERE worker_id IN ({marks})"

    def registered(self, workers: int) -> str:
        """Which of these workers have a lease. Parameters: their ids."""
        marks = ", ".join([self.mark] * workers)
        return f"SELECT worker_id FROM {WORKERS} WHERE worker_id IN ({marks})"

    def requeue(self, messages: int) -> Change:
        """Dead letters to a new life. Parameters: their ids."""
        marks = ", ".join([self.mark] * messages)
        return self._change(
            f"UPDATE {QUEUE} SET place = 0, life = life + 1, retries = 0, lost = 0, dead_reason = '', died_at = 0, "
            f"owner = '', started_at = 0, enqueued_at = {self.now}",
            f"place = 3 AND message_id IN ({marks})",
            told="message_id, life, deliveries, record, unique_key",
            told_before="message_id, life + 1, deliveries, record, unique_key",
        )

    def discard(self, messages: int) -> Change:
        """Parameters: the ids of messages; those that are running stay."""
        marks = ", ".join([self.mark] * messages)
        return self._change(f"DELETE FROM {QUEUE}", f"place IN (0, 1, 3, 4) AND message_id IN ({marks})")

    def look_up(self, messages: int) -> str:
        """Deliveries with place, due time and owner. Parameters: the ids of messages."""
        marks = ", ".join([self.mark] * messages)
        return f"SELECT {DELIVERY}, place, due_at, owner FROM {QUEUE} WHERE message_id IN ({marks})"

    def recorded(self, messages: int) -> str:
        """The records of these messages: id, when it was created, when it ended or None. Parameters: their ids."""
        marks = ", ".join([self.mark] * messages)
        created, finished = (self.words.epoch_ms.format(column) for column in ("created_at", "finished_at"))
        return f"SELECT message_id, {created}, {finished} FROM {RECORDS} WHERE message_id IN ({marks})"

    def settled(self, messages: int) -> str:
        """What the records say of these messages: id, life, state, deliveries, worker. Parameters: their ids."""
        marks = ", ".join([self.mark] * messages)
        return f"SELECT message_id, life, state, deliveries, worker FROM {RECORDS} WHERE message_id IN ({marks})"

    def has_work(self, queues: int) -> str:
        """Whether one of the queues has something ready; reads only. Parameters: their names."""
        marks = ", ".join([self.mark] * queues)
        return f"SELECT EXISTS(SELECT 1 FROM {QUEUE} WHERE place = 0 AND queue_name IN ({marks}))"

    def peek(self, place: int) -> str:
        """Parameters: queue name, limit."""
        order = {0: "priority, id", 1: "due_at, id", 3: "died_at, id"}.get(place, "id")
        return (
            f"SELECT {DELIVERY} FROM {QUEUE} WHERE place = {place} AND queue_name = {self.mark} "
            f"ORDER BY {order} LIMIT {self.mark}"
        )

    # What every vendor does in its own way. All of it happens in the caller's transaction.

    @abstractmethod
    def store(self, database: Database, born: Sequence[Born], recording: Recording) -> int:
        """Insert messages with their records; how many were new. A known id is left as it is."""

    @abstractmethod
    def store_unique(self, database: Database, born: Sequence[Born], recording: Recording) -> set[str]:
        """The same of messages that take keys; the ids of those that were new. One whose key somebody has is left
        out, over or not. Who inserts it just now is waited for."""

    @abstractmethod
    def finish(self, database: Database, worker_id: str, claims: Sequence[tuple[int, int]]) -> set[int]:
        """Delete what a worker has claimed, by id and number; which it still had."""

    @abstractmethod
    def move(self, database: Database, worker_id: str, rows: Sequence[Row]) -> set[int]:
        """Put what a worker has claimed somewhere else; which it still had. See :func:`settling.moved` for a row."""

    @abstractmethod
    def take(
        self, database: Database, worker_id: str, shares: Sequence[tuple[str, int]], room: int, *, alone: bool
    ) -> list[Row]:
        """Claim for a worker that has its lease: up to so many of each queue, up to ``room`` together.

        ``alone``: nothing else happens in a transaction with it, and none is open. Each row is a delivery and its
        priority, in no order.
        """

    def claimer(self) -> Claimer:
        """Claims for one consumer, which may remember where it found something."""
        return self

    @abstractmethod
    def take_suspects(self, database: Database, worker_id: str, room: int, *, alone: bool) -> list[Row]:
        """The same of messages that must run alone."""

    @abstractmethod
    def wakeup(self, database: Database, waker: Waker, has_news: Callable[[], bool]) -> Wakeup:
        """How a consumer waits. ``has_news`` asks the database whether an exchange would find something."""

    def notify(self, database: Database) -> None:
        """Wake consumers that would not see by themselves that something has changed."""


def place_of(event: Event) -> int:
    """Where a message begins."""
    return int(Place.READY if event.eta is None else Place.DELAYED)


def row(born: Born) -> tuple[Any, ...]:
    """One message as a statement takes it that knows ``INSERTED``, and then the id again, for its former life."""
    item, event = born
    message = item.message
    return (
        message.message_id, message.queue_name, place_of(event), item.priority, event.eta or 0, item.payload,
        item.record, message.message_id,
    )  # fmt: skip


def with_dead_twice(values: Row) -> Row:
    """A row of :func:`settling.moved` for a statement that asks twice whether the message is dead, by mark."""
    return (*values[:6], values[5], *values[6:])


def unique_row(born: Born) -> tuple[Any, ...]:
    """The same for a statement that knows ``UNIQUE`` too."""
    unique = born[0].unique
    assert unique is not None
    return (*row(born), unique.key, unique.ttl)


def firsts(born: Sequence[Born]) -> list[Born]:
    """Of each id only the first."""
    found: dict[str, Born] = {}
    for one in born:
        found.setdefault(one[0].message.message_id, one)
    return list(found.values())


def delivery(row: Sequence[Any]) -> Delivery:
    """The delivery that a row begins with."""
    return Delivery(row[0], row[1], row[2], bytes(row[3]), row[4], row[5], row[6], row[7], row[8], bool(row[9]))
