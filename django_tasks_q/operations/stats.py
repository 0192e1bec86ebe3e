"""How everything stands, in a few questions that stay cheap however much there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connections

from .. import clock, records_database
from ..broker import Broker, get_broker
from ..deliveries import QueueCounts
from ..dialect import VENDORS, dialect, moment, now_ms
from ..errors import BrokerConnectionError, BrokerError
from ..keeper.mirror_service import mirror_lag_ms
from ..models import ActorState, MessageRecord, QueueState, WorkerProcess
from ..sql import Database
from ..waiting import WaitingRows
from .asking import ask
from .queue_counts import CAP, live_counts

FRESH = timedelta(seconds=15)
"""How old a count or a sign of life may be."""

STRETCH = 20_000
"""Records that one look for what has just finished reads at most."""

RECORDS = MessageRecord._meta.db_table
_MINUTE = 60_000


class QueueStats(msgspec.Struct, frozen=True):
    """One queue now. ``oldest_ms``: how long its oldest ready message has been waiting; ``consumers``: live workers.

    ``per_minute`` is what finished in the last minute; see :func:`queues_and_workers`.
    """

    queue_name: str
    ready: int = 0
    in_flight: int = 0
    delayed: int = 0
    dead: int = 0
    oldest_ms: int = 0
    paused: bool = False
    consumers: int = 0
    per_minute: int = 0


class Stats(msgspec.Struct, frozen=True):
    """All queues by name, live workers, messages that wait for their broker, and how far records lag behind."""

    queues: list[QueueStats]
    workers: int
    outbox: int
    mirror_lag_ms: int

    def as_dict(self) -> dict[str, Any]:
        """As ``taskq stats --json`` prints it."""
        return dict(msgspec.to_builtins(self))


def stats(patience: float | None = None) -> Stats:
    """How everything stands. See :func:`queues_and_workers`, also for what it raises."""
    broker = get_broker()
    queues, workers = queues_and_workers(patience)
    return Stats(queues, workers, _outbox(), ask(broker, lambda: mirror_lag_ms(broker), patience))


def queues_and_workers(patience: float | None = None) -> tuple[list[QueueStats], int]:
    """All queues by name, and how many workers live: what broker and records tell, and no other database is asked.

    A queue's numbers are those of its last count where that is fresh; else they are counted now, no further than
    :data:`~.queue_counts.CAP` for each place. ``per_minute`` is found among the youngest records and those that stand
    where the lines are being worked off, so of a queue of old delayed messages it may miss some.

    Raises BrokerConnectionError, after ``patience`` seconds at the latest (see :func:`~.asking.ask`), or
    BrokerNotReady.
    """
    broker = get_broker()
    database = Database(records_database.alias(broker))
    now = now_ms(database)
    states = {state.queue_name: state for state in QueueState.objects.using(database.alias)}
    counts = _counts(broker, states, clock.as_datetime(now), patience)
    workers = _workers_since(database, clock.as_datetime(now) - FRESH)
    finished = _finished(database, now, [count.oldest_ms for count in counts])
    return [_queue(count, states.get(count.queue_name), workers, finished) for count in counts], len(workers)


def paused_actors() -> list[str]:
    """The names of the actors that somebody paused."""
    alias = records_database.alias(get_broker())
    paused = ActorState.objects.using(alias).exclude(paused_at=None).order_by("actor_name")
    return list(paused.values_list("actor_name", flat=True))


def live_workers() -> list[WorkerProcess]:
    """The worker processes that were seen just now, by id."""
    database = Database(records_database.alias(get_broker()))
    return _workers_since(database, clock.as_datetime(now_ms(database)) - FRESH)


def _workers_since(database: Database, since: datetime) -> list[WorkerProcess]:
    return list(WorkerProcess.objects.using(database.alias).filter(heartbeat_at__gte=since).order_by("worker_id"))


def serves(worker: WorkerProcess, queue_name: str) -> bool:
    """Whether a worker takes messages from a queue; one that names none takes them from all."""
    return not worker.queues or queue_name in worker.queues


def _queue(
    count: QueueCounts, state: QueueState | None, workers: Iterable[WorkerProcess], finished: Counter[str]
) -> QueueStats:
    return QueueStats(
        count.queue_name,
        count.ready,
        count.in_flight,
        count.delayed,
        count.dead,
        count.oldest_ms,
        state is not None and state.paused_at is not None,
        sum(serves(worker, count.queue_name) for worker in workers),
        finished[count.queue_name],
    )


def _counts(broker: Broker, states: dict[str, QueueState], now: datetime, patience: float | None) -> list[QueueCounts]:
    fresh = {
        name: _last_count(state, now)
        for name, state in states.items()
        if state.sampled_at is not None and state.sampled_at >= now - FRESH
    }
    if fresh and fresh.keys() >= broker.queues.keys():
        live = {}
    else:
        live = {count.queue_name: count for count in ask(broker, lambda: live_counts(broker), patience)}
    known = {name: QueueCounts(name) for name in states} | live | fresh
    return [known[name] for name in sorted(known)]


def _last_count(state: QueueState, now: datetime) -> QueueCounts:
    oldest_ms = 0 if state.oldest_at is None else max(0, round((now - state.oldest_at).total_seconds() * 1000))
    return QueueCounts(state.queue_name, state.ready, state.in_flight, state.delayed, state.dead, oldest_ms)


def _finished(database: Database, now: int, ages: Iterable[int]) -> Counter[str]:
    """Messages that finished in the last minute, by queue.

    No index knows when a message finished. But what runs now was sent just now, or stands at the head of a line.
    """
    mark = dialect(database).mark
    stretch = (
        f"SELECT message_id, queue_name FROM (SELECT message_id, queue_name, finished_at FROM {RECORDS} "
        f"WHERE created_at <= {mark} ORDER BY created_at DESC LIMIT {STRETCH}) AS stretch WHERE finished_at >= {mark}"
    )
    edges = [now + _MINUTE, *sorted({now - age for age in ages if age > _MINUTE}, reverse=True)[:10]]
    since = moment(database, now - _MINUTE)
    # Stretches may overlap; UNION takes each message once.
    sql = " UNION ".join([stretch] * len(edges))
    rows = database.rows(sql, [value for edge in edges for value in (moment(database, edge), since)])
    return Counter(queue_name for _, queue_name in rows)


def _outbox() -> int:
    """Messages of committed transactions that wait in rows for their broker, in any database that has the table."""
    total = 0
    for alias in connections:
        if connections[alias].vendor not in VENDORS or clock.monotonic() < _away_until.get(alias, 0.0):
            continue
        try:
            total += WaitingRows(Database(alias)).count(CAP)
        except BrokerConnectionError:
            _away_until[alias] = clock.monotonic() + _ABSENCE
        except BrokerError:
            continue  # no table there: nothing of ours can wait in it
    return total


_ABSENCE = 30.0
"""Seconds for which a database that could not be reached is not asked again: whoever looks would wait for it."""

_away_until: dict[str, float] = {}
