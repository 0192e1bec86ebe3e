"""For ``check --deploy``: does anybody run what is sent?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage
from django.db import Error as DatabaseTrouble

from .. import clock
from ..dialect import now_ms
from ..errors import BrokerError
from ..models import WorkerProcess
from ..sql import Database
from .findings import records_alias, usable_broker, warning

FRESH = timedelta(seconds=15)
"""Who was not seen for so long does not count as alive."""


def check_broker_is_shared(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W011: messages stay in the process that sends them."""
    broker = usable_broker()
    if broker is None or broker.capabilities.survives_restart:
        return []
    text = f"The broker, {broker.address}, keeps messages in the memory of the process that sends them."
    return [warning("W011", text, "It is for tests; set BROKER_URL to a broker that workers can reach.")]


def check_workers(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W008: no worker is alive. W009: a queue that no living worker serves."""
    broker = usable_broker()
    if broker is None or not broker.queues or not broker.capabilities.survives_restart:
        return []
    if records_alias(broker) not in (databases or ()):
        return []
    try:
        served = _served_queues(records_alias(broker))
    except (DatabaseTrouble, BrokerError):
        return []  # said by the checks of databases
    if served is None:
        text = f"No worker was seen in the last {FRESH.seconds} seconds; what is sent waits."
        return [warning("W008", text, "Start 'manage.py runworkers'.")]
    return [
        warning("W009", f"No living worker serves the queue {name!r}; what is sent there waits.", _hint(name))
        for name in sorted(broker.queues)
        if served and name not in served
    ]


def _hint(queue_name: str) -> str:
    return f"Start 'manage.py runworkers -Q {queue_name}', or one without -Q, which serves all queues."


def _served_queues(alias: str) -> set[str] | None:
    """The queues of the living workers; empty when one of them serves all, None when nobody lives."""
    now = clock.as_datetime(now_ms(Database(alias)))  # by which heartbeats are written
    rows = WorkerProcess.objects.using(alias).filter(heartbeat_at__gte=now - FRESH)
    lists = list(rows.values_list("queues", flat=True))
    if not lists:
        return None
    return set() if any(not queues for queues in lists) else {name for queues in lists for name in queues}
