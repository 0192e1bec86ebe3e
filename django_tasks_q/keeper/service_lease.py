"""One leader over all hosts for what only one process may do at a time.

Contract: each statement takes, renews or is refused, by the database's clock, so of two who ask at once one is refused.
Who holds the lease may work for two thirds of it without asking again. That is a matter of order, not of safety: one
that was stopped for longer may go on beside its successor, so whatever a leader does must bear being done twice.
"""

from __future__ import annotations

import json
from typing import Any

from .. import clock
from ..dialect import dialect
from ..models import ServiceLease
from ..sql import Database

_TABLE = ServiceLease._meta.db_table


class LeaderLease:
    """The lease ``name``, as ``owner`` sees it. Owners are unique over hosts and restarts."""

    def __init__(self, database: Database, name: str, owner: str, ttl_ms: int = 15_000) -> None:
        self._database = database
        self.name = name
        self.owner = owner
        self._ttl_ms = ttl_ms
        self._renew_at = 0.0

    def hold(self) -> bool:
        """Take or renew the lease; False while somebody else has it.

        Who holds it may ask as often as he likes: the database is asked three times a lease. Who does not only reads.
        """
        now = clock.monotonic()
        if now < self._renew_at:
            return True
        self._database.own()
        held = (self._renew_at > 0 or not self._is_taken()) and self._take()
        self._renew_at = now + self._ttl_ms / 3000 if held else 0.0
        return held

    def _is_taken(self) -> bool:
        words = dialect(self._database)
        sql = (
            f"SELECT 1 FROM {_TABLE} WHERE name = {words.mark} AND owner <> {words.mark} "
            f"AND expires_at >= {words.now_ms}"
        )
        return bool(self._database.rows(sql, (self.name, self.owner)))

    def _take(self) -> bool:
        words = dialect(self._database)
        mark, end = words.mark, f"{words.now_ms} + {words.mark}"
        taken = self._database.count(
            f"UPDATE {_TABLE} SET owner = {mark}, expires_at = {end} "
            f"WHERE name = {mark} AND (owner = {mark} OR expires_at < {words.now_ms})",
            (self.owner, self._ttl_ms, self.name, self.owner),
        )
        return bool(taken) or bool(
            self._database.count(
                f"{words.insert_new} {_TABLE} (name, owner, expires_at, notes) "
                f"VALUES ({mark}, {mark}, {end}, {words.json}){words.if_new}",
                (self.name, self.owner, self._ttl_ms, "{}"),
            )
        )

    def release(self) -> None:
        """Let go, so that the next one need not wait; nothing happens when it is somebody else's."""
        self._renew_at = 0.0
        mark = dialect(self._database).mark
        self._database.own()
        self._database.count(
            f"UPDATE {_TABLE} SET owner = '', expires_at = 0 WHERE name = {mark} AND owner = {mark}",
            (self.name, self.owner),
        )

    def notes(self) -> dict[str, Any]:
        """What was noted last, whoever did it."""
        words = dialect(self._database)
        sql = f"SELECT {words.text.format('notes')} FROM {_TABLE} WHERE name = {words.mark}"
        rows = self._database.rows(sql, (self.name,))
        return dict(json.loads(rows[0][0])) if rows else {}

    def note(self, notes: dict[str, Any]) -> bool:
        """Replace the notes, in whatever transaction is open; False, and nothing is noted, for who is not the owner."""
        words = dialect(self._database)
        return bool(
            self._database.count(
                f"UPDATE {_TABLE} SET notes = {words.json} WHERE name = {words.mark} AND owner = {words.mark}",
                (json.dumps(notes), self.name, self.owner),
            )
        )
