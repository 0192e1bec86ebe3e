"""Who holds which key, as rows, for a broker that cannot know it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from .. import records_database
from ..broker import get_broker
from ..deliveries import Outgoing
from ..dialect import Dialect, dialect, ids
from ..errors import BrokerConnectionError
from ..models import MessageRecord, UniqueHolder
from ..sql import Database, SharedConnections
from ..unique import held_by
from ..unique_holders import UniqueHolders
from .apart import commit_apart

T = TypeVar("T")

_TABLE = UniqueHolder._meta.db_table
_RECORDS = MessageRecord._meta.db_table
_ROUNDS = 20


class DatabaseUniqueHolders(UniqueHolders):
    """Rows in the database of the records.

    Parameters:
        alias: the database; None for the one that the settings name.
    """

    def __init__(self, alias: str | None = None) -> None:
        self._given = alias
        self._shared: SharedConnections | None = None

    def take(self, outgoing: Sequence[Outgoing], *, caused: bool = False) -> Mapping[str, str]:
        if caused:
            return self._on_our_own(lambda rows: rows.take(outgoing, refuses=False))
        return self._beside(lambda rows: rows.take(outgoing, refuses=True))

    def sent(self, message_ids: Sequence[str]) -> None:
        self._beside(lambda rows: rows.sent(message_ids))

    def extend(self, key: str, message_id: str, ttl: int | None) -> None:
        self._beside(lambda rows: rows.extend(key, message_id, ttl))

    def release(self, held: Sequence[tuple[str, str]]) -> None:
        self._on_our_own(lambda rows: rows.release(held))

    def forget(self, message_ids: Sequence[str]) -> None:
        self._beside(lambda rows: rows.forget(message_ids))

    def holder(self, key: str) -> str | None:
        return HolderRows(Database(self._alias)).holder(key)

    def close(self) -> None:
        if self._shared is not None:
            self._shared.close()

    @property
    def _alias(self) -> str:
        return self._given or records_database.alias(get_broker())

    def _beside(self, act: Callable[[HolderRows], T]) -> T:
        """For senders, whose transaction may be open."""
        database = Database(self._alias)
        return commit_apart(database, lambda: act(HolderRows(database)))

    def _on_our_own(self, act: Callable[[HolderRows], T]) -> T:
        """For threads of a worker, whose own connections are people's."""
        if self._shared is None:
            self._shared = SharedConnections(self._alias)
        with self._shared.one() as database, database.transaction():
            return act(HolderRows(database))


class Held(NamedTuple):
    """A row as the keeper judges it. ``age``: milliseconds since it was taken; ``ended_after``: between that and the
    end of the message, as far as its record tells."""

    key: str
    message_id: str
    sent: bool
    age: int
    is_over: bool
    state: str | None
    ended_after: int | None


class HolderRows:
    """The statements, in whatever transaction is open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, outgoing: Sequence[Outgoing], *, refuses: bool) -> dict[str, str]:
        # Whoever takes the same keys waits at the first of them, and no two wait for each other.
        wanted = sorted(outgoing, key=_key)
        for _ in range(_ROUNDS):
            self._insert(wanted)
            held = self._held([_key(item) for item in wanted])
            over = [(key, message_id) for key, (message_id, is_over) in held.items() if is_over]
            if not over and all(_key(item) in held for item in wanted):
                return _left_out(wanted, held, refuses)
            self.release(over)
        raise BrokerConnectionError(f"The key of {wanted[0].message.message_id} passes on faster than it is taken.")

    def _insert(self, items: Sequence[Outgoing]) -> None:
        words, m = self._words, self._words.mark
        self._database.many(
            f"{words.insert_new} {_TABLE} (unique_key, message_id, queue_name, taken_at, sent, expires_at) "
            f"VALUES ({m}, {m}, {m}, {words.now_ms}, {m}, {words.now_ms} + {m}){words.if_new}",
            [(_key(i), i.message.message_id, i.message.queue_name, False, _ttl(i)) for i in items],
        )

    def _held(self, keys: Sequence[str]) -> dict[str, tuple[str, bool]]:
        rows = self._database.rows(
            f"SELECT unique_key, message_id, {self._is_over} FROM {_TABLE} WHERE unique_key {self._words.in_ids}",
            (ids(self._database, keys),),
        )
        return {key: (message_id, bool(is_over)) for key, message_id, is_over in rows}

    def sent(self, message_ids: Sequence[str]) -> None:
        mark = self._words.mark
        self._database.many(
            f"UPDATE {_TABLE} SET sent = {mark} WHERE message_id = {mark}",
            [(True, message_id) for message_id in sorted(message_ids)],
        )

    def extend(self, key: str, message_id: str, ttl: int | None) -> None:
        mark = self._words.mark
        self._database.count(
            f"UPDATE {_TABLE} SET expires_at = {self._words.now_ms} + {mark} "
            f"WHERE unique_key = {mark} AND message_id = {mark}",
            (ttl, key, message_id),
        )

    def release(self, held: Sequence[tuple[str, str]]) -> None:
        if held:
            mark = self._words.mark
            self._database.many(f"DELETE FROM {_TABLE} WHERE unique_key = {mark} AND message_id = {mark}", sorted(held))

    def forget(self, message_ids: Sequence[str]) -> None:
        mark = self._words.mark
        self._database.many(
            f"DELETE FROM {_TABLE} WHERE message_id = {mark}", [(message_id,) for message_id in sorted(message_ids)]
        )

    def holder(self, key: str) -> str | None:
        held = self._held([key]).get(key)
        return None if held is None or held[1] else held[0]

    # The keeper's

    def is_empty(self) -> bool:
        return not self._database.rows(f"SELECT EXISTS(SELECT 1 FROM {_TABLE})")[0][0]

    def next_held(self, after: str, older_than: int, limit: int) -> list[Held]:
        """Rows behind a key, in the order of their keys, that were taken so many milliseconds ago or earlier."""
        words, mark = self._words, self._words.mark
        age = f"{words.now_ms} - h.taken_at"
        rows = self._database.rows(
            f"SELECT h.unique_key, h.message_id, h.sent, {age}, {self._is_over}, r.state, "
            f"{words.epoch_ms.format('r.finished_at')} - h.taken_at FROM {_TABLE} AS h "
            f"LEFT JOIN {_RECORDS} AS r ON r.message_id = h.message_id "
            f"WHERE h.unique_key > {mark} AND {age} >= {mark} ORDER BY h.unique_key LIMIT {mark}",
            (after, older_than, limit),
        )
        return [Held(row[0], row[1], bool(row[2]), row[3], bool(row[4]), *row[5:]) for row in rows]

    @property
    def _is_over(self) -> str:
        return f"(expires_at IS NOT NULL AND expires_at <= {self._words.now_ms})"

    @property
    def _words(self) -> Dialect:
        return dialect(self._database)


def _left_out(wanted: Sequence[Outgoing], held: Mapping[str, tuple[str, bool]], refuses: bool) -> dict[str, str]:
    left_out = {}
    for item in wanted:
        holder, _ = held[_key(item)]
        if holder != item.message.message_id:
            left_out[item.message.message_id] = holder
            if refuses and item.unique is not None and item.unique.on_conflict == "raise":
                raise held_by(item, holder)
    return left_out


def _key(item: Outgoing) -> str:
    assert item.unique is not None
    return item.unique.key


def _ttl(item: Outgoing) -> Any:
    return None if item.unique is None else item.unique.ttl
