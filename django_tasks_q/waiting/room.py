"""The waiting room of a Django project: rows where the records are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Literal, TypeVar

from .. import records_database
from ..broker import MAX_BATCH, get_broker
from ..dialect import dialect
from ..sql import Database
from ..waiting_room import Kept, Waiting, WaitingRoom
from .apart import commit_apart
from .kept_rows import KeptRows

T = TypeVar("T")
V = TypeVar("V")


class DatabaseWaitingRoom(WaitingRoom):
    """Messages in the database of the records. However many a call names, no transaction changes more than a batch.

    Parameters:
        alias: another database.
        claim: seconds that whoever publishes a message has for it.
    """

    def __init__(self, alias: str | None = None, claim: float = WaitingRoom.claim) -> None:
        self._alias = alias
        self.claim = claim

    def keep(self, items: Sequence[Kept]) -> None:
        self._write_all(items, KeptRows.insert)

    def claim_due(self, limit: int) -> list[Kept]:
        if not self._rows.has_due():
            return []  # most looks end here, and only read
        return self._write(lambda rows: rows.claim_due(self._most(limit)))

    def claim_parked(self, mark: str, queue_name: str, limit: int) -> list[Kept]:
        return self._write(lambda rows: rows.claim_parked(mark, queue_name, self._most(limit)))

    def remove(self, items: Sequence[Kept]) -> None:
        self._write_all(items, KeptRows.delete)

    def give_up(self, items: Sequence[Kept]) -> None:
        self._write_all(items, KeptRows.give_up)

    def next_due_in(self) -> int | None:
        left = self._rows.next_due_in()
        return None if left is None else max(0, left)

    def revive(self, message_ids: Sequence[str]) -> list[Kept]:
        return list(chain(*self._write_all(message_ids, KeptRows.revive)))

    def replace(self, message_id: str, item: Kept) -> Kept | None:
        return self._write(lambda rows: rows.replace(message_id, item))

    def postpone(self, message_id: str, due_at: int) -> bool:
        return self._write(lambda rows: rows.postpone(message_id, due_at))

    def discard(self, message_ids: Sequence[str]) -> list[Kept]:
        return list(chain(*self._write_all(message_ids, KeptRows.discard)))

    def empty(self, queue_name: str, limit: int) -> list[Kept]:
        return self._write(lambda rows: rows.empty(queue_name, self._most(limit)))

    def expire(self, ttl: int, limit: int) -> list[Kept]:
        return self._write(lambda rows: rows.expire(ttl, self._most(limit)))

    def look_up(self, message_ids: Sequence[str]) -> list[Kept]:
        return self._rows.look_up(message_ids)

    def peek(self, queue_name: str, state: Literal["delayed", "dead"], limit: int) -> list[Kept]:
        return self._rows.peek(queue_name, state, limit)

    def counts(self) -> Mapping[str, Waiting]:
        return self._rows.counts()

    # Parts

    @property
    def _database(self) -> Database:
        return Database(self._alias or records_database.alias(get_broker()))

    @property
    def _rows(self) -> KeptRows:
        """For what only reads."""
        return KeptRows(self._database, self.claim)

    def _write(self, act: Callable[[KeptRows], T]) -> T:
        database = self._database
        return commit_apart(database, lambda: act(KeptRows(database, self.claim)))

    def _write_all(self, values: Sequence[V], act: Callable[[KeptRows, Sequence[V]], T]) -> list[T]:
        """One transaction for each batch."""

        def write(batch: Sequence[V]) -> T:
            return self._write(lambda rows: act(rows, batch))

        return [write(values[start : start + MAX_BATCH]) for start in range(0, len(values), MAX_BATCH)]

    def _most(self, limit: int) -> int:
        return min(limit, dialect(self._database).batch)
