"""Which records are about messages that conditions are about.

Contract: what the records do not know (messages without one, events on their way) is not found; workers look at each
message themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..dialect import dialect, ids, moment
from ..models import MessageRecord, Stamp
from ..rules import Conditions
from ..sql import Database
from ..states import State

_RECORDS = MessageRecord._meta.db_table
_STAMPS = Stamp._meta.db_table

WAITING = (State.DELAYED, State.RETRYING, State.ENQUEUED)
"""What can be removed; those first that can be on every broker."""

LIVE = (*WAITING, State.PENDING, State.RUNNING, State.UNKNOWN)


class _Where(NamedTuple):
    sql: str
    params: tuple[Any, ...]


class Search:
    """Parameters: ``created_at``, epoch milliseconds, is when the conditions were said; None: now."""

    def __init__(self, database: Database, conditions: Conditions, created_at: int | None = None) -> None:
        self._database = database
        self._words = dialect(database)
        self._conditions = conditions
        self._created_at = created_at

    def counts(self) -> dict[str, int]:
        """How many messages that have not ended, by state."""
        where = self._where(LIVE)
        rows = self._database.rows(
            f"SELECT r.state, COUNT(*) FROM {_RECORDS} r WHERE {where.sql} GROUP BY r.state", where.params
        )
        return {state: int(number) for state, number in rows}

    def waiting(self, limit: int) -> list[str]:
        """The ids of messages that wait, those first that every broker can remove."""
        where = self._where(WAITING)
        rows = self._database.rows(
            f"SELECT r.message_id FROM {_RECORDS} r WHERE {where.sql} "
            f"ORDER BY CASE r.state WHEN '{State.ENQUEUED}' THEN 1 ELSE 0 END LIMIT {limit}",
            where.params,
        )
        return [row[0] for row in rows]

    def _where(self, states: Sequence[State]) -> _Where:
        parts = list(self._parts())
        joined = (" AND " if self._conditions.match == "all" else " OR ").join(part.sql for part in parts)
        names = ", ".join(f"'{state}'" for state in states)
        # The condition of the index of states, word for word.
        sql = f"r.state IN ({names}) AND NOT (r.state = '{State.SUCCEEDED}') AND ({joined})"
        return _Where(sql, tuple(value for part in parts for value in part.params))

    def _parts(self) -> list[_Where]:
        conditions, words = self._conditions, self._words
        parts = []
        if conditions.ids:
            parts.append(_Where(f"r.message_id {words.in_ids}", (ids(self._database, sorted(conditions.ids)),)))
        stamps = [
            _Where(
                f"{words.name('name')} = {words.mark} AND {words.name('value')} {words.in_ids}",
                (name, ids(self._database, values)),
            )
            for name, values in conditions.stamps.items()
        ]
        if conditions.match == "any" and stamps:
            stamps = [_Where(" OR ".join(f"({s.sql})" for s in stamps), tuple(v for s in stamps for v in s.params))]
        parts += [_Where(f"r.message_id IN (SELECT message_id FROM {_STAMPS} WHERE {s.sql})", s.params) for s in stamps]
        if conditions.everything:
            parts.append(self._earlier() or _Where("1 = 1", ()))
        for column, value in (("actor_name", conditions.actor), ("queue_name", conditions.queue)):
            if value:
                parts.append(self._of(column, value))
        return parts

    def _of(self, column: str, value: str) -> _Where:
        mark = self._words.mark
        earlier = None if self._conditions.future else self._earlier()
        if earlier is None:
            return _Where(f"r.{column} = {mark}", (value,))
        return _Where(f"(r.{column} = {mark} AND {earlier.sql})", (value, *earlier.params))

    def _earlier(self) -> _Where | None:
        """Sent before the conditions were said; None where all has been."""
        if self._created_at is None:
            return None
        return _Where(f"r.created_at <= {self._words.mark}", (moment(self._database, self._created_at),))


def unrecorded(database: Database, message_ids: Iterable[str]) -> list[str]:
    """Those of these ids that no record has."""
    wanted = sorted(message_ids)
    sql = f"SELECT message_id FROM {_RECORDS} WHERE message_id {dialect(database).in_ids}"
    known = {row[0] for row in database.rows(sql, (ids(database, wanted),))}
    return [one for one in wanted if one not in known]
