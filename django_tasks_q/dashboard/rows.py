"""Rows of the overview and of the pages of queues and workers: texts that template and script fill in alike.

Every value is a text, a ``level`` or ``state`` that only chooses a colour, or the address of another page.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib.admin.utils import quote
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from .. import clock
from ..models import MessageRecord, Stamp, WorkerProcess
from ..operations.queue_counts import CAP
from ..operations.stats import QueueStats
from . import presentation
from .standing import Standing, is_alive

Row = dict[str, str]
Address = Callable[..., str]
"""``address(name, *args, model=…)`` of a page on the same site."""


def count(value: int) -> str:
    """A number of messages; what is counted live is not counted beyond the cap."""
    return f"{presentation.number(value)}{'+' if value == CAP else ''}"


def queue_row(queue: QueueStats, paused_at: datetime | None = None) -> Row:
    return {
        "name": presentation.text(queue.queue_name),
        "paused": paused(paused_at) if paused_at else _("paused") if queue.paused else "",
        "ready": count(queue.ready),
        "in_flight": count(queue.in_flight),
        "delayed": count(queue.delayed),
        "dead": count(queue.dead),
        "oldest": presentation.milliseconds(queue.oldest_ms) if queue.oldest_ms else "–",
        "consumers": presentation.number(queue.consumers),
        "per_minute": presentation.number(queue.per_minute),
        "level": "warning" if queue.paused or (queue.ready and not queue.consumers) else "",
    }


def paused(since: datetime) -> str:
    return _("paused, %(when)s") % {"when": presentation.relative(since)}


def worker_row(worker: WorkerProcess, now: datetime, message_address: Callable[[str], str]) -> dict[str, Any]:
    alive = is_alive(worker, now)
    return {
        "name": presentation.text(worker.worker_id),
        "host": _("%(host)s, process %(pid)s") % {"host": presentation.text(worker.hostname), "pid": worker.pid},
        "state": "alive" if alive else "stale",
        "state_text": _("alive") if alive else _("no sign of life"),
        "seen": presentation.relative(worker.heartbeat_at) if worker.heartbeat_at else "–",
        "up": presentation.relative(worker.started_at) if worker.started_at else "–",
        "queues": ", ".join(presentation.text(str(name)) for name in worker.queues) or _("all"),
        "busy": f"{len(worker.current)} / {worker.threads}",
        "memory": presentation.size(worker.rss_bytes) if worker.rss_bytes else "–",
        "processed": presentation.number(worker.processed),
        "failed": presentation.number(worker.failed),
        "current": [_current(task, message_address) for task in worker.current if isinstance(task, dict)],
    }


def _current(task: dict[str, Any], message_address: Callable[[str], str]) -> Row:
    message_id, since = str(task.get("message_id", "")), task.get("since")
    return {
        "id": presentation.text(message_id),
        "url": message_address(message_id) if message_id else "",
        "queue": presentation.text(str(task.get("queue_name", ""))),
        "since": presentation.relative(clock.as_datetime(since)) if isinstance(since, int) else "",
    }


def message_row(record: MessageRecord, message_address: Callable[[str], str]) -> Row:
    at = record.finished_at or record.started_at or record.created_at
    return {
        "name": presentation.text(record.actor_name) or "?",
        "url": message_address(record.pk),
        "queue": presentation.text(record.queue_name),
        "when": presentation.relative(at) if at else "–",
        "detail": _detail(record),
    }


def _detail(record: MessageRecord) -> str:
    """Why it died, or where it runs."""
    if not record.dead_reason:
        return presentation.text(record.worker)
    error = presentation.short(record.error_type.rpartition(".")[2], 40)
    return " · ".join(part for part in (record.dead_reason.replace("_", " "), error) if part)


def cards(now: Standing, addresses: dict[str, str]) -> list[Row]:
    """The numbers that matter most. ``addresses``: of the page that each of them leads to."""
    found = [*_cards_of_queues(now), *_cards_of_the_rest(now)]
    return [
        {"id": name, "label": label, "value": value, "level": level, "url": addresses.get(name, "")}
        for name, label, value, level in found
    ]


Card = tuple[str, str, str, str]


def _cards_of_queues(now: Standing) -> list[Card]:
    def total(field: str) -> str:
        if now.stats is None:
            return "–"
        values = [getattr(queue, field) for queue in now.queues]
        return presentation.number(sum(values)) + ("+" if CAP in values else "")

    dead = sum(queue.dead for queue in now.queues)
    return [
        ("ready", _("Ready"), total("ready"), ""),
        ("delayed", _("Delayed"), total("delayed"), ""),
        ("running", _("In flight"), total("in_flight"), ""),
        ("dead", _("Dead letters"), total("dead"), "error" if dead else ""),
        ("finished", _("Finished in the last minute"), total("per_minute"), ""),
    ]


def _cards_of_the_rest(now: Standing) -> list[Card]:
    alive = len(now.alive)
    found = [("workers", _("Workers alive"), presentation.number(alive), "" if alive else "error")]
    if now.stats is not None:
        found.append(("outbox", _("Waiting for the broker"), count(now.stats.outbox), ""))
    if now.stats is not None and now.has_journal:
        found.append(("lag", _("Records behind by"), presentation.milliseconds(now.stats.mirror_lag_ms), ""))
    found.append(("retired", _("Records deleted by retention"), presentation.number(now.retired), ""))
    return found


def batch_address(address: Address, stamp: str) -> str:
    """The address of the page of a stamp, ``name=value``."""
    return f"{address('batch', model=Stamp)}?{urlencode({'stamp': stamp})}"


def message_address(address: Address) -> Callable[[str], str]:
    """The address of a message's page, by its id."""
    return lambda message_id: address("change", quote(message_id), model=MessageRecord)
