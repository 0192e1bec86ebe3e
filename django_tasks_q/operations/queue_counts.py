"""What queues hold, counted live but never far: a full count of a long queue takes seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..broker import Broker
from ..brokers.database import DatabaseBroker
from ..brokers.database.queries import QUEUE
from ..deliveries import QueueCounts
from ..dialect import dialect
from ..models import Place
from ..sql import Database

CAP = 10_000
"""How far each place of a queue is counted; a number that reaches it means "at least"."""

MOST_QUEUES = 1_000
_AT_ONCE = 100
_ORDERS = {
    Place.SUSPECT: "priority, id",
    Place.IN_FLIGHT: "owner",
    Place.DELAYED: "due_at",
    Place.DEAD: "died_at",
}
"""The places that have one index for all queues, and the order of that index."""


def live_counts(broker: Broker) -> list[QueueCounts]:
    """What every queue holds, by name. Brokers that know their lengths are asked; a table is counted up to the cap."""
    if isinstance(broker, DatabaseBroker):
        return _TableCounts(broker.database).all(sorted(broker.queues))
    return broker.counts()


class _TableCounts:
    """Counts of the database broker's table, by walks along its partial indexes: two statements for all queues.

    Ready messages are walked through queue by queue. The other places are indexed for all queues together, so they are
    walked through together: past the cap, each queue's number is what was met until then.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._words = dialect(database)

    def all(self, declared: Sequence[str]) -> list[QueueCounts]:
        places = self._places()
        ready = self._ready(sorted(places[Place.READY]))
        names = {*declared, *(name for counts in places.values() for name in counts)}
        return [self._queue(name, ready.get(name, (0, None)), places) for name in sorted(names)]

    def _queue(self, name: str, ready: tuple[int, int | None], places: dict[int, Counter[str]]) -> QueueCounts:
        number, oldest_ms = ready
        suspects, in_flight, delayed, dead = (places[place][name] for place in _ORDERS)
        return QueueCounts(name, number + suspects, in_flight, delayed, dead, max(0, oldest_ms or 0))

    def _places(self) -> dict[int, Counter[str]]:
        """How many messages of each queue are in the places that have one index for all queues.

        Of the ready ones only the queues' names are found, from one to the next along the index: of each one row.
        """
        next_one = f"SELECT queue_name FROM {QUEUE} WHERE place = 0 {{}}ORDER BY queue_name LIMIT 1"
        # The place is a literal, so that its index is used.
        counted = " UNION ALL ".join(
            f"SELECT {int(place)} AS place, queue_name, COUNT(*) FROM (SELECT queue_name FROM {QUEUE} "
            f"WHERE place = {int(place)} ORDER BY {order} LIMIT {CAP}) AS line{int(place)} GROUP BY queue_name"
            for place, order in _ORDERS.items()
        )
        sql = (
            f"WITH RECURSIVE line(name) AS (SELECT * FROM ({next_one.format('')}) AS first UNION ALL "
            f"SELECT ({next_one.format('AND queue_name > line.name ')}) FROM line WHERE line.name IS NOT NULL) "
            f"{counted} UNION ALL "
            f"SELECT 0, name, 1 FROM (SELECT name FROM line WHERE name IS NOT NULL LIMIT {MOST_QUEUES}) AS named"
        )
        found: dict[int, Counter[str]] = {place: Counter() for place in Place}
        for place, name, number in self._database.rows(sql):
            found[place][name] = number
        return found

    def _ready(self, names: Sequence[str]) -> dict[str, tuple[int, int | None]]:
        """How many messages are ready in these queues, and for how many milliseconds the oldest has been."""
        found: dict[str, tuple[int, int | None]] = {}
        one = (
            f"SELECT {{}} AS name, COUNT(*), {self._words.now_ms} - MIN(enqueued_at) FROM (SELECT enqueued_at "
            f"FROM {QUEUE} WHERE place = 0 AND queue_name = {{}} ORDER BY priority, id LIMIT {CAP}) AS line"
        )
        # The number stands for the name: a parameter alone has no type on PostgreSQL.
        for start in range(0, len(names), _AT_ONCE):
            batch = names[start : start + _AT_ONCE]
            sql = " UNION ALL ".join(one.format(number, self._words.mark) for number in range(len(batch)))
            for number, ready, oldest_ms in self._database.rows(sql, batch):
                found[batch[number]] = ready, oldest_ms
        return found
