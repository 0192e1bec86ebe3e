"""The rows that results are kept in.

Contract: each call is one statement, in the transaction that is open; times are the database's. MySQL's go out in
several where one would be longer than its server takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from ...deliveries import Result
from ...dialect import Dialect, array, chunks, dialect, ids, replace
from ...models import MessageResult
from ...sql import Database

TABLE = MessageResult._meta.db_table
_COLUMNS = "message_key, payload, expires_at"


class ResultRows:
    """Statements about results on one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @cached_property
    def _words(self) -> Dialect:
        return dialect(self._database)

    def store(self, results: Sequence[Result], *, replace: bool = True) -> None:
        """In the order of their keys, so that of two batches one waits for the other, and not both for ever."""
        latest = {result.key: result for result in results}
        ordered = [latest[key] for key in sorted(latest)]
        if self._database.vendor == "postgresql":
            columns = [array(column) for column in zip(*((r.key, r.payload, r.ttl) for r in ordered), strict=True)]
            source = (
                f"SELECT v.message_key, v.payload, {self._words.now_ms} + v.ttl FROM "
                "unnest(%s::text[], %s::bytea[], %s::bigint[]) AS v(message_key, payload, ttl)"
            )
            self._database.count(self._insert(source, replace), columns)
            return
        for chunk in chunks(ordered, lambda result: len(result.payload)):
            words = self._words
            one = f"({words.mark}, {words.binary}, {words.now_ms} + {words.mark})"
            params = [value for result in chunk for value in (result.key, result.payload, result.ttl)]
            self._database.count(self._insert(f"VALUES {', '.join([one] * len(chunk))}", replace), params)

    def _insert(self, source: str, replaces: bool) -> str:
        if not replaces:
            return f"{self._words.insert_new} {TABLE} ({_COLUMNS}) {source}{self._words.if_new}"
        ending = replace(self._words, "message_key", ("payload", "expires_at"))
        return f"INSERT INTO {TABLE} ({_COLUMNS}) {source} {ending}"

    def load(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        rows = self._database.rows(
            f"SELECT message_key, payload FROM {TABLE} "
            f"WHERE message_key {self._words.in_ids} AND expires_at > {self._words.now_ms}",
            (ids(self._database, keys),),
        )
        return {key: bytes(payload) for key, payload in rows}

    def remove(self, keys: Sequence[str]) -> None:
        self._database.count(
            f"DELETE FROM {TABLE} WHERE message_key {self._words.in_ids}", (ids(self._database, keys),)
        )

    def prune(self, limit: int) -> int:
        """Up to ``limit`` that have expired, the oldest first; how many."""
        words = self._words
        expired = f"expires_at <= {words.now_ms} ORDER BY expires_at LIMIT {words.mark}"
        if words.returning:
            chosen = f"SELECT message_key FROM {TABLE} WHERE {expired}{words.skip_locked}"
            expired = f"message_key IN ({chosen})"
        return self._database.count(f"DELETE FROM {TABLE} WHERE {expired}", (limit,))
