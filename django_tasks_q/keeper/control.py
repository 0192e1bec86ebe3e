"""Revocations and pauses: telling the workers of this keeper, and removing what waits."""

from __future__ import annotations

from collections.abc import Iterable

from .. import clock, conf
from ..broker import Broker
from ..control.removing import Removal
from ..rules import ControlStore, Rule
from ..sql import Database
from ..worker.board import ALIVE, Region
from .service import Service
from .service_lease import LeaderLease


class ControlService(Service):
    """Tells the board when revocations and pauses have changed, and the database which workers obey them.

    One small question four times a second, for all workers of the keeper together: they ask nobody.
    """

    interval = 0.25
    thread = "Control"  # of its own: a pause is to take hold within a second, whatever the other services wait for

    def __init__(self, store: ControlStore, board: Iterable[Region]) -> None:
        super().__init__()
        self._store = store
        self._board = board
        self._noted: dict[str, int] = {}

    def work(self) -> None:
        version = self._store.version()
        alive = [region for region in self._board if region.presence == ALIVE]
        for region in alive:
            if region.told_control != version:
                region.tell_control(version)
        obeyed = {region.worker_id: known for region in alive if (known := region.obeyed_control) is not None}
        changed = {worker_id: known for worker_id, known in obeyed.items() if self._noted.get(worker_id) != known}
        if changed:
            self._store.note_obeyed(changed)
        self._noted = obeyed


class Sweeper(Service):
    """Removes what waits and was called off: what the one who revoked it left, and what came later.

    One of all keepers does it, for each revocation again and again, more and more rarely while it holds: what the
    records do not know yet is found then. What has been over for as long as dead letters are recorded is forgotten.
    """

    interval = 1.0
    _PATIENCE = 2.0
    _FIRST, _RAREST, _HOUR = 2.0, 60.0, 3600.0

    def __init__(self, broker: Broker, store: ControlStore, database: Database, owner: str) -> None:
        super().__init__()
        self._broker = broker
        self._store = store
        self._lease = LeaderLease(database, "revocations", owner)
        self._version: int | None = None
        self._rules: dict[int, Rule] = {}
        self._due: dict[int, tuple[float, float]] = {}
        self._forget_at = 0.0

    def work(self) -> None:
        if not self._lease.hold():
            self._version = None
            return
        self._read()
        self._forget()
        for rule in list(self._rules.values()):
            due, pause = self._due.get(rule.id, (0.0, self._FIRST))
            now = clock.monotonic()
            if now >= due:
                self._store.sweep(rule, now + self._PATIENCE, Removal(self._broker, rule))
                self._due[rule.id] = clock.monotonic() + pause, min(2 * pause, self._RAREST)

    def _read(self) -> None:
        version = self._store.version()
        if version != self._version:
            self._rules = {rule.id: rule for rule in self._store.rules().rules}
            self._due = {number: due for number, due in self._due.items() if number in self._rules}
            self._version = version

    def _forget(self) -> None:
        now = clock.monotonic()
        if now >= self._forget_at:
            is_more = self._store.forget(conf.records()["DEAD_TTL"]) > 0
            self._forget_at = now + (self._RAREST if is_more else self._HOUR)

    def close(self) -> None:
        self._lease.release()
