"""How everything stands now, as plain values: what the overview shows and its script asks for again and again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from .. import clock
from ..broker import get_broker
from ..dialect import dialect, now_ms
from ..errors import BrokerError
from ..keeper.mirror_service import catch_up
from ..models import ActorState, MessageRecord, QueueState, ServiceLease, WaitingMessage, WorkerProcess
from ..operations.filters import Filter
from ..operations.stats import FRESH, QueueStats, Stats, live_workers, stats
from ..sql import Database
from ..states import State
from . import reach
from .read_only import records_alias

MOST_WORKERS = 100
LATEST = 5

_NEEDED = ("message_id", "actor_name", "queue_name", "state", "created_at", "started_at", "finished_at")


class Pauses(NamedTuple):
    """The queues and actors that are paused, and since when. ``at``: when it was so, by the database's clock."""

    at: datetime
    queues: dict[str, datetime]
    actors: dict[str, datetime]


class Standing(NamedTuple):
    """``stats`` is None, and ``trouble`` says why, when the broker cannot be reached."""

    stats: Stats | None
    trouble: str
    workers: Sequence[WorkerProcess]
    dead_letters: Sequence[MessageRecord]
    running: Sequence[MessageRecord]
    outbox_since: datetime | None
    paused: Pauses
    retired: int
    """Records that retention has deleted since the first day."""
    has_journal: bool
    at: datetime
    """When all of this was, by the clock of the records' database."""

    @property
    def queues(self) -> Sequence[QueueStats]:
        return [] if self.stats is None else self.stats.queues

    @property
    def alive(self) -> list[WorkerProcess]:
        return [worker for worker in self.workers if is_alive(worker, self.at)]


def is_alive(worker: WorkerProcess, now: datetime) -> bool:
    """Whether its keeper has seen it just now."""
    return worker.heartbeat_at is not None and worker.heartbeat_at >= now - FRESH


def database_now() -> datetime:
    """By the clock that signs of life are written by; this host's may be wrong."""
    return clock.as_datetime(now_ms(Database(records_alias())))


def standing() -> Standing:
    """Ask for all of it."""
    found, trouble = _stats()
    paused = pauses()
    return Standing(
        found,
        trouble,
        all_workers(),
        _latest(State.DEAD),
        _latest(State.RUNNING),
        _outbox_since(paused.at),
        paused,
        _retired(),
        get_broker().journal is not None,
        paused.at,
    )


def _stats() -> tuple[Stats | None, str]:
    try:
        reach.require_answer()
        catch_up_alone()
        return stats(reach.PATIENCE), ""
    except BrokerError as error:
        return None, str(error)


def all_workers() -> list[WorkerProcess]:
    """Those that were seen last come first; the dead are removed from the table by and by."""
    found = WorkerProcess.objects.using(records_alias()).order_by("-heartbeat_at")[:MOST_WORKERS]
    return sorted(found, key=lambda worker: worker.worker_id)


def _latest(state: State) -> list[MessageRecord]:
    extra = ("error_type", "dead_reason", "worker")
    return list(Filter(state=state.value).queryset().only(*_NEEDED, *extra)[:LATEST])


def _outbox_since(now: datetime) -> datetime | None:
    """Since when the oldest message waits for the relay, where the records are."""
    rows = WaitingMessage.objects.using(records_alias()).filter(kind=WaitingMessage.Kind.COMMIT)
    waiting = rows.filter(due_at__lte=now).order_by("due_at")
    first: datetime | None = waiting.values_list("created_at", flat=True).first()
    return first


def pauses() -> Pauses:
    """In one question, with the time."""
    database = Database(records_alias())
    since = dialect(database).epoch_ms.format("paused_at")
    queues, actors = QueueState._meta.db_table, ActorState._meta.db_table
    rows = database.rows(
        f"SELECT 'now', '', {dialect(database).now_ms} "
        f"UNION ALL SELECT 'queue', queue_name, {since} FROM {queues} WHERE paused_at IS NOT NULL "
        f"UNION ALL SELECT 'actor', actor_name, {since} FROM {actors} WHERE paused_at IS NOT NULL"
    )
    found: dict[str, dict[str, datetime]] = {"now": {}, "queue": {}, "actor": {}}
    for kind, name, ms in sorted(rows):
        found[kind][name] = clock.as_datetime(int(ms))
    return Pauses(found["now"][""], found["queue"], found["actor"])


def _retired() -> int:
    notes = ServiceLease.objects.using(records_alias()).filter(name="retention").values_list("notes", flat=True).first()
    return int((notes or {}).get("records", 0))


def catch_up_alone() -> None:
    """Bring the records up to date for a page, where the broker keeps a journal and no keeper reads it.

    Where the broker is away the page shows what was recorded before, and says so.
    """
    broker = get_broker()
    if broker.journal is not None and not live_workers() and not reach.trouble():
        catch_up(broker)
