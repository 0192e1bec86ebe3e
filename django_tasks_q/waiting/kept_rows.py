"""The statements on the rows of the waiting room. All times that decide are the database's own.

Contract: ``expires_at`` is what a look goes by. Unclaimed, it is ``due_at``; who publishes a message moves it into the
future, so from ``due_at`` to ``expires_at`` the message is somebody's. What changes rows that others may want locks
them first, in the order of their ids, and passes over those that somebody else has locked where any others will do.
Everything here runs in whatever transaction is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any, Literal

import msgspec

from .. import dialect
from ..errors import DuplicateMessage
from ..models import WaitingMessage
from ..sql import Database
from ..waiting_room import Kept, Waiting

_TABLE = WaitingMessage._meta.db_table
_IS_KEPT = f"kind <> '{WaitingMessage.Kind.COMMIT.value}'"
_IS_DEAD = f"kind = '{WaitingMessage.Kind.DEAD.value}'"
_IS_PARKED = f"kind = '{WaitingMessage.Kind.PARKED.value}'"
_COLUMNS = (
    "message_id, queue_name, payload, kind, priority, life, attempt, retries, lost, enqueued_at, since, reason, record"
)
_key = attrgetter("message_id", "life", "number")


class _Found(msgspec.Struct, frozen=True):
    """A row: its id, and the message that it keeps."""

    id: int
    kept: Kept


class KeptRows:
    """The rows that brokers keep in one database.

    Parameters:
        claim: seconds that whoever publishes a message has for it.
    """

    def __init__(self, database: Database, claim: float) -> None:
        self._database = database
        self._claim = claim

    # Coming and going

    def insert(self, items: Sequence[Kept], *, claimed: bool = False) -> int:
        """Rows for those that have none yet; how many there were. ``claimed``: somebody publishes them now."""
        if not items:
            return 0
        due = release = self._words.mark
        if claimed:
            due, release = self._words.now, self._words.in_seconds
        words = self._words
        marks = ", ".join(words.binary if name == "payload" else words.mark for name in _COLUMNS.split(", "))
        begin = f"{words.insert_new} {_TABLE} ({_COLUMNS}, parent_id, created_at, due_at, expires_at) VALUES "
        row = f"({marks}, '', {words.now}, {due}, {release})"
        # In order, so that two who bring the same messages do not wait for each other.
        ordered = sorted(items, key=_key)
        if words.returning:
            rows = [(*_values(item), *self._times(item, claimed)) for item in ordered]
            return self._database.many(f"{begin}{row}{words.if_new}", rows)
        return sum(  # MySQL's drivers would send one row at a time
            self._database.count(
                begin + ", ".join([row] * len(chunk)),
                [value for item in chunk for value in (*_values(item), *self._times(item, claimed))],
            )
            for chunk in dialect.chunks(ordered, lambda item: len(item.payload))
        )

    def _times(self, item: Kept, claimed: bool) -> tuple[Any, ...]:
        if claimed:
            return (self._claim,)
        due = None if item.due_at is None else dialect.as_now(self._database, item.due_at)
        return due, due

    def delete(self, items: Sequence[Kept]) -> None:
        self._each(f"DELETE FROM {_TABLE} WHERE", items)

    def give_up(self, items: Sequence[Kept]) -> None:
        self._each(f"UPDATE {_TABLE} SET expires_at = due_at WHERE", items)

    def _each(self, statement: str, items: Sequence[Kept]) -> None:
        if not items:
            return
        mark = self._words.mark
        self._database.many(
            f"{statement} {_IS_KEPT} AND message_id = {mark} AND life = {mark} AND attempt = {mark}",
            sorted(map(_key, items)),
        )

    # Claims

    def has_due(self) -> bool:
        """Whether there is something to claim; reads one entry of an index."""
        return bool(self._database.rows(f"SELECT {self._first} <= {self._words.now}")[0][0])

    def next_due_in(self) -> int | None:
        """Milliseconds, negative when it was due already."""
        first = self._words.epoch_ms.format(self._first)
        left: int | None = self._database.rows(f"SELECT {first} - {self._words.now_ms}")[0][0]
        return left

    def claim_due(self, limit: int) -> list[Kept]:
        found = self._find(self._is_due, (), f"ORDER BY expires_at, id LIMIT {self._words.mark}", limit, others_do=True)
        self._change(found, f"expires_at = {self._words.in_seconds}", self._claim)
        return [one.kept for one in found]

    def claim_parked(self, mark: str, queue_name: str, limit: int) -> list[Kept]:
        words = self._words
        where = f"{_IS_PARKED} AND queue_name = {words.mark} AND reason = {words.mark} AND {self._is_nobodys}"
        end = f"ORDER BY priority, id LIMIT {words.mark}"
        found = self._find(where, (queue_name, mark), end, limit, others_do=True)
        # Its time has come, or who is interrupted would leave it to wait for that.
        self._change(found, f"due_at = {words.now}, expires_at = {words.in_seconds}", self._claim)
        return [one.kept for one in found]

    # Dead letters

    def revive(self, message_ids: Sequence[str]) -> list[Kept]:
        letters = self._dead(message_ids)
        overtaken = self._overtaken(letters)
        self._delete([one for one in letters if one.id in overtaken])
        letters = [one for one in letters if one.id not in overtaken]
        now = dialect.now_ms(self._database)
        mark = self._words.mark
        self._change(
            letters,
            f"kind = '{WaitingMessage.Kind.DELAY.value}', life = life + 1, retries = 0, lost = 0, reason = '', "
            f"since = {mark}, enqueued_at = {mark}, due_at = {mark}, expires_at = {self._words.in_seconds}",
            now,
            now,
            dialect.as_now(self._database, now),
            self._claim,
        )
        return [_revived(one.kept, now) for one in letters]

    def _overtaken(self, letters: Sequence[_Found]) -> set[int]:
        """Of which the next life is here already: they came a second time, after somebody had revived the first."""
        rows = self._database.rows(
            f"SELECT old.id FROM {_TABLE} AS old JOIN {_TABLE} AS new ON new.message_id = old.message_id "
            f"AND new.life = old.life + 1 AND new.attempt = old.attempt WHERE old.id {self._words.in_numbers}",
            (self._numbers(letters),),
        )
        return {row[0] for row in rows}

    def replace(self, message_id: str, item: Kept) -> Kept | None:
        letters = self._dead([message_id])
        if not letters:
            return None
        self._delete(letters)
        if not self.insert([item], claimed=item.due_at is None):
            raise DuplicateMessage(f"{item.message_id} waits already.")
        return letters[-1].kept

    def _dead(self, message_ids: Sequence[str]) -> list[_Found]:
        return self._find(f"{_IS_DEAD} AND message_id {self._words.in_ids}", (self._ids(message_ids),), "ORDER BY id")

    def expire(self, ttl: int, limit: int) -> list[Kept]:
        words = self._words
        where = f"{_IS_DEAD} AND since < (SELECT {words.now_ms}) - {words.mark}"
        return self._delete(self._find(where, (ttl,), f"ORDER BY since, id LIMIT {words.mark}", limit, others_do=True))

    # Others

    def postpone(self, message_id: str, due_at: int) -> bool:
        where = f"{self._is_nobodys} AND NOT {_IS_DEAD} AND message_id {self._words.in_ids}"
        found = self._find(where, (self._ids([message_id]),), "ORDER BY id")
        due, mark = dialect.as_now(self._database, due_at), self._words.mark
        kind = f"kind = '{WaitingMessage.Kind.DELAY.value}', reason = ''"  # whoever was parked is not called any more
        self._change(found, f"{kind}, due_at = {mark}, expires_at = {mark}", due, due)
        return bool(found)

    def discard(self, message_ids: Sequence[str]) -> list[Kept]:
        where = f"{self._is_nobodys} AND message_id {self._words.in_ids}"
        return self._delete(self._find(where, (self._ids(message_ids),), "ORDER BY id"))

    def empty(self, queue_name: str, limit: int) -> list[Kept]:
        where = f"{self._is_nobodys} AND queue_name = {self._words.mark}"
        order = f"ORDER BY id LIMIT {self._words.mark}"
        return self._delete(self._find(where, (queue_name,), order, limit, others_do=True))

    def look_up(self, message_ids: Sequence[str]) -> list[Kept]:
        where = f"{_IS_KEPT} AND message_id {self._words.in_ids}"
        return self._look(where, (self._ids(message_ids),), "ORDER BY id")

    def peek(self, queue_name: str, state: Literal["delayed", "dead"], limit: int) -> list[Kept]:
        where, order = (_IS_DEAD, "since") if state == "dead" else (f"{_IS_KEPT} AND NOT {_IS_DEAD}", "due_at")
        mark = self._words.mark
        return self._look(
            f"{where} AND queue_name = {mark}", (queue_name,), f"ORDER BY {order}, id LIMIT {mark}", limit
        )

    def counts(self) -> dict[str, Waiting]:
        rows = self._database.rows(
            f"SELECT queue_name, SUM(CASE WHEN {_IS_DEAD} THEN 0 ELSE number END), "
            f"SUM(CASE WHEN {_IS_DEAD} THEN number ELSE 0 END) FROM "
            f"(SELECT kind, queue_name, COUNT(*) AS number FROM {_TABLE} WHERE {_IS_KEPT} GROUP BY kind, queue_name) "
            "AS kinds GROUP BY queue_name"
        )
        return {queue_name: Waiting(int(delayed), int(dead)) for queue_name, delayed, dead in rows}

    # Parts

    def _look(self, where: str, params: Sequence[Any], end: str, *more: Any) -> list[Kept]:
        rows = self._database.rows(f"{self._select} WHERE {where} {end}", (*params, *more))
        return [_found(row).kept for row in rows]

    def _find(self, where: str, params: Sequence[Any], end: str, *more: Any, others_do: bool = False) -> list[_Found]:
        """Rows, locked. ``others_do``: those that somebody else has locked are passed over and not waited for."""
        lock = self._words.skip_locked if others_do else self._words.lock
        rows = self._database.rows(f"{self._select} WHERE {where} {end}{lock}", (*params, *more))
        return [_found(row) for row in rows]

    def _change(self, found: Sequence[_Found], assignments: str, *params: Any) -> None:
        if found:
            table = _TABLE if self._words.returning else f"{_TABLE} FORCE INDEX (PRIMARY)"
            sql = f"UPDATE {table} SET {assignments} WHERE id {self._words.in_numbers}"
            self._database.count(sql, (*params, self._numbers(found)))

    def _delete(self, found: Sequence[_Found]) -> list[Kept]:
        if found and self._words.returning:
            self._database.count(f"DELETE FROM {_TABLE} WHERE id {self._words.in_numbers}", (self._numbers(found),))
        elif found:
            sql = f"DELETE {_TABLE} FROM {dialect.by_keys(_TABLE)}"
            self._database.count(sql, (dialect.keys([one.id for one in found]),))
        return [one.kept for one in found]

    @property
    def _select(self) -> str:
        return f"SELECT id, {self._words.epoch_ms.format('due_at')}, {_COLUMNS} FROM {_TABLE}"

    @property
    def _first(self) -> str:
        return f"(SELECT MIN(expires_at) FROM {_TABLE})"

    @property
    def _is_due(self) -> str:
        # As a subquery the time is asked for once; PostgreSQL would ask for each row, and use no index.
        return f"expires_at <= (SELECT {self._words.now})"

    @property
    def _is_nobodys(self) -> str:
        """Of the room, and nobody is publishing it."""
        now = f"(SELECT {self._words.now})"
        return f"{_IS_KEPT} AND (expires_at IS NULL OR expires_at <= {now} OR due_at > {now})"

    @cached_property
    def _words(self) -> dialect.Dialect:
        return dialect.dialect(self._database)

    def _ids(self, message_ids: Sequence[str]) -> Any:
        return dialect.ids(self._database, message_ids)

    def _numbers(self, found: Sequence[_Found]) -> Any:
        return dialect.ids(self._database, [one.id for one in found])


def _values(item: Kept) -> tuple[Any, ...]:
    """In the order of the columns."""
    return (
        item.message_id, item.queue_name, item.payload, item.kind, item.priority, item.life, item.number, item.retries,
        item.lost, item.enqueued_at, item.since, item.reason, item.record,
    )  # fmt: skip


def _found(row: Sequence[Any]) -> _Found:
    number, due_at, message_id, queue_name, payload, kind, *counters, record = row
    values: tuple[Any, ...] = (message_id, queue_name, bytes(payload), kind, due_at, *counters, bool(record))
    return _Found(number, Kept(*values))


def _revived(letter: Kept, now: int) -> Kept:
    return msgspec.structs.replace(
        letter, kind="delay", due_at=now, life=letter.life + 1, retries=0, lost=0, enqueued_at=now, since=now, reason=""
    )
