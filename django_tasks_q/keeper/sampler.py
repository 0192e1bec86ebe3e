"""Rows that show how things are: the workers of this keeper, and what every queue holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from socket import gethostname
from typing import Any

from .. import clock
from ..broker import Broker
from ..dialect import dialect, ids, moment, now_ms, replace
from ..models import QueueState, WorkerProcess
from ..sql import Database
from ..worker.board import ALIVE, EMPTY, Region
from .service import Service
from .service_lease import LeaderLease

_WORKERS = WorkerProcess._meta.db_table
_QUEUES = QueueState._meta.db_table
_SEEN = (
    "worker_id", "hostname", "pid", "queues", "threads", "current", "rss_bytes", "processed", "failed",
    "control_version",
)  # fmt: skip


class WorkerSampler(Service):
    """Writes what the board says of each living worker, in one statement every two seconds.

    A worker that stands still is not written: its last heartbeat tells since when. Who has left the board is removed
    at once, who died with its keeper when nobody has heard of it for three leases.
    """

    interval = 2.0

    def __init__(self, broker: Broker, database: Database, board: Iterable[Region], queues: Sequence[str] = ()) -> None:
        super().__init__()
        self._broker = broker
        self._database = database
        self._board = board
        self._queues = queues
        self._hostname = gethostname()
        self._written: set[str] = set()
        self._clean_at = 0.0

    def work(self) -> None:
        present = {region.worker_id for region in self._board if region.presence != EMPTY}
        rows = [self._row(region) for region in self._board if region.presence == ALIVE]
        self._database.own()
        self._remove(self._written - present)
        if rows:
            self._write(rows)
        self._remove_stale()

    def buried(self, worker_id: str) -> None:
        self._remove({worker_id})

    def close(self) -> None:
        """Nobody is left on the board, or nobody will tell of them any more."""
        self._remove(self._written)

    def _row(self, region: Region) -> tuple[Any, ...]:
        """As ``_SEEN`` says."""
        current = [
            {"message_id": task.message_id, "queue_name": task.queue_name, "since": task.started_at}
            for task in region.running()
        ]
        queues = list(self._queues) or sorted(self._broker.queues)
        return (
            *(region.worker_id, self._hostname, region.pid, json.dumps(queues), region.slots, json.dumps(current)),
            *(region.rss, region.processed, region.failed, region.obeyed_control or 0),
        )

    def _write(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """One upsert; ``started_at`` stays what it was at first sight, by the database's clock as the heartbeat."""
        words = dialect(self._database)
        marks = ", ".join(words.json if name in ("queues", "current") else words.mark for name in _SEEN)
        values = ", ".join([f"({marks}, {words.now}, {words.now})"] * len(rows))
        self._database.count(
            f"INSERT INTO {_WORKERS} ({', '.join(map(words.name, _SEEN))}, started_at, heartbeat_at) VALUES {values} "
            f"{replace(words, 'worker_id', (*_SEEN[1:], 'heartbeat_at'))}",
            [value for row in rows for value in row],
        )
        self._written |= {row[0] for row in rows}

    def _remove(self, worker_ids: Iterable[str]) -> None:
        gone = sorted(worker_ids)
        if gone:
            self._database.own()
            sql = f"DELETE FROM {_WORKERS} WHERE worker_id {dialect(self._database).in_ids}"
            self._database.count(sql, (ids(self._database, gone),))
            self._written -= set(gone)

    def _remove_stale(self) -> None:
        """Once a lease is often enough."""
        now = clock.monotonic()
        if now < self._clean_at:
            return
        self._clean_at = now + self._broker.lease / 1000
        oldest = moment(self._database, now_ms(self._database) - 3 * self._broker.lease)
        mark = dialect(self._database).mark
        self._database.count(f"DELETE FROM {_WORKERS} WHERE heartbeat_at < {mark}", (oldest,))


class QueueSampler(Service):
    """Counts what every queue holds, as often as that is cheap: one of all keepers does it.

    Of each queue it writes the counts and never ``paused_at``, which is somebody's decision.
    """

    interval = 5.0
    _EFFORT = 20
    """A count is followed by a rest of so many times its length."""

    def __init__(self, broker: Broker, database: Database, owner: str) -> None:
        super().__init__()
        self._broker = broker
        self._database = database
        self._lease = LeaderLease(database, "queue-samples", owner)

    def work(self) -> None:
        if not self._lease.hold():
            return
        began = clock.monotonic()
        counts = self._broker.counts()
        self.again_in(max(self.interval, self._EFFORT * (clock.monotonic() - began)))
        now = now_ms(self._database)
        rows = [
            (
                count.queue_name,
                count.ready,
                count.in_flight,
                count.delayed,
                count.dead,
                moment(self._database, now - count.oldest_ms) if count.ready else None,
            )
            for count in counts
        ]
        if rows:
            self._database.own()
            self._write(rows)

    def close(self) -> None:
        self._lease.release()

    def _write(self, rows: Sequence[tuple[Any, ...]]) -> None:
        words = dialect(self._database)
        names = ("ready", "in_flight", "delayed", "dead", "oldest_at", "sampled_at")
        values = ", ".join([f"({', '.join([words.mark] * 6)}, {words.now})"] * len(rows))
        self._database.count(
            f"INSERT INTO {_QUEUES} (queue_name, {', '.join(map(words.name, names))}) VALUES {values} "
            f"{replace(words, 'queue_name', names)}",
            [value for row in rows for value in row],
        )
