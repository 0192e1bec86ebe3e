"""Retention: what is older than the settings want is deleted, a little at a time, also while everybody is busy."""

from __future__ import annotations

from .. import clock, conf
from ..broker import Broker
from ..dialect import dialect, now_ms
from ..logging import get_logger
from ..sql import Database
from .retention import Batch, Cutoffs, Sweep
from .service import Service
from .service_lease import LeaderLease

logger = get_logger(__name__)

NAME = "retention"
"""Of the lease; its notes count what was deleted since the first day.

``records``, ``attempts``, ``dead_letters``, ``results``.
"""

_SHARE = 0.03
"""The part of the time that a sweep works; the rest it leaves to others."""

_SHORTEST_PAUSE = 0.02
_BETWEEN_SWEEPS = 60.0
_LOOK = 5.0
"""Seconds after which who is not the leader looks whether there is one."""


class Pruner(Service):
    """One batch a round: first dead letters that the broker kept long enough, then results that have expired, then
    records and their attempts.

    It never waits for a quiet hour, which may never come: it rests after each batch for as long as makes it a
    thirtieth of one core at most. The counts are written in the transaction of each batch, so a ``kill -9`` neither
    loses nor doubles them.
    """

    interval = _BETWEEN_SWEEPS

    def __init__(self, broker: Broker, database: Database, owner: str) -> None:
        super().__init__()
        self._broker = broker
        self._database = database
        self._lease = LeaderLease(database, NAME, owner)
        self._sweep: Sweep | None = None
        self._expires = True
        self._prunes_results = True
        self._totals: dict[str, int] = {}
        self._gone = {"records": 0, "attempts": 0, "dead_letters": 0, "results": 0}

    def work(self) -> None:
        if not self._lease.hold():
            self._forget()
            self.again_in(_LOOK)
            return
        try:
            took = self._step()
        except BaseException:
            self._forget()
            raise
        if took is None:
            self._finish()
            self.again_in(_BETWEEN_SWEEPS)
        else:
            self.again_in(max(_SHORTEST_PAUSE, took / _SHARE - took))

    def close(self) -> None:
        self._lease.release()

    def _step(self) -> float | None:
        """One batch: how many seconds of work it was, None when there are no more."""
        if self._expires:
            began = clock.monotonic()
            self._expires = self._expire()
            return clock.monotonic() - began
        if self._prunes_results:
            began = clock.monotonic()
            self._prunes_results = self._prune_results()
            return clock.monotonic() - began
        if self._sweep is None:
            self._totals = self._lease.notes()
            self._sweep = Sweep(self._database, self._cutoffs(), self._count)
        return None if self._sweep.step() is None else self._sweep.took

    def _expire(self) -> bool:
        """A batch of dead letters; whether there may be more."""
        limit = dialect(self._database).batch
        expired = self._broker.expire_dead_letters(conf.get("DEAD_LETTER_TTL"), limit)
        if expired:
            self._totals = self._lease.notes()
            self._add(dead_letters=expired)
        return expired == limit

    def _prune_results(self) -> bool:
        """A batch of results that have expired; whether there may be more."""
        try:
            backend = self._broker.get_results_backend()
        except RuntimeError:
            return False
        limit = dialect(self._database).batch
        pruned = backend.prune(limit)
        if pruned:
            self._totals = self._lease.notes()
            self._add(results=pruned)
        return pruned == limit

    def _count(self, batch: Batch) -> None:
        self._add(records=batch.records, attempts=batch.attempts)

    def _add(self, **numbers: int) -> None:
        for name, number in numbers.items():
            self._gone[name] += number
            self._totals[name] = self._totals.get(name, 0) + number
        self._lease.note(self._totals)

    def _cutoffs(self) -> Cutoffs:
        records, now = conf.records(), now_ms(self._database)
        return Cutoffs(now - records["SUCCEEDED_TTL"], now - records["DEAD_TTL"])

    def _finish(self) -> None:
        gone = self._gone
        if any(gone.values()):
            logger.info(
                "Retention: %d records with %d attempts deleted, %d dead letters and %d results dropped.",
                gone["records"],
                gone["attempts"],
                gone["dead_letters"],
                gone["results"],
            )
        self._forget()

    def _forget(self) -> None:
        """The next round begins anew."""
        self._sweep, self._expires, self._prunes_results = None, True, True
        self._gone = dict.fromkeys(self._gone, 0)
