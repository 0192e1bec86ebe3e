"""The rows that show leases which are kept elsewhere than in the database of the records."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from .. import clock
from ..models import RateLimitMutex
from ..rate_limits import Held, get_rate_limiter_backend
from ..rate_limits.backends import DatabaseBackend, StubBackend
from ..sql import Database
from ..worker.board import EMPTY, Region
from .service import Service

_MIRRORED = -1
"""The version of such a row. A lease of the database's own has a higher one, and is nobody's to overwrite."""

_IDLE_LOOK = 15.0
"""Seconds between two looks while nothing runs here and nobody was seen to hold a lease."""


class MutexMirror(Service):
    """Copies who holds what into ``RateLimitMutex``. Every keeper does: what they write is the same.

    Nothing is written while nothing changes.
    """

    interval = 0.5

    def __init__(self, database: Database, board: Iterable[Region] = ()) -> None:
        super().__init__()
        self._database = database
        self._board = board
        self._written: dict[str, list[Held]] | None = None
        self._idle_until = 0.0

    def work(self) -> None:
        backend = get_rate_limiter_backend()
        if isinstance(backend, DatabaseBackend | StubBackend) or self._may_rest():
            return
        self._idle_until = clock.monotonic() + _IDLE_LOOK
        held: dict[str, list[Held]] = {}
        for one in backend.inspect():
            held.setdefault(one.key, []).append(_timeless(one))
        if held != self._written:
            self._written = None  # nobody knows what is there of a write that breaks off
            self._database.own()
            with self._database.errors():
                self._write(held)
            self._written = held

    def _may_rest(self) -> bool:
        """Whoever takes a lease runs something, nearly always; the board says so without a question to the store."""
        if self._written != {} or clock.monotonic() >= self._idle_until:
            return False
        return not any(region.presence != EMPTY and region.running() for region in self._board)

    def _write(self, held: dict[str, list[Held]]) -> None:
        rows = RateLimitMutex.objects.using(self._database.alias)
        rows.filter(version=_MIRRORED).exclude(key__in=list(held)).delete()
        for key, leases in held.items():
            columns = {
                "limit": leases[0].limit,
                "holders": [msgspec.to_builtins(one.holder) for one in leases],
                "expires_at": clock.as_datetime(max(one.holder.expires_at for one in leases)),
            }
            if not rows.filter(key=key, version=_MIRRORED).update(**columns):
                rows.bulk_create([RateLimitMutex(key=key, version=_MIRRORED, **columns)], ignore_conflicts=True)


def _timeless(held: Held) -> Held:
    """A lease without how long it will last, which is another number at each look."""
    return held._replace(remaining=0)
