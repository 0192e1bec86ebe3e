"""Items that wait to be gathered into one run, as rows.

Contract: a row is whoever's id is in ``taken_by``, and nobody's while that is empty. It is taken by one statement (or
locked first), so of many who take at once each gets other rows; it is given up only by its deletion, or by the keeper.
All times are the database's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from django.db import transaction

from .. import records_database
from ..broker import Broker
from ..dialect import Dialect, by_keys, chunks, dialect, ids, keys
from ..gather import MOST, Collection, GatheredItems, Share
from ..models import GatheredItem, MessageRecord
from ..sql import Database
from .apart import commit_apart
from .outbox import outermost

_TABLE = GatheredItem._meta.db_table
_RECORDS = MessageRecord._meta.db_table
_INDEX = "dtq_gathered_taken"


class DatabaseGatheredItems(GatheredItems):
    """Rows in the database of the records.

    Parameters:
        alias: the database; None for the one that the settings name.
    """

    def __init__(self, alias: str | None = None) -> None:
        self._given = alias

    def add(
        self, broker: Broker, collection: Collection, items: Sequence[bytes], committed: Callable[[], object]
    ) -> None:
        database = self._database(broker)
        if not database.is_in_transaction:
            with database.transaction():
                GatheredRows(database).insert(collection, items)
            committed()
            return
        with database.doom():
            GatheredRows(database).insert(collection, items)
        connection: Any = database.connection
        # Where Django does not manage the transaction nobody tells us of its end; the keeper sees what is there then.
        if connection.in_atomic_block and _is_first(connection, collection):
            transaction.on_commit(committed, using=database.alias)

    def waiting(self, broker: Broker, collection: Collection, most: int) -> int:
        return GatheredRows(self._database(broker)).waiting(collection.id, most)

    def take(self, broker: Broker, collection: Collection, message_id: str, size: int) -> Share:
        database = self._database(broker)
        return commit_apart(database, lambda: GatheredRows(database).take(collection.id, message_id, size))

    def taken(self, broker: Broker, message_id: str, most: int = MOST) -> list[bytes]:
        return GatheredRows(self._database(broker)).taken(message_id, most)

    def count(self, broker: Broker, message_id: str) -> int:
        return GatheredRows(self._database(broker)).count(message_id)

    def forget(self, broker: Broker, message_id: str) -> None:
        database = self._database(broker)
        commit_apart(database, lambda: GatheredRows(database).delete([message_id]))

    def _database(self, broker: Broker) -> Database:
        return Database(self._given or records_database.alias(broker))


def _is_first(connection: Any, collection: Collection) -> bool:
    """Whether nothing was added in this savepoint of this transaction yet: one callback is enough for all of it.

    The list of callbacks is another one after each commit and rollback. The block that began the transaction would not
    tell: a function that ``atomic`` decorates enters the same one at each call.
    """
    if outermost(connection) is None:  # a test's own transaction, whose callbacks may be run one by one
        return True
    callbacks = connection.run_on_commit
    seen: set[tuple[str, ...]]
    before, seen = getattr(connection, "_django_tasks_q_gathered", (None, set()))
    if before is not callbacks:
        seen = set()
        connection._django_tasks_q_gathered = (callbacks, seen)
    place = (collection.id, *connection.savepoint_ids)
    is_first = place not in seen
    seen.add(place)
    return is_first


class Standing(NamedTuple):
    """Items that nobody has taken, as the keeper sees them. ``age``: milliseconds since the one with the id ``oldest``
    was added."""

    collection: str
    actor_name: str
    key: str
    oldest: int
    age: int


class Taken(NamedTuple):
    """Items of a message. ``age``: milliseconds since they were taken; ``state``: of its record, None without one."""

    message_id: str
    age: int
    state: str | None


class GatheredRows:
    """The statements, in whatever transaction is open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, collection: Collection, items: Sequence[bytes]) -> None:
        words, m = self._words, self._words.mark
        begin = f"INSERT INTO {_TABLE} (collection, actor_name, gather_key, item, created_at, taken_by) VALUES "
        row = f"({m}, {m}, {m}, {words.binary}, {words.now_ms}, '')"
        if words.returning:
            self._database.many(begin + row, [(*collection, item) for item in items])
            return
        for chunk in chunks(items, len):  # MySQL's drivers would send one row at a time
            values = [value for item in chunk for value in (*collection, item)]
            self._database.count(begin + ", ".join([row] * len(chunk)), values)

    def waiting(self, collection: str, most: int) -> int:
        m = self._words.mark
        rows = self._database.rows(
            f"SELECT COUNT(*) FROM (SELECT 1 FROM {_TABLE} WHERE taken_by = '' AND collection = {m} LIMIT {m}) AS w",
            (collection, most),
        )
        return int(rows[0][0])

    def take(self, collection: str, message_id: str, size: int) -> Share:
        own = self.taken(message_id)
        if own:
            return Share(own, is_again=True, leaves_some=False)
        self._take(collection, message_id, size)
        own = self.taken(message_id)
        return Share(own, is_again=False, leaves_some=len(own) == size and bool(self.waiting(collection, 1)))

    def taken(self, message_id: str, most: int = MOST) -> list[bytes]:
        m = self._words.mark
        sql = f"SELECT item FROM {_TABLE} WHERE taken_by = {m} ORDER BY id LIMIT {m}"
        return [bytes(row[0]) for row in self._database.rows(sql, (message_id, most))]

    def count(self, message_id: str) -> int:
        sql = f"SELECT COUNT(*) FROM {_TABLE} WHERE taken_by = {self._words.mark}"
        return int(self._database.rows(sql, (message_id,))[0][0])

    def _take(self, collection: str, message_id: str, size: int) -> None:
        words, m = self._words, self._words.mark
        index = "" if words.returning else f" FORCE INDEX ({_INDEX})"
        chosen = (
            f"SELECT id FROM {_TABLE}{index} WHERE taken_by = '' AND collection = {m} ORDER BY id LIMIT {m}"
            f"{words.skip_locked}"
        )
        change = f"SET taken_by = {m}, taken_at = {words.now_ms}"
        if words.returning:
            self._database.count(
                # Materialized: as a plain condition PostgreSQL may ask for it once for each row, beyond the limit.
                f"WITH batch AS MATERIALIZED ({chosen}) UPDATE {_TABLE} {change} "
                f"WHERE id {words.among.format('SELECT id FROM batch')}",
                (collection, size, message_id),
            )
        elif found := self._database.rows(chosen, (collection, size)):
            self._database.count(f"UPDATE {by_keys(_TABLE)} {change}", (keys([row[0] for row in found]), message_id))

    def delete(self, message_ids: Sequence[str]) -> int:
        """The rows of these messages; how many there were."""
        if self._words.returning:
            sql = f"DELETE FROM {_TABLE} WHERE taken_by {self._words.in_ids}"
            return self._database.count(sql, (ids(self._database, message_ids),))
        by_taker = by_keys(_TABLE, "taken_by", "VARCHAR(64)", _INDEX)
        return self._database.count(f"DELETE {_TABLE} FROM {by_taker}", (keys(message_ids),))

    # The keeper's

    def is_empty(self) -> bool:
        return not self._database.rows(f"SELECT EXISTS(SELECT 1 FROM {_TABLE})")[0][0]

    def next_standing(self, after: str) -> Standing | None:
        """The next collection behind that of this id of which nobody has taken something."""
        words, m = self._words, self._words.mark
        rows = self._database.rows(
            f"SELECT collection, actor_name, gather_key, id, {words.now_ms} - created_at FROM {_TABLE} "
            f"WHERE taken_by = '' AND collection > {m} ORDER BY collection, id LIMIT 1",
            (after,),
        )
        return Standing(*rows[0]) if rows else None

    def next_taken(self, after: str, limit: int) -> list[Taken]:
        """The next messages behind that of this id that have items."""
        words, m = self._words, self._words.mark
        rows = self._database.rows(
            f"SELECT g.taken_by, {words.now_ms} - g.taken_at, r.state FROM (SELECT taken_by, MAX(taken_at) AS taken_at "
            f"FROM {_TABLE} WHERE taken_by > {m} GROUP BY taken_by ORDER BY taken_by LIMIT {m}) AS g "
            f"LEFT JOIN {_RECORDS} AS r ON r.message_id = g.taken_by ORDER BY g.taken_by",
            (after, limit),
        )
        return [Taken(*row) for row in rows]

    def give_back(self, message_ids: Sequence[str]) -> None:
        """Let others take what these messages have."""
        m = self._words.mark
        self._database.many(
            f"UPDATE {_TABLE} SET taken_by = '', taken_at = NULL WHERE taken_by = {m}",
            [(message_id,) for message_id in sorted(message_ids)],
        )

    @property
    def _words(self) -> Dialect:
        return dialect(self._database)
